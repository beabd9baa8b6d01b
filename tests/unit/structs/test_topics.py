"""What `ReplTopic` promises: offsets without a gap, and readers that miss nothing in silence."""

import asyncio

import pytest
from any_things import Money
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs import Message, OffsetOutOfRange, Pickled, ReplCounter, ReplTopic
from syncstructs.codec import decode, encode
from syncstructs.errors import NotAttached, ObjectNotFound
from syncstructs.testing.history import Raised
from syncstructs.testing.topicmodels import Topic

offsets = st.integers(-1, 12)
names = st.sampled_from(["billing", "mail"])
CALLS = st.one_of(
    st.tuples(st.just("publish"), st.tuples(st.text(max_size=6))),
    st.tuples(st.just("commit"), st.tuples(names, offsets)),
    st.tuples(st.just("forget"), st.tuples(names)),
    st.tuples(st.just("trim"), st.tuples(offsets)),
)
READS = st.one_of(
    st.tuples(st.just("read"), st.tuples(st.none() | offsets, st.none() | st.integers(0, 3))),
    st.tuples(st.just("__getitem__"), st.tuples(offsets)),
    st.tuples(st.just("committed"), st.tuples(names)),
    st.tuples(st.just("subscribers"), st.tuples()),
)


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def outcome(function, args):
    try:
        return function(*args)
    except Exception as error:
        return Raised.of(error)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 5, 16]),
    st.lists(st.tuples(st.integers(0, 2), st.one_of(CALLS, CALLS, READS), st.booleans())),
)
def test_topic_does_what_its_twin_does(maxlen, max_bytes, steps):
    members = LocalCluster(3).attach("t", lambda: ReplTopic(maxlen, max_bytes=max_bytes))
    twin = Topic(maxlen, max_bytes)
    for number, (method, args), restored in steps:
        seen = outcome(getattr(members[number], method), args)
        assert seen == outcome(getattr(twin, method), args)
        if restored:
            members[number].restore_state(decode(encode(members[number].snapshot_state())))
        for member in members:
            member._check()
            assert member.read() == twin.read()
            assert (member.first_offset, len(member)) == (twin.first_offset, len(twin))
            assert (member.next_offset, member.subscribers()) == (twin.next_offset, twin.commits)


def test_each_change_is_one_entry_and_reads_are_none(cluster):
    topic = cluster.attach("t", ReplTopic)[0]
    billing = topic.subscriber("billing")
    topic.publish("warm up")
    for change in (lambda: topic.publish("a"), lambda: billing.commit(1), lambda: topic.trim(1)):
        before = cluster.index
        change()
        assert cluster.index == before + 1
    assert next(billing) == (1, "a")
    assert (topic[1], topic.read(), billing.lag) == ("a", [(1, "a")], 1)
    assert cluster.index == before + 1


def test_messages_are_copied_on_their_way_in_and_out(cluster):
    mine, other, _ = cluster.attach("t", ReplTopic)
    message = ["a"]
    mine.publish(message)
    message.append("b")
    other[0].append("c")
    other.read()[0].value.append("d")
    next(other.messages(0)).value.append("e")
    assert mine[0] == other[0] == ["a"]


def test_topic_is_bounded_in_bytes(cluster):
    topic = cluster.attach("t", lambda: ReplTopic(max_bytes=10))[0]
    for text in ("aaaa", "bbbb", "cc", "d", "e"):
        topic.publish(text)
    assert topic.read() == [(2, "cc"), (3, "d"), (4, "e")]
    with pytest.raises(ValueError, match="a message of 12 bytes; max_bytes=10"):
        topic.publish("x" * 11)
    assert (topic.first_offset, topic.next_offset) == (2, 5)


def test_a_bound_that_leaves_no_room_is_refused():
    for bounds in ({"maxlen": 0}, {"max_bytes": 0}, {"maxlen": -5}):
        with pytest.raises(ValueError, match="no room"):
            ReplTopic(**bounds)
    assert ReplTopic().maxlen == 10_000
    with pytest.raises(TypeError):
        iter(ReplTopic())


