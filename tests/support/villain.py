"""A man in the middle, for the proxies of `tcp_proxy`."""

import os
import random
import time
from collections import Counter

from tcp_proxy import route_through


class Villain:
    """A man in the middle who does something to some frames, drawn from a seed."""

    KINDS = ("flip", "drop", "double", "old", "swap", "cut", "grow", "reflect", "foreign", "noise")

    def __init__(self, seed, chance):
        self.random = random.Random(seed)
        self.chance = chance
        self.at_work = False
        self.counts = Counter()
        self.harmed = {}
        """What was done to which connections."""
        self._seen = {}
        self._held = {}
        self._all = []

    def meddle(self, connection, sender, frame):
        mine = self._seen.setdefault((connection, sender), [])
        mine.append(frame)
        del mine[:-20]
        if len(self._all) < 500:
            self._all.append(frame)
        held = self._held.pop((connection, sender), None)
        if held is not None:
            return [frame, held]
        # Greetings more often: there are few of them.
        chance = self.chance if len(mine) > 2 else 4 * self.chance
        if not self.at_work or self.random.random() >= chance:
            return [frame]
        kind = self.random.choice(self.KINDS)
        self.counts[kind] += 1
        self.harmed.setdefault(connection, []).append((kind, sender))
        return self._harm(kind, connection, sender, frame, mine)

    def _harm(self, kind, connection, sender, frame, mine):
        draw = self.random
        other = "acceptor" if sender == "dialer" else "dialer"
        theirs = self._seen.get((connection, other))
        if kind == "flip":
            changed = bytearray(frame)
            changed[draw.randrange(4, len(frame))] ^= draw.randrange(1, 256)
            return [bytes(changed)]
        if kind == "cut":
            # The header as it was: what follows is taken for the rest.
            return [frame[: draw.randrange(len(frame))]]
        if kind == "swap":
            self._held[connection, sender] = frame
            return []
        return {
            "drop": [],
            "double": [frame, frame],
            "old": [draw.choice(mine), frame],
            "grow": [frame + draw.randbytes(draw.randrange(1, 50))],
            "reflect": [draw.choice(theirs)] if theirs else [frame, frame],
            "foreign": [draw.choice(self._all)],
            "noise": [draw.randbytes(draw.randrange(1, 200))],
        }[kind]


def meddle_with(cluster, seed):
    """Have one sit between the members of a cluster, and see that he cuts links and nothing else.

    The cluster, not started yet, has the objects `hits` and `users`; every call has to return.
    """
    seed = int(os.environ.get("SYNCSTRUCTS_SEED", seed))
    print(f"SYNCSTRUCTS_SEED={seed}")
    villain = Villain(seed, chance=0.02)
    with cluster, route_through(cluster, seed=seed, meddler=villain) as proxies:
        cluster.start()
        villain.at_work = True
        count, written = 0, {}
        deadline = time.monotonic() + 100
        while len(villain.counts) < len(villain.KINDS) or sum(villain.counts.values()) < 60:
            count += _hit(cluster)
            value = f"{count} " * 100
            cluster.alive[count % 3].call("users", "set", str(count), value, within=60)
            written[str(count)] = value
            assert time.monotonic() < deadline, villain.counts
        villain.at_work = False
        for _ in range(3):
            count += _hit(cluster)
        assert len(cluster.alive) == 3
        for member in cluster:
            member.request("barrier", timeout=30, within=40)
            assert member.call("hits", "get") == count
            assert {key: member.call("users", "get", key) for key in written} == written
            assert "Traceback" not in member.log_tail(), member.log_tail()
        addresses = {setup.address for setup in cluster.setups}
        for status in cluster.statuses().values():
            assert set(status["members"]) == addresses
        print(villain.counts, proxies.counts)


def _hit(cluster):
    """Have each member count once; return how many there are."""
    members = cluster.alive
    for member in members:
        member.call("hits", "inc", within=60)
    return len(members)
