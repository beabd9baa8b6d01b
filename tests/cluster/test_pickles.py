"""Objects that pickle, on real nodes with a password; and all ways in which they are refused."""

import os
import pickle
from contextlib import ExitStack, suppress

import pytest
from any_things import Money, Trap
from certificates import Authority

from syncstructs import (
    Config,
    ConfigError,
    Conflict,
    Node,
    Pickled,
    ReplCounter,
    ReplDict,
    ReplList,
    ReplQueue,
    SyncObj,
    TooLarge,
)
from syncstructs.cli.processes import free_addresses
from syncstructs.compat import pysyncobj
from syncstructs.objects.versions import RELEASE

PASSWORD = "a password of all nodes"
REFUSED = r"was made with pickle=True, and this node lets in whoever reaches it.*password"
PATIENCE = 20


class Always(ReplDict):
    """Pickles, whoever makes it."""

    def __init__(self, other=()):
        super().__init__(other, pickle=True)


class Holder(SyncObj):
    def __init__(self, address, partners, **config):
        super().__init__(address, partners, **config)
        self.count = 0


class OldHolder(pysyncobj.SyncObj):
    pass


@pytest.fixture
def address():
    return free_addresses(1)[0]


def made():
    return {"d": ReplDict(pickle=True), "l": ReplList(pickle=True), "q": ReplQueue(pickle=True)}


# Refusals

CONSUMERS = {
    "by name": lambda: {"d": ReplDict(pickle=True)},
    "in a list": lambda: [ReplCounter(), ReplList(pickle=True)],
    "with content": lambda: [ReplDict({"a": Money(1)}, pickle=True)],
    "a queue": lambda: [ReplQueue(5, pickle=True)],
    "a subclass": lambda: [Always()],
    "generic": lambda: [ReplDict[str, Money](pickle=True)],
}


@pytest.mark.parametrize("consumers", CONSUMERS.values(), ids=CONSUMERS)
def test_what_pickles_is_refused_where_there_is_no_password(address, consumers):
    makers = [
        lambda: Node(address, consumers=consumers()),
        lambda: Node(address, consumers=consumers(), config=Config()),
        lambda: Node(address, consumers=consumers(), drive="manual"),
        lambda: Node(None, [address], consumers=consumers()),
        lambda: Node(address, [], consumers=consumers(), join=True),
        lambda: SyncObj(address, consumers=consumers()),
        lambda: Holder(address, [], consumers=consumers()),
    ]
    for make in makers:
        with pytest.raises(ConfigError, match=REFUSED):
            make()
    # Nothing of them was left, and the objects are free.
    with Node(address, consumers={"n": ReplCounter()}) as node:
        assert list(node.objects) == ["n"]


@pytest.mark.parametrize(
    "kind",
    [pysyncobj.ReplDict, pysyncobj.ReplList, pysyncobj.ReplQueue, pysyncobj.ReplPriorityQueue],
)
def test_the_layer_for_pysyncobj_is_no_way_around(address, kind):
    for cls in (pysyncobj.SyncObj, OldHolder):
        with pytest.raises(ConfigError, match=REFUSED):
            cls(address, [], consumers=[kind(pickle=True)])
        with pytest.raises(ConfigError, match=REFUSED):
            cls(address, [], pysyncobj.SyncObjConf(autoTick=False), consumers=[Always()])


def test_what_pickles_is_not_attached_later_either(address):
    with Node(address, consumers={"d": ReplDict()}) as node:
        node.objects["d"]["a"] = Pickled(pickle.dumps(Money(1)))
        for name in ("new", "d"):
            for target in (ReplDict(pickle=True), Always(), ReplList(pickle=True)):
                with pytest.raises(ConfigError, match=f"'{name}', a {type(target).__name__}, was"):
                    node.attach(name, target)
                with pytest.raises(ConfigError, match=REFUSED):
                    node.attach.submit(name, target).result(PATIENCE)
                assert target._binding is None
        with pytest.raises(ConfigError, match="cannot be created: Always is made with pickle=True"):
            node.create("made", Always)
        with node.batch(), pytest.raises(RuntimeError, match="before the block or after it"):
            node.attach("new", ReplDict(pickle=True))
        assert list(node.objects) == ["d"]
        assert type(node.objects["d"]["a"]) is Pickled


