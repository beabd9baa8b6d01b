"""The guard: who may look, what guessing costs, and what is kept of it."""

import base64
import os
import random
import sys

import pytest

from syncstructs.monitor import guard as module
from syncstructs.monitor.guard import (
    FRIEND_COUNT,
    GUESS_COUNT,
    GUESS_SECONDS,
    SOURCE_COUNT,
    WRONG_COUNT,
    Guard,
    Verdict,
    is_loopback,
    password_in,
    source_of,
)

RIGHT, ALSO_RIGHT = "a password of the page", "and another one: with a colon"


def basic(password, user="ann"):
    if isinstance(password, str):
        password = password.encode()
    return b"Basic " + base64.b64encode(user.encode() + b":" + password)


def guess(guard, source, now, count, begin=0):
    """Give so many wrong passwords, all different, and return the last verdict."""
    for number in range(begin, begin + count):
        verdict = guard.check(basic(f"wrong {source} {number}"), source, now)
        guard._check()
    return verdict


@pytest.fixture
def guard():
    return Guard([RIGHT, ALSO_RIGHT])


@pytest.mark.parametrize("user", ["", "ann", "prometheus", "ä"])
@pytest.mark.parametrize("password", [RIGHT, ALSO_RIGHT])
def test_any_of_the_passwords_is_taken_under_any_name(guard, user, password):
    assert guard.check(basic(password, user), "a", 0.0) is Verdict.OPEN


@pytest.mark.parametrize(
    "password",
    ["", RIGHT[:-1], RIGHT + " ", RIGHT.upper(), f"x:{RIGHT}", ALSO_RIGHT.partition(":")[2],
     b"\xff" * 40, b"\x00", "x" * 7000],
)  # fmt: skip
def test_what_is_almost_right_is_wrong(guard, password):
    assert guard.check(basic(password), "a", 0.0) is Verdict.ASK


@pytest.mark.parametrize(
    "said",
    [None, b"", b"Basic", b"Basic ", b"Basic " + base64.b64encode(RIGHT.encode()), b"Basic !!!",
     b"Basic YW5uOg", b"Bearer " + basic(RIGHT)[6:], basic(RIGHT)[6:], RIGHT.encode(), b"\xff \xff",
     basic(RIGHT)[:12] + b"!" + basic(RIGHT)[12:], basic(RIGHT) + b"=", basic(RIGHT) + b" x",
     b"Digest username=ann", b"Basic\t" + basic(RIGHT)[6:]],
)  # fmt: skip
def test_what_is_no_password_is_asked_for_one_and_costs_nothing(guard, said):
    for _ in range(2 * GUESS_COUNT):
        assert guard.check(said, "a", 0.0) is Verdict.ASK
    assert guard.check(basic(RIGHT), "a", 0.0) is Verdict.OPEN


def test_the_scheme_may_be_written_in_any_case_and_with_more_space(guard):
    token = basic(RIGHT)[6:]
    for said in (b"basic " + token, b"BASIC   " + token, b" Basic " + token + b" "):
        assert guard.check(said, "a", 0.0) is Verdict.OPEN


def test_a_password_is_taken_as_it_is_typed_and_as_browsers_compose_it():
    typed = "Zu\u0308rich an der Limmat"
    guard = Guard([typed])
    for spelling in (typed, "Zürich an der Limmat"):
        assert guard.check(basic(spelling), "a", 0.0) is Verdict.OPEN
    assert guard.check(basic("Zurich an der Limmat"), "a", 0.0) is Verdict.ASK
    assert guard.check(basic(typed.encode("utf-16")), "a", 0.0) is Verdict.ASK


def test_after_some_wrong_ones_a_source_is_not_looked_at_for_a_while_and_others_are(guard):
    assert guess(guard, "a", 0.0, GUESS_COUNT) is Verdict.ASK
    assert guard.check(basic("one more wrong one"), "a", 0.0) is Verdict.WAIT
    # Else the answer to a right one would tell that it was right.
    assert guard.check(basic(RIGHT), "a", 0.0) is Verdict.WAIT
    assert guard.check(basic(RIGHT), "b", 0.0) is Verdict.OPEN
    assert guard.check(None, "a", 0.0) is Verdict.ASK
    # What is not looked at is not counted either.
    assert guess(guard, "a", 0.0, 1000, 50) is Verdict.WAIT
    assert guard.check(basic(RIGHT), "a", GUESS_SECONDS - 0.01) is Verdict.WAIT
    assert guard.check(basic(RIGHT), "a", GUESS_SECONDS) is Verdict.OPEN


def test_in_the_long_run_a_source_has_one_guess_in_so_many_seconds(guard):
    looked_at, intervals = 0, 60
    for number in range(int(50 * intervals * GUESS_SECONDS)):
        now = number // 5 / 10
        looked_at += guard.check(basic(f"guess {number}"), "a", now) is not Verdict.WAIT
    assert looked_at == intervals - 1 + GUESS_COUNT


