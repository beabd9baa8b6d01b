"""The one command: its rows, its rounds, and what it does about what is not there."""

import json

import compare
import pytest
import servers
import systems
from grpc_client import Connection, field, frame
from rows import BEFORE, BEST_OF, FLOOR, OURS, PYSYNCOBJ, REDIS, Group, Options, Row, versus

from syncstructs.cli.processes import MemberGone

ROW = Row("row", "a row", "ops/s", "more", versus(FLOOR, 0.5))
OPTIONS = Options(rounds=3, seconds=0.1)


def test_rows_have_names_of_their_own_and_goals_against_somebody_measured():
    names = [row.name for group in compare.GROUPS for row in group.rows]
    assert len(names) == len(set(names))
    for group in compare.GROUPS:
        assert group.systems[0] == OURS
        for row in group.rows:
            for against in (*(goal.against for goal in row.goals), *row.also):
                if against is not None:
                    assert set(BEST_OF.get(against, (against,))) & set(group.systems), row.name


def test_each_round_measures_all_in_turn(monkeypatch):
    monkeypatch.setitem(compare.ROWS, "row", ROW)
    order = []

    def measure(system, rows, options):
        order.append(system)
        return {"row": {"value": float(len(order))}, "not asked for": {"value": 1.0}}

    group = Group((ROW,), (OURS, BEFORE, FLOOR, PYSYNCOBJ), measure)
    [found] = compare.run_group(group, ["row"], [OURS, FLOOR, PYSYNCOBJ], OPTIONS, [])
    assert order == [OURS, FLOOR, PYSYNCOBJ, FLOOR, PYSYNCOBJ, OURS, PYSYNCOBJ, OURS, FLOOR]
    assert found["systems"][OURS]["values"] == [1.0, 6.0, 8.0]
    assert found["systems"][FLOOR]["median"] == 4.0


def test_what_never_works_is_told_and_left_out(monkeypatch, capsys):
    monkeypatch.setitem(compare.ROWS, "row", ROW)

    def measure(system, rows, options):
        if system == FLOOR:
            raise MemberGone("it went away")
        return {"row": {"value": 1.0}}

    failures: list[str] = []
    group = Group((ROW,), (OURS, FLOOR), measure)
    [found] = compare.run_group(group, ["row"], [OURS, FLOOR], OPTIONS, failures)
    assert len(failures) == compare.ATTEMPTS * OPTIONS.rounds
    assert list(found["systems"]) == [OURS]
    assert found["verdicts"][0]["met"] is None
    assert "floor, row, attempt 3: it went away" in capsys.readouterr().err


def test_peers_that_are_not_installed_are_left_out_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(servers.shutil, "which", lambda name: None)
    monkeypatch.setattr(systems, "find_spec", lambda name: None)
    here, left_out = compare.present([OURS, f"{OURS} variant", FLOOR, PYSYNCOBJ, REDIS])
    assert here == [OURS, f"{OURS} variant", FLOOR]
    assert left_out == {
        PYSYNCOBJ: "the package pysyncobj is not installed",
        REDIS: "no redis-server on the PATH",
    }


@pytest.mark.parametrize(("theirs", "status"), [(1.0, 0), (4.0, 1)])
def test_figures_are_written_and_drawn_and_what_is_missed_fails_if_asked(
    monkeypatch, capsys, tmp_path, theirs, status
):
    row = Row("leader-1024", "calls", "ops/s", "more", versus(FLOOR, 0.5))

    def measure(system, rows, options):
        assert options.rounds == 1
        return {"leader-1024": {"value": 1.0 if system == OURS else theirs}}

    monkeypatch.setattr(compare, "GROUPS", (Group((row,), (OURS, FLOOR), measure),))
    file, chart = tmp_path / "figures.json", tmp_path / "chart.svg"
    arguments = ["--only", "leader-1024", "--rounds", "1", "--json", str(file)]
    assert compare.main([*arguments, "--chart", str(chart), "--strict"]) == status
    found = json.loads(file.read_text())
    assert found["rows"][0]["ratios"][FLOOR]["ratio"] == 1.0 / theirs
    assert chart.read_text().startswith("<svg ")
    assert "calls" in capsys.readouterr().out


