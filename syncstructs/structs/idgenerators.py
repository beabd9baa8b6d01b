"""`ReplIdGenerator`: numbers that nobody in the cluster is given twice, mostly without the log.

A node takes a block of ids by one command, and hands them out by itself. What is left of its block
is known to that process alone, and is lost with it: a gap, which nobody fills.
"""

from collections.abc import Iterator
from operator import index as as_index
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, ResultLost
from ..objects.port import Steps
from ..objects.replicated import (
    Replicated,
    _refuse_inside_command,
    bound,
    operation,
    reading,
    replicated,
)

if TYPE_CHECKING:
    from ..futures import Future


class ReplIdGenerator(Replicated):
    """Unique whole numbers for all members, like one shared `itertools.count(1)` with gaps.

    `next_id()`, or `next(ids)`, which is faster, takes O(1) and no log entry, but for the first id
    of each block, which takes one; callers that wait for the same block share it. It may be called
    from any thread. While no leader is known, a node goes on until its block is used up.

    No id is given twice, whatever fails. What is lost is the rest of a block: when its process ends
    or crashes, when its node is given a snapshot, and when nobody learns how taking it ended. The
    ids of one node grow, over its restarts too; those of different nodes are in no order, so they
    don't tell which of two came first. If all members of a cluster in memory end, it begins anew.

    >>> ReplIdGenerator(block=500, start=10_000)
    <ReplIdGenerator block=500 next_block=10000>
    """

    LOCAL = frozenset({"_free", "_end", "_asked"})

    def __init__(self, block: int = 1000, *, start: int = 1) -> None:
        """`block`: how many ids a node takes at once; members must agree. `start`: the first id.

        Raises:
            ValueError: `block` is below 1.
            TypeError: one of them is no whole number.
        """
        if as_index(block) < 1:
            raise ValueError(f"block={block!r} must be at least 1")
        self._block = as_index(block)
        self._next = as_index(start)
        self._free = self._end = 0
        self._asked: Future[int] | None = None

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments that all members share."""
        return {"block": self._block}

    def restore_state(self, state: Any) -> None:
        """Replace the state; the block of this node may be one of another generator."""
        super().restore_state(state)
        self._free = self._end = 0
        self._asked = None

    @operation
    def next_id(self) -> Steps[int]:
        """Return an id greater than all that this node was given before.

        Raises:
            NotApplied: a block was needed, and was not taken. So for the errors of all calls.
            RuntimeError: it was called inside a command; take `reserve` there.
        """
        while (number := self._taken()) is None:
            asked, is_own = self._asked, self._asked is None
            if asked is None:
                asked = self._asked = self.reserve.submit(self._block)
            try:
                first = yield asked
                self._take_over(asked, first)
            except ResultLost:
                # That block is nobody's.
                continue
            except Cancelled:
                # Whoever had asked for it may have given up.
                if is_own or not asked.cancelled():
                    raise
            finally:
                if asked.done() and self._asked is asked:
                    self._asked = None
        return number

    @replicated
    def reserve(self, count: int = 1) -> int:
        """Take `count` ids that follow each other, apart from the blocks; return the first.

        One log entry. They are greater than all that were taken before, by whomever, so they may be
        greater than what `next_id` gives later.

        Raises:
            ValueError: `count` is below 1.
            TypeError: it is no whole number.
        """
        # Without this, nan would be everybody's next id for ever.
        if (count := as_index(count)) < 1:
            raise ValueError(f"reserve({count!r}): at least 1")
        first = self._next
        self._next += count
        return first

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        number = self._taken()
        return self.next_id() if number is None else number

    def _taken(self) -> int | None:
        """Take the next id of this node's block; None: there is none left."""
        _refuse_inside_command("next_id")
        with reading(self):
            bound(self)  # Once it is dropped, another one of its name may begin anew.
            if self._free >= self._end:
                return None
            self._free += 1
            return self._free - 1

    def _take_over(self, asked: "Future[int]", first: int) -> None:
        """Begin a block; not if another caller has, or was given a later one to begin."""
        with reading(self):
            if self._asked is asked:
                self._free, self._end = first, first + self._block
                self._asked = None

    def __repr__(self) -> str:
        with reading(self):
            return f"<{type(self).__name__} block={self._block} next_block={self._next}>"

    def _check(self) -> None:
        assert type(self._next) is int, self._next
        assert self._free <= self._end <= max(self._next, 0), (self._free, self._end, self._next)
