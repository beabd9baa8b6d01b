"""A member that has no more memory for data than it is told, and an object that needs much."""

import resource
import sys
import threading

from syncstructs import Replicated, reading, replicated


class Heap(Replicated):
    """Keeps as much as it is told to."""

    def __init__(self):
        self.parts = {}
        self.calls = 0

    @replicated
    def fill(self, count, size_bytes):
        self.parts = {number: bytes([number % 251]) * size_bytes for number in range(count)}

    @replicated
    def touch(self):
        self.calls += 1

    def weight(self):
        """Return how many bytes are as they were filled in."""
        with reading(self):
            return sum(
                len(part)
                for number, part in self.parts.items()
                if part.count(number % 251) == len(part)
            )


if __name__ == "__main__":
    # Each stack counts as a whole.
    threading.stack_size(1024 * 1024)
    limit_bytes = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
    from syncstructs.cli.member import main

    main()
