"""Bytes from outside run no code, build nothing but what was registered, and cost what they weigh.

What a decoder reaches is watched from outside of it, in a process of its own: audit hooks stay.
"""

import ast
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fuzz_targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

import syncstructs
from syncstructs.codec import (
    _SAME_HASH_MAX,
    MAX_DEPTH,
    STATE_DEPTH,
    decode,
    decode_many,
    encode,
    register,
    shown,
)
from syncstructs.errors import DecodeError, Unserializable
from syncstructs.net.frames import FrameDecoder, frame_header
from syncstructs.objects.image import _split
from syncstructs.storage.records import encode_write, scan

SUPPORT = Path(__file__).parents[1] / "support"
PACKAGE = Path(syncstructs.__file__).parent

# Runs many changed inputs of a target; ends with the first that compiles, imports, starts, opens or
# looks up anything of which Python tells, which all ways to run code do.
WATCH = """
import sys
from random import Random
import fuzz_targets, zoneinfo, importlib.resources
from fuzz_mutation import mutate

NAMES = ("os", "system", "builtins", "eval", "__reduce__", "__class__", "subprocess.Popen")
target = fuzz_targets.TARGETS[sys.argv[1]]
inputs = [*target.seeds(), *fuzz_targets.corpus(sys.argv[1])]
for data in inputs:
    target.run(data)
watching = False
seen = []

def hook(event, args):
    if not watching or event in ALLOWED:
        return
    if event == "import" and args[0].partition(".")[0] == "tzdata":
        # The standard library looks for a zone there, and nowhere else.
        return
    if event == "object.__getattr__" and args[1] == "f_code":
        return  # by loggers as well
    seen.append((event, [repr(arg)[:80] for arg in args]))

# For loggers, which ask who calls.
ALLOWED = {"sys._getframe", "builtins.id"}
if sys.argv[1] in ("codec", "table", "image", "member"):
    # A time zone is read from a file in the directories of the system.
    ALLOWED |= {"open", "os.listdir", "os.scandir"}
sys.addaudithook(hook)
random = Random(1)
pool = [*NAMES, b"cos\\nsystem\\n(S'true'\\ntR.", b"\\x80\\x04\\x95", ["os", "system"]]
for number in range(int(sys.argv[2])):
    data = mutate(random.choice(inputs), random, pool)
    watching = True
    try:
        target.run(data)
    finally:
        watching = False
    if seen:
        raise SystemExit(f"{seen[0]} by {data.hex()}")
print("watched")
"""


