"""Quorum arithmetic: who has agreed, and up to where. Pure functions, no state.

Only simple majorities (Raft, section 5.2); everything asks here, so that the arithmetic of a joint
membership has one place to go to.
"""

from collections.abc import Collection, Iterable, Mapping


def majority(voter_count: int) -> int:
    """Return the smallest number of `voter_count` voters of which two sets always overlap.

    >>> [majority(count) for count in (1, 2, 3, 4, 5)]
    [1, 2, 2, 3, 3]
    """
    return voter_count // 2 + 1


def reached_by_majority(values: Iterable[float]) -> float:
    """Return the highest value that a majority of the voters has reached; one value per voter.

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


def committed_index(voters: Collection[str], match_index: Mapping[str, int]) -> int:
    """Return the highest log index that a majority of `voters` has persisted.

    A voter missing from `match_index` counts as 0: nothing is known of it yet. This is the
    counting rule only (Raft, section 5.3); that the entry must also be of the leader's own
    term (section 5.4.2) is checked by the caller, who knows the log.

    >>> committed_index({"a", "b", "c"}, {"a": 12, "b": 5})
    5

    Raises:
        ValueError: `voters` is empty.
    """
    return int(reached_by_majority([match_index.get(voter, 0) for voter in voters]))
