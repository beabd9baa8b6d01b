"""The console: asking the nodes of a running cluster, as a guest on their own links.

It dials a node with the hello that members use, under a name that nobody else has, so whatever
guards links guards this too. It sends one inquiry at a time (`node.inquiries`) and waits for the
answer. Whatever else comes over the link is not for it, and is ignored.
"""

import itertools
import json
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self

from ..config import Config, Tls, parse_address
from ..errors import ConfigError, ProtocolError
from ..net.events import Broken, FrameReceived, Greeted, Refused
from ..net.hello import Identity
from ..net.link import Link
from ..net.passwords import derive_keys
from ..raft.messages import Answer, Inquiry
from ..raft.wire import decode, encode

if TYPE_CHECKING:
    from ..net.cipher import Keys
    from ..net.tls import Contexts

PASSWORD_VARIABLE: Final = "SYNCSTRUCTS_PASSWORD"
_LIMIT_BYTES: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 64 * 1024
_CONNECT_SECONDS: Final = 3.0
# The node gives up first, so that its answer says how far it came.
_SPARE_SECONDS: Final = 2.0


class ConsoleError(Exception):
    """A node could not be asked, or did not do it; the message says why."""


class ConsoleRefused(ConsoleError):
    """A node does not want the link; who asks again in the same way is refused again."""


class Asked(Protocol):
    """Somebody who answers inquiries."""

    def ask(self, verb: str, arguments: Mapping[str, object], timeout: float) -> Any:
        """Return what the answer holds, after `timeout` seconds at the most.

        Raises:
            ConsoleError: there is no answer, or it says that it was not done.
        """

    def close(self) -> None:
        """Ask no more."""


def console_name() -> str:
    """Return a name that no other guest has: that of a node without an address (`net.hello`)."""
    return f"console-{secrets.token_hex(8)}"