def test_who_goes_on_giving_one_old_password_keeps_nobody_out(guard):
    for second in range(1000):
        assert guard.check(basic("that of last year"), "a", float(second) / 10) is Verdict.ASK
        assert guard.check(basic(RIGHT), "a", float(second) / 10) is Verdict.OPEN


def test_what_many_sources_cost_is_bounded_and_who_was_right_is_still_served(guard):
    assert guard.check(basic(RIGHT), "prometheus", 0.0) is Verdict.OPEN
    for number in range(10_000):
        guard.check(basic(f"wrong {number}"), f"source {number}", 0.0)
        guard._check()
    assert len(guard._debts) == SOURCE_COUNT + 1
    # Those beyond the bound have one debt together,
    assert guess(guard, "yet another", 0.0, 1) is Verdict.WAIT
    assert guard.check(basic(RIGHT), "a new one", 0.0) is Verdict.WAIT
    # but not who was right before, nor those who owe little,
    assert guard.check(basic(RIGHT), "prometheus", 0.0) is Verdict.OPEN
    assert guard.check(basic(RIGHT), "source 3", 0.0) is Verdict.OPEN
    # and who was right may still be wrong now and then, and not more often than others.
    assert guess(guard, "prometheus", 0.0, GUESS_COUNT) is Verdict.ASK
    assert guard.check(basic(RIGHT), "prometheus", 0.0) is Verdict.WAIT
    # In the end all is forgotten.
    assert guard.check(basic(RIGHT), "a new one", 2 * GUESS_SECONDS * GUESS_COUNT) is Verdict.OPEN
    assert guess(guard, "new", 2 * GUESS_SECONDS * GUESS_COUNT, 1) is Verdict.ASK
    assert len(guard._debts) == 1


def test_the_bounds_hold_for_whatever_comes(guard):
    seed = int(os.environ.get("SYNCSTRUCTS_SEED", random.randrange(2**32)))
    print(f"SYNCSTRUCTS_SEED={seed}")
    draw, now = random.Random(seed), 0.0
    for _ in range(20_000):
        now += draw.choice((0.0, 0.0, 0.001, 0.1))
        source = f"source {draw.randrange(draw.choice((20, 2000)))}"
        said = basic(draw.choice((RIGHT, f"wrong {draw.randrange(5000)}")))
        verdict = guard.check(said, source, now)
        assert verdict is not Verdict.OPEN or said == basic(RIGHT)
        assert verdict is not Verdict.ASK or said != basic(RIGHT)
        guard._check()
    assert len(guard._wrong) == WRONG_COUNT
    assert len(guard._friends) == FRIEND_COUNT
    for owed in guard._debts.values():
        assert owed <= now + GUESS_COUNT * GUESS_SECONDS


def test_passwords_are_compared_as_digests_that_tell_nothing_and_all_of_them(guard, monkeypatch):
    compared = []
    compare = module.hmac.compare_digest
    monkeypatch.setattr(
        module.hmac, "compare_digest", lambda a, b: (compared.append((a, b)), compare(a, b))[1]
    )
    for password in (RIGHT, ALSO_RIGHT, "wrong", "x" * 5000):
        compared.clear()
        guard.check(basic(password), "a", 0.0)
        assert [len(a) == len(b) == 32 for a, b in compared] == [True, True]
    # Nor are two guards alike.
    assert Guard([RIGHT])._right != Guard([RIGHT])._right


def test_passwords_are_nowhere_in_a_guard(guard):
    guard.check(basic("a wrong password"), "a", 0.0)
    held = repr(vars(guard))
    for word in (RIGHT, ALSO_RIGHT, "a wrong password", basic(RIGHT)[6:].decode()):
        assert word not in held
        assert word not in repr(guard)


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("127.0.0.1", "this machine"), ("127.200.0.9", "this machine"), ("::1", "this machine"),
        ("::ffff:127.0.0.1", "this machine"), ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"), ("fe80::7%lo", "fe80::/64"),
    ],
)  # fmt: skip
def test_a_source_is_a_machine_or_a_network_that_one_has_to_itself(host, source):
    assert source_of(host) == source


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("127.0.0.1", True), ("127.255.255.254", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False), ("::", False), ("::ffff:0.0.0.0", False), ("10.0.0.1", False),
        ("169.254.1.1", False), ("::ffff:10.0.0.1", False), ("fe80::1%lo", False), ("::2", False),
        ("::127.0.0.1", False), ("128.0.0.1", False),
    ],
)  # fmt: skip
def test_only_what_no_other_machine_reaches_is_loopback(host, is_it):
    assert is_loopback(host) is is_it


def test_garbage_is_no_password():
    draw = random.Random(5)
    for _ in range(3000):
        said = b"Basic " + draw.randbytes(draw.randrange(40))
        assert password_in(said) is None or isinstance(password_in(said), bytes)
    assert password_in(b"Basic " + b"A" * 8000) is None
    assert sys.getsizeof(password_in(basic("x" * 6000))) < 7000
