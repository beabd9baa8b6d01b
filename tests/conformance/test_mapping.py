"""`ReplDict` under CPython's own tests of mappings."""

import pytest
from conformance import OnBench, attached, excluding

from syncstructs.structs.dicts import ReplDict

mapping_tests = pytest.importorskip("test.mapping_tests")

LOCAL_CLASS = "puts instances of a class into it that exists in the test only and has no encoding"

FAILING = {
    "test_copy": "copy() gives a plain dict, not another replicated one",
    "test_eq": LOCAL_CLASS,
    "test_fromkeys": "subclasses that fill themselves by __setitem__; a new object is not attached",
    "test_getitem": LOCAL_CLASS,
    "test_pop": LOCAL_CLASS,
    "test_repr": "repr is 'ReplDict({...})', and an object cannot contain itself",
    "test_setdefault": "changes the list that setdefault returned, which is a copy; local class",
}
UNFIT = {"test_repr_deep": "nests objects in each other thousands of times; they don't nest"}


@excluding(FAILING, UNFIT)
class TestReplDict(OnBench, mapping_tests.TestHashMappingProtocol):
    type2test = attached(ReplDict)


del mapping_tests
