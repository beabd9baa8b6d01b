"""The simulated network when peers change: who is linked, who hears of it, and always the same."""

from functools import partial
from random import Random

import pytest

from syncstructs.config import Config
from syncstructs.testing.hosts import Host, Watcher
from syncstructs.testing.plans import draw_plan
from syncstructs.testing.runs import Run
from syncstructs.testing.schedule import Schedule
from syncstructs.testing.simnet import SimNetwork

A, B, C = "a:1", "b:1", "c:1"
framed_or_not = pytest.mark.parametrize(
    "framing", [False, True, "sealed"], ids=["payloads", "framing", "sealed"]
)


class Lan:
    """Machines without nodes: their links are told and asked by hand."""

    def __init__(self, *addresses, framing=False, seed=1):
        self.schedule = Schedule()
        self.network = SimNetwork(self.schedule, Random(seed), framing=bool(framing))
        password = "known to all who read this" if framing == "sealed" else None
        self.config = Config(password=password)
        self.events = []
        self.links = {}
        self.hosts = {
            address: Host(
                address,
                number=number,
                schedule=self.schedule,
                network=self.network,
                random=Random(number),
                watcher=Watcher(),
                disk=None,
            )
            for number, address in enumerate(addresses, 1)
        }

    def start(self, address, *peers):
        life = self.hosts[address].boot()
        note = self.events.append
        links = self.links[address] = life.network(
            address=address,
            peers=peers,
            config=self.config,
            incarnation=life.id,
            on_frames=lambda peer, payloads: [
                note((address, "frame", peer, payload)) for payload in payloads
            ],
            on_link_up=lambda peer: note((address, "up", peer)),
            on_link_down=lambda peer: note((address, "down", peer)),
        )
        with pytest.raises(StopIteration):
            links.start().send(None)
        return links

    def run(self, seconds=5.0):
        self.schedule.run(self.schedule.now + seconds)

    def of(self, address, peer):
        """Return what a machine has heard of another one."""
        return [event[1] for event in self.events if (event[0], event[2]) == (address, peer)]

    def exchange(self, one, other):
        before = len(self.events)
        assert self.links[one].send(other, b"there")
        assert self.links[other].send(one, b"back")
        self.run(1.0)
        assert sorted(self.events[before:]) == sorted(
            [(other, "frame", one, b"there"), (one, "frame", other, b"back")]
        )


@framed_or_not
@pytest.mark.parametrize(("wanting", "other"), [(A, B), (B, A)])
@pytest.mark.parametrize("wanting_is_first", [False, True])
def test_one_side_that_wants_a_link_is_enough_whoever_comes_last(
    wanting, other, wanting_is_first, framing
):
    lan = Lan(A, B, framing=framing)
    for address in (wanting, other) if wanting_is_first else (other, wanting):
        lan.start(address, *((other,) if address == wanting else ()))
        lan.run()
    assert lan.links[wanting].links() == (other,)
    assert lan.links[wanting].guests() == ()
    assert lan.links[other].links() == ()
    assert lan.links[other].guests() == (wanting,)
    lan.exchange(wanting, other)
    assert lan.of(wanting, other)[:1] == lan.of(other, wanting)[:1] == ["up"]


@framed_or_not
def test_a_peer_that_is_added_later_is_linked_and_guests_become_peers_without_up_or_down(framing):
    lan = Lan(A, B, framing=framing)
    one, other = lan.start(A), lan.start(B)
    lan.run()
    assert lan.events == []
    one.set_peers([A, B])
    lan.run()
    assert (one.links(), other.guests()) == ((B,), (A,))
    other.set_peers([A])
    assert (other.links(), other.guests()) == ((A,), ())
    lan.run()
    one.set_peers([])
    assert (one.links(), one.guests()) == ((), (B,))
    lan.exchange(A, B)
    assert lan.of(A, B) == lan.of(B, A) == ["up", "frame"]


@framed_or_not
def test_the_link_of_a_removed_peer_stays_until_its_end_and_nobody_restores_it(framing):
    lan = Lan(A, B, framing=framing)
    lan.start(A, B).set_peers([B])
    lan.start(B, A)
    lan.run()
    for links in lan.links.values():
        links.set_peers([])
    lan.run()
    lan.exchange(A, B)
    lan.network.reset(A, B)
    lan.run(60.0)
    assert lan.of(A, B) == lan.of(B, A) == ["up", "frame", "down"]
    assert lan.links[A].guests() == lan.links[B].guests() == ()
    assert len(lan.schedule) == 0, "somebody still tries"


@framed_or_not
def test_a_removed_peer_that_wants_a_link_has_it_restored(framing):
    lan = Lan(A, B, framing=framing)
    one = lan.start(A, B)
    lan.start(B, A)
    lan.run()
    one.set_peers([])
    lan.network.reset(A, B)
    lan.run()
    assert lan.of(A, B) == lan.of(B, A) == ["up", "down", "up"]
    assert one.guests() == (B,)