def test_what_was_attached_under_a_password_is_refused_by_a_node_without(tmp_path):
    first, second = free_addresses(2)
    d = ReplDict(pickle=True)
    with Node(first, consumers={"d": d}, password=PASSWORD, data_dir=str(tmp_path)) as node:
        d["a"] = Money(1)
        with pytest.raises(ConfigError, match="cannot be created"):
            node.create("made", Always)
        node.snapshot()
        assert d["a"] == Money(1)
        node.drop("d")
        assert type(d["a"]) is Pickled
        with Node(second) as other, pytest.raises(ConfigError, match=REFUSED):
            other.attach("d", d)
        node.attach("d", d)
    with pytest.raises(ConfigError, match=REFUSED):
        Node(first, consumers={"d": ReplDict(pickle=True)}, data_dir=str(tmp_path))
    plain = ReplDict()
    with Node(first, consumers={"d": plain}, data_dir=str(tmp_path)) as node:
        assert type(plain["a"]) is Pickled
        with pytest.raises(ConfigError, match=REFUSED):
            node.attach("d", ReplDict(pickle=True))


def test_what_a_config_authenticates(tmp_path):
    tls = Authority(tmp_path).issue("node", "127.0.0.1")
    assert not Config().authenticates
    assert Config(password=PASSWORD).authenticates
    assert Config(tls=tls).authenticates


def test_certificates_do_as_well_as_a_password(address, tmp_path):
    d = ReplDict(pickle=True)
    with Node(address, consumers={"d": d}, tls=Authority(tmp_path).issue("node", "127.0.0.1")):
        d["a"] = Money(1)
        assert d["a"] == Money(1)


# At work


def trio(stack, room, addresses=None, consumers=made):
    addresses = addresses or free_addresses(3)
    objects = [consumers() for _ in addresses]
    nodes = []
    for address, mine in zip(addresses, objects, strict=True):
        directory = None if room is None else str(room / address.replace(":", "-"))
        nodes.append(
            stack.enter_context(_Closing(address, addresses, mine, directory))
        )
    for node in nodes:
        node.wait_ready(PATIENCE)
    return nodes, objects


class _Closing:
    def __init__(self, address, addresses, consumers, directory):
        self.node = Node(
            address, addresses, consumers=consumers, password=PASSWORD, data_dir=directory
        )

    def __enter__(self):
        return self.node

    def __exit__(self, *exc):
        self.node.close()


def digests_are_equal(nodes):
    for node in nodes:
        node.barrier(PATIENCE)
    found = []
    for node in nodes:
        status = node.status(digests=True)
        found.append({name: it["digest"] for name, it in status["objects"].items()})
    assert found[1:] == found[:-1]


def test_values_of_any_class_survive_restarts_and_snapshots(tmp_path):
    addresses = free_addresses(3)
    for life in range(3):
        with ExitStack() as stack:
            nodes, objects = trio(stack, tmp_path, addresses)
            for number, mine in enumerate(objects):
                mine["d"][life, number] = {"of": [Money(number), life]}
                mine["l"].append(Money(life))
                mine["q"].put(Money(life))
            with nodes[1].batch():
                objects[1]["d"]["batch"] = Money(life)
                popped = objects[1]["l"].pop.submit()
            assert popped.result(PATIENCE) == Money(life)
            for node in nodes:
                node.barrier(PATIENCE)
            for mine in objects:
                assert len(mine["d"]) == 3 * (life + 1) + 1
                for before in range(life + 1):
                    assert mine["d"][before, 1] == {"of": [Money(1), before]}
                assert mine["d"]["batch"] == Money(life)
                assert mine["l"] == [Money(n) for n in range(life + 1) for _ in range(2)]
            assert objects[2]["q"].get(timeout=PATIENCE) == Money(0)
            digests_are_equal(nodes)
            if life == 1:
                for node in nodes:
                    node.snapshot(PATIENCE)


def test_who_comes_later_reads_what_it_asked_for():
    with ExitStack() as stack:
        nodes, objects = trio(stack, None)
        objects[0]["d"].update({"a": Money(1), "b": 2})
        servers = [node.address for node in nodes]
        opened, closed = ReplDict(pickle=True), ReplDict()
        with (
            Node(None, servers, consumers={"d": opened}, password=PASSWORD),
            Node(None, servers, consumers={"d": closed}, password=PASSWORD) as observer,
        ):
            assert opened == {"a": Money(1), "b": 2}
            assert repr(closed["a"]).startswith("<Pickled, ")
            closed["c"] = closed["a"]
            closed["b"] = 3
            with opened.changes() as changes:
                objects[1]["d"]["d"] = Money(4)
                assert next(c for c in changes if c.args[0] == "d").args == ("d", Money(4))
            observer.barrier(PATIENCE)
            late = ReplDict(pickle=True)
            observer.attach("d2", late)
            late["x"] = Money(5)
            nodes[0].barrier(PATIENCE)
            assert type(nodes[0].objects["d2"]["x"]) is Pickled
        assert objects[0]["d"] == {"a": Money(1), "b": 3, "c": Money(1), "d": Money(4)}
        digests_are_equal(nodes)


