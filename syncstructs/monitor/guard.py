"""The guard: who may look at a monitor that has a password. Pure; the time comes in.

It takes HTTP Basic authentication (RFC 7617) under any user name, as there are no users. Passwords
are kept as digests under a key of this guard alone, and compared in a time that tells nothing.

Guessing is slow, and costs others nothing. Each source (an IPv4 address, an IPv6 network of 64
bits, or this machine) may be wrong `GUESS_COUNT` times in a row and regains one every
`GUESS_SECONDS`; in debt, its passwords are not looked at, right ones included. Only what was not
lately known to be wrong counts: a client that has been left with an old password learns nothing by
giving it again, and must not keep out whoever shares its source.

What is kept is bounded, also if there are more sources than that: `SOURCE_COUNT` debts, and all
that come beyond share one. Sources that have shown a right password keep a debt of their own even
then, so they are not shut out by many others that guess.
"""

import binascii
import hmac
import ipaddress
import secrets
import unicodedata
from base64 import b64decode
from collections.abc import Iterable
from enum import Enum, auto
from hashlib import sha256
from typing import Final, TypeVar

GUESS_COUNT: Final = 10
"""Wrong passwords that one source may give in a row: enough for who mistypes."""
GUESS_SECONDS: Final = 6.0
"""For so long a wrong password counts: ten a minute are no way to find one."""
SOURCE_COUNT: Final = 256
"""Sources whose wrong passwords are counted one by one."""
FRIEND_COUNT: Final = 64
"""Sources that are remembered to have shown a right password."""
WRONG_COUNT: Final = 64
"""Wrong passwords, as digests, that are known again."""
_THE_REST: Final = "the rest"

_Known = TypeVar("_Known", str, bytes)


class Verdict(Enum):
    """What becomes of a request."""

    OPEN = auto()
    """It has shown a right password."""
    ASK = auto()
    """It has shown none, or a wrong one."""
    WAIT = auto()
    """Too many wrong ones came from there; it was not looked at."""


class Guard:
    """Takes any of some passwords."""

    def __init__(self, passwords: Iterable[str]) -> None:
        self._key = secrets.token_bytes(32)
        # Browsers send composed characters, and other clients what was typed.
        self._right = [
            self._digest(spelling.encode())
            for password in passwords
            for spelling in dict.fromkeys((password, unicodedata.normalize("NFC", password)))
        ]
        self._debts: dict[str, float] = {}
        """Until when a source owes for its guesses."""
        self._friends: dict[str, None] = {}
        self._wrong: dict[bytes, None] = {}

    def check(self, authorization: bytes | None, source: str, now: float) -> Verdict:
        """Judge what a request says of itself in the field Authorization, None if nothing."""
        password = None if authorization is None else password_in(authorization)
        if password is None:
            return Verdict.ASK
        account = self._account(source, now)
        if self._debts.get(account, now) > now + (GUESS_COUNT - 1) * GUESS_SECONDS:
            return Verdict.WAIT
        digest = self._digest(password)
        # All are compared, whichever it is.
        if sum(hmac.compare_digest(digest, right) for right in self._right):
            _remember(self._friends, source, FRIEND_COUNT)
            return Verdict.OPEN
        if digest not in self._wrong:
            self._debts[account] = max(self._debts.get(account, now), now) + GUESS_SECONDS
        _remember(self._wrong, digest, WRONG_COUNT)
        return Verdict.ASK

    def _account(self, source: str, now: float) -> str:
        if source in self._debts:
            return source
        count = SOURCE_COUNT + (FRIEND_COUNT if source in self._friends else 0)
        if len(self._debts) >= count:
            self._debts = {known: until for known, until in self._debts.items() if until > now}
        return source if len(self._debts) < count else _THE_REST

    def _digest(self, password: bytes) -> bytes:
        return hmac.digest(self._key, password, sha256)

    def _check(self) -> None:
        """Assert the bounds."""
        assert len(self._debts) <= SOURCE_COUNT + FRIEND_COUNT + 1, len(self._debts)
        assert len(self._friends) <= FRIEND_COUNT, len(self._friends)
        assert len(self._wrong) <= WRONG_COUNT, len(self._wrong)


def _remember(known: dict[_Known, None], one: _Known, count: int) -> None:
    """Put `one` last, and forget the first if there are more than `count`."""
    known.pop(one, None)
    known[one] = None
    if len(known) > count:
        del known[next(iter(known))]


def password_in(authorization: bytes) -> bytes | None:
    """Return the password in a field Authorization; None if it is of another scheme, or garbage.

    >>> password_in(b"Basic YW5uOnNlY3JldDp4")
    b'secret:x'
    >>> password_in(b"Bearer YW5uOnNlY3JldDp4") is password_in(b"Basic YW5u") is None
    True
    """
    scheme, _, token = authorization.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        _, colon, password = b64decode(token.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return password if colon else None


def is_loopback(host: str) -> bool:
    """Whether this numeric address is reached from this machine only.

    >>> [is_loopback(host) for host in ("127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::")]
    [True, True, True, False, False]
    """
    return _without_mapping(host).is_loopback


def source_of(host: str) -> str:
    """Return who is held to account for what comes from this numeric address.

    >>> source_of("::ffff:10.1.2.3"), source_of("fd00::1:2:3:4%eth0"), source_of("127.3.3.3")
    ('10.1.2.3', 'fd00::/64', 'this machine')
    """
    address = _without_mapping(host)
    if address.is_loopback:
        return "this machine"
    if address.version == 4:
        return str(address)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def _without_mapping(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address