@framed_or_not
@pytest.mark.parametrize("silently", [False, True])
def test_a_guest_that_restarts_is_linked_anew_if_either_wants_it(silently, framing):
    for guest_wants in (True, False):
        lan = Lan(A, B, framing=framing)
        lan.start(A, *(() if guest_wants else (B,)))
        for _ in range(3):
            lan.start(B, *((A,) if guest_wants else ()))
            lan.run()
            assert B in (*lan.links[A].links(), *lan.links[A].guests())
            lan.hosts[B].crash(silently=silently)
            lan.run()
        ups_and_downs = ["up", "down"] * 3
        assert lan.of(A, B) == (ups_and_downs[:-1] if silently else ups_and_downs)


@framed_or_not
def test_the_end_of_a_guest_that_vanished_is_heard_when_it_is_back_though_nobody_wants_it(framing):
    lan = Lan(A, B, framing=framing)
    one = lan.start(A, B)
    lan.start(B)
    lan.run()
    one.set_peers([])
    lan.hosts[B].crash(silently=True)
    lan.run()
    assert one.guests() == (B,)
    lan.start(B)
    lan.run()
    assert lan.of(A, B) == ["up", "down"]
    assert one.guests() == ()


@framed_or_not
def test_a_peer_that_is_removed_before_the_link_is_up_is_not_linked(framing):
    for pause in (0.0, 0.001, 0.005, 0.01, 0.02):
        lan = Lan(A, B, framing=framing, seed=7)
        one = lan.start(A, B)
        lan.start(B)
        if pause:
            is_dialled = partial(bool, one.connections)
            assert lan.schedule.run_until(is_dialled, lan.schedule.now + 60)
        lan.run(pause)
        was_up = B in one.guests() or B in one.links()
        one.set_peers([])
        lan.run()
        assert (B in one.guests()) == was_up
        assert lan.of(A, B) == ["up"] * was_up
        assert lan.of(B, A) in ([], ["up", "down"], ["up"])
        assert (lan.of(B, A) == ["up"]) == was_up


def test_a_cut_ends_and_only_those_that_are_wanted_still_are_linked():
    lan = Lan(A, B, C)
    one = lan.start(A, B, C)
    lan.network.cut_off(A)
    for other in (B, C):
        lan.start(other)
        lan.network.cut(A, other)
    lan.run()
    one.set_peers([C])
    lan.run()
    assert lan.events == []
    lan.network.heal_all()
    lan.run()
    assert one.links() == (C,)
    assert one.guests() == ()


def test_peers_set_before_the_start_and_after_the_end_disturb_nothing():
    lan = Lan(A, B)
    life = lan.hosts[A].boot()
    links = life.network(
        address=A, peers=[B], config=Config(), incarnation=1,
        on_frames=print, on_link_up=print, on_link_down=print,
    )  # fmt: skip
    links.set_peers([C])
    assert len(lan.schedule) == 0
    links.die(silently=False)
    links.set_peers([B])
    assert len(lan.schedule) == 0


def test_the_same_seed_makes_the_same_run():
    def run(seed):
        lan = Lan(A, B, C, seed=seed)
        random = Random(5)
        for address in (A, B, C):
            lan.start(address)
        for _ in range(200):
            lan.links[random.choice((A, B, C))].set_peers(random.sample((A, B, C), 2))
            lan.run(0.01)
            for address, links in lan.links.items():
                for peer in (*links.links(), *links.guests()):
                    links.send(peer, address.encode())
        return lan.events, lan.network.trace, lan.schedule.event_count

    first = run(1)
    assert first == run(1)
    assert first != run(2)
    assert len(first[0]) > 100


def test_what_is_sent_over_sealed_links_arrives_and_is_the_same_in_every_run():
    traces = []
    for _ in range(2):
        lan = Lan(A, B, framing="sealed")
        one, other = lan.start(A, B), lan.start(B, A)
        lan.run()
        sent = [b"%d" % number * 1000 for number in range(20)]
        assert all(one.send(B, payload) and other.send(A, payload) for payload in sent)
        lan.run()
        for there, back in ((A, B), (B, A)):
            frames = [e[3] for e in lan.events if e[:3] == (there, "frame", back)]
            assert frames == sent
        assert all(c._links[A]._session for c in one.connections.values())
        traces.append((lan.network.trace, lan.schedule.now))
    assert traces[0] == traces[1]


def test_now_and_then_the_nodes_of_a_plan_have_a_password_and_its_runs_are_as_all():
    plans = (draw_plan(seed) for seed in range(10_000))
    plan = next(plan for plan in plans if plan.settings.get("password") and plan.chaos < 10)
    assert plan.framing
    runs = [Run(plan), Run(plan)]
    for run in runs:
        run.go()
    assert runs[0].simulation.network.trace == runs[1].simulation.network.trace
