"""`syncstructs status|members|transfer|snapshot|version`: a running cluster, asked and changed.

Each asks one node, over the links of the cluster (`console`); `--node` may name several, of which
the first that can be reached is asked. What changes the cluster is asked for once only: if its
answer is lost, the message says so, and `status` shows what came of it.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..config import parse_address
from ..errors import ConfigError
from .console import (
    PASSWORD_VARIABLE,
    AnyOf,
    ConsoleError,
    Credentials,
    certificates_for,
    keys_for,
)
from .formats import number_from, plain, table
from .pictures import headline, leader_of, rows, statuses

_TIMEOUT: Final = 30.0
_TIMEOUT_MAX: Final = 300.0
_TLS_FILES: Final = {
    "cert": "a certificate of their authority",
    "key": "its private key",
    "ca": "the authority's certificate",
}
_RELEASES: Final = ("protocol", "release", "version")


class _WrongUsage(Exception):
    """Arguments that do not belong together; the message says why."""


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommands."""
    _add(commands, "status", _status, "show all members of a running cluster")
    members = _add(commands, "members", _members, "show or change who the members are")
    members.add_argument(
        "action", nargs="?", default="list", choices=["list", "add", "remove", "set"],
        help="what to do (default: list); set: exactly these, in one step",
    )  # fmt: skip
    members.add_argument("addresses", nargs="*", type=_address, metavar="HOST:PORT")
    transfer = _add(commands, "transfer", _transfer, "have another member lead")
    transfer.add_argument("--to", type=_address, metavar="HOST:PORT", help="whom (default: any)")
    _add(commands, "snapshot", _snapshot, "have each --node write a snapshot now")
    version = _add(commands, "version", _version, "show what the members run, or set the version")
    version.add_argument(
        "--set", type=int, metavar="N", dest="number",
        help="let methods of version N be called, once all members know them",
    )  # fmt: skip


def add_where(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which cluster is meant."""
    add = parser.add_argument
    add("--node", required=True, type=_addresses, metavar="HOST:PORT[,HOST:PORT...]",
        help="whom to ask, as it calls itself; of several, the first that is there")  # fmt: skip
    add("--cluster", default="syncstructs", metavar="NAME",
        help="Config.cluster of the nodes (default: %(default)s)")  # fmt: skip
    add("--password-file", metavar="FILE",
        help=f"file with Config.password of the nodes (or {PASSWORD_VARIABLE})")  # fmt: skip
    for name, what in _TLS_FILES.items():
        add(f"--tls-{name}", metavar="FILE", help=f"where nodes have tls: {what}, in PEM")


def reach(options: argparse.Namespace, addresses: list[str] | None = None) -> AnyOf:
    """Return who is to be asked, by the options of `add_where`.

    Raises:
        ConsoleError: the password or the certificates cannot be read.
    """
    files = {name: getattr(options, f"tls_{name}") for name in _TLS_FILES}
    certificates = certificates_for(files)
    if certificates is not None and options.password_file is not None:
        raise ConsoleError("--password-file or --tls-cert, not both: nodes have one of them")
    # What the environment says is for nodes with a password.
    keys = None if certificates else keys_for(options.cluster, options.password_file)
    credentials = Credentials(keys, certificates)
    return AnyOf(addresses or options.node, cluster=options.cluster, credentials=credentials)


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace, AnyOf], int],
    about: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=f"{about.capitalize()}.")
    add_where(parser)
    parser.add_argument("--timeout", type=number_from(0, _TIMEOUT_MAX, above=True),
                        default=_TIMEOUT, metavar="SECONDS",
                        help="seconds to wait for it (default: %(default)g)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")

    def run_with_link(options: argparse.Namespace) -> int:
        asked: AnyOf | None = None
        try:
            asked = reach(options)
            return run(options, asked)
        except _WrongUsage as error:
            parser.error(str(error))
        except ConsoleError as error:
            print(f"syncstructs {name}: {plain(str(error))}", file=sys.stderr)
            return 1
        finally:
            if asked is not None:
                asked.close()

    parser.set_defaults(run=run_with_link)
    return parser


def _address(text: str) -> str:
    try:
        return str(parse_address(text.strip(), field="node"))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _addresses(text: str) -> list[str]:
    return [_address(part) for part in text.split(",")]


def _put(options: argparse.Namespace, picture: object, *lines: str) -> None:
    if options.json:
        print(json.dumps(picture))
    else:
        for line in lines:
            print(plain(line))


# The commands


def _status(options: argparse.Namespace, asked: AnyOf) -> int:
    seen = asked.look("cluster", {}, options.timeout)
    _put(options, seen, headline(seen), *(line for line, _ in rows(seen, None)))
    return 0 if leader_of(seen) else 1


def _members(options: argparse.Namespace, asked: AnyOf) -> int:
    if options.action != "list":
        if not options.addresses:
            raise _WrongUsage(f"members {options.action} needs at least one HOST:PORT")
        asked.ask(options.action, {"addresses": options.addresses}, options.timeout)
    elif options.addresses:
        raise _WrongUsage("members list takes no address; add, remove and set do")
    status = asked.look("status", {}, options.timeout)
    membership = status["membership"] if isinstance(status, dict) else {}
    known = {kind: list(membership.get(kind, [])) for kind in ("voters", "learners", "outgoing")}
    lines = [["member", "kind"]]
    for address in known["voters"]:
        lines.append([str(address), "voter"])
    lines += [[str(address), "learner"] for address in known["learners"]]
    leaving = [address for address in known["outgoing"] if address not in known["voters"]]
    lines += [[str(address), "voter, about to leave"] for address in leaving]
    _put(options, membership, *table(lines))
    return 0


def _transfer(options: argparse.Namespace, asked: AnyOf) -> int:
    asked.ask("transfer", {"to": options.to}, options.timeout)
    leader = leader_of(asked.look("cluster", {}, options.timeout))
    _put(options, {"leader": leader}, f"{leader or 'nobody'} leads")
    return 0


def _snapshot(options: argparse.Namespace, asked: AnyOf) -> int:
    taken: dict[str, int | None] = {}
    for address in options.node:
        one = reach(options, [address])
        try:
            taken[address] = one.ask("snapshot", {}, options.timeout)
        except ConsoleError as error:
            taken[address] = None
            print(f"syncstructs snapshot: {plain(str(error))}", file=sys.stderr)
        finally:
            one.close()
    done = [f"{address}: up to entry {index:,}" for address, index in taken.items() if index]
    _put(options, taken, *done)
    return 0 if all(index is not None for index in taken.values()) else 1


def _version(options: argparse.Namespace, asked: AnyOf) -> int:
    if options.number is not None:
        asked.ask("set_version", {"number": options.number}, options.timeout)
    seen = asked.look("cluster", {}, options.timeout)
    known = statuses(seen)
    # Who does not answer may run anything, so it must not be missing here.
    picture = {
        address: _releases(known[address]) if address in known else None
        for address in sorted(seen.get("members") or {})
    }
    lines = [["member", *_RELEASES]]
    for address, one in picture.items():
        shown = ["no answer"] if one is None else [str(one[name]) for name in _RELEASES]
        lines.append([address, *shown, *[""] * (len(_RELEASES) - len(shown))])
    _put(options, picture, *table(lines))
    return 0


def _releases(status: Mapping[str, Any]) -> dict[str, Any]:
    return {name: status.get(name) for name in _RELEASES}
