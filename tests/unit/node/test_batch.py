"""`Batch`: which calls it gathers, and in which order they stand in its command."""

from threading import Thread
from typing import ClassVar

import pytest

from syncstructs import NotApplied, OutcomeUnknown, ReplDict, Replicated, replicated
from syncstructs.codec import decode
from syncstructs.futures import Future
from syncstructs.node.batch import Batch
from syncstructs.objects.batches import NO_RUN
from syncstructs.objects.context import Outcome, _current
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


class Renamed(Cells):
    def set(self, key: object, value: int) -> None:
        self.put(key, 2 * value)


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
    two[("e",)] = 5
    two["f"] = given
    given.append(2)
    two["g"] = 6
    two["h"] = 7
    one.set("i", 8)
    one["j"] = 9
    two["k"] = 10
    two["l"] = given
    given.append(3)
    assert len(batch) == 12
    assert calls(batch) == [
        [1, "set", ["a", 1]], [1, "set", ["b", 2]], [1, "put", ["c", 3]], [1, "set", ["d", 4]],
        [2, "set", [("e",), 5]], [2, "set", ["f", [1]]], [2, "set", ["g", 6]], [2, "set", ["h", 7]],
        [1, "set", ["i", 8]], [1, "set", ["j", 9]], [2, "set", ["k", 10]],
        [2, "set", ["l", [1, 2]]],
    ]  # fmt: skip


def test_an_operator_calls_what_its_method_is_overridden_by(batch: Batch) -> None:
    checked = attached(Checked(), 1)
    checked["a"] = 1
    checked["b"] = 2
    assert [args for _, _, args in calls(batch)] == [
        ["a", ["checked", 1]], ["b", ["checked", 2]],
    ]  # fmt: skip


def test_an_operator_calls_what_its_method_is_overridden_by_if_that_calls_it(batch: Batch) -> None:
    doubled, patched = attached(Doubled(), 1), attached(Cells(), 2)
    doubled["a"] = 1
    doubled["b"] = 2
    patched.__dict__["set"] = lambda key, value: Cells.set.__get__(patched)(key, 2 * value)
    patched["c"] = 3
    patched["d"] = 4
    assert [args for _, _, args in calls(batch)] == [["a", 2], ["b", 4], ["c", 6], ["d", 8]]


def test_an_operator_calls_what_its_method_is_overridden_by_if_that_calls_another(
    batch: Batch,
) -> None:
    renamed = attached(Renamed(), 1)
    renamed["a"] = 1
    renamed["b"] = 2
    assert calls(batch) == [[1, "put", ["a", 2]], [1, "put", ["b", 4]]]


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
    noted("d", 4)
    noted("e")
    noted("f", 6)
    noted(key="g")
    assert calls(batch) == [
        [1, "note", ["a"]], [1, "note", ["b"], {"value": 2}], [1, "note", ["c"]],
        [1, "note", ["d", 4]], [1, "note", ["e"]], [1, "note", ["f", 6]],
        [1, "note", [], {"key": "g"}],
    ]  # fmt: skip


def test_an_operator_asks_a_property_each_time(batch: Batch) -> None:
    class Turning(Cells):
        @property
        def set(self) -> object:
            names.append(names[-2])
            return super().set if names[-1] == "set" else self.put

    names, turning = ["set", "put"], attached(Turning(), 1)
    turning["a"] = turning["b"] = turning["c"] = 1
    assert [method for _, method, _ in calls(batch)] == ["set", "put", "set"]


def test_an_operator_takes_what_overrides_its_method(batch: Batch) -> None:
    class Wide(Cells):
        @replicated
        def set(self, name: object, value: object, ttl: object = None) -> None: ...

        __call__ = Cells.__setitem__

    wide = attached(Wide(), 1)
    wide("a", 1)
    wide("b", 2, 3)
    wide("c", 4, ttl=5)
    wide("d", 6)
    wide("e", 7)
    wide(value=8, name="f")
    assert calls(batch) == [
        [1, "set", ["a", 1]], [1, "set", ["b", 2, 3]], [1, "set", ["c", 4], {"ttl": 5}],
        [1, "set", ["d", 6]], [1, "set", ["e", 7]], [1, "set", [], {"value": 8, "name": "f"}],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "args"), [("set", ["x", 1, 60]), ("put", ["x", 1]), ("set", ["x", 1])]
)
@pytest.mark.parametrize("target", [1, 2])
def test_an_operator_goes_on_with_no_run_of_other_calls(
    batch: Batch, target: int, method: str, args: list[object]
) -> None:
    class Wide(Cells):
        @replicated
        def set(self, key: object, value: object, ttl: object = None) -> None: ...

    wide = attached(Wide(), 1)
    other = wide if target == 1 else attached(Wide(), 2)
    between = [lambda: getattr(other, method)(*args)]

    class Interrupted(Batch):
        def add(self, *args: object) -> None:
            super().add(*args)
            if between:
                # As another thread does, or a finalizer.
                between.pop()()

    interrupted = Interrupted(NODE, blocker=None)
    token = current_batch.set(interrupted)
    for key in "abc":
        wide[key] = 0
    current_batch.reset(token)
    assert calls(interrupted) == [
        [1, "set", ["a", 0]], [target, method, args], [1, "set", ["b", 0]], [1, "set", ["c", 0]],
    ]  # fmt: skip