def keys_for(cluster: str, password_file: str | None) -> "Keys | None":
    """Return the keys of a cluster whose password is in that file, or else in the environment.

    None: it is nowhere, so the nodes have none. The end of the file's last line does not count.

    Raises:
        ConsoleError: the file cannot be read, or holds no password.
    """
    password = os.environ.get(PASSWORD_VARIABLE) or None
    if password_file is not None:
        try:
            password = Path(password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConsoleError(f"--password-file {password_file!r}: {error}") from None
    try:
        return derive_keys(Config(cluster=cluster, password=password))
    except ConfigError as error:
        raise ConsoleError(str(error)) from None


class Credentials(NamedTuple):
    """What a console proves itself by: one of the two, or nothing."""

    keys: "Keys | None" = None
    certificates: "Contexts | None" = None


_NOTHING: Final = Credentials()


def certificates_for(files: Mapping[str, str | None]) -> "Contexts | None":
    """Return the certificates in the files `cert`, `key` and `ca`, None without any.

    Raises:
        ConsoleError: some are missing, or are of no use.
    """
    given = {name: path for name, path in files.items() if path is not None}
    if not given:
        return None
    if len(given) < len(files):
        missing = ", ".join(f"--tls-{name}" for name in files if name not in given)
        raise ConsoleError(f"--tls-cert, --tls-key and --tls-ca belong together: give {missing}")
    from ..net.tls import Contexts

    try:
        return Contexts(Tls(**given), console_name())
    except ConfigError as error:
        raise ConsoleError(str(error)) from None


class Console:
    """A link to one node. One inquiry at a time; no threads."""

    def __init__(
        self,
        address: str,
        *,
        cluster: str,
        timeout: float = _CONNECT_SECONDS,
        credentials: Credentials = _NOTHING,
    ) -> None:
        """Dial the node; `address` is what it calls itself, `credentials` fit its cluster.

        Raises:
            ConsoleRefused: it refuses the link.
            ConsoleError: it cannot be reached.
        """
        self.address = str(parse_address(address, field="node"))
        self._ids = itertools.count(1)
        self._frames: list[bytes] = []
        identity = Identity(
            cluster=cluster, address=console_name(), incarnation=secrets.randbits(63),
            limit_bytes=_LIMIT_BYTES,
        )  # fmt: skip
        self._link = Link(
            "dialer", identity=identity, dialled=self.address, keys=credentials.keys,
            certificates=credentials.certificates,
        )  # fmt: skip
        host, port = parse_address(self.address)
        try:
            self._socket = socket.create_connection((host, port), timeout)
        except OSError as error:
            raise ConsoleError(f"{self.address} cannot be reached: {_reason(error)}") from error
        try:
            self._greet(time.monotonic() + timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut the link."""
        with suppress(OSError):
            self._socket.close()

    def ask(self, verb: str, arguments: Mapping[str, object], timeout: float) -> Any:
        """Ask, and return what the answer holds; see `Asked`."""
        inquiry = Inquiry(
            next(self._ids), verb, json.dumps({**arguments, "timeout": timeout}).encode()
        )
        deadline = time.monotonic() + timeout + _SPARE_SECONDS
        self._write(self._link.frames([encode(inquiry)]), deadline)
        while (answer := self._next_answer(inquiry.id)) is None:
            self._read(deadline, f"{self.address} has not answered within {timeout:g} s")
        return self._opened(answer)

    def _opened(self, answer: Answer) -> Any:
        try:
            said = json.loads(answer.payload)
        except (ValueError, RecursionError) as error:
            raise ConsoleError(f"{self.address} has answered what is no JSON") from error
        if answer.ok:
            return said
        if not isinstance(said, dict):
            said = {}
        raise ConsoleError(f"{said.get('error', 'an error')}: {said.get('message', 'no reason')}")

    def _next_answer(self, id: int) -> Answer | None:
        while self._frames:
            try:
                message = decode(self._frames.pop(0))
            except ProtocolError:
                # Of a later release, and not the answer.
                continue
            if type(message) is Answer and message.id == id:
                return message
        return None

    def _greet(self, deadline: float) -> None:
        self._link.greet(1)
        self._write(self._link.data_to_send(), deadline)
        while not self._link.limit_bytes:
            self._read(deadline, f"{self.address} has not answered the greeting")
            self._write(self._link.data_to_send(), deadline)

    def _write(self, words: bytes, deadline: float) -> None:
        self._socket.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            self._socket.sendall(words)
        except OSError as error:
            raise ConsoleError(f"the link to {self.address} broke: {_reason(error)}") from error

    def _read(self, deadline: float, late: str) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ConsoleError(late)
        self._socket.settimeout(left)
        try:
            piece = self._socket.recv(_READ_BYTES)
        except TimeoutError:
            raise ConsoleError(late) from None
        except OSError as error:
            raise ConsoleError(f"the link to {self.address} broke: {_reason(error)}") from error
        if not piece:
            raise ConsoleError(f"{self.address} has closed the link")
        events = self._link.receive(piece)
        if self._link.has_to_say and not self._link.is_whole:
            # Why, as far as the other side is still there to read it.
            with suppress(ConsoleError):
                self._write(self._link.data_to_send(), deadline)
        for event in events:
            if isinstance(event, FrameReceived):
                self._frames.append(event.payload)
            elif isinstance(event, Refused):
                # Of the peer's making, so it must not begin lines of its own.
                reason = " ".join(event.reason.splitlines())
                doubt = " (in clear, so anybody may have said it)" if event.in_clear else ""
                remedy = f"; see --password-file and {PASSWORD_VARIABLE}"
                raise ConsoleRefused(
                    f"{self.address} and this console part{doubt}: {reason}"
                    f"{remedy if 'password' in reason else ''}"
                )
            elif isinstance(event, Broken):
                raise ConsoleError(f"{self.address} and this console part: {event.reason}")
            else:
                assert isinstance(event, Greeted), event


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


class AnyOf:
    """The first of several nodes that can be reached; another one once that is gone."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        cluster: str,
        credentials: Credentials = _NOTHING,
    ) -> None:
        self._addresses = list(addresses)
        self._cluster = cluster
        self._credentials = credentials
        self._console: Console | None = None

    @property
    def address(self) -> str | None:
        """Who is being asked, None before the first inquiry."""
        return None if self._console is None else self._console.address

    def reach(self) -> Console:
        """Return a link to one of them.

        Raises:
            ConsoleRefused: of those that can be reached, none wants it; says why for each.
            ConsoleError: none can be reached; says why for each.
        """
        if self._console is not None:
            return self._console
        if self._credentials.certificates is not None:
            # `top` may run for longer than they last. Who has wrong ones goes on, as nodes do.
            with suppress(ConfigError):
                self._credentials.certificates.reload()
        why: list[str] = []
        kind: type[ConsoleError] = ConsoleError
        for address in self._addresses:
            try:
                self._console = Console(
                    address, cluster=self._cluster, credentials=self._credentials
                )
                return self._console
            except ConsoleError as error:
                why.append(str(error))
                if isinstance(error, ConsoleRefused):
                    kind = ConsoleRefused
        raise kind("; ".join(why))

    def ask(self, verb: str, arguments: Mapping[str, object], timeout: float) -> Any:
        """Ask the one that is reached; see `Asked`. Asked once: it may have been done already."""
        try:
            return self.reach().ask(verb, arguments, timeout)
        except ConsoleError:
            # The next inquiry goes over a new link: this one may bring a late answer, or is gone.
            self.close()
            raise

    def look(self, verb: str, arguments: Mapping[str, object], timeout: float) -> Any:
        """Do as `ask` what changes nothing, of another node if one does not answer."""
        for _ in self._addresses[1:]:
            try:
                return self.ask(verb, arguments, timeout)
            except ConsoleError:
                self._addresses.append(self._addresses.pop(0))
        return self.ask(verb, arguments, timeout)

    def close(self) -> None:
        """Cut the link, if there is one."""
        if self._console is not None:
            self._console.close()
            self._console = None
