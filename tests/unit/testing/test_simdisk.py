"""The simulated disk: what a crash may leave and must not take, and what its faults do."""

import errno
from random import Random

import pytest

from syncstructs.errors import DataDirBusy
from syncstructs.structs.counters import ReplCounter
from syncstructs.testing.faultatlas import FaultAtlas
from syncstructs.testing.plans import draw_plan
from syncstructs.testing.runs import Run, quietly
from syncstructs.testing.simdisk import SECTOR, SimDisk
from syncstructs.testing.simulator import Simulation

SEEDS = range(300)
OLD = bytes(range(1, 251)) * 8
NEW = b"\xff" * 1500


def disk_with(seed, content=OLD):
    """Return a disk with a durable file."""
    disk = SimDisk(Random(seed))
    file = disk.open("/d/f", "create")
    file.write(0, content)
    file.sync()
    disk.sync_directory("/d")
    return disk, file


def content_of(disk, path="/d/f"):
    file = disk.open(path, "read")
    return file.read(0, file.size())


# What is durable


def test_what_was_synced_is_there_after_a_crash_whatever_came_later():
    for seed in SEEDS:
        disk, file = disk_with(seed)
        file.write(len(OLD), NEW)
        disk.crash()
        assert content_of(disk)[: len(OLD)] == OLD


def test_a_crash_may_keep_each_part_of_what_was_not_synced():
    kinds = set()
    for seed in SEEDS:
        disk, file = disk_with(seed)
        file.write(len(OLD), NEW)
        disk.crash()
        tail = content_of(disk)[len(OLD) :]
        assert set(tail) <= {0, 0xFF}
        if tail == NEW:
            kinds.add("all")
        elif not tail:
            kinds.add("none")
        elif len(tail) > len(NEW):
            assert (len(OLD) + len(tail)) % SECTOR == 0
            kinds.add("longer")
        elif set(tail) == {0}:
            kinds.add("zeros")
        elif NEW.startswith(tail):
            kinds.add("torn")
        elif tail.startswith(b"\0"):
            kinds.add("later part only")
        else:
            kinds.add("hole or zeros at the end")
    assert kinds == {
        "all", "none", "longer", "zeros", "torn", "later part only", "hole or zeros at the end",
    }  # fmt: skip


def test_of_two_writes_each_may_be_lost_without_the_other():
    found = set()
    for seed in SEEDS:
        disk, file = disk_with(seed, bytes(2 * SECTOR))
        file.write(0, b"1" * SECTOR)
        file.write(SECTOR, b"2" * SECTOR)
        disk.crash()
        content = content_of(disk)
        found.add((content[:1], content[-1:]))
    assert {(b"1", b"2"), (b"1", b"\0"), (b"\0", b"2"), (b"\0", b"\0")} <= found


def test_a_cut_that_was_not_synced_may_be_undone():
    sizes = set()
    for seed in SEEDS:
        disk, file = disk_with(seed)
        file.truncate(10)
        assert file.size() == 10
        disk.crash()
        sizes.add(len(content_of(disk)))
    assert {10, len(OLD)} <= sizes
    for seed in SEEDS:
        disk, file = disk_with(seed)
        file.truncate(10)
        file.sync()
        disk.crash()
        assert content_of(disk) == OLD[:10]


def outcomes(act):
    """Return which names a crash may leave after `act(disk)`, with the begin of the contents."""
    found = set()
    for seed in SEEDS:
        disk, _ = disk_with(seed)
        act(disk)
        disk.crash()
        names = sorted(disk.list("/d"))
        found.add(" ".join(f"{n}={content_of(disk, f'/d/{n}')[:3].hex()}" for n in names))
    return found


def make(disk, name, content):
    file = disk.open(f"/d/{name}", "create")
    file.write(0, content)
    file.sync()


def test_a_new_name_may_be_lost_though_the_content_was_synced():
    assert outcomes(lambda disk: make(disk, "g", b"ggg")) == {"f=010203", "f=010203 g=676767"}


def test_a_rename_is_undone_or_done_and_never_half():
    def replace(disk):
        make(disk, "g", b"ggg")
        disk.sync_directory("/d")
        disk.rename("/d/g", "/d/f")

    assert outcomes(replace) == {"f=010203 g=676767", "f=676767"}


def test_changes_of_names_may_be_kept_in_order_or_not():
    def remove_and_make(disk):
        disk.unlink("/d/f")
        make(disk, "g", b"ggg")

    assert outcomes(remove_and_make) == {"f=010203", "", "f=010203 g=676767", "g=676767"}