def test_an_operator_inside_of_a_command_is_a_part_of_that(batch: Batch, monkeypatch) -> None:
    cells, enclosing, changed = attached(Cells(), 1), attached(Enclosing(), 2), []
    enclosing._pickles = True
    monkeypatch.setattr(Cells.set, "function", lambda *args: changed.append(args[1:]))
    table = Table(owner=NODE, random_type=object, detached_bytes=0)

    def inside(key: str) -> None:
        token = _current.set(table.context())
        try:
            cells[key] = 0
        finally:
            _current.reset(token)

    cells["a"] = 1
    inside("b")
    cells.put("c", 3)
    inside("d")
    cells["e"] = 5
    enclosing.set("f", 6)
    inside("g")
    enclosing["h"] = 8
    assert changed == [("b", 0), ("d", 0), ("g", 0)]
    assert calls(batch) == [
        [1, "set", ["a", 1]], [1, "put", ["c", 3]], [1, "set", ["e", 5]],
        [2, "set", ["f", "6"]], [2, "set", ["h", "8"]],
    ]  # fmt: skip


def test_a_batch_that_has_ended_gathers_nothing_more(batch: Batch) -> None:
    cells = attached(Cells(), 1)
    cells["a"] = 1
    batch.close()
    with pytest.raises(AttributeError, match="'call'"):
        cells["b"] = 2
    assert len(batch) == 1


def test_a_call_that_comes_as_another_thread_ends_the_block_says_so(batch: Batch) -> None:
    cells = attached(Cells(), 1)
    cells["a"] = 1
    # As that thread's `close` is under way, and this one has looked for the run before.
    batch.open = False
    with pytest.raises(OutcomeUnknown, match="as the call was gathered"):
        cells["b"] = 2
    with pytest.raises(OutcomeUnknown, match="as the call was gathered"):
        batch.add(cells._binding, "set", ("c", 3), {})
    assert len(batch) == 3


def test_what_comes_when_another_thread_has_ended_the_block_is_no_part_of_it(batch: Batch) -> None:
    cells = attached(Cells(), 1)
    cells["a"] = 1
    batch.close()
    for late in (
        lambda: batch.add(cells._binding, "set", ("b", 2), {}),
        lambda: batch.submit(cells._binding, "set", ("c", 3), {}),
        lambda: batch.if_version(cells, 1),
        lambda: batch.if_absent(attached(ReplDict(), 2), "d"),
    ):
        with pytest.raises(NotApplied, match="has ended"):
            late()
    assert calls(batch) == [[1, "set", ["a", 1]]]
    assert not batch.is_conditional
    assert batch.run is NO_RUN


def test_calls_with_futures_go_on_with_the_runs_beside_them(batch: Batch) -> None:
    cells = attached(Cells(), 1)
    cells["a"] = 1
    futures = [batch.submit(cells._binding, "set", (key, 2), {}) for key in "bc"]
    cells["d"] = 3
    futures.append(batch.submit(cells._binding, "set", ("e", [4]), {}))
    cells["f"] = 5
    futures.append(batch.submit(cells._binding, "put", ("g", 6), {}))
    assert decode(batch.command(in_runs=True))[2][0] == [
        [1, "set", ["a", 1, "b", 2, "c", 2, "d", 3], 2], [1, "set", ["e", [4]]],
        [1, "set", ["f", 5]], [1, "put", ["g", 6]],
    ]  # fmt: skip
    assert len(batch) == 7
    assert batch.command(in_runs=True) == batch.command(in_runs=True)
    ended = Future(None)
    ended.finish([Outcome(place) for place in range(7)], None)
    batch.end(ended)
    assert [future.result() for future in futures] == [1, 2, 4, 6]


@pytest.mark.parametrize("way", ["applied", "refused", "discarded"])
def test_an_interruption_as_one_future_ends_leaves_none_open(batch: Batch, way: str) -> None:
    cells, ended = attached(Cells(), 1), Future(None)
    futures = [batch.submit(cells._binding, "set", (place, 1), {}) for place in range(3)]

    def interrupt(future: object) -> None:
        raise KeyboardInterrupt

    futures[0].add_done_callback(interrupt)
    batch.close()
    batch.command(in_runs=True)
    if way == "applied":
        ended.finish([Outcome(place) for place in range(3)], None)
    else:
        ended.finish(None, NotApplied("not at all"))
    with pytest.raises(KeyboardInterrupt):
        batch.discard(NotApplied("not at all")) if way == "discarded" else batch.end(ended)
    assert all(future.done() for future in futures)


@pytest.mark.pure("compiled code appends to a list in its own way")
def test_what_a_finalizer_calls_in_the_midst_of_a_call_is_gathered_in_order(batch: Batch) -> None:
    class Collecting(list):
        def append(self, entry: object) -> None:
            super().append(entry)
            if len(self) == 2:
                cells.put("collected", 0)

    cells, batch._calls = attached(Cells(), 1), Collecting()
    cells["a"] = 1
    cells.put("b", 2)
    cells.put("c", 3)
    assert calls(batch) == [
        [1, "set", ["a", 1]], [1, "put", ["b", 2]], [1, "put", ["collected", 0]],
        [1, "put", ["c", 3]],
    ]  # fmt: skip


@pytest.mark.pure("compiled code appends to a list in its own way")
def test_where_a_call_is_put_and_which_run_goes_on_is_one_to_other_threads(batch: Batch) -> None:
    others: list[bool] = []

    class Interrupted(list):
        def append(self, entry: object) -> None:
            super().append(entry)
            # Another thread that calls now has to wait until the run is known, too.
            other = Thread(target=lambda: others.append(batch._lock.acquire(blocking=False)))
            other.start()
            other.join()

    cells, batch._calls = attached(Cells(), 1), Interrupted()
    cells["a"] = 1
    batch.submit(cells._binding, "set", ("b", 2), {})
    assert others == [False, False]
