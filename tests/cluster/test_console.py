"""The command line against a running cluster."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from syncstructs import Node, NodeRemoved, ReplDict
from syncstructs.cli import screen, top
from syncstructs.cli.console import AnyOf, Console, ConsoleError
from syncstructs.cli.main import main
from syncstructs.cli.pictures import (
    Rates,
    headline,
    largest_objects,
    leader_of,
    rows,
    statuses,
)
from syncstructs.cli.processes import free_addresses
from syncstructs.net.frames import frame_header
from syncstructs.net.hello import encode_refusal
from syncstructs.raft.messages import Answer, Inquiry
from syncstructs.raft.wire import decode, encode


@pytest.fixture(scope="module")
def nodes():
    addresses = free_addresses(3)
    made = [Node(a, addresses, consumers={"users": ReplDict()}) for a in addresses]
    for node in made:
        node.barrier(30)
    made[0].objects["users"]["ann"] = 7
    yield {node.address: node for node in made}
    for node in made:
        node.close()


@pytest.fixture
def anybody(nodes):
    return next(iter(nodes))


def command(*arguments):
    return main([str(argument) for argument in arguments])


def test_status_shows_all_members_whoever_is_asked(nodes, capsys):
    for address, node in nodes.items():
        assert command("status", "--node", address) == 0
        shown = capsys.readouterr().out
        assert f"led by {node.leader}, term {node.status()['term']}; 3 of 3 members answer" in shown
        for member in nodes:
            role = "leader" if member == node.leader else "follower"
            assert re.search(rf"^{re.escape(member)} +{role} ", shown, re.MULTILINE)
        assert command("status", "--node", address, "--json") == 0
        seen = json.loads(capsys.readouterr().out)
        assert seen["asked"] == address
        assert {a: s["address"] for a, s in seen["members"].items()} == {a: a for a in nodes}


def test_of_several_nodes_the_first_that_is_there_is_asked(nodes, anybody, capsys):
    [nobody] = free_addresses(1)
    assert command("status", "--node", f"{nobody},{anybody}", "--json") == 0
    assert json.loads(capsys.readouterr().out)["asked"] == anybody
    assert command("status", "--node", nobody) == 1
    assert f"{nobody} cannot be reached: Connection refused" in capsys.readouterr().err


def test_a_console_is_a_guest_that_changes_nothing_by_being_there(nodes, anybody):
    before = nodes[anybody].status()
    with Console(anybody, cluster="syncstructs") as console:
        for _ in range(5):
            assert console.ask("status", {}, 5.0)["address"] == anybody
        assert nodes[anybody].status()["members"] == before["members"]
        assert len(nodes[anybody]._engine._network.guests()) == 1
    after = nodes[anybody].status()
    assert (after["term"], after["leader"]) == (before["term"], before["leader"])


def test_members_come_and_go_by_command(nodes, anybody, capsys):
    [address] = free_addresses(1)
    newcomer = Node(address, [anybody], join=True, consumers={"users": ReplDict()})
    assert command("members", "add", address, "--node", anybody) == 0
    assert re.search(rf"^{address} +voter$", capsys.readouterr().out, re.MULTILINE)
    assert newcomer.objects["users"] == {"ann": 7}
    assert command("members", "--node", anybody, "--json") == 0
    assert json.loads(capsys.readouterr().out)["voters"] == sorted([*nodes, address])
    assert command("members", "set", *nodes, "--node", anybody, "--json") == 0
    assert json.loads(capsys.readouterr().out)["voters"] == sorted(nodes)
    newcomer._engine.closed.result(30)
    assert isinstance(newcomer._engine.failure, NodeRemoved)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["remove"], "needs at least one HOST:PORT"),
        (["list", "127.0.0.1:1"], "takes no address"),
    ],
)
def test_members_is_told_what_it_needs(anybody, arguments, why, capsys):
    with pytest.raises(SystemExit) as ended:
        command("members", *arguments, "--node", anybody)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_the_last_members_cannot_be_removed(nodes, anybody, capsys):
    assert command("members", "remove", *nodes, "--node", anybody) == 1
    assert "MembershipRefused: the cluster would have 0 members" in capsys.readouterr().err


def test_leadership_is_handed_over_by_command(nodes, anybody, capsys):
    leader = nodes[anybody].leader
    other = next(address for address in nodes if address != leader)
    assert command("transfer", "--to", other, "--node", anybody) == 0
    assert f"{other} leads" in capsys.readouterr().out
    assert command("transfer", "--to", "127.0.0.1:1", "--node", anybody) == 1
    assert "MembershipRefused: 127.0.0.1:1 has no vote" in capsys.readouterr().err


def test_a_snapshot_is_taken_on_each_node_that_is_named(nodes, capsys):
    some = list(nodes)[:2]
    assert command("snapshot", "--node", ",".join(some), "--json") == 0
    taken = json.loads(capsys.readouterr().out)
    assert sorted(taken) == sorted(some)
    for address, index in taken.items():
        assert nodes[address].status()["snapshot_index"] >= index > 0


def test_the_version_is_that_of_each_member_and_set_only_if_all_know_it(nodes, anybody, capsys):
    assert command("version", "--node", anybody, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told) == sorted(nodes)
    status = nodes[anybody].status()
    for name in ("release", "protocol", "version"):
        assert told[anybody][name] == status[name]
    assert command("version", "--set", "1", "--node", anybody) == 0
    assert command("version", "--set", "2", "--node", anybody) == 1
    assert "version 2 is not known to" in capsys.readouterr().err


def test_another_cluster_is_refused_with_a_sentence(anybody, capsys):
    assert command("status", "--node", anybody, "--cluster", "elsewhere") == 1
    assert "is of cluster 'elsewhere'" in capsys.readouterr().err


def test_an_unknown_verb_and_an_operation_that_takes_too_long_are_told(nodes, anybody):
    with Console(anybody, cluster="syncstructs") as console:
        with pytest.raises(ConsoleError, match="'destroy' is unknown to this node; it knows"):
            console.ask("destroy", {}, 5.0)
        # Nobody is there: it stays a learner, and the wait ends.
        [nobody] = free_addresses(1)
        with pytest.raises(ConsoleError, match=r"Timeout: .*the change goes on"):
            console.ask("add", {"addresses": [nobody]}, 0.3)
        console.ask("remove", {"addresses": [nobody]}, 20.0)
    assert sorted(nodes[anybody].members) == sorted(nodes)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"], ["status", "--node", "nowhere"], ["status", "--node", "a:1", "--timeout", "0"],
        ["members", "grow", "--node", "a:1"], ["top", "--node", "a:1", "--interval", "0"],
        ["top", "--node", "a:1", "--interval", "nan"], ["top", "--node", "a:1", "--count", "-1"],
        ["top", "--node", "a:1", "--count", "x"], ["status", "--node", "a:1", "--timeout", "x"],
        ["inspect", "nowhere", "--entries", "-1"],
    ],
)  # fmt: skip
def test_wrong_usage_gives_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command(*arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "usage:" in shown
    assert "invalid" not in shown.replace("invalid choice", ""), "names of our functions"


# Somebody who is no node, or a bad one


class Impostor:
    """Listens as a node, and sends what it is told to whoever connects."""

    def __init__(self, words, *, keep_open=False):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._words, self._keep_open, self._open = words, keep_open, []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            stream.recv(1)
            stream.sendall(self._words)
            self._open.append(stream)
            if not self._keep_open:
                stream.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for stream in self._open:
            stream.close()


def framed_refusal(reason):
    payload = encode_refusal(reason)
    return frame_header(payload) + payload


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"", "has closed the link"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "part: "),
        (b"\xff" * 4096, "part: "),
        (framed_refusal("go away"), "go away"),
        (framed_refusal("go\naway"), "this console part: go away$"),
    ],
)
def test_who_is_no_node_is_told_as_such(words, why):
    with Impostor(words) as impostor, pytest.raises(ConsoleError, match=why):
        Console(impostor.address, cluster="c", timeout=5.0)


def test_who_says_nothing_is_waited_for_as_long_as_was_said():
    late = pytest.raises(ConsoleError, match="has not answered the greeting")
    with Impostor(b"", keep_open=True) as impostor, late:
        Console(impostor.address, cluster="c", timeout=0.2)


class FakeLink:
    """In place of a link that is up: answers with what the test wants, among other frames."""

    limit_bytes = 10_000

    def __init__(self):
        self.asked = []

    def frames(self, payloads):
        self.asked += map(decode, payloads)
        return b"".join(payloads)


class FakeSocket:
    def settimeout(self, seconds):
        assert seconds > 0

    def sendall(self, words):
        pass

    def close(self):
        pass


@pytest.fixture
def console(monkeypatch):
    made = Console.__new__(Console)
    made.address = "n1:1"
    made._ids = iter(range(5, 100))
    made._frames = []
    made._link, made._socket = FakeLink(), FakeSocket()
    return made


def answer_with(console, *messages):
    def read(deadline, late):
        console._frames.extend(m if isinstance(m, bytes) else encode(m) for m in messages)

    console._read = read


def test_only_the_answer_to_what_was_asked_counts(console):
    answer_with(
        console, b"\x00junk", Inquiry(5, "status", b"{}"), Answer(4, True, b'"old"'),
        Answer(5, True, b'{"a": 1}'), Answer(5, True, b'"twice"'),
    )  # fmt: skip
    assert console.ask("status", {"sizes": True}, 3.0) == {"a": 1}
    [inquiry] = console._link.asked
    assert (inquiry.id, inquiry.verb) == (5, "status")
    assert json.loads(inquiry.arguments) == {"sizes": True, "timeout": 3.0}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(5, False, b'{"error": "Busy", "message": "later"}'), "Busy: later"),
        (Answer(5, False, b"[]"), "an error: no reason"),
        (Answer(5, True, b"{"), "what is no JSON"),
        (Answer(5, True, b"\xff"), "what is no JSON"),
        (Answer(5, True, b"[" * 100_000), "what is no JSON"),
    ],
)
def test_an_answer_that_is_none_is_told(console, answer, why):
    answer_with(console, answer)
    with pytest.raises(ConsoleError, match=why):
        console.ask("status", {}, 3.0)


def test_what_changes_something_is_asked_once_and_what_looks_of_all(monkeypatch):
    asked = []

    class Failing:
        def __init__(self, address, *, cluster, credentials):
            self.address = address

        def ask(self, verb, arguments, timeout):
            asked.append((self.address, verb))
            raise ConsoleError("the link broke")

        def close(self):
            pass

    monkeypatch.setattr("syncstructs.cli.console.Console", Failing)
    several = AnyOf(["a:1", "b:1"], cluster="c")
    with pytest.raises(ConsoleError):
        several.ask("add", {}, 1.0)
    assert asked == [("a:1", "add")]
    asked.clear()
    with pytest.raises(ConsoleError):
        several.look("cluster", {}, 1.0)
    assert asked == [("a:1", "cluster"), ("b:1", "cluster")]


# Pictures


@pytest.mark.parametrize(
    "seen",
    [
        {}, {"members": None}, {"members": {"a:1": {"term": "x"}}}, {"members": {"a:1": []}},
        {"members": {"\x1b[2J": None}},
    ],
)  # fmt: skip
def test_nonsense_is_shown_as_no_answer_and_steers_no_terminal(seen):
    assert statuses(seen) == {}
    assert leader_of(seen) is None
    shown = "\n".join([headline(seen), *(line for line, _ in rows(seen, {}))])
    assert "NO LEADER" in shown
    assert "\x1b" not in shown


def test_names_that_steer_a_terminal_are_shown_without_that(nodes, anybody):
    with Console(anybody, cluster="syncstructs") as console:
        seen = console.ask("cluster", {}, 5.0)
    seen["members"][anybody]["cluster"] = "\x1b]0;owned\x07"
    seen["members"][anybody]["failure"] = "line\x1b[2J\nbreak"
    shown = headline(seen) + "".join(line for line, _ in rows(seen, {}))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\n" not in shown
    assert [kind for _, kind in rows(seen, {})].count("silent") == 1


def test_who_has_not_answered_this_leader_lags_nobody_knows_how_far(nodes, anybody):
    with Console(anybody, cluster="syncstructs") as console:
        seen = console.ask("cluster", {}, 5.0)
    leader = leader_of(seen)
    lost, other = [address for address in nodes if address != leader]
    seen["members"][lost] = None
    peers = seen["members"][leader]["peers"]
    peers[lost] |= {"match_index": 0, "lag_entries": 1234}
    peers[other] |= {"match_index": 9, "lag_entries": 5678}
    shown = {line.split()[0]: line for line, _ in rows(seen, None)}
    assert "no answer" in shown[lost]
    assert "1,234" not in shown[lost]
    assert "5,678" in shown[other]


def test_the_headline_counts_observers_and_names_what_differs(nodes, anybody):
    with Node(None, [anybody]) as observer, Console(anybody, cluster="syncstructs") as console:
        observer.barrier(timeout=10)
        seen = console.ask("cluster", {}, 5.0)
    assert headline(seen).endswith("; 3 of 3 members answer; 1 observer")
    seen["members"][leader_of(seen)]["peers"].pop(observer.address)
    assert headline(seen).endswith("; 3 of 3 members answer")
    diverged = {"type": "x", "diverged": {"index": 64, "members": ["a:1"]}}
    seen["members"][anybody]["objects"] = {
        "same": {"type": "x"}, "nonsense": 7, **{f"o{n}\x1b": diverged for n in range(5)},
    }  # fmt: skip
    another = next(address for address in nodes if address != anybody)
    seen["members"][another]["objects"] = None
    shown = headline(seen)
    assert "MEMBERS DIFFER in 'o0" in shown
    assert shown.endswith(" and 2 more")
    assert "\x1b" not in shown


def test_rates_follow_from_two_pictures(nodes, anybody):
    with Console(anybody, cluster="syncstructs") as console:
        seen = console.ask("cluster", {}, 5.0)
    rates = Rates()
    assert rates.take_in(seen, 10.0) == {}
    later = json.loads(json.dumps(seen))
    later["members"][anybody]["applied_commands"] += 500
    assert rates.take_in(later, 12.0)[anybody] == 250.0
    assert list(rates.history) == [250.0]
    # It was started again, without what it had counted.
    again = json.loads(json.dumps(later))
    again["members"][anybody]["applied_commands"] = 1
    assert anybody not in rates.take_in(again, 13.0)


def test_the_largest_objects_are_told_as_the_members_know_them(nodes, anybody):
    seen = AnyOf([anybody], cluster="syncstructs").look("cluster", {}, 5.0)
    told = list(seen["members"].values())
    assert largest_objects(seen, 5) == []
    told[0]["objects"] = {"a\x1b": {"type": "x", "size_bytes": 5}, "b": {"type": "x"}, "c": 5}
    told[1]["objects"] = {"b": {"type": "y", "size_bytes": 2048}, "d": {"size_bytes": "much"}}
    lines = largest_objects(seen, 5)
    assert [line.split() for line in lines] == [
        ["object", "size", "class"], ["b", "2.0", "KiB", "y"], ["a?", "5", "B", "x"],
    ]  # fmt: skip
    assert largest_objects(seen, 1) == lines[:2]
    shown = [line for line, _ in top.picture(seen, Rates(), 0.0, "12:00:00")]
    assert shown[-3:] == lines


def test_top_prints_pictures_without_a_terminal(nodes, anybody, capsys):
    assert command("top", "--node", anybody, "--count", "2", "--interval", "0.1") == 0
    shown = capsys.readouterr().out
    assert shown.count("3 of 3 members answer") == 2
    assert shown.count("commands/s") == 4
    assert "\x1b" not in shown


def test_top_goes_on_when_nobody_answers(capsys):
    [nobody] = free_addresses(1)
    assert command("top", "--node", nobody, "--count", "2", "--interval", "0.1") == 1
    assert capsys.readouterr().out.count("nobody answers") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_top_leaves_a_terminal_as_it_was(anybody, ending, status):
    ours, theirs = os.openpty()
    started = subprocess.Popen(
        [sys.executable, "-m", "syncstructs", "top", "--node", anybody, "--interval", "0.1"],
        stdout=theirs, stderr=subprocess.DEVNULL, env=os.environ | {"TERM": "xterm"},
        preexec_fn=lambda: [
            signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGTERM)
        ],
    )  # fmt: skip
    os.close(theirs)
    shown, asked_to_end = b"", False
    try:
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # EIO: nobody holds the other end any more
                break
            shown += more
            if not asked_to_end and shown.count(b"3 of 3 members answer") >= 2:
                asked_to_end = True
                started.send_signal(ending)
        assert started.wait(30) == status
    finally:
        started.kill()
        os.close(ours)
    assert shown.startswith(screen.BEGIN.encode())
    assert shown.endswith(screen.END.encode())


def on_a_terminal(*arguments, **environment):
    """Run a command on a terminal of its own to its end, and return what it wrote there."""
    ours, theirs = os.openpty()
    started = subprocess.Popen(
        [sys.executable, "-m", "syncstructs", *arguments],
        stdout=theirs, stderr=subprocess.DEVNULL, env=os.environ | environment,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # EIO: nobody holds the other end any more
                break
        assert started.wait(30) == 0
    finally:
        started.kill()
        os.close(ours)
    return shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_top_colours_only_where_that_is_wanted_and_steers_no_terminal_that_cannot_be(anybody):
    top_twice = "top", "--node", anybody, "--count", "2", "--interval", "0.1"
    assert b"\x1b[1;32m" in on_a_terminal(*top_twice, TERM="xterm", NO_COLOR="")
    uncoloured = on_a_terminal(*top_twice, TERM="xterm", NO_COLOR="1")
    assert uncoloured.startswith(screen.BEGIN.encode())
    assert not re.search(rb"\x1b\[[0-9;]*m", uncoloured)
    assert b"\x1b" not in on_a_terminal(*top_twice, TERM="dumb")


def a_status(**changes):
    return {
        "term": 1, "commit_index": 1, "applied_index": 1, "applied_commands": 1, "log_bytes": 1,
        "snapshot_index": 0, "snapshot_bytes": 0, "object_count": 0, "role": "leader", "peers": {},
        "membership": {"voters": [], "learners": [], "outgoing": []}, "release": "0.1.0", **changes,
    }  # fmt: skip


@pytest.mark.parametrize(("encoding", "bar"), [("ascii", "#"), ("latin-1", "#"), ("utf-8", "█")])
def test_what_the_output_has_no_character_for_is_no_traceback(monkeypatch, encoding, bar):
    counts = iter((1, 1001, 2001))
    monkeypatch.setattr(
        AnyOf, "look", lambda *_: {"members": {"a:1": a_status(applied_commands=next(counts))}}
    )
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert command("top", "--node", "a:1", "--count", "3", "--interval", "0.1") == 0
    shown = written.getvalue().decode(encoding)
    assert shown.count("1 of 1 member answer") == 3
    assert f"{bar}\n" in shown
    assert "?:" not in shown


def test_names_that_the_output_has_no_character_for_are_shown_all_the_same(tmp_path):
    [address] = free_addresses(1)
    with Node(address, cluster="Köln", data_dir=str(tmp_path)):
        pass
    done = subprocess.run(
        [sys.executable, "-m", "syncstructs", "inspect", str(tmp_path)],
        capture_output=True, timeout=60, check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"of cluster 'K?ln'" in done.stdout


def test_a_member_that_does_not_answer_is_not_missing_among_the_versions(monkeypatch, capsys):
    seen = {"members": {"a:1": a_status(), "b:1": None}}
    monkeypatch.setattr(AnyOf, "look", lambda *_: seen)
    assert command("version", "--node", "a:1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "member  protocol   release  version",
        "a:1     None       0.1.0    None",
        "b:1     no answer",
    ]
    assert command("version", "--node", "a:1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["b:1"] is None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["top", "--count", "1"]])
def test_an_output_that_is_full_is_no_traceback(anybody, arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "syncstructs", *arguments, "--node", anybody],
            stdout=full, stderr=subprocess.PIPE, timeout=60, check=False, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "syncstructs: the output cannot be written: No space left on device\n"
    )


def test_a_pipe_that_is_closed_is_no_traceback(anybody):
    done = subprocess.run(
        f"{sys.executable} -m syncstructs top --node {anybody} --interval 0.1 | head -1",
        shell=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "members answer" in done.stdout
    assert "Traceback" not in done.stderr