def test_names_are_durable_once_their_directory_is_synced_and_no_other_directory():
    for seed in SEEDS:
        disk, _ = disk_with(seed)
        make(disk, "g", b"ggg")
        disk.unlink("/d/f")
        disk.sync_directory("/d")
        disk.crash()
        assert disk.list("/d") == ["g"]
    assert outcomes(lambda disk: (make(disk, "g", b"g"), disk.sync_directory("/e"))) == {
        "f=010203", "f=010203 g=67",
    }  # fmt: skip


def test_a_killed_process_loses_nothing_of_what_it_wrote():
    disk, file = disk_with(1)
    file.write(3, NEW)
    disk.kill()
    assert content_of(disk)[3 : 3 + len(NEW)] == NEW


def test_a_crash_or_kill_lets_go_of_locks_and_handles():
    for end in (SimDisk.crash, SimDisk.kill):
        disk, file = disk_with(1)
        held = disk.lock("/d/lock")
        with pytest.raises(DataDirBusy):
            disk.lock("/d/lock")
        end(disk)
        disk.lock("/d/lock")
        held.close()
        with pytest.raises(DataDirBusy):
            disk.lock("/d/lock")  # the dead one's lock was not this one
        uses = (file.sync, ()), (file.size, ()), (file.write, (0, b"x")), (file.read, (0, 1))
        for use, args in uses:
            with pytest.raises(AssertionError, match="before the crash"):
                use(*args)


# Points at which a crash can be placed


class Stop(BaseException):
    """The host has crashed."""


def test_there_is_a_point_before_and_after_each_effect_and_within_a_write():
    disk, file = disk_with(1)
    points = []
    disk.crashpoint = points.append
    file.write(0, b"xyz")
    file.sync()
    file.truncate(1)
    make(disk, "g", b"g")
    disk.rename("/d/g", "/d/h")
    disk.sync_directory("/d")
    disk.unlink("/d/h")
    assert points == [
        "write", "write half", "write done", "sync", "sync done", "truncate", "truncate done",
        "create", "create done", "write", "write done", "sync", "sync done",
        "rename", "rename done", "sync_directory", "sync_directory done", "unlink", "unlink done",
    ]  # fmt: skip


def test_a_process_killed_within_a_write_leaves_a_part_of_it():
    parts = set()
    for seed in range(50):
        disk, file = disk_with(seed, b"")

        def stop(point):
            if point == "write half":
                raise Stop

        disk.crashpoint = stop
        with pytest.raises(Stop):
            file.write(0, b"abcdef")
        disk.kill()
        parts.add(content_of(disk))
    assert parts == {b"abcdef"[:size] for size in range(6)}


def test_a_crash_after_a_sync_keeps_and_one_before_it_may_lose():
    for point, found in (("sync done", {b"abc"}), ("sync", {b"", b"abc"})):
        seen = set()
        for seed in SEEDS:
            disk, file = disk_with(seed, b"")
            file.write(0, b"abc")
            disk.crashpoint = lambda at, due=point: stop_at(at, due)
            with pytest.raises(Stop):
                file.sync()
            disk.crash()
            seen.add(content_of(disk))
        assert seen >= found
        assert point == "sync" or seen == found


def stop_at(point, due):
    if point == due:
        raise Stop


# Faults


def test_a_failed_sync_forgets_that_pages_are_dirty():
    lost = kept = evicted = 0
    for seed in SEEDS:
        disk, file = disk_with(seed)
        file.write(len(OLD), NEW)
        disk.fail("sync", times=1)
        with pytest.raises(OSError, match="Input/output error"):
            file.sync()
        assert content_of(disk) == OLD + NEW  # what is read back is fine
        file.sync()  # and the next sync says so, too
        if seed % 2:
            disk.kill()
            evicted += content_of(disk) != OLD + NEW
        disk.crash()
        content = content_of(disk)
        assert content.startswith(OLD)
        kept += content == OLD + NEW
        lost += content != OLD + NEW
    assert lost > 100
    assert kept > 20
    assert evicted > 20


def test_what_is_written_again_after_a_failed_sync_becomes_durable():
    for seed in SEEDS:
        disk, file = disk_with(seed)
        file.write(len(OLD), NEW)
        disk.fail("sync", times=1)
        with pytest.raises(OSError, match="Input/output error"):
            file.sync()
        file.write(len(OLD), NEW)
        file.sync()
        disk.crash()
        assert content_of(disk) == OLD + NEW


def test_a_full_disk_takes_what_fits_and_room_that_comes_is_used():
    taken = set()
    for seed in SEEDS:
        disk, file = disk_with(seed, b"12345")
        disk.fill(3)
        with pytest.raises(OSError, match="No space left") as found:
            file.write(4, b"abcdef")
        assert found.value.errno == errno.ENOSPC
        taken.add(file.size())
        assert disk.used_bytes() <= 8
    assert taken == {5, 6, 7, 8}
    with pytest.raises(OSError, match="No space left"):
        make(disk, "g", bytes(9))
    disk.heal()
    file.write(4, b"abcdef")
    assert file.read(0, 99) == b"1234abcdef"


