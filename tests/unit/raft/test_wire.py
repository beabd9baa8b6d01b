"""Wire: what is encoded comes back equal; everything else is a ProtocolError, never a crash."""

from contextlib import suppress
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncstructs.config import Config
from syncstructs.errors import ProtocolError
from syncstructs.raft import messages as m
from syncstructs.raft.core import RaftCore
from syncstructs.raft.membership import Membership, encode_membership, sorted_members
from syncstructs.raft.wire import decode, encode

_TOP = 2**63 - 1
numbers = st.integers(0, _TOP)
terms = st.integers(1, 50)
times = st.floats(0, 1e9)


@st.composite
def ids(draw, highest_term: int) -> m.EntryId:
    if highest_term == 0 or draw(st.booleans()):
        return m.EntryId(0, 0)
    return m.EntryId(draw(st.integers(1, highest_term)), draw(st.integers(1, 1000)))


@st.composite
def memberships(draw) -> Membership:
    some = st.lists(st.sampled_from("abcde"), min_size=1, max_size=4).map(sorted_members)
    none = st.just(())
    return Membership(
        draw(some), draw(none | some), draw(none | some), draw(st.integers(0, 2**62))
    )


@st.composite
def append_requests(draw) -> m.AppendRequest:
    term = draw(terms)
    previous = draw(ids(term))
    entries, last_term, time = [], max(previous.term, 1), 0
    for index in range(previous.index + 1, previous.index + 1 + draw(st.integers(0, 4))):
        last_term = draw(st.integers(last_term, term))
        time += draw(st.integers(0, 2**40))
        kind = draw(st.sampled_from(m.EntryKind))
        payload = draw(st.binary(max_size=20))
        if kind is m.EntryKind.MEMBERSHIP:
            payload = encode_membership(draw(memberships()))
        entries.append(m.Entry(last_term, index, time, kind, payload))
    return m.AppendRequest(
        term, previous, draw(numbers), entries, draw(numbers), draw(times),
        draw(st.integers(0, 1)), draw(st.integers(0, 1)),
    )  # fmt: skip


@st.composite
def chunks(draw) -> m.SnapshotChunk:
    term = draw(terms)
    data = draw(st.binary(max_size=30))
    offset = draw(st.integers(0, 1000))
    rest = draw(st.integers(1, 100) if not data else st.integers(0, 100))
    if not data:
        offset = rest = 0
    size = offset + len(data) + rest
    meta = m.SnapshotMeta(
        draw(st.integers(1, _TOP)), draw(st.integers(1, term)), draw(numbers), size,
        draw(st.integers(0, 2**32 - 1)), draw(st.just(Membership()) | memberships()),
    )  # fmt: skip
    return m.SnapshotChunk(term, meta, offset, data, draw(numbers), draw(times))


@st.composite
def requests(draw) -> m.Message:
    term = draw(terms)
    kind = draw(st.sampled_from((m.PreVoteRequest, m.VoteRequest)))
    return kind(term, draw(ids(term - 1)))


digests = st.dictionaries(
    st.integers(1, _TOP), st.binary(min_size=m.DIGEST_BYTES, max_size=m.DIGEST_BYTES), max_size=3
)


@st.composite
def replies(draw) -> m.Message:
    term = draw(terms)
    hint = draw(st.integers(0, term))
    return draw(
        st.sampled_from(
            (
                m.PreVoteReply(term, draw(st.booleans())),
                m.VoteReply(term, draw(st.booleans())),
                m.AppendReply(
                    term, draw(numbers), draw(st.booleans()), draw(numbers), hint, draw(times)
                ),
                m.SnapshotReply(
                    term, draw(ids(term)), draw(numbers), draw(st.booleans()), draw(numbers),
                    draw(times),
                ),
                m.ReadRequest(draw(numbers)),
                m.ReadReply(draw(numbers), draw(numbers)),
                m.Forward(
                    draw(numbers), draw(numbers), draw(st.integers(1, 5)),
                    draw(st.binary(min_size=5, max_size=30)),
                ),
                m.ForwardReply(draw(numbers), draw(numbers)),
                m.RecoveryRequest(draw(st.integers(1, _TOP))),
                m.RecoveryReply(
                    draw(st.integers(1, _TOP)), term, draw(ids(term)), draw(st.booleans()),
                    draw(numbers), draw(memberships()),
                ),
                m.Dismissal(draw(st.integers(1, _TOP))),
                m.TimeoutNow(term),
                m.DigestReport(draw(st.integers(1, _TOP)), draw(digests)),
                m.Inquiry(draw(numbers), draw(st.text(max_size=64)), draw(st.binary(max_size=9))),
                m.Answer(draw(numbers), draw(st.booleans()), draw(st.binary(max_size=30))),
            )
        )
    )  # fmt: skip


messages = st.one_of(append_requests(), chunks(), requests(), replies())


# The first text of all has a table of Unicode made, in a checkout that is new.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(messages)
def test_every_message_comes_back_equal_and_of_its_type(message) -> None:
    back = decode(encode(message))
    assert back == message
    assert type(back) is type(message)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_decoded_never_worse(data) -> None:
    with suppress(ProtocolError):
        decode(data)


