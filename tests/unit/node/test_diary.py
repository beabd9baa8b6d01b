"""The log of a node tells who leads and who the members are."""

import logging
import re
from pathlib import Path

import syncstructs
from syncstructs import ReplCounter
from syncstructs.testing import Simulation

ROOT = Path(__file__).parents[3]


def lines(caplog, pattern):
    texts = [r.getMessage() for r in caplog.records if r.name == "syncstructs.node"]
    return [text for text in texts if re.search(pattern, text)]


def test_a_change_of_leader_is_told_once_by_each_member(caplog):
    caplog.set_level(logging.INFO, "syncstructs.node")
    cluster = Simulation(3, {"hits": ReplCounter})
    cluster.start()
    cluster.settle()
    first = cluster.leader()
    term = cluster.node(first).status()["term"]
    assert lines(caplog, f"^{first} leads in term {term}$") == [f"{first} leads in term {term}"]
    hits = cluster.objects(first)["hits"]
    for other in {"n1:1", "n2:1", "n3:1"} - {first}:
        assert len(lines(caplog, f"^{other} follows {first} in term {term}$")) == 1
    cluster.await_all([hits.inc.submit() for _ in range(50)])
    cluster.run(2.0)
    told = len(caplog.records)
    cluster.await_all([hits.inc.submit() for _ in range(50)])
    cluster.run(2.0)
    assert len(caplog.records) == told, "nothing has changed"
    cluster.crash(first)
    cluster.run(5.0)
    second = cluster.leader()
    assert second != first
    assert len(lines(caplog, f"^{second} leads in term")) == 1
    assert lines(caplog, f"^{second} knows no leader any more")
    cluster.end()


def test_a_change_of_members_is_told(caplog):
    caplog.set_level(logging.INFO, "syncstructs.node")
    cluster = Simulation(3, {"hits": ReplCounter})
    cluster.start()
    cluster.settle()
    assert len(lines(caplog, "the voters are n1:1, n2:1, n3:1$")) == 3, "they founded it"
    leader = cluster.leader()
    gone = min({"n1:1", "n2:1", "n3:1"} - {leader})
    left = sorted({"n1:1", "n2:1", "n3:1"} - {gone})
    cluster.await_all([cluster.node(leader).remove_member.submit(gone)])
    assert lines(caplog, f"^{leader}: the voters are {', '.join(left)}$")
    cluster.end()


def test_the_readme_names_every_logger():
    named = set()
    for path in Path(syncstructs.__file__).parent.rglob("*.py"):
        found = re.findall(r"getLogger\(\"syncstructs\.([\w.]+)\"\)", path.read_text("utf-8"))
        named.update(found)
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    [told] = re.findall(r"is logged under (.*?);", readme)
    known = re.findall(r"`(?:syncstructs)?\.([\w.]+)`", told)
    assert sorted(known) == sorted(named)
