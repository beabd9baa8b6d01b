"""`ReplRWLock`: who reads beside whom, who is next, and what is refused."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs import ReplRWLock
from syncstructs.errors import LockLost, NotOwner


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def test_many_read_or_one_writes(cluster):
    a, b, c = cluster.attach("book", ReplRWLock)
    with a.reader, b.reader:
        assert (c.readers, c.reader.locked(), c.writer.locked()) == (2, True, False)
        assert not c.writer.acquire(blocking=False)
    with c.writer as alone:
        assert alone.held
        assert not a.reader.acquire(timeout=1)
        assert not b.writer.acquire(blocking=False)
        assert (a.readers, a.reader.locked(), a.writer.locked()) == (0, False, True)
    assert not a.writer.locked()
    for handle in (a.reader, a.writer):
        with pytest.raises(NotOwner):
            handle.release()


def test_all_are_served_in_order_and_readers_together(cluster):
    a, b, c = cluster.attach("book", ReplRWLock)
    a.reader.acquire()
    waiting = [
        b.writer.acquire.submit(), b.reader.acquire.submit(), c.reader.acquire.submit(),
        c.writer.acquire.submit(), a.reader.acquire.submit(),
    ]  # fmt: skip

    def served():
        return [future.done() for future in waiting].count(True)

    assert not c.reader.acquire(False), "nobody overtakes who waits, though readers read"
    assert served() == 0
    a.reader.release()
    assert served() == 1
    b.writer.release()
    assert served() == 3
    b.reader.release()
    assert served() == 3
    c.reader.release()
    assert served() == 4
    c.writer.release()
    assert served() == 5


def test_readers_go_on_when_the_writer_before_them_gives_up_or_dies(cluster):
    a, b, c = cluster.attach("book", ReplRWLock)
    a.reader.acquire()
    writer = b.writer.acquire.submit()
    reader = c.reader.acquire.submit()
    assert writer.cancel()
    assert reader.done()
    writer = b.writer.acquire.submit()
    reader = c.reader.acquire.submit()
    cluster.expire(1)
    assert reader.done()
    assert not writer.done(), "it should wait again, at the end of the line"
    writer.cancel()


def test_tokens_grow_over_both_sides(cluster):
    a, b, _ = cluster.attach("book", ReplRWLock)
    tokens = []
    for handle in (a.reader, b.writer, b.reader, a.writer):
        with handle:
            tokens.append(handle.token)
    assert tokens == sorted(set(tokens))


def test_upgrade_and_its_opposite_are_refused(cluster):
    a, b, _ = cluster.attach("book", ReplRWLock)
    with a.reader, pytest.raises(RuntimeError, match="holds the reader already"):
        a.writer.acquire()
    with a.writer, pytest.raises(RuntimeError, match="holds the writer already"):
        a.reader.acquire(timeout=1)
    with a.reader, ThreadPoolExecutor(1) as other:
        waiting = other.submit(a.writer.acquire.submit).result()
        assert not waiting.done(), "another thread may well wait for this one"
    assert waiting.result(0)
    assert b.writer.locked()

    async def upgrade():
        async with b.reader:
            with pytest.raises(RuntimeError, match="reader"):
                await b.writer.acquire.submit()

    a.writer.release()
    asyncio.run(upgrade())
    assert not a.reader.locked()


def test_losses_are_told_by_kind(cluster):
    lost = []
    a, b, _ = cluster.attach("book", lambda: ReplRWLock(lost.append))
    a.reader.acquire()
    waiting = b.writer.acquire.submit()
    cluster.expire(0)
    assert waiting.result(0)
    cluster.expire(1)
    assert lost == ["read", "write"]
    for handle in (a.reader, b.writer):
        with pytest.raises(LockLost):
            handle.ensure_held()
        with pytest.raises(LockLost, match="book"):
            handle.release()
    with pytest.raises(LockLost), a.writer:
        cluster.expire(0)
    assert "0 readers" in repr(a)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["acquire", "try", "briefly", "release", "cancel", "expire", "load"]),
        st.sampled_from(["reader", "writer"]),
        st.integers(0, 9),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_readers_or_one_writer_and_nothing_is_forgotten(steps):
    cluster = LocalCluster(3)
    books = cluster.attach("book", ReplRWLock)
    waiting = []
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another:
        # A thread for each side: one that holds the other side would be refused.
        threads = {"reader": one, "writer": another}
        for member, action, side, number in steps:
            handle = getattr(books[member], side)
            if action == "acquire":
                waiting.append(threads[side].submit(handle.acquire.submit).result())
            elif action == "briefly":
                waiting.append(threads[side].submit(handle.acquire.submit, timeout=2).result())
            elif action == "try":
                threads[side].submit(handle.acquire, False).result()
            elif action == "release" and handle.token:
                handle.release()
            elif action == "cancel" and (pending := [f for f in waiting if not f.done()]):
                pending[number % len(pending)].cancel()
            elif action == "expire" and cluster.members[member].session:
                cluster.expire(member)
            elif action == "load":
                cluster.reload(member)
            for book in books:
                book._check()
            grants = [grant for book in books for grant in book._grants.values()]
            assert sorted(grant.token for grant in grants) == list(books[0]._holders)
            kinds = {grant.key for grant in grants}
            assert len(grants) <= 1 or kinds == {"read"}
    cluster.digest_equal()
    for future in waiting:
        future.cancel()
    for book in books:
        for handle in (book.reader, book.writer):
            while handle.token:
                handle.release()
    assert books[0].snapshot_state() == {"_holders": {}, "_waiters": []}