def test_a_batch_relies_on_a_value_that_was_pickled(address):
    d = ReplDict({"a": Money(1)}, pickle=True)
    with Node(address, consumers={"d": d}, password=PASSWORD) as node:
        for expected, found in ((Money(1), Money(2)), (Money(1), Money(2)), (Money(2), Money(3))):
            with suppress(Conflict), node.batch() as batch:
                batch.if_equal(d, "a", expected)
                d["a"] = Money(expected.cents + 1)
            assert d["a"] == found


def test_limits_hold_for_pickles(address):
    d = ReplDict(pickle=True)
    with Node(address, consumers={"d": d}, password=PASSWORD, max_command_bytes=10_000) as node:
        with pytest.raises(TooLarge, match="allows 10000"):
            d["a"] = {Money(number) for number in range(1000)}
        assert len(d) == 0
        d["a"] = {Money(1)}
        node.barrier(PATIENCE)
        assert d["a"] == {Money(1)}


def test_the_cluster_is_told_the_release_before_there_is_anything(address):
    def told(node):
        rows = node._engine.replica.table.versions.state()[2]
        return {address: release for address, (_, release, *_) in rows.items()}

    with Node(address, consumers={"d": ReplDict(pickle=True)}, password=PASSWORD) as node:
        node.wait_ready(PATIENCE)
        assert told(node) == {address: RELEASE}
    with Node(address) as node:
        node.wait_ready(PATIENCE)
        assert told(node) == {address: RELEASE}


def test_a_program_that_comes_from_pysyncobj_keeps_its_values(address):
    conf = pysyncobj.SyncObjConf(password=PASSWORD)
    users, jobs, line = (
        pysyncobj.ReplDict(pickle=True), pysyncobj.ReplQueue(pickle=True),
        pysyncobj.ReplList(pickle=True),
    )  # fmt: skip
    member = pysyncobj.SyncObj(address, [], conf, [users, jobs, line])
    try:
        users.set("ann", Money(1), sync=True, timeout=PATIENCE)
        assert (users["ann"], users.get("ann"), users.rawData()) == (
            Money(1), Money(1), {"ann": Money(1)},
        )  # fmt: skip
        assert users.pop("ann", sync=True, timeout=PATIENCE) == Money(1)
        assert jobs.put(Money(2), sync=True, timeout=PATIENCE)
        told = []
        jobs.get(callback=lambda result, error: told.append((result, error)))
        line.append(Money(3), sync=True, timeout=PATIENCE)
        assert told == [(Money(2), 0)]
        assert line.rawData() == [Money(3)]
    finally:
        member.destroy_synchronous()


# Hostile pickles


def test_what_a_member_sends_runs_only_where_somebody_reads_it(tmp_path):
    with ExitStack() as stack:
        nodes, objects = trio(stack, tmp_path, consumers=lambda: {
            "d": ReplDict(pickle=True), "plain": ReplDict(),
        })  # fmt: skip
        traps = {name: Trap(tmp_path / name) for name in ("read", "unread", "plain")}
        for name in ("read", "unread"):
            objects[0]["d"][name] = traps[name]
        objects[0]["plain"]["plain"] = Pickled(pickle.dumps(traps["plain"]))
        for node in nodes:
            node.barrier(PATIENCE)
            node.snapshot(PATIENCE)
        repr([dict(mine["plain"]) for mine in objects])
        digests_are_equal(nodes)
        addresses = [node.address for node in nodes]
        assert sprung(tmp_path) == set()
    with ExitStack() as stack:
        nodes, objects = trio(stack, tmp_path, addresses, lambda: {
            "d": ReplDict(pickle=True), "plain": ReplDict(),
        })  # fmt: skip
        assert {len(mine["d"]) for mine in objects} == {2}
        repr([mine["plain"]["plain"] for mine in objects])
        assert sprung(tmp_path) == set()
        objects[1]["d"]["read"].close()
        assert sprung(tmp_path) == {"read"}


def sprung(room):
    return {"read", "unread", "plain"} & set(os.listdir(room))
