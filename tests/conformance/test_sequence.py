"""`ReplList` under CPython's own tests of lists and sequences."""

import pytest
from conformance import OnBench, attached, excluding

from syncstructs.structs.lists import ReplList

list_tests = pytest.importorskip("test.list_tests")

LOCAL_CLASS = "puts instances of a class into it that exists in the test only and has no encoding"

FAILING = {
    "test_contains_fake": LOCAL_CLASS,
    "test_contains_order": LOCAL_CLASS,
    "test_count": LOCAL_CLASS,
    "test_exhausted_iterator": "iteration goes over a copy taken at its beginning",
    "test_extend": "an iterator claims a length that list() itself has no memory for",
    "test_index": LOCAL_CLASS,
    "test_pickle": "pickling is refused",
    "test_remove": LOCAL_CLASS,
    "test_repr": "repr is 'ReplList([...])', and an object cannot contain itself",
    "test_sort": "sorts by functions of the test, which cannot be replicated",
}
UNFIT = {
    "test_bigrepeat": "fills memory, several times here",
    "test_free_after_iterating": "subclasses, which are not attached; about list's own iterator",
    "test_init": "calls __init__ again on an attached object, which changes this replica alone",
    "test_repr_deep": "nests objects in each other thousands of times; they don't nest",
}


@excluding(FAILING, UNFIT)
class TestReplList(OnBench, list_tests.CommonTest):
    type2test = attached(ReplList)


del list_tests