@settings(max_examples=200)
@given(messages, st.randoms(use_true_random=False))
def test_damaged_messages_are_refused_or_decoded_never_worse(message, random: Random) -> None:
    data = bytearray(encode(message))
    for _ in range(random.randint(1, 3)):
        data[random.randrange(len(data))] = random.getrandbits(8)
    for damaged in (bytes(data), bytes(data[: random.randrange(len(data))]), bytes(data) * 2):
        with suppress(ProtocolError):
            decode(damaged)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("bc"), messages), max_size=25), st.booleans())
def test_no_message_that_can_be_decoded_breaks_the_core(sent, lead) -> None:
    """Whatever a lying member says, the core refuses it or goes on; its invariants hold."""
    now = 100.0
    core = RaftCore(
        address="a", members="abc", config=Config(), random=Random(1),
        restored=m.Restored(), now=now,
    )  # fmt: skip
    if lead:
        core.tick(now + 1)
        core.step("b", m.PreVoteReply(1, True), now)
        for append in core.take_effects().appends:
            core.persisted(append.ticket, now)
        core.step("b", m.VoteReply(1, True), now)
    for sender, message in sent:
        now += 0.01
        with suppress(ProtocolError):
            core.step(sender, message, now)
        core._check()
        effects = core.take_effects()
        for append in effects.appends:
            core.persisted(append.ticket, now)
        for write in effects.chunk_writes:
            core.chunk_written(write, write.offset + len(write.data), True, now)
        core._check()


_E = m.Entry(2, 4, 9, m.EntryKind.BATCH, b"")
_META = m.SnapshotMeta(5, 2, 0, 100, 0)


def _request(**changes) -> m.AppendRequest:
    good = m.AppendRequest(3, m.EntryId(1, 3), 0, [_E], 1, 0.0)
    return msgspec.structs.replace(good, **changes)


@pytest.mark.parametrize(
    "bad",
    [
        _request(term=0),
        _request(term=2**63),
        _request(term=-1),
        _request(commit_index=-1),
        _request(round=2**63),
        _request(echo=float("nan")),
        _request(echo=float("inf")),
        _request(previous=m.EntryId(0, 3)),
        _request(previous=m.EntryId(1, 0)),
        _request(previous=m.EntryId(4, 3), entries=[]),
        _request(previous=m.EntryId(1, 2)),
        _request(entries=[_E, _E]),
        _request(entries=[_E, m.Entry(1, 5, 9, m.EntryKind.BATCH, b"")]),
        _request(entries=[_E, m.Entry(2, 5, 8, m.EntryKind.BATCH, b"")]),
        _request(entries=[m.Entry(4, 4, 9, m.EntryKind.BATCH, b"")]),
        _request(entries=[m.Entry(2, 4, -9, m.EntryKind.BATCH, b"")]),
        m.VoteRequest(0, m.EntryId(0, 0)),
        m.VoteRequest(3, m.EntryId(3, 1)),
        m.PreVoteRequest(3, m.EntryId(1, -1)),
        m.PreVoteReply(-1, True),
        m.AppendReply(3, 1, True, 2**63, 0, 0.0),
        m.AppendReply(3, 1, False, 4, 4, 0.0),
        m.AppendReply(3, 1, True, 4, 0, float("-inf")),
        m.SnapshotReply(3, m.EntryId(1, 1), -1, False, 1, 0.0),
        m.SnapshotChunk(1, _META, 0, b"x", 1, 0.0),
        m.SnapshotChunk(3, _META, 100, b"x", 1, 0.0),
        m.SnapshotChunk(3, _META, -1, b"x", 1, 0.0),
        m.SnapshotChunk(3, _META, 0, b"", 1, 0.0),
        m.SnapshotChunk(3, m.SnapshotMeta(5, 2, 0, 100, 2**32), 0, b"x", 1, 0.0),
        m.ReadRequest(-1),
        m.ReadReply(1, -1),
        m.Forward(-1, 0, 1, b""),
        m.Forward(1, 1, 0, b"x"),
        m.Forward(1, 1, 2, b"x"),
        m.Forward(1, 1, 2**40, b"x" * 100),
        m.ForwardReply(1, 2**63),
        m.DigestReport(0, {}),
        m.DigestReport(2**63, {}),
        m.DigestReport(1, {0: bytes(16)}),
        m.DigestReport(1, {2**63: bytes(16)}),
        m.DigestReport(1, {1: bytes(15)}),
        m.DigestReport(1, {1: bytes(16), 2: bytes(17)}),
        m.DigestReport(1, {"x": bytes(16)}),
        m.DigestReport(1, {1: "x" * 16}),
        m.DigestReport(1, {id_: bytes(16) for id_ in range(1, m.REPORT_COUNT_MAX + 2)}),
    ],
)
def test_what_no_correct_member_sends_is_refused(bad) -> None:
    with pytest.raises(ProtocolError):
        decode(encode(bad))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc0", b"\x93", b"\x91" * 5000, b"\xdf\xff\xff\xff\xff", b"\x92\x63\x01"],
)
def test_what_is_no_message_is_refused(data) -> None:
    with pytest.raises(ProtocolError):
        decode(data)
