"""The power of members' disks is cut: each acknowledged call survives.

Skipped without root. `SYNCSTRUCTS_CLUSTER_ROUNDS=20` injects twenty times as many faults.
"""

import os
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from campaign import CONFIG, ROUNDS, Campaign, wait_until
from member_history import OBJECTS
from power_cut import LoopDisks
from rights import Unavailable, kill_maker

from syncstructs.cli.processes import LocalCluster

pytestmark = pytest.mark.timeout(120 + 60 * ROUNDS)

COMPACTING = {"snapshot_log_entries": 300, "log_keep_bytes": 4000, "segment_bytes": 32_768}


@contextmanager
def loop_disks(tmp_path, names):
    try:
        made = LoopDisks(tmp_path / "disks", names)
    except Unavailable as missing:
        pytest.skip(f"no power cuts here: {missing}")
    with made:
        yield made


@contextmanager
def powered_cluster(tmp_path):
    """Yield a campaign on three members, each with a disk of its own, and the disks."""
    names = ["m1", "m2", "m3"]
    with (
        loop_disks(tmp_path, names) as disks,
        LocalCluster(3, objects=OBJECTS, config=CONFIG | COMPACTING) as cluster,
    ):
        for setup in cluster.setups:
            setup.config["data_dir"] = str(disks[setup.name].path / "member")
        campaign = Campaign(cluster, tmp_path / "history")
        campaign.start()
        yield campaign, disks


def cut(campaign, disks, members):
    """Cut the power of members and their disks; the disks are there again on return."""
    # Not the disks alone: what they say while they go down is not to be relied on (`LoopDisk.cut`),
    # and no member gets to hear it.
    campaign.freeze(members)
    for member in members:
        disks[member.name].cut()
    campaign.kill(members)
    for member in members:
        disks[member.name].restore()


def test_a_power_cut_loses_what_was_not_synced_and_nothing_else(tmp_path):
    with loop_disks(tmp_path, ["only"]) as disks:
        folder = disks["only"].path
        with open(folder / "log", "wb", buffering=0) as file:
            file.write(b"x" * 1000)
            os.fsync(file.fileno())
            directory = os.open(folder, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
            file.write(b"y" * 1000)
            (folder / "other").write_bytes(b"z")
            disks["only"].cut()
            with pytest.raises(OSError, match="error"):
                os.fsync(file.fileno())
        disks["only"].restore()
        assert (folder / "log").read_bytes() == b"x" * 1000
        assert not (folder / "other").exists()


def test_power_comes_back_though_another_namespace_has_the_former_mount(tmp_path):
    with loop_disks(tmp_path, ["only"]) as disks:
        command = ["unshare", "--mount", "sh", "-c", "echo begun; read line"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as keeper:
            assert keeper.stdout.readline() == b"begun\n"
            disks["only"].cut()
            disks["only"].restore()
            (disks["only"].path / "file").write_bytes(b"x")
            keeper.stdin.close()


def test_disks_go_with_the_process_that_made_them(tmp_path):
    with loop_disks(tmp_path / "probe", ["only"]):
        pass
    path = tmp_path / "disks" / "only"
    kill_maker("power_cut", f"LoopDisks(Path({str(path.parent)!r}), ['only'])")
    wait_until(lambda: not path.is_mount(), "the disk is unmounted")
    wait_until(lambda: str(path.parent) not in backing_files(), "the loop device is free")


def backing_files():
    """Return the paths of the files behind all loop devices, as one text."""
    found = []
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # it was set free just now
            found.append(file.read_text())
    return "".join(found)


def test_histories_hold_over_power_cuts(tmp_path):
    with powered_cluster(tmp_path) as (campaign, disks):
        for _ in range(ROUNDS):
            for fault in ("leader", "all", "random", "majority", "all"):
                campaign.progress(120)
                members = campaign.random.sample(list(campaign.cluster), 3)
                if fault == "leader":
                    members = [campaign.cluster.wait_leader()]
                cut(campaign, disks, members[: {"random": 1, "majority": 2}.get(fault, 3)])
                campaign.start()
        campaign.finish()


def test_what_two_members_acknowledged_is_on_the_disk_of_each_of_them(tmp_path):
    with powered_cluster(tmp_path) as (campaign, disks):
        for _ in range(2 * ROUNDS):
            campaign.progress(30)
            absent, cut_off, dead = campaign.random.sample(list(campaign.cluster), 3)
            absent.pause()
            campaign.progress(60, on=[cut_off, dead])
            # The one whose power is cut is the only one that can tell the absent one.
            campaign.freeze([cut_off, dead])
            campaign.kill([dead])
            cut(campaign, disks, [cut_off])
            absent.resume()
            campaign.cluster.launch(cut_off.name)
            campaign.start_load(cut_off.name)
            campaign.progress(20, on=[absent, campaign.cluster.members[cut_off.name]])
            # What the dead one alone knows was never acknowledged: it may be lost, or come back.
            campaign.start()
        campaign.finish()
