"""Sockets: names to addresses, listening, and the options that find a dead peer.

Host names are looked up at every use, never kept: a member may come back on another machine.
"""

import asyncio
import contextlib
import errno
import math
import os
import socket
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..config import Address, parse_address
from ..errors import BindError

if sys.platform != "win32":
    import resource

BACKLOG = 1024
"""Connections that wait to be accepted. For one more, the system of the other side has to try
again, which it does after a second: members must not wait so long for a burst of others."""
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def open_files_limit() -> int:
    """Return how many files this process may have open; as much as can be if nothing limits it."""
    if sys.platform == "win32":
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class Target(NamedTuple):
    """One address that a name stands for, as the socket calls want it."""

    family: int
    protocol: int
    sockaddr: tuple[Any, ...]


async def resolve(address: Address) -> list[Target]:
    """Return what `address` stands for now, in the order to try; never empty.

    An IP address is no lookup, and needs no thread.

    Raises:
        OSError: the name does not resolve.
    """
    kind = socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=kind, flags=socket.AI_NUMERICHOST
        )
    except (OSError, UnicodeError):
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(address.host, address.port, type=kind)
        except UnicodeError as error:
            raise OSError(f"not a host name: {error}") from None
    targets = [Target(family, protocol, name) for family, _, protocol, _, name in found]
    if not targets:
        raise OSError("no address")
    return list(dict.fromkeys(targets))


async def listen(text: str) -> list[socket.socket]:
    """Return sockets that listen on every address that `text` ('host:port') stands for.

    Of several addresses, those of a family that this machine does not have are left out.

    Raises:
        BindError: one of them is in use or not permitted, none is of this machine, or the name
            does not resolve.
    """
    address = parse_address(text)
    try:
        targets = await resolve(address)
    except OSError as error:
        raise BindError(
            f"cannot listen on {text!r}: the host name {address.host!r} does not resolve"
            f" ({explain(error)})"
        ) from None
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for target in targets:
            try:
                sockets.append(_listen(target, alone=len(targets) == 1))
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise _bind_error(text, target, error) from None
                absent = error
        if absent is not None and not sockets:
            raise _bind_error(text, targets[0], absent) from None
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def stop_accepting(server: asyncio.Server) -> None:
    """Accept no more, one iteration before `server.close()`.

    asyncio loses the socket that it accepted in the very iteration that closes the server: it is
    neither given to the protocol nor closed. uvloop accepts in one step, and needs none of this.
    """
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.remove_reader(sock.fileno())


def let_go(descriptors: Iterable[int]) -> None:
    """In a forked child: have these descriptors stand for nothing, as they are the parent's.

    Their numbers stay taken: what still believes to own them may close them as it is thrown away,
    and would close somebody else's file.
    """
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            for descriptor in descriptors:
                if descriptor >= 0:
                    os.dup2(nothing, descriptor, inheritable=False)
        finally:
            os.close(nothing)


def _listen(target: Target, *, alone: bool) -> socket.socket:
    sock = socket.socket(target.family, socket.SOCK_STREAM, target.protocol)
    try:
        sock.setblocking(False)
        if os.name == "posix":
            # Without this, a restart finds the port taken by connections of the life before.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if target.family == socket.AF_INET6:
            # '[::]' alone means every address of both families; next to an IPv4 socket on the
            # same port it must keep to its own family.
            both = alone and target.sockaddr[0] == "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        sock.bind(target.sockaddr)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_error(text: str, target: Target, error: OSError) -> BindError:
    where = f"cannot listen on {text!r}"
    if error.errno == errno.EADDRINUSE:
        return BindError(f"{where}: the port is in use; does this node run already?")
    if error.errno in _NO_SUCH_ADDRESS:
        return BindError(
            f"{where}: {target.sockaddr[0]} is not an address of this machine;"
            " set `bind` to the local address to listen on"
        )
    return BindError(f"{where}: {explain(error)}")


def explain(error: OSError) -> str:
    """Return the reason without the numbers; asyncio's `TimeoutError` has no text of its own."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    return error.strerror or str(error) or type(error).__name__


def tune(sock: Any, timeout: float) -> None:
    """Set a connection's options: no delay, and dead after `timeout` seconds without an answer.

    Raft's heartbeats notice a dead peer long before; this makes the socket notice too, so that
    the peer is dialled anew instead of waiting for TCP's next retransmission, minutes apart.
    """
    seconds = max(1, math.ceil(timeout))
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", seconds),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", seconds),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", int(timeout * 1000)),
    ]
    for level, name, value in options:
        option = getattr(socket, name, None)
        if option is not None:
            try:
                sock.setsockopt(level, option, value)
            except OSError:
                # A platform without it, or a connection that is gone already: the next read says.
                continue
