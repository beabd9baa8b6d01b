"""The floor replicates: over sockets in this process, and as three processes."""

import threading

import pytest
from floor_member import Follower, Leader, Log, cut
from rows import FLOOR
from systems import SYSTEMS

from syncstructs.cli.bench import Shape, measure
from syncstructs.cli.processes import free_addresses


def wait_for(check):
    waiting = threading.Event()
    for _ in range(500):
        if check():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not come about")


@pytest.mark.parametrize("on_disk", [False, True])
def test_all_three_apply_what_was_called(tmp_path, on_disk):
    address = free_addresses(1)[0]
    names = ("leader", "one", "two")
    logs = [Log(str(tmp_path / name)) if on_disk else None for name in names]
    leader = Leader(address, 2, logs[0])
    followers = [Follower(address, log) for log in logs[1:]]
    ended: list[object] = []
    assert leader.ready.wait(10)
    leader.frame_count_max = 7
    for number in range(100):
        leader.call(f"key-{number % 60}", b"%d" % number, ended.append)
    leader.call_bulk([("bulk-1", b"x"), ("bulk-2", b"y")], ended.append)
    wait_for(lambda: len(ended) == 101)
    expected = {f"key-{n}": b"%d" % (n + 60 if n < 40 else n) for n in range(60)}
    expected |= {"bulk-1": b"x", "bulk-2": b"y"}
    assert ended == [None] * 101
    for member in (leader, *followers):
        wait_for(lambda member=member: member._cells == expected)
    if on_disk:
        written = {(tmp_path / name / "log").read_bytes() for name in names}
        assert len(written) == 1
        assert all(len(each) > 500 for each in written)


def test_a_command_larger_than_a_frame_goes_alone():
    address = free_addresses(1)[0]
    leader = Leader(address, 2, None)
    followers = [Follower(address, None) for _ in range(2)]
    ended: list[object] = []
    assert leader.ready.wait(10)
    for _ in range(3):
        leader.call("large", bytes(200_000), ended.append)
    wait_for(lambda: len(ended) == 3)
    wait_for(lambda: all(f._cells.get("large") == bytes(200_000) for f in followers))


def test_frames_are_cut_wherever_the_bytes_are_torn():
    stream = b"\x03\x00\x00\x00abc" + b"\x00\x00\x00\x00" + b"\x01\x00\x00\x00d"
    for at in range(len(stream) + 1):
        held = bytearray(stream[:at])
        frames = cut(held)
        held += stream[at:]
        assert frames + cut(held) == [b"abc", b"", b"d"]
        assert held == b""


@pytest.mark.parametrize("window", [1, 64])
def test_three_processes_take_calls(window):
    shape = Shape(
        members=3, at="leader", window=window, blocking=window == 1, value_bytes=10, disk=False,
        seconds=0.2, warmup=0.05,
    )  # fmt: skip
    with SYSTEMS[FLOOR].cluster() as cluster:
        cluster.start()
        figures = measure(cluster, shape)
    assert figures["count"] > 0
    assert figures["failed"] == figures["lost"] == 0
    assert 0 < figures["p50_ms"] < 200
    assert figures["cpu_seconds_per_million"] > 0
