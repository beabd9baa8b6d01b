"""A member that is a real process, with the classes of the release in the directory it is given.

It does not attach its object but finds it, as it was created once for the whole cluster. It does
what it reads, one JSON list a line (a method and its arguments), and answers a line for each.
"""

import json
import sys

from syncstructs import Node, NodeFailed, SyncError


def main(release: str, address: str, members: str, data_dir: str) -> None:
    sys.path.insert(0, release)
    import shop

    try:
        node = Node(
            address, members.split(","), data_dir=data_dir, snapshot_log_entries=40,
            log_keep_bytes=1,
        )  # fmt: skip
        node.wait_ready(timeout=60)
    except NodeFailed as error:
        say("NodeFailed", str(error))
        return
    say("ready", node.version)
    for line in sys.stdin:
        method, *args = json.loads(line)
        try:
            say("done", perform(node, shop, method, args))
        except SyncError as error:
            say(type(error).__name__, str(error))
    node.close()


def perform(node, shop, method, args):
    if method == "create":
        return node.create("stock", shop.Stock).left
    if method == "set_version":
        return node.set_version(args[0], timeout=60)
    # What another process was told of just now may be on its way here.
    node.barrier(timeout=60)
    if method == "look":
        return [node.version, node.objects["stock"].runs]
    return getattr(node.objects["stock"], method)(*args)


def say(what, detail):
    print(json.dumps([what, detail]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
