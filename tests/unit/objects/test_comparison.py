"""Who differs from whom, by reports alone; and what a leader makes of reports as they come."""

from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncstructs.errors import DecodeError
from syncstructs.objects.comparison import (
    Comparisons,
    Divergence,
    Range,
    differing,
    divergences_of,
    rows_of,
)
from syncstructs.objects.digest import outweighs
from syncstructs.raft.messages import DigestReport

ALL = Range(0, 100, is_end=True)
ABC = ("a", "b", "c")
X, Y, Z = (letter * 16 for letter in (b"x", b"y", b"z"))


def asked(index=10, range_=ALL):
    comparisons = Comparisons(60.0, 0.0)
    comparisons.applied(range_, 100, 60.0)
    comparisons.begin(index, range_, 60.0)
    return comparisons


def tell(comparisons, index, **digests):
    for address, report in digests.items():
        comparisons.report(address, DigestReport(index, report))


def news(comparisons, before=None, voters=ABC, present=lambda address: True):
    comparisons._check()
    return comparisons.news(before or {}, voters, present)


def test_the_state_of_most_voters_is_taken_for_right():
    reports = {"a": {1: X, 2: X}, "b": {1: Y, 2: X}, "c": {1: X, 2: X}}
    assert differing(reports, ABC) == {1: ("b",)}


def test_who_has_no_vote_is_compared_but_does_not_count():
    reports = {"a": {1: X}, "b": {1: X}, "x": {1: Y}, "y": {1: Y}, "z": {1: Y}}
    assert differing(reports, ABC) == {1: ("x", "y", "z")}


def test_without_a_majority_all_are_named_who_told():
    assert differing({"a": {1: X}, "b": {1: Y}}, ABC) == {1: ("a", "b")}
    assert differing({"a": {1: X}, "b": {1: Y}, "c": {1: Z}}, ABC) == {1: ABC}
    assert differing({"x": {1: X}, "y": {1: Y}}, ABC) == {1: ("x", "y")}


def test_an_object_that_is_not_attached_somewhere_is_compared_among_the_others():
    assert differing({"a": {1: X}, "b": {}, "c": {1: X}}, ABC) == {}
    assert differing({"a": {1: X}, "b": {}, "c": {1: Y}}, ABC) == {1: ("a", "c")}
    assert differing({}, ABC) == {}


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.dictionaries(st.integers(1, 4), st.sampled_from((X, Y, Z))),
    ),
    st.sets(st.sampled_from("abcdef")),
)
def test_whoever_agrees_with_a_majority_of_the_voters_is_never_named(reports, voters):
    found = differing(reports, voters)
    for id_ in range(1, 5):
        states = {a: r[id_] for a, r in reports.items() if id_ in r}
        of_voters = [state for a, state in states.items() if a in voters]
        named = found.get(id_, ())
        assert bool(named) == (len(set(states.values())) > 1)
        for address, state in states.items():
            if 2 * of_voters.count(state) > len(of_voters):
                assert address not in named
            elif named:
                assert address in named


def test_only_reports_of_the_same_index_are_compared():
    comparisons = asked(index=10)
    tell(comparisons, 10, a={1: X}, b={1: X})
    tell(comparisons, 9, c={1: Y})
    assert not comparisons.is_complete(ABC)
    assert news(comparisons) is None
    tell(comparisons, 11, c={1: Y})
    assert not comparisons.is_complete(ABC)
    assert news(comparisons) is None
    comparisons.begin(11, ALL, 70.0)
    tell(comparisons, 11, a={1: X}, b={1: X})
    assert comparisons.is_complete(ABC)
    assert news(comparisons) == [[1, [11, ["c"]]]]


def test_of_nodes_that_are_gone_no_report_is_kept():
    comparisons = asked(10)
    for number in range(50):
        comparisons.report(f"observer-{number:x}", DigestReport(10, {1: X}))
    comparisons.report("a", DigestReport(20, {1: X}))
    comparisons.begin(20, ALL, 120.0)
    assert list(comparisons._reports) == ["a"]


def test_a_late_report_of_before_takes_not_the_place_of_a_newer_one():
    comparisons = asked(index=10)
    tell(comparisons, 10, a={1: X}, b={1: X}, c={1: X})
    tell(comparisons, 9, b={1: Y})
    assert comparisons.is_complete(ABC)


def test_nothing_is_noted_twice_until_it_was_applied_and_is_gone():
    comparisons = asked()
    tell(comparisons, 10, a={1: X}, b={1: X}, c={1: Y})
    assert news(comparisons) == [[1, [10, ["c"]]]]
    assert news(comparisons) is None
    comparisons.noted(101)
    noted = {1: Divergence(10, ("c",))}
    assert news(comparisons, noted) is None
    assert news(comparisons) == [[1, [10, ["c"]]]]


def test_the_index_stays_that_at_which_it_was_found_first():
    noted = {1: Divergence(10, ("c",))}
    comparisons = asked(index=20)
    tell(comparisons, 20, a={1: X}, b={1: X}, c={1: Y}, d={1: X})
    assert news(comparisons, noted) is None
    tell(comparisons, 20, d={1: Y})
    assert news(comparisons, noted) == [[1, [20, ["c", "d"]]]]


def test_who_was_found_to_differ_does_so_until_it_says_otherwise_or_is_gone():
    noted = {1: Divergence(5, ("c",))}
    comparisons = asked()
    tell(comparisons, 10, a={1: X}, b={1: X})
    assert news(comparisons, noted) is None
    assert news(comparisons, noted, present=lambda address: address != "c") == []
    comparisons = asked()
    tell(comparisons, 10, a={1: X}, b={1: X}, c={})
    assert news(comparisons, noted) == [], "it has none any more that could differ"


