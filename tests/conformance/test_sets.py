"""`ReplSet` under CPython's own tests of sets."""

import pytest
from conformance import OnBench, attached, excluding

from syncstructs.structs.sets import ReplSet

set_tests = pytest.importorskip("test.test_set")

LOCAL_CLASS = "puts instances of a class into it that exists in the test only and has no encoding"

FAILING = {
    "test_badcmp": LOCAL_CLASS,
    "test_cyclical_repr": LOCAL_CLASS,
    "test_deepcopy": "copying a handle is refused; local class",
    "test_do_not_rehash_dict_keys": LOCAL_CLASS,
    "test_remove_keyerror_set": "wants the very object in the KeyError; it comes back decoded",
    "test_weakref": "a node holds the objects attached to it",
}
UNFIT = {
    "test_free_after_iterating": "subclasses, which are not attached; about set's own iterator",
    "test_init": "calls __init__ again on an attached object, which changes this replica alone",
    "test_pickling": "sets attributes from outside, which changes this replica alone",
}


@excluding(FAILING, UNFIT)
class TestReplSet(OnBench, set_tests.TestSet):
    thetype = attached(ReplSet)
    basetype = set


del set_tests