@pytest.mark.parametrize(
    "name", ["codec", "message", "table", "image", "member", "link", "inquiry"]
)
def test_no_bytes_run_code_or_find_anything_by_a_name_of_theirs(name):
    done = subprocess.run(
        [sys.executable, "-c", WATCH, name, "400"],
        env={"PYTHONPATH": f"{SUPPORT}:{Path(__file__).parents[2]}", "PATH": ""},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout == "watched\n", done.stdout + done.stderr


def test_what_is_watched_would_be_seen():
    watch = WATCH.replace("        target.run(data)\n    finally", "        eval('1')\n    finally")
    done = subprocess.run(
        [sys.executable, "-c", watch, "http", "5"],
        env={"PYTHONPATH": f"{SUPPORT}:{Path(__file__).parents[2]}", "PATH": ""},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "compile" in done.stderr, done.stdout + done.stderr


def test_pickle_is_not_even_loaded_by_what_takes_bytes():
    code = (
        "import sys, syncstructs.codec, syncstructs.raft.wire, syncstructs.net.link,"
        " syncstructs.objects.table; sys.exit('pickle' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


# Does all that a member does with pickles that make files, in objects that unpickle for readers and
# in others; then reads one of them. Tells of each class or function that a pickle has looked up.
PICKLES = """
import pickle, sys
from pathlib import Path
from any_things import Trap
from local_cluster import LocalCluster
from syncstructs import Pickled, ReplDict, ReplList, ReplPriorityQueue, ReplQueue
from syncstructs.codec import copy, decode, encode

room, reads = Path(sys.argv[1]), sys.argv[2] == "read"
looked_up = []
sys.addaudithook(lambda event, args: event == "pickle.find_class" and looked_up.append(args))

cluster = LocalCluster(3, check=True)
def attach(name, cls):
    made = iter([cls(pickle=True), cls(pickle=True), cls()])
    return cluster.attach(name, lambda: next(made))
def trap(name):
    return Pickled(pickle.dumps(Trap(room / name)))

d, items, jobs, ranks = map(attach, "dlqp", (ReplDict, ReplList, ReplQueue, ReplPriorityQueue))
news = cluster.members[1].news
cluster.members[1].tell = lambda: None
d[1].subscribe(print)
for number, target in enumerate(d):
    target[number] = trap("a")
    target.update({"k": [trap("b"), {"x": trap("c")}]})
    target.compare_and_set("k", trap("a"), trap("b"))
    taken = target.pop.submit(number)
for target in items:
    target.extend([trap("a"), (trap("b"),)])
    target.remove(trap("a"))
    assert trap("a") not in target and target.index((trap("b"),)) == 0
waiting = [jobs[0].get.submit(), jobs[1].get.submit()]
for number, target in enumerate(jobs):
    target.put(trap("a"))
    ranks[number].put((number, trap("b")))
for number in range(3):
    cluster.reload(number)
cluster.renew(2)
cluster.members[0].table.digests()
copy(d[0]._items), decode(encode(d[0]._items)), repr([d, items, jobs, news])
assert d[2]["k"] == [trap("b"), {"x": trap("c")}]
assert all(future.done() for future in [taken, *waiting]), "they have results"
assert len(news) == 13
if reads:
    try:
        d[0]["k"]
    except OSError:
        pass
print(sorted({args[1] for args in looked_up}), sorted(path.name for path in room.iterdir()))
"""


@pytest.mark.parametrize(
    ("reads", "expected"), [("apart", "[] []"), ("read", "['open'] ['b', 'c']")]
)
def test_a_pickle_runs_where_it_is_read_and_nowhere_else(tmp_path, reads, expected):
    done = subprocess.run(
        [sys.executable, "-c", PICKLES, str(tmp_path), reads],
        env={"PYTHONPATH": f"{SUPPORT}:{Path(__file__).parents[2]}", "PATH": ""},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout == f"{expected}\n", done.stdout + done.stderr


# Modules whose bytes are code, and what makes code of text.
RUNNING = {"_pickle", "code", "copyreg", "dill", "marshal", "pickle", "runpy", "shelve"}
MAKING = {"__import__", "eval", "exec"}


def uses():
    """Yield (file, function, name) of all names and attributes in the package, and of imports."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for use in _uses_in(tree, ""):
            yield path.relative_to(PACKAGE).as_posix(), *use


def _uses_in(node, function):
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, ast.FunctionDef) else function
        if isinstance(child, ast.Name):
            yield inside, child.id
        elif isinstance(child, ast.Attribute):
            yield inside, f"{getattr(child.value, 'id', '')}.{child.attr}"
        elif isinstance(child, ast.Import):
            yield from ((inside, f"import {each.name}") for each in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield inside, f"import {child.module}"
            yield from ((inside, each.name) for each in child.names)
        yield from _uses_in(child, inside)


def test_one_place_unpickles_and_only_a_read_of_an_object_that_was_made_so_leads_there():
    where = "objects/pickling.py"
    found = list(uses())

    def users(*names):
        return sorted({use[:2] for use in found if use[2] in names})

    assert users(*MAKING) == []
    assert users(*(f"import {name}" for name in RUNNING)) == [
        (where, "_pickled"), (where, "_unpickled"),
    ]  # fmt: skip
    assert [use for use in found if use[2].startswith("pickle.")] == [
        (where, "_pickled", "pickle.dumps"), (where, "_unpickled", "pickle.loads"),
    ]  # fmt: skip
    assert users("_unpickled") == [(where, "_revealed")]
    assert users("_revealed") == [(where, "_revealed"), (where, "revealed")]


# What is told of hostile values


class Rude:
    def __repr__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "value", [10**5000, [10**5000], Rude(), {"k": Rude()}, "x" * 10**6], ids=range(5)
)
def test_whatever_a_value_is_it_can_be_told_of(value):
    assert 0 < len(shown(value)) <= 200


# Time in proportion: steps are counted, not seconds


def steps(work: Callable[[], object]) -> int:
    """Return how many lines of Python a call runs."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def _stream(n: int) -> bytes:
    return (frame_header(b"ab") + b"ab") * n


def _byte_by_byte(n: int) -> None:
    decoder = FrameDecoder(4096)
    for byte in _stream(n):
        list(decoder.receive(bytes((byte,))))


def _image(n: int) -> None:
    list(_split([((3).to_bytes(8, "big") + b"abc") * n]))


GROWING = {
    "a stream byte by byte": _byte_by_byte,
    "a stream in one piece": lambda n: list(FrameDecoder(4096).receive(_stream(n))),
    "extensions": lambda n: decode(b"\xdc" + n.to_bytes(2, "big") + encode((1,)) * n),
    "commands": lambda n: decode_many(10 * n, (encode((1, 2)) + encode(10**30)) * 5 * n),
    "records": lambda n: scan(
        b"".join(encode_write(b"\1\2\3\4", at, [(1, b"x")]) for at in range(n)), b"\1\2\3\4", None
    ),
    "salts": lambda n: scan(b"\1\2\3\4" * n, b"\1\2\3\4", None),
    "an image": _image,
    "a request": lambda n: TARGETS["http"].run(b"GET / HTTP/1.1\r\n" + b"Host: x\r\n" * n),
}


@pytest.mark.pure("its steps cannot be counted")
@pytest.mark.parametrize("kind", GROWING)
def test_what_is_four_times_as_long_takes_four_times_as_many_steps(kind):
    GROWING[kind](50)
    few, many = (steps(lambda n=n: GROWING[kind](n)) for n in (200, 800))
    # Not less either, or it ends early and tells nothing of what comes behind.
    assert 3 * few <= many <= 5 * few, (few, many)


# Numbers with one hash: each step of a dict compares with all that are there already

_PRIME = 2**61 - 1


def colliding(count, make):
    return [make(number * _PRIME + 7) for number in range(20, 20 + count)]


@pytest.mark.parametrize("make", [int, lambda n: UUID(int=n), lambda n: (n, 1)])
@pytest.mark.parametrize("kind", ["set", "dict", "native"])
def test_many_keys_with_one_hash_are_refused_in_a_command(make, kind):
    keys = colliding(2000, make)
    if kind == "native":
        # As no encoder writes it, and every decoder would take it.
        parts = b"".join(encode(key) + b"\x01" for key in keys)
        data = b"\xdf" + len(keys).to_bytes(4, "big") + parts
    else:
        data = encode(set(keys) if kind == "set" else dict.fromkeys(keys))
    with pytest.raises(DecodeError, match="have the same hash"):
        decode_many(1, data)


def test_what_has_one_hash_by_chance_or_is_the_same_is_taken():
    values = [*colliding(_SAME_HASH_MAX, int), *[10**30] * 2000, *range(-500, 500)]
    assert decode_many(1, encode(values)) == [values]
    assert decode_many(1, encode([(1, 2)] * 3000)) == [[(1, 2)] * 3000]


def test_what_is_in_a_state_is_never_refused():
    # It came in one by one; no member must be kept from taking over a snapshot.
    keys = set(colliding(1000, int))
    assert decode(encode(keys)) == keys


# Values that are nested deeper than any that a correct member sends


@register
@dataclass
class Holder:
    held: Any


@register
@dataclass
class Inverse:
    """Its field is a property, whose getter raises for what only bytes of others give it."""

    of: Any

    @property
    def of(self):
        return 1 / self._of

    @of.setter
    def of(self, value):
        self._of = value


@register
@dataclass
class Identifier:
    """Its hash raises, and says for what."""

    text: str

    def __hash__(self):
        if not self.text.isidentifier():
            raise ValueError(f"no identifier: {self.text}")
        return 1


@register
@dataclass
class Answering:
    """Whoever asks it for a part runs its own code, which raises or says what it likes."""

    part: Any
    text: str = ""

    def __getitem__(self, index):
        if self.part is None:
            raise RuntimeError("whoever takes apart what is no list runs code of the user's")
        return [[self.part] * 1000]


@register
class Color(Enum):
    RED = 1


WRAPS = {
    "list": lambda value: [value],
    "list of many": lambda value: [1, "x", value, None],
    "tuple": lambda value: (value, 1),
    "dict": lambda value: {"k": value},
    "dict of others": lambda value: {UUID(int=2): 2, 1.5: value},
    "deque": lambda value: deque([value]),
    "slice": lambda value: slice(1, value),
    "dataclass": Holder,
}


def nested(levels, *kinds, core=7):
    value = core
    for level in range(levels):
        value = WRAPS[kinds[level % len(kinds)]](value)
    return value


def taken(count, data):
    try:
        return len(decode_many(count, data)) == count
    except DecodeError as error:
        if "nested too deeply: 64 containers" not in str(error):
            raise
        return False


@pytest.mark.parametrize("kinds", [*((kind,) for kind in WRAPS), tuple(WRAPS)], ids=str)
@pytest.mark.parametrize("core", [7, [], bytearray(b"x"), Color.RED, "x" * 5000], ids=repr)
def test_commands_are_taken_as_deep_as_they_are_made_and_no_deeper(kinds, core):
    # Where a container is the core, it is a level, too.
    levels = MAX_DEPTH - (core == [])
    plain = encode([5, "set", ["key", 1]])
    for depth, is_taken in ((levels - 1, True), (levels, True), (levels + 1, False)):
        value = nested(depth, *kinds, core=core)
        data = encode(value, max_depth=STATE_DEPTH)
        try:
            assert (encode(value) == data) == is_taken
        except Unserializable:
            assert not is_taken
        assert taken(1, data) == is_taken
        # Neither among many nor among what takes less room than any call does.
        for others in (plain, b"\xc0", b"\x90", b"\x93\xc0\xc0\xc0", b"\x93\x90\xc0\x05"):
            assert taken(1001, others * 500 + data + others * 500) == is_taken


@pytest.mark.parametrize("others", [[5, "set", ["key", 1]], None, [], [None] * 3, [[], None, 5]])
def test_calls_of_a_batch_are_taken_as_deep_as_others(others):
    # The batch, its arguments, the list of calls, the call, and its arguments.
    for levels, is_taken in ((MAX_DEPTH - 5, True), (MAX_DEPTH - 4, False)):
        call = [5, "set", ["key", nested(levels, "list")]]
        for calls in ([call], [others] * 500 + [call] + [others] * 500):
            data = encode([0, "batch", [calls]], max_depth=STATE_DEPTH)
            assert taken(1, data) == is_taken
            assert taken(2, data * 2) == is_taken
    for levels, is_taken in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False)):
        odd = [nested(levels, "list"), "batch", [[[5, "set", ["key", 1]]] * 1000]]
        assert taken(1, encode(odd, max_depth=STATE_DEPTH)) == is_taken


@pytest.mark.parametrize("core", [[], (), {}, set(), frozenset(), deque(), slice(None)], ids=repr)
def test_an_empty_container_is_a_level_too(core):
    for levels, is_taken in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False)):
        value = nested(levels, "list", core=core)
        assert taken(1, encode(value, max_depth=STATE_DEPTH)) == is_taken


