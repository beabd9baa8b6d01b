"""Lock holders that are stopped past their session: the token keeps their late writes out.

The holders write to a file of their own making (`fenced_store`), outside the cluster, and trust
their lock blindly. `SYNCSTRUCTS_CLUSTER_ROUNDS=20` stops twenty times as many.
"""

import threading
from contextlib import contextmanager

import pytest
from campaign import CONFIG, PATIENCE, ROUNDS, wait_until
from fenced_store import FencedStore

from syncstructs.cli.processes import LocalCluster

OBJECTS = {"door": ("syncstructs:ReplLock", [])}

pytestmark = pytest.mark.timeout(120 + 60 * ROUNDS)


class Events:
    """What the holders told, in the order in which it came."""

    def __init__(self):
        self.told = []
        self.came = threading.Condition()

    def take(self, member, line):
        with self.came:
            self.told.append({**line, "member": member.name})
            self.came.notify_all()

    def of(self, kind, **wanted):
        with self.came:
            return [
                line
                for line in self.told
                if line["event"] == kind and wanted.items() <= line.items()
            ]

    def wait(self, kind, count=1, **wanted):
        """Return the last of at least `count` such events, once there are as many."""
        wait_until(lambda: len(self.of(kind, **wanted)) >= count, f"{kind} {wanted}")
        return self.of(kind, **wanted)[-1]


@contextmanager
def holders(tmp_path, writes):
    """Yield a cluster whose members take turns at the lock, what they tell, and the store."""
    events = Events()
    with (
        FencedStore(tmp_path) as store,
        LocalCluster(3, objects=OBJECTS, config=CONFIG, on_event=events.take) as cluster,
    ):
        cluster.start()
        for member in cluster:
            options = {"who": member.name, "store": store.address, "writes": writes}
            member.request("start", load="member_history:HolderLoad", options=options)
        yield cluster, events, store
        stopping = [member.ask("stop", timeout=PATIENCE) for member in cluster]
        assert all(stopped.result(PATIENCE + 5) for stopped in stopping)
    judge(events, store)


def judge(events, store):
    """Accepted writes have tokens that never fall, and each token is of one holder."""
    accepted = store.accepted()
    tokens = [token for token, _ in accepted]
    assert tokens == sorted(tokens), "a write was accepted after one with a greater token"
    grants = events.of("grant")
    assert len({line["token"] for line in grants}) == len(grants), "one token, two grants"
    owner = {line["token"]: line["who"] for line in grants}
    for token, value in accepted + store.refused:
        assert value.startswith(f"{owner[token]}/"), f"{value} was written with another's token"
    for refused in events.of("refused"):
        # Who asks after another has used a greater token is told the truth; before, it may be sure.
        following = [at for token, at in store.seen.items() if token > refused["token"]]
        late = refused["asked"] > min(following)
        assert not (late and refused["held"]), f"sure of a lock that another has: {refused}"


def stop_holder(cluster, events, store, grant):
    """Stop the holder until another has written, and let it go on; it writes again."""
    holder = cluster.members[grant["member"]]
    holder.pause()
    try:
        wait_until(lambda: store.greatest > grant["token"], "a write of the next holder")
    finally:
        holder.resume()
    return holder


def test_a_stopped_holder_writes_too_late_and_is_told(tmp_path):
    with holders(tmp_path, writes=1_000_000) as (cluster, events, store):
        for number in range(2 * ROUNDS):
            # Turns end by being refused only, so every grant is of a holder that goes on writing.
            grant = events.wait("grant", count=number + 1)
            wait_until(lambda grant=grant: store.greatest == grant["token"], "its first write")
            holder = stop_holder(cluster, events, store, grant)
            refused = events.wait("refused", token=grant["token"])
            assert refused["member"] == holder.name
            late = events.wait("late release", token=grant["token"])
            assert late["error"] == "LockLost"
            lost = events.wait("lost", member=holder.name)
            following = [g for g in events.of("grant") if g["token"] > grant["token"]]
            assert lost["at"] > following[0]["at"], "it was told before it went on"
            assert any(token == grant["token"] for token, _ in store.refused)


def test_accepted_writes_have_rising_tokens_while_holders_are_stopped(tmp_path):
    with holders(tmp_path, writes=40) as (cluster, events, store):
        for _ in range(3 * ROUNDS):
            seen = len(events.of("grant"))
            grant = events.wait("grant", count=seen + 4)
            stop_holder(cluster, events, store, grant)
        released = len(events.of("released"))
        events.wait("released", count=released + 4)
    assert len({token for token, _ in store.accepted()}) >= 5 * ROUNDS