def test_what_was_not_compared_stays_as_it_was():
    noted = {7: Divergence(5, ("c",))}
    comparisons = asked(range_=Range(0, 6, is_end=False))
    tell(comparisons, 10, a={1: X}, b={1: X}, c={1: X})
    assert news(comparisons, noted) is None


def test_many_that_differ_are_noted_up_to_a_bound_and_those_that_are_noted_stay():
    noted = {99: Divergence(5, ("c",))}
    comparisons = asked(range_=Range(0, 1000, is_end=True))
    same, other = dict.fromkeys(range(1, 501), X), dict.fromkeys(range(1, 501), Y)
    tell(comparisons, 10, a=same, b=same, c=other)
    rows = news(comparisons, noted)
    assert len(rows) == 100
    assert [99, [5, ["c"]]] in rows
    assert news(comparisons, divergences_of(rows)) is None


def test_of_many_observers_that_differ_some_are_noted_and_all_that_have_a_vote():
    comparisons = asked()
    observers = {f"observer-{number:04}": {1: bytes((number % 250, *range(15)))}
                 for number in range(1000)}  # fmt: skip
    tell(comparisons, 10, a={1: X}, b={1: X}, x={1: Y}, **observers)
    ((id_, (index, members)),) = news(comparisons, voters=("a", "b", "x"))
    assert (id_, index, len(members)) == (1, 10, 100)
    assert "x" in members
    assert not {"a", "b"}.intersection(members)
    noted = divergences_of([[id_, [index, members]]])
    assert news(comparisons, noted, voters=("a", "b", "x")) is None


def test_a_new_leader_knows_nothing_of_what_the_former_was_told():
    comparisons = asked()
    tell(comparisons, 10, a={1: X}, b={1: Y})
    comparisons.clear()
    assert not comparisons.is_complete(("a", "b"))
    assert news(comparisons) is None
    comparisons.begin(10, ALL, 80.0)
    assert not comparisons.is_complete(("a", "b"))
    assert news(comparisons) is None


def test_what_takes_long_is_done_for_a_fiftieth_of_the_time():
    comparisons = asked()
    assert comparisons.due_at == 120.0
    assert comparisons.is_taking
    comparisons.took(61.0)
    assert comparisons.due_at == 120.0
    assert not comparisons.is_taking
    comparisons.begin(20, ALL, 120.0)
    comparisons.took(130.0)
    assert comparisons.due_at == 130.0 + 50 * 10.0


def test_the_next_one_is_needed_if_anything_was_applied_or_differs_or_has_not_had_its_turn():
    comparisons = asked()
    assert comparisons.next(100, differs=False) is None
    assert comparisons.next(100, differs=True) == 0
    assert comparisons.next(101, differs=False) == 0
    comparisons.noted(101)
    assert comparisons.next(101, differs=False) is None
    comparisons.noted(104)
    assert comparisons.next(104, differs=False) == 0, "there were other commands, too"
    assert asked(range_=Range(0, 6, is_end=False)).next(100, differs=False) == 6
    assert Comparisons(60.0, 0.0).next(0, differs=False) == 0
    comparisons = asked()
    comparisons.clear()
    assert comparisons.next(100, differs=False) == 0, "another leader, who was told nothing"


def test_rows_come_back():
    noted = {3: Divergence(9, ("a", "b")), 1: Divergence(4, ("c",))}
    assert divergences_of(rows_of(noted)) == noted


@pytest.mark.parametrize(
    "rows",
    [[5], [[1]], [[1, 2]], [[1, [2]]], [["x", [2, ["a"]]]], [[1, [2, [3]]]], [[1, [2.5, ["a"]]]]],
)
def test_rows_that_no_correct_member_sends_are_refused(rows):
    with pytest.raises(DecodeError):
        divergences_of(rows)


@dataclass
class Pair:
    one: object
    two: object


class Other:
    """May be anything, such as a node with all its threads."""

    def __init__(self):
        self.many = [None] * 1000


@pytest.mark.parametrize(
    ("value", "weight"),
    [
        (None, 1), (7, 1), (2.5, 1), ("x" * 63, 1), ("x" * 640, 11), (b"x" * 6400, 101),
        ([], 1), ([1, 2, 3], 4), ((1, (2, 3)), 5), ({1: 2, 3: 4}, 5), ({1, 2}, 3),
        (frozenset({1}), 2), (deque([1, 2]), 3), ({"a": [1] * 10, "b": {"c": {}}}, 17),
        (Pair(1, [1, 2]), 7), (Other(), 9),
    ],
)  # fmt: skip
def test_the_weight_of_values_is_that_of_all_they_hold(value, weight):
    assert outweighs([value], weight - 1)
    assert not outweighs([value], weight)
    assert not outweighs([value, value], 2 * weight)
    assert outweighs([value, value], 2 * weight - 1)


def test_a_value_that_holds_itself_outweighs_everything():
    loop, pair = [], Pair(1, 2)
    loop.append(loop)
    pair.two = pair
    assert outweighs(loop, 1000)
    assert outweighs([pair], 1000)


class Unread(list):
    def __iter__(self):
        raise AssertionError("it was looked into")


def test_a_large_value_is_not_looked_into():
    large = Unread()
    large.extend([None] * 1000)
    assert outweighs([large], 999)
