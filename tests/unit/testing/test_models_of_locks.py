"""The lock's model: one owner, growing tokens, and losses only where the history says so."""

from __future__ import annotations

from math import inf
from random import Random
from typing import Any

import pytest
from atomic_object import ops_of
from msgspec.structs import replace

from syncstructs.testing.history import UNKNOWN, Op, Raised
from syncstructs.testing.linearizability import Verdict, check, check_witness
from syncstructs.testing.lockmodel import LockManagerModel, LockModel

NOT_OWNER = Raised("syncstructs.errors.NotOwner")
LOST = Raised("syncstructs.errors.LockLost")
GOOD, BAD = Verdict.LINEARIZABLE, Verdict.NOT_LINEARIZABLE


def verdict(*rows: Any, expiry: bool = False) -> Verdict:
    return check(ops_of(*rows), LockModel(expiry=expiry)).verdict


def test_one_owner_after_the_other_is_accepted() -> None:
    assert GOOD is verdict(
        ("ann", "acquire", (), 1, 2, True), ("bob", "acquire", (), 3, 6, True),
        ("ann", "release", (), 4, 5, None), ("bob", "release", (), 7, 8, None),
    )  # fmt: skip


def test_a_lock_granted_to_two_is_refused() -> None:
    two = ("ann", "acquire", (), 1, 2, True), ("bob", "acquire", (), 3, 6, True)
    assert verdict(*two) is BAD
    assert verdict(*two, ("ann", "release", (), 7, 8, None)) is BAD


@pytest.mark.parametrize(
    "loss",
    [
        ("ann", "lost", (), 3, inf, UNKNOWN),
        ("ann", "lost", (), 3, 4, None),
        ("ann", "release", (), 7, 8, LOST),
    ],
)
def test_a_lock_that_was_lost_may_be_granted_again(loss: Any) -> None:
    two = ("ann", "acquire", (), 1, 2, True), ("bob", "acquire", (), 3, 6, True)
    assert verdict(*two, loss) is GOOD
    assert verdict(*two, (*loss[:1], "lost", (), 9, inf, UNKNOWN)) is BAD


def test_any_lock_may_be_lost_where_sessions_expire_without_a_word() -> None:
    two = ("ann", "acquire", (), 1, 2, True), ("bob", "acquire", (), 3, 6, True)
    assert verdict(*two, expiry=True) is GOOD
    # But what was released was held until then.
    assert verdict(*two, ("ann", "release", (), 7, 8, None), expiry=True) is BAD


def test_a_release_by_who_does_not_own_it_raises() -> None:
    held = ("ann", "acquire", (), 1, 2, True)
    assert verdict(held, ("bob", "release", (), 3, 4, NOT_OWNER)) is GOOD
    assert verdict(held, ("bob", "release", (), 3, 4, None)) is BAD
    assert verdict(held, ("ann", "release", (), 3, 4, NOT_OWNER)) is BAD


def test_any_caller_of_a_node_may_release_what_the_node_holds() -> None:
    ops = ops_of(("a1", "acquire", (), 1, 2, True), ("a2", "release", (), 3, 4, None))
    assert check([replace(op, session=9) for op in ops], LockModel()).ok
    assert not check(ops, LockModel()).ok


def test_tokens_grow_from_grant_to_grant() -> None:
    def grants(first: int, second: int) -> Verdict:
        return verdict(
            ("ann", "acquire", (), 1, 2, first), ("ann", "release", (), 3, 4, None),
            ("bob", "acquire", (), 5, 6, second),
        )  # fmt: skip

    assert grants(5, 6) is GOOD
    assert grants(5, 5) is BAD
    assert grants(5, 4) is BAD


def test_a_token_that_is_read_is_that_of_the_grant() -> None:
    held = ("ann", "acquire", (), 1, 2, 5)
    assert verdict(held, ("ann", "token", (), 3, 4, 5)) is GOOD
    assert verdict(held, ("ann", "token", (), 3, 4, 6)) is BAD
    assert verdict(held, ("bob", "token", (), 3, 4, None)) is GOOD
    assert verdict(held, ("ann", "token", (), 3, 4, None)) is BAD