# Readers


def test_a_reader_waits_for_what_others_publish(cluster):
    mine, other, _ = cluster.attach("t", ReplTopic)
    other.publish("before")
    messages, all_ = mine.messages(), mine.messages(0)
    cluster.after(5, lambda: other.publish("after"))
    assert next(messages) == (1, "after")
    assert [next(all_), next(all_)] == [(0, "before"), (1, "after")]
    assert messages.position == all_.position == 2


def test_a_reader_waits_for_an_offset_that_is_far_off(cluster):
    mine, other, _ = cluster.attach("t", ReplTopic)
    messages = mine.messages(2)
    for number in range(4):
        cluster.after(number, lambda number=number: other.publish(number))
    assert next(messages) == (2, 2)


def test_nothing_that_is_published_as_a_reader_begins_to_wait_slips_by(cluster):
    mine, other, _ = cluster.attach("t", ReplTopic)
    messages = mine.messages()
    take = messages._take

    def take_too_early():
        found, messages._take = take(), take
        other.publish("in between")
        return found

    messages._take = take_too_early
    assert next(messages) == (0, "in between")


def test_async_readers_wait_too(cluster):
    mine, other, _ = cluster.attach("t", ReplTopic)

    async def read():
        async def publish():
            for number in range(3):
                await asyncio.sleep(0)
                other.publish(number)

        publishing = asyncio.ensure_future(publish())
        seen = []
        with mine.subscriber("s") as subscriber:
            async for message in subscriber:
                seen.append(message)
                await subscriber.commit.submit()
                if message.offset == 2:
                    subscriber.close()
        await publishing
        return seen

    assert asyncio.run(asyncio.wait_for(read(), 10)) == [(0, 0), (1, 1), (2, 2)]
    assert other.committed("s") == 3


def test_a_reader_is_told_how_many_were_dropped_and_goes_on(cluster):
    mine, other, _ = cluster.attach("t", lambda: ReplTopic(maxlen=2))
    messages = mine.messages(0)
    for number in range(3):
        other.publish(number)
    with pytest.raises(OffsetOutOfRange) as told:
        next(messages)
    assert told.value.missed == 1
    assert next(messages) == (1, 1)
    for number in range(3, 7):
        other.publish(number)
    with pytest.raises(IndexError, match=r"offset 2 is not in 5:7") as told:
        next(messages)
    assert told.value.missed == 3
    assert [next(messages), next(messages)] == [(5, 5), (6, 6)]


def test_random_access_tells_what_was_dropped_from_what_is_to_come(cluster):
    topic = cluster.attach("t", lambda: ReplTopic(maxlen=2))[0]
    for number in range(5):
        topic.publish(number)
    for offset, missed in ((1, 2), (-1, 3), (5, 0)):
        with pytest.raises(OffsetOutOfRange) as told:
            topic[offset]
        assert told.value.missed == missed
    with pytest.raises(OffsetOutOfRange):
        topic.read(2)
    assert topic.read(5) == topic.read(9) == []
    assert topic.read(3, limit=1) == [Message(3, 3)]


def test_a_reader_goes_on_where_its_member_takes_over_a_state(cluster):
    mine, other, _ = cluster.attach("t", lambda: ReplTopic(maxlen=1))
    mine.publish("a")
    messages = mine.messages(0)
    assert next(messages).value == "a"
    cluster.after(1, lambda: cluster.reload(0))
    cluster.after(2, lambda: other.publish("b"))
    assert next(messages) == (1, "b")


def test_a_reader_ends_with_its_topic_after_what_is_left(cluster):
    topic = cluster.attach("t", ReplTopic)[0]
    topic.publish("last")
    messages = topic.messages(0)
    cluster.after(1, lambda: cluster.drop(1, "t"))
    assert list(messages) == [(0, "last")]
    with pytest.raises(ObjectNotFound):
        next(topic.messages())


