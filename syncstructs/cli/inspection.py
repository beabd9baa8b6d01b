"""`syncstructs inspect`: a data directory, without its node: what it holds, whether it is whole.

And the two things that can be done about one that is not, or whose cluster is gone. Both ask first,
say what is lost, and are refused while a node runs on the directory.
"""

import argparse
import json
import secrets
import sys
from typing import Any

from ..config import parse_address
from ..errors import ConfigError, StorageError
from ..objects.batches import encode_command, encode_group
from ..raft.messages import Entry
from ..storage.disk import DataDir, open_existing
from ..storage.salvage import Plan, Survey, found_anew, plan_repair, repair, survey
from .formats import count, count_of, plain, size_of

_LAST_ENTRIES = 5

_EPILOG = """\
A damaged directory is best replaced: start the member with join=True and an empty one, while a
majority of the others runs. --repair does the same, but keeps what is whole.

If a majority of the members is lost for good, nobody can be elected, and this is not repaired by
anything that keeps every write. Take the directory of the member whose last entry has the highest
term, and among those the highest index; copy it; then let it found the cluster anew:
    syncstructs inspect DATA_DIR --found-anew-as HOST:PORT
Start that node alone, with that address. Give all others empty directories and join=True, and make
them members with `syncstructs members add`.
"""

