"""TLS: how both sides of a link prove with certificates who they are, and seal what they say.

It is TLS 1.3 (RFC 8446, section 2) of the standard library, mutual, and nothing else::

    -> ClientHello                                                     the dialer's key share
    <- ServerHello, CertificateRequest, Certificate, CertificateVerify, Finished
    -> Certificate, CertificateVerify, Finished
    -> records                                                         the dialer's hello first
    <- records

The stream of frames is in the records. The certificate of each side must be of an authority that
the other one trusts. The host in the address of a member must be one of its names: the dialer has
OpenSSL look whether it reached the host that it dialled, and the acceptor looks
(`reason_to_distrust`) whether the certificate is for the host in the hello's address. Of a node
without an address, such as an observer, an authority's word is enough.

Nothing is resumed and nothing sent early, so each connection has a full handshake, with the files
as they were read last, and keys of its own that are forgotten with it (forward secrecy).

AES-GCM may seal 2**24.5 full records under one key (section 5.5). The standard library cannot
change it, so after 2**38 bytes, 256 GiB, a link ends, and a new one is made at once.

`Channel` works in memory, bytes in and bytes out; `Contexts` reads the files.
"""

import ipaddress
import os
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from ..config import Tls, is_nameless, parse_address
from ..errors import ConfigError, ProtocolError
from .frames import Bytes
from .hello import Turned, quoted

RELOAD_SECONDS: Final = 5.0
"""How often a node looks whether its files have changed."""
EXPIRY_SECONDS: Final = 7 * 86_400.0
"""A certificate that ends within this time is worth a warning."""

# What may come before the peer has proved anything; chains of certificates are of a few KiB.
_UNPROVED_BYTES = 64 * 1024
# A record holds no more, so one read takes it.
_READ_BYTES = 16 * 1024
# In bytes of the stream, and some for each record: its own blocks.
_LIFE_BYTES = 2**38
_RECORD_COST_BYTES = 32
_NAMES_SHOWN = 5
# In no certificate (RFC 6761).
_NO_NAME = "name.invalid"

_PLAIN_LABEL = re.compile("[a-z0-9]([a-z0-9-]*[a-z0-9])?")

_Stamp = tuple[tuple[int, int, int], ...]