def test_a_reader_whose_instance_was_replaced_is_told_so(cluster):
    cluster.create(1, "t", ReplTopic)
    made = cluster.members[0].table.objects["t"]
    messages = made.messages()
    cluster.after(1, lambda: cluster.attach_on(0, "t", ReplTopic()).publish("a"))
    with pytest.raises(NotAttached, match="in the place"):
        next(messages)
    with pytest.raises(NotAttached):
        next(ReplTopic().messages())


def test_closed_readers_end(cluster):
    mine, other, _ = cluster.attach("t", ReplTopic)
    messages = mine.messages(0)
    cluster.after(1, messages.close)
    assert list(messages) == []
    assert mine._watch is None
    other.publish("later")
    assert list(messages) == []
    with mine.messages(0) as unused:
        pass
    assert list(unused) == []
    assert mine._watch is None


# Named ones


def test_a_subscriber_goes_on_on_another_member_from_what_was_committed(cluster):
    mine, other, third = cluster.attach("t", ReplTopic)
    for text in "abcd":
        mine.publish(text)
    first = mine.subscriber("s")
    assert (next(first), next(first)) == ((0, "a"), (1, "b"))
    assert first.commit() == 2
    assert next(first) == (2, "c")
    # It dies before it commits that.
    second = other.subscriber("s")
    assert (second.name, second.committed, second.lag) == ("s", 2, 2)
    assert next(second) == (2, "c")
    assert second.commit(4) == 4
    assert [first.lag, second.lag, third.subscriber("t").lag] == [0, 0, 4]
    mine.publish("e")
    assert next(first) == next(second) == (4, "e")


def test_what_others_have_committed_is_not_handed_out(cluster):
    mine, other, _ = cluster.attach("t", ReplTopic)
    for number in range(5):
        mine.publish(number)
    here, there = mine.subscriber("s"), other.subscriber("s")
    assert next(here).offset == 0
    there.commit(3)
    assert next(here).offset == 3


def test_commits_never_go_back_nor_beyond_the_end(cluster):
    mine, other, _ = cluster.attach("t", ReplTopic)
    for number in range(3):
        mine.publish(number)
    assert mine.subscriber("s").commit() == 0
    assert mine.commit("s", 2) == 2
    assert other.commit("s", 1) == 2
    for offset in (4, -1):
        with pytest.raises(ValueError, match=f"offset {offset} of 3"):
            other.commit("s", offset)
    assert other.subscribers() == {"s": 2}
    other.forget("s")
    other.forget("nobody")
    assert mine.subscribers() == {}
    assert mine.committed("s") == 0


def test_a_subscriber_that_never_committed_is_told_what_was_dropped_before(cluster):
    topic = cluster.attach("t", lambda: ReplTopic(maxlen=2))[0]
    for number in range(5):
        topic.publish(number)
    subscriber = topic.subscriber("s")
    with pytest.raises(OffsetOutOfRange) as told:
        next(subscriber)
    assert told.value.missed == 3
    assert next(subscriber) == (3, 3)
    topic.commit("new", topic.next_offset)
    topic.publish("next")
    assert next(topic.subscriber("new")) == (5, "next")


def test_work_and_its_commit_are_one_in_a_batch(cluster):
    topic = cluster.attach("t", ReplTopic)[0]
    total = cluster.attach("n", ReplCounter)[0]
    topic.publish(5)
    cluster.batch(0, [(total, "add", (5,)), (topic, "commit", ("s", 1))])
    assert (total.value, topic.committed("s")) == (5, 1)


def test_topic_holds_pickles_where_it_was_made_so(cluster):
    mine, other, _ = cluster.attach("t", lambda: ReplTopic(maxlen=2, pickle=True))
    plain = cluster.attach("p", ReplTopic)[0]
    assert mine.publish(Money(1)) == 0
    other.publish(message=[Money(2)])
    assert (other[0], mine.read()) == (Money(1), [(0, Money(1)), (1, [Money(2)])])
    assert next(other.subscriber("s")).value == Money(1)
    assert type(mine._messages[0]) is Pickled
    with pytest.raises(TypeError):
        plain.publish(Money(1))
