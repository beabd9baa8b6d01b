"""Messages to bytes and back (MessagePack). What comes off the wire is checked before use.

A decoded message is well formed: numbers are in range, entries follow each other and their
predecessor, offsets lie inside their snapshot. Whether it is true is for `RaftCore.step` to judge.
Its size is bounded by that of the frame it came in: nothing in it makes the decoder allocate more.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

import msgspec

from ..errors import ProtocolError
from . import messages as m
from .log import check_run
from .membership import check_membership
from .transfer import check_chunk

_LIMIT = 2**63
_VERB_LENGTH = 64
_ARGUMENT_BYTES = 64 * 1024

_decoder: msgspec.msgpack.Decoder[m.Message] = msgspec.msgpack.Decoder(m.Message)
encode: Final[Callable[[m.Message], bytes]] = msgspec.msgpack.Encoder().encode
"""Return a message as bytes."""


def decode(data: bytes) -> m.Message:
    """Return the message that `data` holds.

    Raises:
        ProtocolError: `data` is not a message, or one that no correct member sends.
    """
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if data[:1] in _ARRAYS and data[1:2] and data[1] < 128 and data[1] not in _KINDS:
            raise ProtocolError(
                f"a message of kind {data[1]} is not known here; it may be of a later release, and"
                " this node has to run that as well"
            ) from error
        later = "; it may be of a later release" if "enum" in str(error) else ""
        raise ProtocolError(f"{len(data)} bytes that are no message: {error}{later}") from error
    _CHECKS[type(message)](message)
    return message


def _in_range(what: str, *values: int, least: int = 0) -> None:
    for value in values:
        if not least <= value < _LIMIT:
            raise ProtocolError(f"{what} {value} is out of range")


def _finite(what: str, value: float) -> None:
    if not isfinite(value):
        raise ProtocolError(f"{what} {value} is not a time")


def _check_id(what: str, id: m.EntryId, term: int) -> None:
    _in_range(what, id.index, id.term)
    if (id.index == 0) != (id.term == 0) or id.term > term:
        raise ProtocolError(f"{what} {id} cannot exist in term {term}")


def _check_request(message: m.PreVoteRequest | m.VoteRequest) -> None:
    _in_range("term", message.term, least=1)
    # A candidate stands for a term in which it has no entry yet.
    _check_id("last entry", message.last, message.term - 1)
    _in_range("genesis", message.genesis)


def _check_reply(message: m.PreVoteReply | m.VoteReply) -> None:
    _in_range("term", message.term)


def _check_append_request(message: m.AppendRequest) -> None:
    previous = message.previous
    if not (
        # Nearly all messages are such, so what is right is found so in one go.
        1 <= message.term < _LIMIT
        and 0 <= message.commit_index < _LIMIT
        and 0 <= message.round < _LIMIT
        and 0 <= message.genesis < _LIMIT
        and 0 <= message.recovered < _LIMIT
        and (0 < previous.term <= message.term if previous.index else previous.term == 0)
        and 0 <= previous.index < _LIMIT
        and isfinite(message.echo)
    ):
        _in_range("term", message.term, least=1)
        _in_range("index", message.commit_index, message.round)
        _check_id("previous entry", previous, message.term)
        _finite("echo", message.echo)
        _in_range("genesis or nonce", message.genesis, message.recovered)
    if message.entries:
        for entry in message.entries:
            _in_range("entry", entry.term, entry.index, entry.time)
        check_run(previous, message.entries, message.term)


def _check_append_reply(message: m.AppendReply) -> None:
    if (
        0 <= message.hint_term <= message.term < _LIMIT
        and 0 <= message.round < _LIMIT
        and 0 <= message.index < _LIMIT
        and 0 <= message.recovering < _LIMIT
        and isfinite(message.sent)
    ):
        return
    _in_range("reply", message.term, message.round, message.index, message.hint_term)
    if message.hint_term > message.term:
        raise ProtocolError(f"a hint of term {message.hint_term} in term {message.term}")
    _in_range("nonce", message.recovering)
    _finite("sent", message.sent)


def _check_snapshot_chunk(message: m.SnapshotChunk) -> None:
    snapshot = message.snapshot
    _in_range("snapshot", message.term, snapshot.index, snapshot.term, least=1)
    _in_range("snapshot", snapshot.time, snapshot.size_bytes, message.offset, message.round)
    _finite("echo", message.echo)
    if not 0 <= snapshot.checksum < 2**32:
        raise ProtocolError(f"checksum {snapshot.checksum} is no CRC-32")
    check_membership(snapshot.membership)
    check_chunk(message)


def _check_snapshot_reply(message: m.SnapshotReply) -> None:
    _in_range("reply", message.term, message.next_offset, message.round)
    _check_id("snapshot", message.snapshot, message.term)
    _in_range("nonce", message.recovering)
    _finite("sent", message.sent)


def _check_read_request(message: m.ReadRequest) -> None:
    _in_range("request", message.request)


def _check_read_reply(message: m.ReadReply) -> None:
    _in_range("reply", message.request, message.index)


def _check_recovery_request(message: m.RecoveryRequest) -> None:
    _in_range("nonce", message.nonce, least=1)


def _check_recovery_reply(message: m.RecoveryReply) -> None:
    _in_range("nonce", message.nonce, least=1)
    _in_range("reply", message.term, message.membership_index)
    _check_id("last entry", message.last, message.term)
    check_membership(message.membership)


def _check_dismissal(message: m.Dismissal) -> None:
    _in_range("index", message.index, least=1)
    _in_range("genesis", message.genesis)


def _check_timeout_now(message: m.TimeoutNow) -> None:
    _in_range("term", message.term, least=1)


def _check_observe(message: m.Observe) -> None:
    """Nothing is in it."""


def _check_introduction(message: m.Introduction) -> None:
    _in_range("index", message.index)
    check_membership(message.membership)


def _check_forward(message: m.Forward) -> None:
    _in_range("forward", message.session, message.first_sequence)
    # A leader joins commands without looking at them: a wrong number would spoil those of others.
    if not 1 <= message.count <= len(message.commands):
        raise ProtocolError(
            f"{message.count} commands forwarded in {len(message.commands)} bytes"
        )


def _check_forward_reply(message: m.ForwardReply) -> None:
    _in_range("reply", message.session, message.expected)


def _check_digest_report(message: m.DigestReport) -> None:
    _in_range("index", message.index, least=1)
    if len(message.digests) > m.REPORT_COUNT_MAX:
        raise ProtocolError(f"a report with digests of {len(message.digests)} objects")
    _in_range("object", *message.digests, least=1)
    if any(len(digest) != m.DIGEST_BYTES for digest in message.digests.values()):
        raise ProtocolError("a report with a digest of another size")


def _check_inquiry(message: m.Inquiry) -> None:
    _in_range("inquiry", message.id)
    if len(message.verb) > _VERB_LENGTH or len(message.arguments) > _ARGUMENT_BYTES:
        raise ProtocolError(
            f"an inquiry of {len(message.verb)} characters with {len(message.arguments)} bytes"
        )


def _check_answer(message: m.Answer) -> None:
    _in_range("answer", message.id)


_CHECKS: dict[type[m.Message], Callable[[Any], None]] = {
    m.PreVoteRequest: _check_request,
    m.PreVoteReply: _check_reply,
    m.VoteRequest: _check_request,
    m.VoteReply: _check_reply,
    m.AppendRequest: _check_append_request,
    m.AppendReply: _check_append_reply,
    m.SnapshotChunk: _check_snapshot_chunk,
    m.SnapshotReply: _check_snapshot_reply,
    m.ReadRequest: _check_read_request,
    m.ReadReply: _check_read_reply,
    m.RecoveryRequest: _check_recovery_request,
    m.RecoveryReply: _check_recovery_reply,
    m.Dismissal: _check_dismissal,
    m.TimeoutNow: _check_timeout_now,
    m.Observe: _check_observe,
    m.Introduction: _check_introduction,
    m.Forward: _check_forward,
    m.ForwardReply: _check_forward_reply,
    m.DigestReport: _check_digest_report,
    m.Inquiry: _check_inquiry,
    m.Answer: _check_answer,
}

_KINDS: Final = frozenset(kind.__struct_config__.tag for kind in _CHECKS)
_ARRAYS: Final = frozenset(bytes((0x90 + length,)) for length in range(1, 16))
"""How a short array begins in MessagePack; the kind of a message is its first part."""
