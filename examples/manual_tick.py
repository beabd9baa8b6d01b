"""A node without a thread of its own, driven by `tick()` in a loop that you have anyway.

    python examples/manual_tick.py [address address address]

A game, say, whose every frame gives the node its turn. The three players of this example share one
process and one loop; in production each has a process of its own.
"""

import sys

from syncstructs import Node, ReplCounter, ReplDict

ADDRESSES = sys.argv[1:] or ["127.0.0.1:4321", "127.0.0.1:4322", "127.0.0.1:4323"]
FRAMES = 20_000


class Player:
    def __init__(self, address):
        self.positions = ReplDict[str, int]()
        self.moves = ReplCounter()
        self.node = Node(
            address,
            ADDRESSES,
            consumers={"positions": self.positions, "moves": self.moves},
            drive="manual",
        )
        self.x = 0
        self.pending = None

    def frame(self):
        self.node.tick(0.001)  # network, timers, applying: all of it happens here
        if self.x < 10 and (self.pending is None or self.pending.done()):
            self.x += 1
            self.moves.inc.submit()
            # Nothing blocks in a loop that must go on: the future is looked at next frame.
            self.pending = self.positions.set.submit(self.node.address, self.x)


def main():
    players = [Player(address) for address in ADDRESSES]
    for number in range(FRAMES):
        for player in players:
            player.frame()
        seen = [(player.moves.value, player.positions.copy()) for player in players]
        if all(moves == 30 for moves, _ in seen) and seen[0] == seen[1] == seen[2]:
            print(f"after {number} frames all players see {seen[0][1]}")
            break
    else:
        print(f"not there after {FRAMES} frames: {seen}")
        return 1
    for player in players:
        player.node.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
