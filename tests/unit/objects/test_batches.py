"""Groups of commands as the payload of an entry."""

import tracemalloc
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncstructs.codec import decode, decode_many
from syncstructs.errors import DecodeError, Unserializable
from syncstructs.objects.batches import (
    Group,
    Run,
    decode_groups,
    encode_batch,
    encode_command,
    encode_group,
    is_run,
    one_by_one,
)

groups = st.lists(
    st.integers(1, 50).flatmap(
        lambda count: st.builds(
            Group,
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
            st.just(count),
            st.binary(min_size=count, max_size=count + 20),
        )
    ),
    max_size=5,
)


@given(groups)
def test_joined_groups_come_back_as_they_were(given_groups: list[Group]) -> None:
    payload = b"".join(
        encode_group(g.session, g.first_sequence, g.count, g.commands) for g in given_groups
    )
    assert decode_groups(payload) == given_groups


@given(groups.filter(bool), st.data())
def test_a_payload_that_is_cut_off_is_refused_or_ends_between_groups(
    given_groups: list[Group], data: st.DataObject
) -> None:
    parts = [encode_group(g.session, g.first_sequence, g.count, g.commands) for g in given_groups]
    payload = b"".join(parts)
    cut = data.draw(st.integers(0, len(payload) - 1))
    borders = {sum(map(len, parts[:i])) for i in range(len(parts) + 1)}
    if cut in borders:
        assert decode_groups(payload[:cut]) == given_groups[: len(decode_groups(payload[:cut]))]
    else:
        with pytest.raises(DecodeError):
            decode_groups(payload[:cut])


@pytest.mark.parametrize(("count", "commands"), [(0, b"abc"), (4, b"abc"), (1, b"")])
def test_a_group_that_claims_impossible_counts_is_refused(count: int, commands: bytes) -> None:
    with pytest.raises(DecodeError, match="cannot hold"):
        decode_groups(encode_group(1, 1, count, commands))


def test_commands_joined_are_decoded_in_one_call() -> None:
    commands = [
        encode_command(7, "put", ("a", (1, 2)), {}),
        encode_command("name", "put", (), {"key": b"b"}),
    ]
    assert decode_many(2, b"".join(commands)) == [
        [7, "put", ["a", (1, 2)]],
        ["name", "put", [], {"key": b"b"}],
    ]
    assert decode(commands[0]) == [7, "put", ["a", (1, 2)]]


def test_a_large_command_is_copied_once_as_it_is_decoded() -> None:
    value = bytes(4_000_000)
    payload = encode_group(1, 1, 1, encode_command(7, "set", ("k", value), {}))
    tracemalloc.start()
    try:
        [group] = decode_groups(payload)
        [command] = decode_many(group.count, group.commands)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert command == [7, "set", ["k", value]]
    assert peak_bytes < 1.5 * len(value)


@pytest.mark.parametrize("count", [1, 15, 16, 300, 65_535, 65_536])
def test_a_batch_is_what_a_command_with_all_calls_as_its_argument_would_be(count: int) -> None:
    calls = [[3, "set", [f"k{i}", {"a": (i,)}]] for i in range(count)]
    commands = [encode_command(3, "set", (f"k{i}", {"a": (i,)}), {}) for i in range(count)]
    assert encode_batch(commands) == encode_command(0, "batch", (calls,), {})


def test_what_is_too_deep_for_a_batch_is_refused_before_it_is_sent() -> None:
    value: object = 0
    for _ in range(61):
        value = [value]
    assert len(decode_many(1, encode_command(3, "set", (value,), {}))) == 1
    with pytest.raises(Unserializable, match="nested too deeply"):
        encode_batch([encode_command(3, "add", (), {}), encode_command(3, "set", (value,), {})])
    assert isinstance(value, list)
    [value] = value
    [value] = value
    [value] = value
    assert len(decode_many(1, encode_batch([encode_command(3, "set", (value,), {})]))) == 1


CALLS = [
    (3, "set", ("a", 1)), (3, "set", (None, b"x")), (3, "set", (2**64, "\ud800")),
    ("queue", "put", (1.5,)), (3, "set", ("a", True)), (3, "pop", ("a",)), (4, "pop", ("b",)),
]  # fmt: skip


def runs_of(calls: list[tuple[Any, str, tuple[Any, ...]]]) -> list[bytes | Run]:
    made: list[bytes | Run] = []
    for (target, method, width), same in groupby(calls, lambda c: (c[0], c[1], len(c[2]))):
        run = Run(target, method, width)
        run.values += [argument for _, _, args in same for argument in args]
        made.append(run)
    return made


@pytest.mark.parametrize("in_runs", [False, True])
def test_a_run_says_what_its_calls_say_one_by_one(in_runs: bool) -> None:
    plain = encode_batch([encode_command(*call, {}) for call in CALLS])
    encoded = encode_batch(runs_of(CALLS), in_runs=in_runs)
    _, _, [calls] = decode(encoded)
    found = [each for call in calls for each in (one_by_one(call) if is_run(call) else [call])]
    assert found == [[target, method, list(args)] for target, method, args in CALLS]
    assert (encoded == plain) is not in_runs, "earlier releases read no other form"


@pytest.mark.parametrize(
    "malformed",
    [
        [3, "set", ["a", 1, "b"], 2], [3, "set", ["a"], 0], [3, "set", ["a"], -1],
        [3, "set", ("a", 1), 2], [3, "set", ["a"], True], [3, "set", ["a"], 1, {}], 5, [], "run",
        [3, "set", [], 1], [3, "set", [], 2**60], [3.0, "set", ["a"], 1], [3, 5, ["a"], 1],
    ],
)  # fmt: skip
def test_what_is_no_run(malformed: object) -> None:
    assert not is_run(malformed)
