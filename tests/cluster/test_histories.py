"""Histories of members as processes that are killed, stopped, and linked through bad networks.

`SYNCSTRUCTS_CLUSTER_ROUNDS=20` injects twenty times as many faults.
"""

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from campaign import CONFIG, ROUNDS, Campaign, wait_until
from member_history import OBJECTS
from tcp_proxy import route_through

from syncstructs.cli.processes import LocalCluster

MEMBER = (sys.executable, str(Path(__file__).parent.parent / "support" / "odd_member.py"))
"""Members whose clocks are hours apart."""
COMPACTING = {"snapshot_log_entries": 400, "log_keep_bytes": 4000, "chunk_bytes": 8192}

pytestmark = pytest.mark.timeout(120 + 60 * ROUNDS)


def test_histories_hold_when_members_are_killed(tmp_path):
    with LocalCluster(
        3, objects=OBJECTS, command=MEMBER, data_dir=tmp_path, config=CONFIG | COMPACTING
    ) as cluster:
        campaign = Campaign(cluster, tmp_path / "history")
        campaign.start()
        for _ in range(ROUNDS):
            for fault in ("leader", "random", "majority", "all"):
                campaign.progress(150)
                members = campaign.random.sample(list(cluster), 3)
                if fault == "leader":
                    members = [cluster.wait_leader()]
                campaign.kill(members[: {"random": 1, "majority": 2}.get(fault, 3)])
                if len(cluster.alive) == 2:
                    campaign.progress(60)
                campaign.start()
        campaign.finish()


def test_histories_hold_when_members_are_stopped_and_go_on(tmp_path):
    with LocalCluster(3, objects=OBJECTS, command=MEMBER, config=CONFIG) as cluster:
        campaign = Campaign(cluster, tmp_path / "history")
        campaign.start()
        for _ in range(ROUNDS):
            for count in (1, 1, 2, 3):
                campaign.progress(150)
                leader = cluster.wait_leader()
                others = [member for member in cluster if member is not leader]
                stopped = [leader, *others][:count]
                for member in stopped:
                    member.pause()
                if count == 1:
                    # Long enough for another leader, and calls that the old one knows nothing of.
                    campaign.progress(30, on=others)
                for member in stopped:
                    member.resume()
        campaign.finish()


@contextmanager
def linked_cluster(tmp_path):
    """Yield a campaign on three members in memory and the proxies between them."""
    config = CONFIG | {"connect_timeout": 0.6, "reconnect_interval_max": 0.2}
    with LocalCluster(3, objects=OBJECTS, command=MEMBER, config=config) as cluster:
        campaign = Campaign(cluster, tmp_path / "history")
        with route_through(cluster, seed=campaign.seed) as proxies:
            campaign.start()
            yield campaign, proxies
            proxies.heal()
            campaign.finish()


def flows_of(proxies, member, way):
    """Return the flows out of a member, into it, or both."""
    all_members = list(proxies.routes)
    out = proxies.flows([member.address], all_members)
    into = proxies.flows(all_members, [member.address])
    return {"out": out, "in": into, "both": out + into}[way]


def test_histories_hold_over_slow_links(tmp_path):
    with linked_cluster(tmp_path) as (campaign, proxies):
        everybody = list(proxies.routes)
        for _ in range(ROUNDS):
            campaign.progress(100)
            # Longer than the election timeout, and only from the leader to the others.
            leader = campaign.cluster.wait_leader()
            proxies.delay(flows_of(proxies, leader, "out"), 0.7, 0.2)
            campaign.wait_other_leader(leader)
            campaign.progress(40)
            proxies.delay(proxies.flows(everybody, everybody), 0.02, 0.06)
            campaign.progress(60)
            proxies.heal()


@pytest.mark.parametrize("fault", ["stall", "swallow"])
@pytest.mark.parametrize("way", ["out", "in", "both"])
def test_histories_hold_over_half_open_links(tmp_path, way, fault):
    with linked_cluster(tmp_path) as (campaign, proxies):
        for _ in range(ROUNDS):
            campaign.progress(60)
            leader = campaign.cluster.wait_leader()
            others = [member for member in campaign.cluster if member is not leader]
            getattr(proxies, fault)(flows_of(proxies, leader, way))
            campaign.wait_other_leader(leader)
            campaign.progress(40, on=others)
            proxies.heal()
            campaign.progress(20, on=[leader])


def test_histories_hold_over_links_that_break_anywhere(tmp_path):
    with linked_cluster(tmp_path) as (campaign, proxies):
        everybody = list(proxies.routes)
        for _ in range(4 * ROUNDS):
            campaign.progress(40)
            proxies.truncate(campaign.random.sample(proxies.flows(everybody, everybody), 3))
            campaign.progress(20)
            proxies.reset(campaign.random.sample(proxies.flows(everybody, everybody), 2))
            campaign.progress(20)
            proxies.reset(proxies.flows(everybody, everybody))
        assert proxies.counts["truncated"] >= ROUNDS


def test_histories_hold_when_connections_overtake_one_another(tmp_path):
    with linked_cluster(tmp_path) as (campaign, proxies):
        everybody = list(proxies.routes)
        for _ in range(2 * ROUNDS):
            campaign.progress(40)
            proxies.hold(proxies.flows(everybody, everybody))
            proxies.reset(proxies.flows(everybody, everybody))
            # Until each member has dialled again and again, and none of it was heard.
            wait_until(lambda: proxies.held() >= 9, "dialling")
            assert proxies.release() >= 9
            proxies.heal()
        assert proxies.counts["reordered"] > 0
