"""`Batch`: which calls it gathers, and in which order they stand in its command."""

from typing import ClassVar

import pytest

from syncstructs import Replicated, replicated
from syncstructs.codec import decode
from syncstructs.node.batch import Batch
from syncstructs.objects.context import _current
from syncstructs.objects.port import Binding, current_batch
from syncstructs.objects.table import Table


class Cells(Replicated):
    @replicated
    def set(self, key: object, value: object) -> None: ...

    @replicated
    def put(self, key: object, value: object) -> None: ...

    __setitem__ = set.operator


class Checked(Cells):
    def set(self, key: object, value: object) -> None:
        self.put(key, ["checked", value])


class Doubled(Cells):
    def set(self, key: object, value: int) -> None:
        super().set(key, 2 * value)


class Enclosing(Cells):
    VALUES_IN: ClassVar = {"set": {1: str}}


class Noted(Cells):
    @replicated
    def note(self, key: object, value: object = 0) -> None: ...

    __call__ = note.operator


class Node:
    """Stands for the node of the objects."""


NODE = Node()


def attached(cells: Cells, id_: int) -> Cells:
    binding = Binding(NODE, f"cells-{id_}")
    binding.target = id_
    cells._binding = binding
    return cells


@pytest.fixture
def batch():
    made = Batch(NODE, blocker=None)  # nobody waits for a future here
    token = current_batch.set(made)
    yield made
    current_batch.reset(token)


def calls(batch: Batch) -> list[object]:
    return decode(batch.command(in_runs=False))[2][0]


def test_operators_are_gathered_in_order_with_all_other_calls(batch: Batch) -> None:
    one, two, given = attached(Cells(), 1), attached(Cells(), 2), [1]
    one["a"] = 1
    one["b"] = 2
    one.put("c", 3)
    one["d"] = 4
    two["e"] = 5
    two["f"] = given
    given.append(2)
    two["g"] = 6
    two["h"] = 7
    one.set("i", 8)
    one["j"] = 9
    assert len(batch) == 10
    assert calls(batch) == [
        [1, "set", ["a", 1]], [1, "set", ["b", 2]], [1, "put", ["c", 3]], [1, "set", ["d", 4]],
        [2, "set", ["e", 5]], [2, "set", ["f", [1]]], [2, "set", ["g", 6]], [2, "set", ["h", 7]],
        [1, "set", ["i", 8]], [1, "set", ["j", 9]],
    ]  # fmt: skip


def test_an_operator_calls_what_its_method_is_overridden_by(batch: Batch) -> None:
    checked = attached(Checked(), 1)
    checked["a"] = 1
    checked["b"] = 2
    assert [args for _, _, args in calls(batch)] == [
        ["a", ["checked", 1]], ["b", ["checked", 2]],
    ]  # fmt: skip


def test_an_operator_calls_what_its_method_is_overridden_by_if_that_calls_it(batch: Batch) -> None:
    doubled = attached(Doubled(), 1)
    doubled["a"] = 1
    doubled["b"] = 2
    assert [args for _, _, args in calls(batch)] == [["a", 2], ["b", 4]]


def test_an_operator_encloses_what_its_method_does(batch: Batch) -> None:
    enclosing = attached(Enclosing(), 1)
    enclosing._pickles = True
    enclosing["a"] = 1
    enclosing["b"] = 2
    assert [args for _, _, args in calls(batch)] == [["a", "1"], ["b", "2"]]


def test_an_operator_takes_what_its_method_does(batch: Batch) -> None:
    noted = attached(Noted(), 1)
    noted("a")
    noted("b", value=2)
    noted("c")
    assert calls(batch) == [
        [1, "note", ["a"]], [1, "note", ["b"], {"value": 2}], [1, "note", ["c"]],
    ]  # fmt: skip


def test_an_operator_inside_of_a_command_is_a_part_of_that(batch: Batch) -> None:
    cells, changed = attached(Cells(), 1), []
    cells["a"] = 1
    table = Table(owner=NODE, random_type=object, detached_bytes=0)
    context = table.context()
    type(cells).set.function, before = lambda *args: changed.append(args), Cells.set.function
    token = _current.set(context)
    try:
        cells["b"] = 2
    finally:
        _current.reset(token)
        Cells.set.function = before
    assert changed == [(cells, "b", 2)]
    assert len(batch) == 1


def test_a_batch_that_has_ended_gathers_nothing_more(batch: Batch) -> None:
    cells = attached(Cells(), 1)
    cells["a"] = 1
    batch.close()
    with pytest.raises(AttributeError, match="'call'"):
        cells["b"] = 2
    assert len(batch) == 1
