"""Test your own class: a stock that is right, and two that are wrong, each caught by its tests.

Run it as a program, or with pytest or unittest; it needs the extra `test` (Hypothesis).
"""

import sys
import unittest

import hypothesis.strategies as st

from syncstructs import Replicated, replicated
from syncstructs.testing import call, replicated_test


class Stock(Replicated):
    """How many pieces there are of each article."""

    def __init__(self):
        self.pieces = {}

    @replicated
    def add(self, article, count):
        self.pieces[article] = self.pieces.get(article, 0) + count
        return self.pieces[article]

    @replicated
    def take(self, article):
        if not self.pieces.get(article):
            raise LookupError(f"no {article} is left")
        self.pieces[article] -= 1
        return self.pieces[article]

    def left(self, article):
        return self.pieces.get(article, 0)


ARTICLE = st.sampled_from(["nut", "bolt", "screw"])
CALLS = [
    call("add", article=ARTICLE, count=st.integers(1, 3)),
    call("take", article=ARTICLE),
    call("left", article=ARTICLE),
]


def never_below_zero(stock):
    return all(count >= 0 for count in stock.pieces.values())


TestStock = replicated_test(
    Stock, CALLS, invariant=never_below_zero, partition=lambda made: made.args["article"]
)


class RacyStock(Stock):
    """Wrong: looks here and changes there, and in between somebody else may take the last one."""

    @replicated
    def set(self, article, count):
        self.pieces[article] = count

    def take(self, article):
        left = self.left(article)
        if not left:
            raise LookupError(f"no {article} is left")
        self.set(article, left - 1)
        return left - 1


class UnorderedStock(Stock):
    """Wrong: the order of a set of strings is another one in every process."""

    @replicated
    def scarce(self):
        return [article for article in {"nut", "bolt", "screw"} if self.left(article) < 2]


class TestWrongOnes(unittest.TestCase):
    def failure_of(self, tests, name):
        try:
            tests(name).debug()
        except AssertionError as failure:
            return str(failure)
        self.fail(f"{name} has found nothing")

    def test_the_race_is_found(self):
        tests = replicated_test(RacyStock, CALLS, seconds=60)
        told = self.failure_of(tests, "test_cluster")
        print(f"A race was found.\n{told}\n")
        assert "replay with TestRacyStock.replay(" in told

    def test_the_order_of_a_set_is_found(self):
        tests = replicated_test(UnorderedStock, [*CALLS, call("scarce")])
        told = self.failure_of(tests, "test_contract")
        print(f"A result that differs was found.\n{told}\n")
        assert "PYTHONHASHSEED" in told


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
