"""Every input that was ever worth keeping is taken as it should, and costs no more than it weighs.

`tests/fuzz/fuzz.py` finds them. What stands behind one is told by `--replay`.
"""

import sys
import tracemalloc
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fuzz import PEAK_BYTES, PEAK_FACTOR, Explorer, explore, peak_of
from fuzz_mutation import INPUT_BYTES_MAX, mutate, values_in
from fuzz_targets import TARGETS, corpus

NAMES = list(TARGETS)


@pytest.mark.parametrize("name", NAMES)
def test_every_input_of_the_corpus_is_taken(name):
    run = TARGETS[name].run
    for data in [*TARGETS[name].seeds(), *corpus(name)]:
        try:
            run(data)
        except BaseException:
            print(f"{name} {data.hex()}")
            raise


@pytest.mark.parametrize("name", NAMES)
def test_no_input_of_the_corpus_takes_more_memory_than_it_weighs(name):
    run = TARGETS[name].run
    # What is made once and kept is no matter of the first input.
    for data in TARGETS[name].seeds():
        run(data)
    assert not tracemalloc.is_tracing()
    for data in sorted(corpus(name), key=len)[-40:]:
        peak = peak_of(run, data)
        assert peak <= PEAK_BYTES + PEAK_FACTOR * len(data), (name, data.hex())


@pytest.mark.parametrize("name", ["codec", "message", "http"])
def test_the_same_seed_explores_the_same(name):
    first, second = (explore(name, 7, 0.0, 60) for _ in range(2))
    assert first._replace(seconds=0.0) == second._replace(seconds=0.0)
    assert not first.findings


def test_what_a_target_lets_out_is_found(monkeypatch):
    def fragile(data):
        if data[:1] > b"\x40":
            raise ZeroDivisionError
        return "taken"

    monkeypatch.setitem(TARGETS, "codec", TARGETS["codec"]._replace(run=fragile))
    [finding] = explore("codec", 1, 0.0, 200).findings
    assert finding.what.startswith("ZeroDivisionError")
    assert finding.data[:1] > b"\x40"


def test_what_takes_too_much_memory_is_found(monkeypatch):
    def wasteful(data):
        return f"taken {len(bytes(2 * PEAK_BYTES))}"

    monkeypatch.setitem(TARGETS, "http", TARGETS["http"]._replace(run=wasteful))
    [finding] = explore("http", 1, 0.0, 50).findings
    assert finding.what.startswith("takes ")


def test_a_changed_input_is_bounded_and_mostly_whole():
    random = Random(3)
    explorer = Explorer("codec", 1)
    explorer.begin()
    whole = 0
    data = TARGETS["member"].seeds()[0]
    for _ in range(300):
        changed = mutate(data, random, explorer.pool)
        assert len(changed) <= INPUT_BYTES_MAX
        whole += values_in(changed) is not None
    assert whole > 150
