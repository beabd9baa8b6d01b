"""Quorum arithmetic: who has agreed, and up to where. Pure functions, no state.

Simple majorities (Raft, section 5.2); those of a joint membership are taken of each half of it.
"""

from collections.abc import Iterable


def majority(voter_count: int) -> int:
    """Return the smallest number of `voter_count` voters of which two sets always overlap.

    >>> [majority(count) for count in (1, 2, 3, 4, 5)]
    [1, 2, 2, 3, 3]
    """
    return voter_count // 2 + 1


def reached_by_majority(values: Iterable[float]) -> float:
    """Return the highest value that a majority of the voters has reached; one value per voter.

    Of the indexes that are persisted it is the one up to which entries may be committed (section
    5.3), if that one is of the leader's own term (5.4.2), which the caller has to see to.

    >>> reached_by_majority([12, 5, 0])
    5

    Raises:
        ValueError: there are no values.
    """
    # Sorted from best to worst, position (n // 2) is the worst member of the best majority.
    best_first = sorted(values, reverse=True)
    if not best_first:
        raise ValueError("a quorum needs at least one voter")
    return best_first[len(best_first) // 2]