@pytest.mark.parametrize(
    ("call", "act"),
    [
        ("read", lambda disk, file: file.read(0, 1)),
        ("write", lambda disk, file: file.write(0, b"x")),
        ("sync", lambda disk, file: file.sync()),
        ("truncate", lambda disk, file: file.truncate(0)),
        ("create", lambda disk, file: disk.open("/d/g", "create")),
        ("rename", lambda disk, file: disk.rename("/d/f", "/d/g")),
        ("unlink", lambda disk, file: disk.unlink("/d/f")),
        ("sync_directory", lambda disk, file: disk.sync_directory("/d")),
        ("make_directory", lambda disk, file: disk.make_directory("/d")),
    ],
)
def test_each_call_can_be_made_to_fail_so_many_times_or_until_healed(call, act):
    disk, file = disk_with(1)
    disk.fail(call, errno.EROFS, times=2)
    for _ in range(2):
        with pytest.raises(OSError, match="Read-only"):
            act(disk, file)
    before = disk.digest()
    act(disk, file)
    disk, file = disk_with(1)
    disk.fail(call)
    for _ in range(5):
        with pytest.raises(OSError, match="Input/output error"):
            act(disk, file)
    assert disk.counts[f"{call} failed"] == 5
    assert disk.digest() == before
    disk.heal()
    act(disk, file)


def test_a_failure_may_be_for_some_files_only():
    disk, file = disk_with(1)
    disk.fail("sync", name="log-")
    file.sync()
    with pytest.raises(OSError, match="Input/output error"):
        make(disk, "log-1", b"x")


def test_rates_make_some_calls_fail():
    disk, file = disk_with(1)
    disk.failure_rates = {"read": 0.5}
    failed = 0
    for _ in range(200):
        try:
            file.read(0, 1)
        except OSError:
            failed += 1
    assert 70 < failed < 130
    assert disk.counts["read failed"] == failed


# Rot


def test_rot_flips_one_bit_for_good_and_never_in_the_last_write():
    places = set()
    for seed in SEEDS:
        disk, file = disk_with(seed)
        assert disk.rot(("f",)) is None  # all of it is the last write
        file.write(len(OLD), NEW)
        file.sync()
        assert disk.rot(("g",)) is None
        assert disk.rot(("f",)) == "/d/f"
        whole = OLD + NEW
        content = content_of(disk)
        [at] = [i for i in range(len(whole)) if content[i] != whole[i]]
        assert at < len(OLD)
        assert (content[at] ^ whole[at]).bit_count() == 1
        places.add(at)
        disk.crash()
        assert content_of(disk)[at] != whole[at]
    assert len(places) > 100


def test_a_file_that_was_synced_before_it_got_its_name_may_rot_anywhere():
    places = set()
    for seed in SEEDS:
        disk, _ = disk_with(seed, b"whole")
        disk.rename("/d/f", "/d/g")
        disk.rot(("g",))
        content = content_of(disk, "/d/g")
        places |= {i for i in range(5) if content[i] != b"whole"[i]}
    assert places == {0, 1, 2, 3, 4}


def test_an_erased_disk_is_empty():
    disk, _ = disk_with(1)
    disk.kill()
    disk.erase()
    assert disk.list("/d") == []
    disk.crash()
    assert disk.list("/d") == []
    assert disk.digest() == SimDisk(Random(0)).digest()


# The whole


def test_one_seed_gives_one_story_and_one_content_of_disks():
    def story(seed):
        run = Run(draw_plan(seed, "disk"))
        with quietly():
            run.go()
        disks = [host.disk for host in run.simulation.hosts.values()]
        kept = [(disk.digest(), disk.counts) for disk in disks]
        return run.report().trace, run.nemesis.log, kept

    assert story(4) == story(4)


def test_counts_say_what_happened():
    cluster = Simulation(7, {"hits": ReplCounter}, disks=True)
    cluster.start()
    added = cluster.objects("n1:1")["hits"].add.submit(5)
    cluster.run_until(added.done)
    counts = cluster.hosts["n1:1"].disk.counts
    assert counts["write"] >= 3
    assert counts["sync"] >= 3
    assert counts["sync_directory"] >= 3


# Which disks may be damaged


def test_at_most_a_minority_is_damaged_at_a_time():
    for size, most in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2)):
        names = [f"n{i}:1" for i in range(size)]
        atlas = FaultAtlas(names)
        damaged = [name for name in names if atlas.may_damage(name) and not atlas.damaged(name)]
        assert len(damaged) == most
        for name in names:
            assert atlas.may_damage(name) == (name in damaged)  # twice on the same is allowed
        for name in damaged[:1]:
            atlas.repaired(name)
            assert atlas.may_damage(names[-1])
