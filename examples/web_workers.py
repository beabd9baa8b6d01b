"""A web application whose workers share their state: each of them observes a cluster.

With members that run elsewhere:

    SERVERS=127.0.0.1:4321 gunicorn --workers 4 --chdir examples web_workers:app

A node lives in the process that made it, so each worker makes its own when it imports this file.
That is after the fork, unless gunicorn is told to `--preload`: then make the node in `post_fork`.

To try it without gunicorn, and with a member of its own: python examples/web_workers.py
"""

import atexit
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from syncstructs import Node, ReplCounter

if __name__ == "__main__":
    servers = sys.argv[1:2] or ["127.0.0.1:4321"]
else:
    servers = os.environ.get("SERVERS", "127.0.0.1:4321").split(",")

hits = ReplCounter()
node = Node(None, servers, consumers={"hits": hits})
atexit.register(node.close)  # its locks pass on at once, and not when its session has expired


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Count the request, in all workers and on all machines together."""
    count = hits.inc()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{count} hits, says process {os.getpid()}\n".encode()]


if __name__ == "__main__":
    with Node(servers[0], consumers={"hits": ReplCounter()}):
        for _ in range(3):
            print(b"".join(app({}, lambda status, headers: None)).decode(), end="")
