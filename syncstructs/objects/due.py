"""When the objects that are attached here are due to be woken: the times they have set.

Each object has one due time or none. It is as much a part of the replicated state as its
attributes: it follows from the commands that were applied to the object, and from nothing else. So
a member that has kept these commands, because the object is not attached there, does not know it.
"""

from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Final, TypeAlias

Due: TypeAlias = tuple[float, int]
"""A due time in seconds of cluster time, and the id of the object."""

# Entries of former times that are kept at the most, besides as many as there are times.
_STALE_MAX: Final = 64


def is_due(row: object) -> bool:
    """Return whether a part of a command is a due time and an id, as a list."""
    return type(row) is list and [*map(type, row)] == [float, int]


class DueTimes:
    """The due times by object. To set one takes O(log n), to find the first O(1), both amortized.

    >>> due = DueTimes()
    >>> due.set(5, 2.0), due.set(3, 9.5), due.set(7, 2.0), due.set(5, 4.0)
    (None, None, None, None)
    >>> due.first, due.until(4.0, limit=10)
    ((2.0, 7), [(2.0, 7), (4.0, 5)])
    """

    __slots__ = ("_heap", "_times")

    def __init__(self) -> None:
        self._times: dict[int, float] = {}
        # Also what was set before: an entry counts if it says what the dictionary says.
        self._heap: list[Due] = []

    def of(self, id_: int) -> float | None:
        """Return the due time of an object, or None."""
        return self._times.get(id_)

    def set(self, id_: int, time: float | None) -> None:
        """Set the due time of an object; None: it has none."""
        if time == self._times.get(id_):
            return
        if time is None:
            del self._times[id_]
        else:
            self._times[id_] = time
            heappush(self._heap, (time, id_))
        if len(self._heap) > 2 * len(self._times) + _STALE_MAX:
            self._heap = [(time, id_) for id_, time in self._times.items()]
            heapify(self._heap)

    @property
    def first(self) -> Due | None:
        """The earliest one; of equal times, that of the oldest object. None: nothing is due."""
        heap, times = self._heap, self._times
        while heap and times.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0] if heap else None

    def until(self, time: float, limit: int) -> list[Due]:
        """Return those up to `time`, earliest first, `limit` of them at the most."""
        found: list[Due] = []
        while len(found) < limit and (first := self.first) is not None and first[0] <= time:
            heappop(self._heap)
            # One that was set, replaced and set again stands there twice.
            if not found or found[-1] != first:
                found.append(first)
        for due in found:
            heappush(self._heap, due)
        return found

    def items(self) -> Iterator[tuple[int, float]]:
        """Yield id and due time of each object that has one."""
        yield from self._times.items()

    def clear(self) -> None:
        """Forget all of them."""
        self._times.clear()
        self._heap.clear()

    def _check(self, ids: Mapping[int, object]) -> None:
        assert self._times.keys() <= ids.keys(), (self._times, ids)
        assert self._times.items() <= {(id_, time) for time, id_ in self._heap}, self._times
        assert len(self._heap) <= 2 * len(self._times) + _STALE_MAX, len(self._heap)