def test_who_is_sure_owns_it() -> None:
    held = ("ann", "acquire", (), 1, 2, True)
    assert verdict(held, ("ann", "held", (), 3, 4, True)) is GOOD
    assert verdict(held, ("ann", "held", (), 3, 4, False)) is GOOD
    assert verdict(held, ("bob", "held", (), 3, 4, True)) is BAD
    assert verdict(held, ("bob", "ensure_held", (), 3, 4, None)) is BAD
    lost = ("ann", "lost", (), 3, 4, None)
    assert verdict(held, lost, ("ann", "held", (), 5, 6, True)) is BAD


def test_a_free_lock_is_not_refused_at_once() -> None:
    assert verdict(("ann", "acquire", (False,), 1, 2, False)) is BAD
    # A request whose time ran out may have had it meanwhile.
    waited = ("bob", "acquire", (True, 1.0), 0, 3, False)
    assert verdict(waited, ("ann", "acquire", (False,), 1, 2, False)) is GOOD
    assert verdict(waited, ("ann", "acquire", (False,), 4, 5, False)) is BAD
    given_up = ("bob", "acquire", (), 0, inf, UNKNOWN)
    assert verdict(given_up, ("ann", "acquire", (False,), 4, 5, False)) is GOOD


def test_the_keys_of_a_manager_are_locks_of_their_own() -> None:
    ops = ops_of(
        ("ann", "acquire", ("x",), 1, 2, True), ("bob", "acquire", ("y",), 1, 2, True),
        ("bob", "keys", (), 3, 4, ["x", "y"]),
    )  # fmt: skip
    assert check(ops, LockManagerModel()).ok
    assert not check([*ops[:2], replace(ops[2], outcome=["x"])], LockManagerModel()).ok
    assert not check([ops[0], replace(ops[1], args=("x",))], LockManagerModel()).ok


def test_who_loses_its_session_loses_all_its_keys() -> None:
    ops = ops_of(
        ("ann", "acquire", ("x",), 1, 2, True), ("ann", "acquire", ("y",), 1, 2, True),
        ("ann", "lost", (), 3, inf, UNKNOWN),
        ("bob", "acquire", ("x",), 4, 5, True), ("bob", "acquire", ("y",), 4, 5, True),
    )  # fmt: skip
    assert check(ops, LockManagerModel()).ok
    assert not check([*ops[:2], *ops[3:]], LockManagerModel()).ok


def simulated(seed: int, count: int) -> list[Op]:
    """Let processes acquire and release a lock that is granted in the order of their requests."""
    random = Random(seed)
    clock = iter(range(1, 10**6))
    ops: list[Op] = []
    begun: dict[int, tuple[float, int]] = {}
    holder: int | None = None
    token = place = 0
    holding: dict[int, bool] = {}
    while len(ops) < count:
        place += 1
        process = random.randrange(8)
        if process not in begun:
            begun[process] = next(clock), place
        elif holding.get(process) and random.random() < 0.5:
            call, at = begun.pop(process)
            ops.append(Op(
                id=len(ops), process=process, method="release", call=call, end=next(clock),
                outcome=None, index=place,
            ))  # fmt: skip
            holder, holding[process] = None, False
        elif holder is None:
            waiting = (p for p in begun if not holding.get(p))
            process = min(waiting, key=lambda p: begun[p][1], default=process)
            if holding.get(process):
                continue
            holder, token, holding[process] = process, token + 1, True
            call, at = begun.pop(process)
            ops.append(Op(
                id=len(ops), process=process, method="acquire", call=call, end=next(clock),
                outcome=token, index=at,
            ))  # fmt: skip
    return ops


def test_thousands_of_grants_are_checked_in_few_steps() -> None:
    for seed in range(3):
        ops = simulated(seed, 3_000)
        for given in (ops, [replace(op, index=None) for op in ops]):
            result = check(given, LockModel())
            assert result.ok, f"seed {seed}: {result}"
            assert result.steps < 60_000
        assert check_witness(ops, LockModel()).ok, f"seed {seed}: {check_witness(ops, LockModel())}"


def test_one_grant_too_many_among_many_is_found() -> None:
    for seed in range(5):
        random = Random(seed)
        ops = simulated(seed, 300)
        releases = [i for i, op in enumerate(ops[:250]) if op.method == "release"]
        del ops[random.choice(releases)]
        for given in (ops, [replace(op, index=None) for op in ops]):
            assert check(given, LockModel()).verdict is BAD, f"seed {seed}"
        assert check_witness(ops, LockModel()).verdict is BAD, f"seed {seed}"
