"""Settings of a node, and the addresses of members; every field has a reason."""

from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Literal, NamedTuple

from .errors import ConfigError

Drive = Literal["thread", "asyncio", "manual"]

PASSWORD_MIN = 12
"""Characters. What people think up has some 2 bits in each, and a guess costs some 0.3 s."""

# These may be None: never, or without a bound.
_OPTIONAL = frozenset({"call_timeout", "digest_interval", "snapshot_rate"})


class Address(NamedTuple):
    """Where a member listens: a host name, an IPv4 or an IPv6 address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, *, field: str = "address") -> Address:
    """Return the parts of `"host:port"`; an IPv6 host stands in brackets.

    >>> parse_address("db1.example:4321")
    Address(host='db1.example', port=4321)
    >>> parse_address("[::1]:4321").host
    '::1'

    Raises:
        ConfigError: there is no port, no host, it holds a space or what cannot be printed, or the
            port is not in 1..65535.
    """
    if not isinstance(text, str):
        raise ConfigError(f"{field} {text!r} is not a string; write it as 'host:port'")
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ConfigError(f"{field} {text!r} has no port; write it as 'host:port'")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"{field} {text!r}: put the IPv6 host in brackets, as '[::1]:4321'")
    if not host.isprintable() or " " in host:
        raise ConfigError(f"{field} {text!r} has a space in it, or what cannot be printed")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ConfigError(f"{field} {text!r}: the port {port!r} is not a number from 1 to 65535")
    return Address(host.lower(), int(port))


_NAMELESS = ("observer-", "console-")


def is_nameless(address: str) -> bool:
    """Whether this names a node that has no address: an observer, or a console.

    Nobody can call it, and it never has a vote.

    >>> is_nameless("observer-5d41402abc4b2a76"), is_nameless("db1.example:4321")
    (True, False)
    """
    return address.startswith(_NAMELESS) and ":" not in address


def _check_password(password: object, name: str) -> None:
    """Raise `ConfigError` if it is none; the sentence never holds it."""
    if not isinstance(password, str):
        raise ConfigError(f"{name} must be a string, not {type(password).__name__}")
    if len(password) < PASSWORD_MIN:
        raise ConfigError(
            f"{name} has {len(password)} characters; take at least {PASSWORD_MIN}, best what"
            " `python -c 'import secrets; print(secrets.token_urlsafe())'` prints"
        )
    try:
        password.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{name} has characters that are not Unicode text") from None


def _is_encodable(path: str) -> bool:
    try:
        path.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """The files by which a node proves who it is, and checks others; all in PEM, as paths.

    A node reads them when it is made and, within seconds, when they have changed.
    """

    cert: str
    """The certificate of this node, and those between it and its authority: for the host in its
    address, as an alternative name, and good for servers and for clients."""
    key: str
    """The private key of that, without a pass phrase; nobody else should be able to read it."""
    ca: str
    """The certificates of the authorities whose word is taken. Take one of your own: whoever has a
    certificate of theirs is let in."""

    def __post_init__(self) -> None:
        for each in fields(self):
            path = getattr(self, each.name)
            if not isinstance(path, str) or not path or "\0" in path or not _is_encodable(path):
                raise ConfigError(f"tls: {each.name} {path!r} must be a path of a PEM file, as str")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of one node. Times are seconds, sizes bytes; every field has a default that serves.

    Members of one cluster should agree on `cluster`, the election times and the size limits.
    """

    cluster: str = "syncstructs"
    """Name of the cluster; members of differently named clusters refuse each other."""
    data_dir: str | None = None
    """Directory for log and snapshots; None keeps both in memory, and a restart begins empty."""
    join: bool = False
    """Wait to be made a member (`Node.add_member`) and never found a cluster: for nodes that come
    later, whose `peers` are then only asked. Without it, a majority of the listed nodes that all
    start empty is a new cluster."""
    drive: Drive = "thread"
    """Who runs the node: its own thread, the running asyncio loop, or your calls of `tick()`."""
    bind: str | None = None
    """Local address to listen on as 'host:port', if not the advertised one (NAT, containers)."""
    password: str | None = field(default=None, repr=False)
    """Shared by all nodes: their links are sealed, and only who knows it is let in; None: all is in
    clear, and anybody is. Of 12 characters at least, better `secrets.token_urlsafe()`; never shown
    or logged. Needs the extra `crypto`."""
    accepted_passwords: tuple[str, ...] = field(default=(), repr=False)
    """Further passwords that are taken from others, so that `password` can be changed node by node:
    first all accept the new one, then all use it and accept the old one, then drop the old one."""
    tls: Tls | None = None
    """Certificates in place of a password: links are of TLS 1.3, and only who has a certificate of
    the same authority is let in, a member only for the host in its address. Not with `password`."""

    election_timeout_min: float = 0.3
    """Silence of the leader after which a follower may stand for election where all is quiet;
    longer than any GIL stall. Who has seen longer silences end waits for twice as long."""
    election_timeout_max: float = 0.6
    """The longest that a follower waits, whatever it has seen; its own times are by chance, which
    keeps candidates apart. A leader that no majority answers for so long leads no more."""
    heartbeat_interval: float = 0.15
    """How often an idle leader speaks; at most half of `election_timeout_min`. It wakes up all
    members each time, which is what an idle cluster costs."""
    session_ttl: float = 10.0
    """Silence after which a node's locks and waits are given up by the cluster."""
    call_timeout: float | None = 30.0
    """How long a blocking call waits before it raises; None waits for ever."""

    max_command_bytes: int = 16 * 1024 * 1024
    """Largest encoded call; larger ones raise `TooLarge` before they are sent."""
    max_pending_calls: int = 262_144
    """Calls of this node that may be unfinished at once; for more, see `when_busy`."""
    max_pending_bytes: int = 256 * 1024 * 1024
    """The same bound in bytes of encoded calls."""
    when_busy: Literal["raise", "wait"] = "raise"
    """What becomes of a call beyond these bounds: it raises `Busy`, or the thread that makes it
    waits for room, up to `call_timeout`, with `submit` too. It is `Busy` all the same in an event
    loop and in callbacks, and of what waits for a time of its own (`get`, `acquire`)."""
    batch_bytes: int = 256 * 1024
    """An entry takes queued commands up to this size (at least one command), and some thousands of
    them at the most; it takes no more than `max_command_bytes` and `append_bytes` together."""
    append_window_bytes: int = 4 * 1024 * 1024
    """Bytes on the way to one follower without an answer; bounds memory and recovery time. Sixteen
    times as much may be decided and wait to be applied on a member; then it takes in no more."""
    append_bytes: int = 256 * 1024
    """Entries in one message reach this size at the most (at least one entry)."""

    snapshot_log_bytes: int = 64 * 1024 * 1024
    """A snapshot is taken when the log has grown by this much, or by the last snapshot's size; a
    first one up to half as much later, so that members take theirs one after the other."""
    snapshot_log_entries: int = 100_000
    """A snapshot is taken when the log has grown by this many entries, if none is being sent."""
    log_keep_bytes: int = 8 * 1024 * 1024
    """Log kept behind a snapshot, so that a member that was away for a while needs no snapshot. For
    members that answer, a leader keeps what they lack, up to twice what a snapshot waits for."""
    snapshot_fork_bytes: int = 1024 * 1024
    """States above about this size are written by a forked child, where there is fork, so that the
    node goes on meanwhile; a value counts as 64 bytes, text and bytes as what they have. Without
    `data_dir`, images above this size are kept in a temporary file (`TMPDIR`) without a name, and
    smaller ones in memory."""
    chunk_bytes: int = 256 * 1024
    """Size of a piece of snapshot on the wire."""
    snapshot_rate: float | None = None
    """Bytes per second that a leader sends of snapshots, to all who lag together. None: as fast as
    they take them, since a member is of little use before it has one, and what would spare one
    network would hardly use another. Where calls share a slow one, give a part of its bandwidth,
    but more than calls write: if the log outgrows a snapshot on its way, that begins anew."""
    segment_bytes: int = 64 * 1024 * 1024
    """Size at which a new log file is begun."""
    detached_bytes: int = 64 * 1024 * 1024
    """Commands kept for an object that is not attached here; beyond it the node stops."""

    digest_interval: float | None = 60.0
    """How often a leader has all members compare the states of their objects, as long as anything
    changes. At the most: what takes long is done less often, for 2 % of the time. None: never."""

    connect_timeout: float = 3.0
    """How long one attempt to reach a peer may take, its greeting included."""
    reconnect_interval_min: float = 0.02
    """First pause after a failed connection; doubles up to `reconnect_interval_max`."""
    reconnect_interval_max: float = 1.0
    """Longest pause between two attempts to reach a peer."""
    link_buffer_bytes: int = 32 * 1024 * 1024
    """Bytes queued for a peer that does not read; beyond it messages are dropped."""

    def __post_init__(self) -> None:
        self.validate()

    @property
    def authenticates(self) -> bool:
        """Whether nodes have to prove that they are of the cluster before they are let in."""
        return self.password is not None or self.tls is not None

    def validate(self) -> None:
        """Raise `ConfigError` with one sentence about the first field that is wrong."""
        if not isinstance(self.cluster, str) or not 0 < len(self.cluster.encode()) <= 255:
            raise ConfigError(f"cluster {self.cluster!r} must be a name of 1 to 255 bytes")
        if self.drive not in ("thread", "asyncio", "manual"):
            raise ConfigError(f"drive {self.drive!r} must be 'thread', 'asyncio' or 'manual'")
        if self.when_busy not in ("raise", "wait"):
            raise ConfigError(f"when_busy {self.when_busy!r} must be 'raise' or 'wait'")
        if not isinstance(self.join, bool):
            raise ConfigError(f"join {self.join!r} must be True or False")
        if self.bind is not None:
            parse_address(self.bind, field="bind")
        self._check_passwords()
        if self.tls is not None:
            if not isinstance(self.tls, Tls):
                raise ConfigError(f"tls {self.tls!r} must be a Tls, with cert, key and ca")
            if self.password is not None:
                raise ConfigError("give password or tls, not both: each link has one of them")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type in ("float", float, "int", int, float | None, "float | None"):
                self._check_number(each.name, value, optional=each.name in _OPTIONAL)
        if self.election_timeout_max <= self.election_timeout_min:
            raise ConfigError(
                f"election_timeout_max {self.election_timeout_max!r} must be above"
                f" election_timeout_min {self.election_timeout_min!r}"
            )
        if self.heartbeat_interval * 2 > self.election_timeout_min:
            raise ConfigError(
                f"heartbeat_interval {self.heartbeat_interval!r} must be at most half of"
                f" election_timeout_min {self.election_timeout_min!r}"
            )
        if self.session_ttl < 2 * self.election_timeout_max:
            raise ConfigError(
                f"session_ttl {self.session_ttl!r} must be at least twice election_timeout_max"
                f" {self.election_timeout_max!r}, or elections would cost locks"
            )

    def _check_passwords(self) -> None:
        accepted = self.accepted_passwords
        if not isinstance(accepted, list | tuple):
            raise ConfigError("accepted_passwords must be a tuple of passwords")
        object.__setattr__(self, "accepted_passwords", tuple(accepted))
        if self.password is None:
            if accepted:
                raise ConfigError("accepted_passwords need a password to use; set password too")
            return
        _check_password(self.password, "password")
        for one in accepted:
            _check_password(one, "one of accepted_passwords")
        if find_spec("cryptography") is None:
            raise ConfigError(
                "password needs the package cryptography: pip install 'syncstructs[crypto]'"
            )

    @staticmethod
    def _check_number(name: str, value: object, *, optional: bool) -> None:
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{name} {value!r} must be a number")
        if not 0 < value < 2**53:
            raise ConfigError(f"{name} {value!r} must be above 0 and finite")
        if name.endswith(("_bytes", "_entries", "_calls")) and not isinstance(value, int):
            raise ConfigError(f"{name} {value!r} must be a whole number")
