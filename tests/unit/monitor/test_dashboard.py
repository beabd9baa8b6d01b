"""The dashboard of the examples asks for metrics that exist."""

import json
import re
from pathlib import Path

from syncstructs import ReplDict
from syncstructs.monitor import render
from syncstructs.testing import Simulation

BOARD = Path(__file__).parents[3] / "examples" / "grafana" / "syncstructs.json"


def expressions(part):
    """Return all queries in a dashboard, wherever they stand."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(part, list):
        for one in part:
            yield from expressions(one)


def test_every_metric_of_the_dashboard_is_one_that_a_node_tells():
    cluster = Simulation(1, {"users": ReplDict})
    cluster.start()
    cluster.settle()
    status = cluster.node(cluster.leader()).status()
    status["disk"] = dict.fromkeys(
        ("append_count", "append_time", "append_time_last", "append_time_recent",
         "append_time_max"), 1,
    )  # fmt: skip
    told = set(re.findall(r"^(\w+)", render(status), re.MULTILINE))
    cluster.end()
    asked = set()
    for expression in expressions(json.loads(BOARD.read_text(encoding="utf-8"))):
        asked |= set(re.findall(r"\bsyncstructs_\w+", expression))
    assert len(asked) > 12
    assert asked <= told, asked - told


def test_the_panels_do_not_cover_each_other():
    panels = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