def test_rows_of_before_are_kept_if_asked_and_each_has_its_place(monkeypatch, capsys, tmp_path):
    rows = [Row(name, name, "ops/s", "more") for name in ("leader-64", "cpu", "idle")]
    values = iter([1.0, 2.0, 3.0])

    def measure(system, wanted, options):
        return {row: {"value": next(values)} for row in wanted}

    monkeypatch.setattr(compare, "GROUPS", (Group(tuple(rows), (OURS,), measure),))
    monkeypatch.setattr(compare, "ROWS", {row.name: row for row in rows})
    file = tmp_path / "figures.json"
    for name in ("idle", "leader-64", "idle"):
        compare.main(["--only", name, "--rounds", "1", "--json", str(file), "--keep"])
    found = {
        row["name"]: row["systems"][OURS]["median"] for row in json.loads(file.read_text())["rows"]
    }
    assert found == {"leader-64": 2.0, "idle": 3.0}
    assert list(found) == ["leader-64", "idle"]
    assert "leader-64" in capsys.readouterr().out


def test_keeping_needs_a_file():
    with pytest.raises(SystemExit, match="--keep needs the file"):
        compare.main(["--only", "idle", "--keep"])


def test_a_tree_is_imported_before_all_others(tmp_path):
    command = systems.of_tree(BEFORE, str(tmp_path)).command
    assert command[1].startswith(f"PYTHONPATH={tmp_path}")


# The client of etcd


@pytest.fixture
def wire():
    """A connection, and the other end of it."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(listener.getsockname()[1])
        server, _ = listener.accept()
    yield connection, server
    connection.socket.close()
    server.close()


def frames_in(stream):
    found = []
    while stream:
        end = 9 + int.from_bytes(stream[:3], "big")
        found.append((stream[3], stream[4], int.from_bytes(stream[5:9], "big"), stream[9:end]))
        stream = stream[end:]
    return found


def test_calls_are_sent_and_end_with_their_answers_however_these_are_torn(wire):
    connection, server = wire
    ended = []
    connection.put("k", b"v", lambda error: ended.append(("first", error)))
    connection.put("k", b"v" * 200, lambda error: ended.append(("second", error)))
    connection.flush()
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    sent = server.recv(65_536)
    assert sent.startswith(preface)
    frames = frames_in(sent[len(preface) :])
    assert [(kind, stream) for kind, _, stream, _ in frames] == [
        (4, 0), (8, 0), (1, 1), (0, 1), (1, 3), (0, 3),
    ]  # fmt: skip
    assert frames[3][3] == b"\x00\x00\x00\x00\x06\x0a\x01k\x12\x01v"
    assert frames[5][3][5:] == b"\x0a\x01k\x12\xc8\x01" + b"v" * 200
    answer = (
        frame(4, 0, 0, b"")
        + frame(6, 0, 0, b"12345678")
        + frame(1, 4, 3, b"\x88")
        + frame(0, 0, 3, b"\x00" * 5)
        + frame(1, 5, 3, b"\x88")
        # An error: it ends without an answer.
        + frame(1, 5, 1, b"\x88")
    )
    for byte in answer:
        server.sendall(bytes([byte]))
        connection.pump()
    assert ended == [("second", None), ("first", "etcd refused the call")]
    connection.flush()
    assert frames_in(server.recv(65_536)) == [(4, 1, 0, b""), (6, 1, 0, b"12345678")]


def test_no_more_is_sent_than_the_server_grants(wire):
    connection, server = wire
    for _ in range(8):
        connection.put("k", b"v" * 10_000, lambda error: None)
    held = len(connection._held)
    assert held == 2
    server.sendall(frame(8, 0, 0, (10_100).to_bytes(4, "big")))
    connection.pump()
    assert len(connection._held) == held - 1


def test_what_is_granted_again_is_what_was_counted(wire):
    connection, server = wire
    begun = connection._window
    connection.put("k", b"v" * 100, lambda error: None)
    connection.flush()
    payload = frames_in(server.recv(65_536)[len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") :])[-1][3]
    assert connection._window == begun - len(payload)
    server.sendall(frame(8, 0, 0, len(payload).to_bytes(4, "big")))
    connection.pump()
    assert connection._window == begun


def test_lengths_of_fields_are_as_protobuf_has_them():
    assert field(1, b"x" * 127)[:2] == b"\x0a\x7f"
    assert field(2, b"x" * 128)[:3] == b"\x12\x80\x01"
    assert field(2, b"x" * 300)[:3] == b"\x12\xac\x02"
