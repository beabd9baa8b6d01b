"""Calls end exactly once, in program order, whatever happens to leaders, links and disks."""

import pytest
from virtual_cluster import VirtualCluster

from syncstructs.errors import NotApplied, OutcomeUnknown
from syncstructs.objects.replicated import Replicated, replicated


class Ledger(Replicated):
    """Remembers every call it has applied, in order."""

    def __init__(self):
        self.seen = []

    @replicated
    def note(self, mark):
        self.seen.append(mark)
        return len(self.seen)


def _torment(cluster, random):
    kind = random.randrange(9)
    node = random.choice(list(cluster.nodes.values()))
    leader = cluster.leader() or node
    if kind == 0 and leader.up:
        leader.crash()
    elif kind == 1 and node.up:
        node.crash()
    elif kind == 2 and leader.up:
        cluster.isolate(leader)
    elif kind == 3:
        a, b = random.sample(cluster.addresses, 2)
        cluster.cut.add((a, b))
    elif kind == 4 and node.up:
        node.paused_until = cluster.world.now() + random.random()
    elif kind == 5:
        cluster.loss, cluster.duplicates = random.random() * 0.2, random.random() * 0.2
    elif kind == 6:
        cluster.slowest_disk = random.choice([0.0005, 0.005, 0.05])
    else:
        cluster.heal()
    for stopped in cluster.nodes.values():
        if not stopped.up and random.random() < 0.6:
            stopped.start()


@pytest.mark.parametrize("seed", range(30))
def test_every_call_is_applied_exactly_once_and_in_program_order(seed):
    cluster = VirtualCluster(
        seed,
        {"ledger": Ledger},
        size=(3, 3, 5)[seed % 3],
        snapshot_log_entries=(15, 60, 100_000)[seed % 3],
        log_keep_bytes=(1, 400, 8_000_000)[(seed // 3) % 3],
        chunk_bytes=64,
        batch_bytes=(20, 200, 100_000)[(seed // 2) % 3],
        session_ttl=(2.0, 30.0)[seed % 2],
    )
    random = cluster.random
    made = []
    for round_number in range(60):
        for node in cluster.up:
            for i in range(random.randrange(4)):
                mark = f"{node.address}/{node.life}/{round_number:03}.{i}"
                made.append((node, node.life, mark, node.call("ledger", "note", mark)))
        if random.random() < 0.4:
            _torment(cluster, random)
        cluster.run(random.random() * 0.3)
    for node in cluster.nodes.values():
        if not node.up:
            node.start()
    cluster.slowest_disk = 0.002
    cluster.heal()
    cluster.run_until(
        lambda: all(c.done() for n, life, _, c in made if n.up and n.life == life), limit=60
    )
    # A call of this life: without one, all may stand at a snapshot and know of nothing later.
    cluster.run_until(lambda: all(c.done() for n in cluster.up for c in n.attached), limit=60)
    first = cluster.nodes[cluster.addresses[0]]
    cluster.run_until(
        lambda: len({n.replica.table.applied_index for n in cluster.up}) == 1, limit=60
    )
    assert len({n.replica.table.digest() for n in cluster.up}) == 1

    seen = first.replica.table.objects["ledger"].seen
    assert len(seen) == len(set(seen)), "a call was applied twice"
    position = {mark: i for i, mark in enumerate(seen)}
    for node, life, mark, call in made:
        if call.done() and not call.exception():
            assert position[mark] == call.result() - 1, mark
        elif call.done() and isinstance(call.exception(), NotApplied):
            assert mark not in position, mark
        elif call.done():
            assert isinstance(call.exception(), OutcomeUnknown)
        else:
            assert node.life != life, f"{mark} never ended"
    for node in cluster.addresses:
        for life in range(20):
            mine = [mark for mark in seen if mark.startswith(f"{node}/{life}/")]
            assert mine == sorted(mine), "program order was lost"


@pytest.mark.parametrize("seed", range(8))
def test_a_barrier_on_any_member_sees_what_was_acknowledged_before(seed):
    cluster = VirtualCluster(1000 + seed, {"ledger": Ledger})
    random = cluster.random
    request = 0
    waiting = []
    acknowledged = 0
    for _ in range(80):
        node = random.choice(cluster.up)
        call = node.call("ledger", "note", f"{request}/{cluster.world.now()}")
        cluster.run(random.random() * 0.05)
        if call.done() and not call.exception():
            acknowledged = max(acknowledged, call.result())
        for reader in cluster.up:
            request += 1
            reader.barrier(request)
            waiting.append((reader, reader.life, request, acknowledged))
        if random.random() < 0.2:
            _torment(cluster, random)
        for reader, life, number, floor in list(waiting):
            if reader.life != life or not reader.up:
                waiting.remove((reader, life, number, floor))
            elif reader.barriers[number]:
                ledger = reader.replica.table.objects.get("ledger")
                assert (len(ledger.seen) if ledger else 0) >= floor
                waiting.remove((reader, life, number, floor))
    for node in cluster.nodes.values():
        if not node.up:
            node.start()
    cluster.heal()
    cluster.run_until(
        lambda: all(r.barriers[n] for r, life, n, _ in waiting if r.up and r.life == life)
    )
