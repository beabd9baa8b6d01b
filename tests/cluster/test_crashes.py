"""Members as real processes that are killed, stopped and restarted under load."""

import random
import sys
import threading
import time
from pathlib import Path

import pytest

from syncstructs.cli.processes import LocalCluster, MemberError, MemberGone

MEMBER = (sys.executable, str(Path(__file__).parent.parent / "support" / "odd_member.py"))
OBJECTS = {
    "seen": ("syncstructs:ReplList", []),
    "hits": ("syncstructs:ReplCounter", []),
    "door": ("syncstructs:ReplLock", []),
}


class Callers:
    """Threads that append marks on every member, and remember how each call ended."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.acknowledged = []
        self.refused = []
        self.unknown = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(setup.name, i), daemon=True)
            for setup in cluster.setups
            for i in range(2)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, name, number):
        count = 0
        while not self._stop.is_set():
            count += 1
            mark = f"{name}/{number}/{count:06}"
            member = self.cluster.members[name]
            try:
                member.call("seen", "append", mark, within=40)
                self.acknowledged.append(mark)
            except MemberGone:
                self.unknown.append(mark)
                self._stop.wait(0.02)
            except MemberError as error:
                (self.refused if error.known == "not applied" else self.unknown).append(mark)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a call never ended"


def progress(callers, count):
    """Return once `count` more calls are acknowledged."""
    wanted = len(callers.acknowledged) + count
    deadline = time.monotonic() + 30
    while len(callers.acknowledged) < wanted:
        assert time.monotonic() < deadline, "no call is acknowledged any more"
        callers._stop.wait(0.005)


def verify(cluster, callers):
    """All members equal, every acknowledged mark there exactly once, no refused one there."""
    for member in cluster:
        member.request("barrier", timeout=20, within=30)
    states = [member.request("state", name="seen") for member in cluster]
    assert all(state == states[0] for state in states)
    seen = states[0]["_items"]
    assert len(seen) == len(set(seen)), "a call was applied twice"
    assert set(callers.acknowledged) <= set(seen), "an acknowledged call is lost"
    assert not set(callers.refused) & set(seen), "a refused call was applied"
    assert set(seen) <= {*callers.acknowledged, *callers.unknown}
    for setup in cluster.setups:
        for number in range(2):
            mine = [mark for mark in seen if mark.startswith(f"{setup.name}/{number}/")]
            assert mine == sorted(mine), "program order was lost"


def test_killing_and_restarting_any_member_on_disk_loses_nothing(tmp_path):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    config = {"snapshot_log_entries": 300, "log_keep_bytes": 2000, "chunk_bytes": 4096}
    with LocalCluster(
        3, objects=OBJECTS, command=MEMBER, data_dir=tmp_path, config=config
    ) as cluster:
        cluster.start()
        callers = Callers(cluster)
        for round_number in range(6):
            progress(callers, 60)
            leads = round_number % 2
            victim = cluster.wait_leader() if leads else chance.choice(list(cluster))
            victim.kill()
            progress(callers, 60)
            cluster.start()
        callers.stop()
        verify(cluster, callers)


def test_members_in_memory_are_killed_again_and_again_and_nothing_is_lost():
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with LocalCluster(3, objects=OBJECTS, command=MEMBER) as cluster:
        cluster.start()
        callers = Callers(cluster)
        for round_number in range(8):
            progress(callers, 60)
            leads = round_number % 2
            victim = cluster.wait_leader() if leads else chance.choice(list(cluster))
            victim.kill()
            progress(callers, 30)
            cluster.start()
        callers.stop()
        verify(cluster, callers)


def test_killing_all_members_at_once_loses_nothing_on_disk(tmp_path):
    with LocalCluster(3, objects=OBJECTS, command=MEMBER, data_dir=tmp_path) as cluster:
        cluster.start()
        callers = Callers(cluster)
        for _ in range(3):
            progress(callers, 80)
            for member in cluster:
                member._process.kill()
            for member in cluster:
                member.kill()
            cluster.start()
        callers.stop()
        verify(cluster, callers)


def test_a_stopped_leader_is_replaced_and_comes_back_as_a_follower():
    with LocalCluster(3, objects=OBJECTS, command=MEMBER) as cluster:
        cluster.start()
        callers = Callers(cluster)
        for _ in range(2):
            progress(callers, 50)
            stopped = cluster.wait_leader()
            stopped.pause()
            others = [member for member in cluster if member is not stopped]
            count = others[0].call("hits", "add", 1, within=20)
            assert count >= 1
            stopped.resume()
            stopped.request("barrier", timeout=20, within=30)
        callers.stop()
        verify(cluster, callers)


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_lock_whose_holder_is_gone_is_granted_to_the_next_within_about_the_ttl(how):
    config = {"session_ttl": 1.5}
    with LocalCluster(3, objects=OBJECTS, command=MEMBER, config=config) as cluster:
        cluster.start()
        holder = next(m for m in cluster if m is not cluster.wait_leader())
        others = [m for m in cluster if m is not holder]
        assert holder.call("door", "acquire") is True
        token = holder.call("door", "__getattribute__", "token")
        waiting = others[0].ask("call", name="door", method="acquire", args=[])
        getattr(holder, how)()
        began = time.monotonic()
        assert waiting.result(10) is True
        assert 1.0 < time.monotonic() - began < 6.0
        assert others[0].call("door", "__getattribute__", "token") > token
        if how == "pause":
            holder.resume()
            holder.request("barrier", timeout=10)
            assert holder.call("door", "__getattribute__", "held") is False
