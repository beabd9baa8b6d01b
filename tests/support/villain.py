"""A man in the middle, for the proxies of `tcp_proxy`."""

import random
from collections import Counter


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
