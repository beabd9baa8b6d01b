"""Reads of one key look without the lock first, and rely on it only if nothing was applied."""

import pytest

from syncstructs import ReplDict
from syncstructs.objects.port import Binding, Turns
from syncstructs.objects.replicated import bind


class Port:
    """A node whose lock counts how often it is taken, and ends what is being applied."""

    def __init__(self):
        self.turns = Turns()
        self.reading = self
        self.taken_count = 0
        self.finish = lambda: None

    def __enter__(self):
        self.taken_count += 1
        self.finish()

    def __exit__(self, *exc):
        pass


@pytest.fixture
def port():
    return Port()


@pytest.fixture
def words(port):
    words = ReplDict({"a": 1, "many": [1]})
    bind(words, Binding(port, "words"))
    return words


READS = [
    (lambda words: words["a"], 1, 2),
    (lambda words: words.get("a"), 1, 2),
    (lambda words: words.get("new", 0), 0, 3),
    (lambda words: "new" in words, False, True),
    (len, 2, 3),
]


@pytest.mark.parametrize(("read", "before", "_"), READS)
def test_while_nothing_is_applied_no_lock_is_taken(words, port, read, before, _):
    assert read(words) == before
    assert port.taken_count == 0


@pytest.mark.parametrize(("read", "_", "after"), READS)
def test_while_a_command_is_applied_the_lock_is_taken(words, port, read, _, after):
    port.turns.begin()
    words._items["a"] = "half"

    def finish():
        words._items.update(a=2, new=3)
        port.turns.end()

    port.finish = finish
    assert read(words) == after
    assert port.taken_count == 1


class Meddling:
    """A key in whose hash a whole command is applied, in the middle of a read."""

    def __init__(self, port, words):
        self.port, self.words = port, words

    def __eq__(self, other):
        return self is other

    def __hash__(self):
        if self.port is not None:
            port, self.port = self.port, None
            port.turns.begin()
            self.words._items[self] = "half"
            port.finish = lambda: self.words._items.__setitem__(self, "whole")
            port.turns.end()
        return 1


@pytest.mark.parametrize(
    "read", [ReplDict.__getitem__, ReplDict.get, lambda words, key: [key in words][0] and "whole"]
)
def test_what_was_applied_while_somebody_read_is_read_again_under_the_lock(words, port, read):
    assert read(words, Meddling(port, words)) == "whole"
    assert port.taken_count == 1


def test_a_key_is_missing_only_if_it_is_missing_under_the_lock(words, port):
    with pytest.raises(KeyError):
        words["none"]
    assert port.taken_count == 1


def test_what_is_no_atom_is_copied_under_the_lock(words, port):
    words["many"].append(2)
    words.get("many").append(2)
    assert port.taken_count == 2
    assert words._items["many"] == [1]


def test_what_is_attached_nowhere_or_whose_gate_is_shut_takes_the_lock(words, port):
    loose = ReplDict({"a": 1})
    assert loose._port_turns.begun is not loose._port_turns.ended
    assert loose["a"] == 1
    port.turns.begin()
    assert words["a"] == 1
    assert port.taken_count == 1