_ANEW = """\
THIS FOUNDS ANOTHER CLUSTER, and cannot be taken back. Do it only if a majority of
  {members}
is lost for good, and on one directory only.

- What this member has is kept, up to entry {last}: also writes that were never acknowledged.
- WRITES THAT ONLY THE LOST MAJORITY HAD ARE GONE, acknowledged ones too.
- If a majority of the old members still runs, or ever runs again, there are TWO CLUSTERS that know
  nothing of each other, and both acknowledge writes. Their old directories must never be started.
- The only member is {address}. Others join it with join=True and empty directories.

Copy {path} before you go on.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "inspect",
        help="read and verify a data directory, and repair it",
        description="Read and verify the log and the snapshots of a member that does not run."
        " Exit status 0: a node would start on it; 1: it would not, or something failed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data_dir", metavar="DATA_DIR", help="what the node has as Config.data_dir")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    add("--entries", type=count, default=_LAST_ENTRIES, metavar="N",
        help="show so many of the last entries (default: %(default)s)")  # fmt: skip
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument(
        "--repair", action="store_true",
        help="move what is damaged aside, and have the others fill this member again",
    )  # fmt: skip
    doing.add_argument(
        "--found-anew-as", metavar="HOST:PORT", type=_address,
        help="a majority is lost: make this the first member of a new cluster",
    )  # fmt: skip
    add("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=run)


def _address(text: str) -> str:
    try:
        return str(parse_address(text))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(options: argparse.Namespace) -> int:
    """Inspect; return 0 if a node would start on the directory, or what was asked for is done."""
    try:
        directory = open_existing(options.data_dir)
        try:
            return _inspect(directory, options)
        finally:
            directory.close()
    except StorageError as error:
        print(f"syncstructs inspect: {plain(str(error))}", file=sys.stderr)
        return 1


def _inspect(directory: DataDir, options: argparse.Namespace) -> int:
    found = survey(directory)
    if options.json:
        print(json.dumps(_picture(directory, found, options.entries)))
    else:
        _print(directory, found, options.entries)
    if options.repair:
        return _repair(directory, found, options)
    if options.found_anew_as:
        return _found_anew(directory, found, options)
    return 1 if found.problems else 0


# Doing


def _tell(text: str) -> None:
    # What is asked and told besides the picture must not get into its JSON.
    print(plain(text), file=sys.stderr, flush=True)


def _agrees(options: argparse.Namespace) -> bool:
    if options.yes:
        return True
    print("Type 'yes' to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() == "yes":
        return True
    _tell("nothing was changed")
    return False


def _repair(directory: DataDir, found: Survey, options: argparse.Namespace) -> int:
    plan = plan_repair(found)
    _tell(_explained(plan, found))
    if not _agrees(options):
        return 1
    prefix = repair(directory, found)
    again = survey(directory)
    assert not again.problems, again.problems
    _tell(f"repaired; what was cut is in {directory.at(prefix)}*. Start the node as ever.")
    return 0


def _explained(plan: Plan, found: Survey) -> str:
    cuts = "".join(
        f"\n  {cut.name} from byte {cut.offset:,} on, {size_of(cut.size_bytes)}"
        for cut in plan.cuts
    )
    if not plan.forgets:
        return f"To be moved aside:{cuts}\nNothing is lost: the log has all of it."
    own = found.membership.is_quorum((found.identity.address,))
    alone = (
        "\nIT IS THE ONLY MEMBER, so nobody can fill it again: after the repair, use"
        " --found-anew-as, and what was cut is lost."
        if own
        else ""
    )
    return (
        f"To be moved aside:{cuts or ' nothing, as it is gone already'}\n"
        f"The member then has entries up to {plan.last.index:,}. It may have acknowledged more, and"
        " have voted since, so it\nwill neither vote nor count before the others have filled it:"
        f" a majority of them has to run.{alone}"
    )


def _found_anew(directory: DataDir, found: Survey, options: argparse.Namespace) -> int:
    address = options.found_anew_as
    _tell(
        _ANEW.format(
            members=", ".join(found.membership.members) or "the members", address=address,
            last=f"{found.last.index:,} of term {found.last.term:,}", path=directory.path,
        )
    )  # fmt: skip
    if not _agrees(options):
        return 1
    wanted = encode_command(0, "change_members", ([], [], [address]), {})
    last = found_anew(
        directory, found, address, genesis=secrets.randbits(62) + 1,
        command=encode_group(0, 0, 1, wanted),
    )  # fmt: skip
    _tell(
        f"done: the log ends with entry {last.index:,} of term {last.term:,}. Start the node as"
        f" {address}, without peers."
    )
    return 0


# Showing


def _picture(directory: DataDir, found: Survey, entry_count: int) -> dict[str, Any]:
    log, membership, identity = found.log, found.membership, found.identity
    hard_state = log.replay.hard_state
    return {
        "data_dir": directory.path,
        "whole": not found.problems,
        "problems": list(found.problems),
        "identity": {
            "cluster": identity.cluster, "address": identity.address, "id": identity.id,
            "members": list(identity.members), "joined": identity.joined,
        },
        "hard_state": {
            "term": hard_state.term, "vote": hard_state.vote, "recovering": hard_state.recovering,
        },
        "membership": {
            "voters": list(membership.voters), "learners": list(membership.learners),
            "outgoing": list(membership.outgoing), "genesis": membership.genesis,
        },
        "last": {"index": found.last.index, "term": found.last.term},
        "log": {
            "base_index": log.replay.base.index,
            "entries": len(log.replay.entries),
            "torn_bytes": log.torn_bytes,
            "segments": [segment._asdict() for segment in log.segments],
        },
        "snapshots": [
            {
                "name": view.name, "index": view.reaches_to, "file_bytes": view.size_bytes,
                "problem": view.problem,
                "term": view.snapshot.term if view.snapshot else None,
                "size_bytes": view.snapshot.size_bytes if view.snapshot else None,
                "checksum": view.snapshot.checksum if view.snapshot else None,
                "voters": list(view.snapshot.membership.voters) if view.snapshot else None,
            }
            for view in found.snapshots
        ],
        "last_entries": [_entry(entry) for entry in _last(found, entry_count)],
    }  # fmt: skip


def _last(found: Survey, count: int) -> list[Entry]:
    return found.log.replay.entries[-count:] if count else []


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "index": entry.index, "term": entry.term, "kind": entry.kind.name.lower(),
        "payload_bytes": len(entry.payload), "cluster_time": entry.time / 1_000_000,
    }  # fmt: skip


def _print(directory: DataDir, found: Survey, entry_count: int) -> None:
    identity, log = found.identity, found.log
    hard_state, membership = log.replay.hard_state, found.membership

    def say(text: str) -> None:
        print(plain(text))

    say(f"{directory.path}: node {identity.address} of cluster {identity.cluster!r}")
    voted = f"voted for {hard_state.vote}" if hard_state.vote else "no vote in it"
    recovering = ", to be recovered by the others" if hard_state.recovering else ""
    say(f"  hard state  term {hard_state.term:,}, {voted}{recovering}")
    say(f"  members     {', '.join(membership.voters) or 'unknown'}")
    for kind, some in (("learners", membership.learners), ("outgoing", membership.outgoing)):
        if some:
            say(f"  {kind}    {', '.join(some)}")
    entries = log.replay.entries
    reach = f", {entries[0].index:,} to {entries[-1].index:,}" if entries else ""
    torn = f", {log.torn_bytes:,} torn bytes at the end" if log.torn_bytes else ""
    say(f"  log         {count_of(len(entries), 'entry', 'entries')}{reach}, in"
        f" {count_of(len(log.segments), 'file')}{torn}")  # fmt: skip
    for segment in log.segments:
        mark = "DAMAGED" if segment.problem else "whole"
        say(f"    {segment.name}  {size_of(segment.size_bytes):>10}"
            f"  {count_of(segment.entry_count, 'entry', 'entries'):>16}  {mark}")  # fmt: skip
    say(f"  snapshots   {len(found.snapshots) or 'none'}")
    for view in found.snapshots:
        mark = "DAMAGED" if view.problem else "whole"
        say(f"    to entry {view.reaches_to:,}  {size_of(view.size_bytes):>10}  {mark}")
    some_entries = _last(found, entry_count)
    if some_entries:
        say("  last entries")
    for entry in some_entries:
        say(
            f"    {entry.index:>12,}  term {entry.term:,}  {entry.kind.name.lower():<10}"
            f"  {size_of(len(entry.payload)):>10}"
        )
    for problem in found.problems:
        say(f"DAMAGED: {problem}")
    if not found.problems:
        say("whole: a node would start on it")