def test_how_deep_values_are_is_seen_without_asking_classes_of_the_user():
    silent, call = Answering(None, "x" * 500), [5, "set", ["key", 1]]
    assert taken(1, encode(silent))
    assert taken(1, encode([0, "batch", [silent]]))
    assert taken(101, encode(call) * 100 + encode(Answering(None)))
    lists = [5, "set", [nested(MAX_DEPTH, "list")]]
    assert not taken(1, encode(Answering(lists, "x" * 500), max_depth=STATE_DEPTH))


def test_what_cannot_be_taken_apart_is_refused_like_other_bytes_without_a_meaning():
    good = encode([Inverse(2.0), [[]] * MAX_DEPTH])
    assert decode_many(1, good)[0][0].of == 2.0
    with pytest.raises(DecodeError, match="division by zero"):
        decode_many(1, good.replace(encode(0.5), encode(0.0)))


@pytest.mark.parametrize("text", ["\nforged", "\r\x1b[31m\u2028\x85"])
def test_what_a_class_raises_is_one_line_that_has_an_end(text):
    good = encode({Identifier("x" * 5000)})
    for decoded in (decode, lambda data: decode_many(1, data)):
        decoded(good)
        with pytest.raises(DecodeError, match="no identifier") as found:
            decoded(good.replace(b"x" * len(text.encode()), text.encode(), 1))
        assert str(found.value).isprintable()
        assert len(str(found.value)) < 500


def test_keys_are_as_deep_as_values():
    for levels, is_taken in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False)):
        data = encode({nested(levels, "tuple"): 1}, max_depth=STATE_DEPTH)
        assert taken(1, data) == is_taken


@given(st.randoms(use_true_random=False), st.integers(1, 6), st.integers(50, 80))
@settings(max_examples=60, deadline=None)
def test_what_encode_takes_is_taken_and_nothing_else(random, count, depth):
    values = []
    for _ in range(count):
        kinds = random.choices(list(WRAPS), k=5)
        values.append(nested(random.randrange(depth), *kinds, core=random.choice([7, "\xe9" * 90])))
    data = b"".join(encode(value, max_depth=STATE_DEPTH) for value in values)
    made = True
    for value in values:
        try:
            encode(value)
        except Unserializable:
            made = False
    assert taken(count, data) == made