class Channel:
    """One side of TLS on one connection; in memory.

    The side that dialled begins with `shake`. What is to be written is in `data_to_send` after
    each call, an exception's included: then it is the alert that tells the other side.
    """

    __slots__ = ("_incoming", "_opened", "_outgoing", "_sealed", "_ssl", "_unproved", "is_secure")

    def __init__(self, context: ssl.SSLContext, host: str | None) -> None:
        """`host` is whom a dialer means to reach, None for the acceptor."""
        self.is_secure = False
        self._unproved = self._opened = self._sealed = 0
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        bios = self._incoming, self._outgoing
        name = None if host is None else _as_named(host)
        try:
            self._ssl = context.wrap_bio(*bios, server_side=host is None, server_hostname=name)
        except (ValueError, ssl.SSLError):
            # No name for DNS, or too long, so none that a certificate could be for.
            self._ssl = context.wrap_bio(*bios, server_hostname=_NO_NAME)

    def feed(self, piece: Bytes) -> None:
        """Take in bytes of the peer; `shake` or `read` makes something of them.

        Raises:
            ProtocolError: so many come in no handshake.
        """
        if not self.is_secure:
            self._unproved += len(piece)
            if self._unproved > _UNPROVED_BYTES:
                raise ProtocolError(f"the TLS handshake is over {_UNPROVED_BYTES} bytes")
        self._incoming.write(piece)

    def shake(self) -> bool:
        """Go on with the handshake; return whether this side is done with it.

        An acceptor that is done knows the peer's certificate, a dialer may still be refused.

        Raises:
            Turned: one side does not take the other's certificate.
            ProtocolError: the peer breaks TLS, or speaks an older one.
        """
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise _explained(error, dialled=not self._ssl.server_side) from None
        self.is_secure = True
        return True

    def read(self) -> Iterator[bytes]:
        """Yield the pieces of the peer's stream that have arrived.

        Raises:
            Turned: the peer did not take this side's certificate.
            ProtocolError: the peer breaks TLS, or ends it; or the keys have served their time.
        """
        if max(self._opened, self._sealed) >= _LIFE_BYTES:
            raise ProtocolError(f"over {_LIFE_BYTES} bytes under one key; a new link is made")
        while True:
            try:
                piece = self._ssl.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                if self._ssl.version() is None:
                    # OpenSSL would not write before the rest has come, and `seal` would fail.
                    raise ProtocolError(
                        "the peer has begun a message of TLS and not ended it"
                    ) from None
                return
            except ssl.SSLError as error:
                raise _explained(error, dialled=not self._ssl.server_side) from None
            if not piece:
                raise ProtocolError("the peer ended TLS")
            self._opened += len(piece) + _RECORD_COST_BYTES
            yield piece

    def seal(self, stream: bytes) -> bytes:
        """Return the records that carry `stream`, and what was to be written before them."""
        view = memoryview(stream)
        self._sealed += len(view) + (1 + len(view) // _READ_BYTES) * _RECORD_COST_BYTES
        while len(view):
            view = view[self._ssl.write(view) :]
        return self._outgoing.read()

    def data_to_send(self) -> bytes:
        """Return what TLS itself has to say, and forget it."""
        return self._outgoing.read()

    def reason_to_distrust(self, address: str) -> str | None:
        """Return why the peer is not let in under `address`, None: its certificate is for it.

        Raises:
            ProtocolError: as `certificate`.
        """
        reason = reason_to_distrust(self.certificate(), address)
        return None if reason is None else f"{quoted(address)} is not proved: {reason}"

    def certificate(self) -> dict[str, Any]:
        """Return the peer's certificate, as `ssl.SSLObject.getpeercert` has it.

        Raises:
            ProtocolError: a name in it is no text.
        """
        try:
            return self._ssl.getpeercert() or {}
        except UnicodeDecodeError:
            raise ProtocolError("a name in the certificate is no text") from None


class Contexts:
    """What the TLS files of a node come to; read again when they have changed.

    Raises:
        ConfigError: they cannot be read, do not belong together, or no node that trusts the same
            authorities would take the certificate, or take it for that of `address`.
    """

    def __init__(self, tls: Tls, address: str) -> None:
        self._tls = tls
        self._address = address
        self._stamp = _stamp(tls)
        self.reload_seconds = RELOAD_SECONDS
        self.expires_at = 0.0
        """When the certificate ends, in seconds since 1970."""
        self._load()

    def dial(self, host: str) -> Channel:
        """Return a channel to `host`, for the side that dials."""
        return Channel(self.client, host)

    def accept(self) -> Channel:
        """Return a channel for the side that was dialled."""
        return Channel(self.server, None)

    def serving(self, *, certified: bool) -> ssl.SSLContext:
        """Return what serves other clients; only those with a certificate, if they must have one.

        Raises:
            ConfigError: as the constructor.
        """
        if certified:
            return self.server
        context = _context(ssl.PROTOCOL_TLS_SERVER, self._tls)
        context.verify_mode = ssl.CERT_NONE
        return context

    def reload(self) -> bool:
        """Read the files if they have changed since the last time; return whether it was so.

        What was is kept if they are wrong, as they are while they are being replaced one by one,
        and they are read again at the next call. Blocks for some milliseconds.

        Raises:
            ConfigError: as the constructor.
        """
        stamp = _stamp(self._tls)
        if stamp == self._stamp:
            return False
        self._load()
        self._stamp = stamp
        return True

    def days_left(self) -> float | None:
        """Return in how many days the certificate ends, None: not soon."""
        left = self.expires_at - time.time()
        return left / 86_400 if left < EXPIRY_SECONDS else None

    def _load(self) -> None:
        tls = self._tls
        server = _context(ssl.PROTOCOL_TLS_SERVER, tls)
        client = _context(ssl.PROTOCOL_TLS_CLIENT, tls)
        # It would go by the name of the certificate's subject if there is no other.
        client.hostname_checks_common_name = False
        try:
            certificate = _tried(server, client)
        except ConfigError as error:
            raise ConfigError(
                f"tls: cert {tls.cert!r} would not be taken by a node that trusts ca {tls.ca!r}:"
                f" {error}"
            ) from None
        reason = reason_to_distrust(certificate, self._address)
        if reason is not None:
            raise ConfigError(f"tls: cert {tls.cert!r}: {reason}, as in this node's address")
        self.server, self.client = server, client
        self.expires_at = ssl.cert_time_to_seconds(certificate["notAfter"])


def reason_to_distrust(certificate: dict[str, Any], address: str) -> str | None:
    """Return why the node `address` would have another certificate; None: it may have this one.

    The host must be one of the alternative names: an address as it is, a name but for its case,
    where `*` may stand for the whole of the leftmost label (RFC 9525, section 6.3).

    >>> names = {"subjectAltName": (("DNS", "*.example.org"), ("IP Address", "10.0.0.1"))}
    >>> reason_to_distrust(names, "db1.example.org:4321"), reason_to_distrust(names, "10.0.0.1:1")
    (None, None)
    >>> reason_to_distrust(names, "example.org:4321")
    "the certificate is for '*.example.org', '10.0.0.1' and not for 'example.org'"
    """
    if is_nameless(address):
        return None
    try:
        host = _as_named(parse_address(address).host)
    except ConfigError:
        return "it is no address"
    names = [pair for pair in certificate.get("subjectAltName", ()) if len(pair) == 2]
    if any(_is_for(kind, name, host) for kind, name in names):
        return None
    shown = ", ".join(quoted(str(name)) for _, name in names[:_NAMES_SHOWN]) or "no host"
    return f"the certificate is for {shown} and not for {quoted(host)}"


def _is_for(kind: str, name: str, host: str) -> bool:
    if kind == "IP Address":
        with suppress(ValueError):
            return ipaddress.ip_address(name) == ipaddress.ip_address(host)
        return False
    if kind != "DNS" or _is_number(host):
        return False
    with suppress(UnicodeError):
        host = host.encode("idna").decode("ascii") if not host.isascii() else host
    labels = host.lower().split(".")
    known = name.lower().split(".")
    # OpenSSL, which looks when this host is dialled, takes `*` for hosts of plain labels only.
    if known[0] == "*" and len(known) > 2 and all(map(_PLAIN_LABEL.fullmatch, labels)):
        labels, known = labels[1:], known[1:]
    return labels == known


def _is_number(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


def _as_named(host: str) -> str:
    """Return a host as certificates have it: without an address's zone, or a name's last dot."""
    return host.partition("%")[0] if ":" in host else host.removesuffix(".")


# The files


def _stamp(tls: Tls) -> _Stamp | None:
    """Return what is another if the files are; None: one cannot be seen, which may pass."""
    try:
        looked = [os.stat(path) for path in (tls.cert, tls.key, tls.ca)]
    except OSError:
        return None
    return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in looked)


def _context(protocol: int, tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        # No session is resumed: it would be one with the certificates of before.
        context.num_tickets = 0

    def refuse() -> str:
        raise ConfigError(f"tls: key {tls.key!r} has a pass phrase; give a key without one")

    with _naming(f"ca {tls.ca!r}"):
        context.load_verify_locations(cafile=tls.ca)
    with _naming(f"cert {tls.cert!r} or key {tls.key!r}"):
        # Without the last argument, OpenSSL would ask on the terminal.
        context.load_cert_chain(tls.cert, tls.key, refuse)
    return context


@contextmanager
def _naming(files: str) -> Iterator[None]:
    """Tell of a failure with files in a sentence that names them."""
    try:
        yield
    except ssl.SSLError as error:
        raise ConfigError(f"tls: {files} cannot be used: {_words(error)}") from None
    except OSError as error:
        raise ConfigError(f"tls: {files} cannot be read: {error.strerror}") from None


def _tried(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """Have both shake hands, as nodes with these files would; return the certificate.

    Raises:
        ConfigError: it fails.
    """
    client.check_hostname = False
    dialer, acceptor = Channel(client, _NO_NAME), Channel(server, None)
    try:
        while not (dialer.shake() and acceptor.is_secure):
            acceptor.feed(dialer.data_to_send())
            acceptor.shake()
            dialer.feed(acceptor.data_to_send())
        acceptor.feed(dialer.data_to_send())
        acceptor.shake()
        certificate = acceptor.certificate()
    except ProtocolError as error:
        raise ConfigError(str(error.detail if isinstance(error, Turned) else error)) from None
    client.check_hostname = True
    return certificate


# What OpenSSL says


def _explained(error: ssl.SSLError, *, dialled: bool) -> ProtocolError:
    """Return what it means; no name is in it, as the other side may be anybody."""
    own, other = "that dialled", "that was dialled"
    if not dialled:
        own, other = other, own
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = error.verify_message.rstrip(".")
        return Turned(f"the node {own} does not take the certificate of the node {other}", detail)
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return Turned(f"the node {other} has no certificate", "it has none")
    if "_ALERT_" in reason:
        detail = reason.partition("_ALERT_")[2].replace("_", " ").lower()
        if "certificate" in detail or "unknown ca" in detail:
            sentence = f"the node {other} does not take the certificate of the node {own}"
        else:
            sentence = f"the node {other} ended the TLS handshake"
        return Turned(sentence, detail, by_peer=True)
    if reason in ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW"):
        return Turned(f"the node {own} speaks TLS 1.3, the node {other} does not", _words(error))
    return ProtocolError(f"TLS: {_words(error)}")


def _words(error: ssl.SSLError) -> str:
    if not error.reason and "PEM lib" in str(error):
        return "one of them is not of PEM, or lacks what it is for"
    return (error.reason or error.strerror or str(error)).replace("_", " ").lower()
