"""`node.transaction()` and `node.transact`, on real nodes."""

import asyncio
import contextvars
import threading
from contextlib import contextmanager, suppress

import pytest

from syncstructs import (
    Conflict,
    Node,
    NotApplied,
    NotAttached,
    ReplCounter,
    ReplDict,
    Replicated,
    ReplList,
    ReplLock,
    ReplQueue,
    ReplSet,
    ReplTaskQueue,
    ReplTTLDict,
    SyncObj,
    Unserializable,
    VersionRefused,
    current_context,
    replicated,
)
from syncstructs.cli.processes import free_addresses
from syncstructs.objects.versions import WITH_TRANSACTIONS

PATIENCE = 20.0


class Auction(Replicated):
    def __init__(self):
        self.bids = []

    @replicated
    def bid(self, who, amount):
        if self.bids and amount <= self.bids[-1][1]:
            raise ValueError(f"{amount} is too low")
        self.bids.append((who, amount))
        return len(self.bids)

    @replicated
    def bid_twice(self, who, amount):
        return self.bid(who, amount), self.bid(who, amount + 1)

    @replicated
    def draw(self):
        self.bids.append(("nobody", current_context().random.random()))

    @replicated
    def put_and_raise(self, who):
        self.bids.append((who, 0))
        raise ValueError(who)


    @replicated
    def quarrel(self, serial):
        self.bids.append(("eve", serial))
        if current_context().serial > serial:
            raise Conflict("too late")


class Mine(ReplDict):
    """Attached on one member only, and not to be made by others."""

    def __init__(self, items, needed=None):
        super().__init__(items)


class Picky(Replicated):
    def still_reads(self, reads):
        return 1 // 0


class Needy(Replicated):
    def __init__(self, needed):
        self.needed = needed


def consumers():
    return {
        "accounts": ReplDict(), "hits": ReplCounter(), "auction": Auction(), "line": ReplList(),
        "tags": ReplSet(), "jobs": ReplQueue(), "door": ReplLock(), "needy": Needy(1),
        "tasks": ReplTaskQueue(), "picky": Picky(),
    }  # fmt: skip


@pytest.fixture(scope="module")
def nodes():
    addresses = free_addresses(2)
    made = [Node(a, addresses, consumers=consumers()) for a in addresses]
    for node in made:
        node.wait_ready(PATIENCE)
    yield made
    for node in made:
        node.close()


@contextmanager
def raises_conflict(name, node):
    with pytest.raises(Conflict, match=name), node.transaction() as tx:
        yield tx


@pytest.fixture
def node(nodes):
    first = nodes[0]
    first.objects["accounts"].reset({"ann": 10, "bob": 0})
    first.objects["line"].clear()
    yield first
    nodes[1].barrier(PATIENCE)


def test_money_is_neither_made_nor_lost_by_those_who_move_it_at_once(nodes, node):
    def move(node, source, target):
        def run(tx):
            accounts = tx[node.objects["accounts"]]
            if accounts[source]:
                accounts[source] -= 1
                accounts[target] += 1
            return accounts["ann"] + accounts["bob"]

        totals.extend(node.transact(run) for _ in range(15))

    totals = []
    moving = [
        threading.Thread(target=move, args=(nodes[number % 2], *names))
        for number, names in enumerate([("ann", "bob"), ("ann", "bob"), ("bob", "ann")])
    ]
    for thread in moving:
        thread.start()
    for thread in moving:
        thread.join()
    assert totals == [10] * 45
    nodes[1].barrier(PATIENCE)
    assert sum(nodes[1].objects["accounts"].values()) == 10


def test_copies_are_changed_in_place_and_never_replaced(node):
    accounts = node.objects["accounts"]
    with node.transaction() as tx:
        tx[accounts] |= {"ann": 12}
        assert tx[accounts]["ann"] == 12
        with pytest.raises(TypeError, match="'accounts' cannot be replaced in a transaction"):
            tx[accounts] = {"ann": 13}
    assert accounts == {"ann": 12, "bob": 0}


def test_the_block_sees_what_it_does_and_nobody_else_does_before_its_end(node):
    accounts, jobs = node.objects["accounts"], node.objects["jobs"]
    with node.transaction() as tx:
        mine = tx[accounts]
        assert tx[accounts] is mine
        mine["ann"] -= 3
        mine["ann"] -= 3
        tx[jobs].put_nowait("pay")
        assert (mine["ann"], accounts["ann"], jobs.qsize()) == (4, 10, 0)
        assert mine.set.submit("eve", 1).result() is None
    assert accounts == {"ann": 4, "bob": 0, "eve": 1}
    assert jobs.get_nowait() == "pay"


def test_nothing_is_sent_by_a_block_that_raises(node):
    with pytest.raises(ZeroDivisionError), node.transaction() as tx:
        tx[node.objects["accounts"]]["ann"] = 1 // 0
    with pytest.raises(ZeroDivisionError):
        node.transact(lambda tx: tx[node.objects["accounts"]].clear() or 1 // 0)
    assert node.objects["accounts"]["ann"] == 10


def test_it_takes_one_entry_and_none_if_nothing_was_done(node):
    def index():
        return node.status()["applied_index"]

    with node.transaction():
        pass
    before = index()
    with node.transaction() as tx:
        tx[node.objects["accounts"]]["ann"] = 1
        tx[node.objects["line"]].append(1)
        assert tx[node.objects["hits"]].value >= 0
    assert index() == before + 1
    with node.transaction() as tx:
        assert tx[node.objects["accounts"]]["ann"] == 1
    assert index() == before + 2, "what was read is seen to have been true at one moment"
    with node.transaction() as tx:
        tx[node.objects["accounts"]]
    assert index() == before + 2


def test_only_keys_that_were_looked_at_are_in_conflict(nodes, node):
    accounts, elsewhere = node.objects["accounts"], nodes[1].objects["accounts"]
    tags = node.objects["tags"]
    with node.transaction() as tx:
        mine = tx[accounts]
        mine["ann"] += 1
        assert "x" not in tx[tags]
        elsewhere["eve"] = 1
        nodes[1].objects["tags"].add("y")


@pytest.mark.parametrize(
    "look",
    [
        lambda mine: mine["ann"],
        lambda mine: "zoe" in mine,
        lambda mine: mine.get("zoe"),
        lambda mine: mine.pop("zoe", None),
        len,
        list,
        dict,
        lambda mine: mine.popitem(),
        lambda mine: mine == {},
    ],
)
def test_a_key_that_was_looked_at_is(nodes, node, look):
    with raises_conflict("accounts", node) as tx:
        look(tx[node.objects["accounts"]])
        nodes[1].objects["accounts"].update({"ann": 11, "zoe": 1})


def test_of_any_other_object_all_is_read(nodes, node):
    with raises_conflict("line", node) as tx:
        tx[node.objects["line"]].append(1)
        nodes[1].objects["line"].append(2)
    assert node.objects["line"] == [2]


def test_objects_of_a_users_class_take_part_with_their_own_rules(nodes, node):
    auction = node.objects["auction"]
    with node.transaction() as tx:
        mine = tx[auction]
        assert mine.bid_twice("ann", 5) == (1, 2)
        with pytest.raises(ValueError, match="6 is too low"):
            mine.bid("bob", 6)
        with pytest.raises(ValueError, match="eve"):
            mine.put_and_raise("eve")
        # What it changed before it raised is seen here, and will be there.
        assert mine.bids[-1] == ("eve", 0)
        tx[node.objects["line"]].append(mine.bids[0][0])
    assert auction.bids == [("ann", 5), ("ann", 6), ("eve", 0)]
    assert node.objects["line"] == ["ann"]


def test_what_cannot_be_tried_is_not_applied_either(node):
    auction = node.objects["auction"]
    before = list(auction.bids)
    with (
        pytest.raises(RuntimeError, match="cannot draw random numbers"),
        node.transaction() as tx,
        suppress(RuntimeError),
    ):
        tx[auction].draw()
    assert auction.bids == before


def test_tasks_are_put_with_what_else_has_to_be_so(node):
    tasks = node.objects["tasks"]
    with node.transaction() as tx:
        tx[node.objects["accounts"]]["ann"] -= 1
        for payload in ("thank her", "wave"):
            tx[tasks].put(payload, delay=0.01)
        assert tx[tasks].progress().delayed == 2
    task = tasks.get(timeout=PATIENCE)
    assert task.payload == "thank her"
    with node.transaction() as tx:
        tx[tasks].ack(task)
        tx[node.objects["line"]].append("done")
    assert tasks.progress().done == 1


def test_the_object_itself_is_not_changed_in_the_block_by_mistake(node):
    accounts = node.objects["accounts"]
    with node.transaction() as tx:
        tx[node.objects["line"]].append(1)
        with pytest.raises(RuntimeError, match=r"as in tx\[users\]"):
            accounts["ann"] = 1
        with pytest.raises(RuntimeError, match=r"as in tx\[users\]"):
            accounts.set.submit("ann", 1)
    assert accounts["ann"] == 10
    assert node.objects["line"] == [1]


def test_what_waits_has_no_place_in_it(node):
    with node.transaction() as tx:
        for waits in (tx[node.objects["door"]].acquire, tx[node.objects["jobs"]].get):
            with pytest.raises(RuntimeError, match="a batch or a transaction does not have"):
                waits()
        with pytest.raises(RuntimeError, match="takes commands and reads only"):
            tx[node.objects["line"]].changes()
        with pytest.raises(RuntimeError, match="cannot be nested"), node.batch():
            pass
    with node.batch(), pytest.raises(RuntimeError, match="cannot be nested"):
        node.transact(lambda tx: None)


@pytest.mark.parametrize("method", ["batch", "transaction"])
def test_a_block_is_entered_once_so_that_nothing_is_sent_twice(node, method):
    hits = node.objects["hits"]
    before, block = hits.value, getattr(node, method)()
    with block as tx:
        (tx[hits] if method == "transaction" else hits).inc()
    with pytest.raises(RuntimeError, match="entered before"), block:
        pass
    assert hits.value == before + 1


def test_bad_arguments_are_refused_where_they_are_given(nodes, node):
    with node.transaction() as tx:
        with pytest.raises(Unserializable):
            tx[node.objects["accounts"]]["ann"] = object()
        with pytest.raises(ValueError, match="belongs to another node"):
            tx[nodes[1].objects["accounts"]]
        with pytest.raises(NotAttached):
            tx[ReplDict()]
        with pytest.raises(TypeError, match=r"Needy.*transaction_copy"):
            tx[node.objects["needy"]]
    with pytest.raises(RuntimeError, match="has ended"):
        tx[node.objects["accounts"]]
    with node.transaction() as tx:
        mine = tx[node.objects["accounts"]]
    with pytest.raises(RuntimeError, match="has ended"):
        mine["ann"] = 1


def test_what_is_passed_and_changed_later_changes_nothing(node):
    given = [1]
    with node.transaction() as tx:
        mine = tx[node.objects["accounts"]]
        mine["list"] = given
        given.append(2)
        mine["list"].append(3)
        assert mine["list"] == [1]
        tx[node.objects["line"]].append(given)
        tx[node.objects["line"]][0].append(4)
    assert node.objects["accounts"]["list"] == [1]
    assert node.objects["line"] == [[1, 2]]


def test_transact_goes_on_until_nobody_comes_between(nodes, node):
    runs = []

    def run(tx):
        value = tx[node.objects["accounts"]]["ann"]
        runs.append(value)
        if len(runs) < 4:
            other = threading.Thread(
                target=nodes[1].objects["accounts"].set, args=("ann", value + 1)
            )
            other.start()
            other.join()
        tx[node.objects["accounts"]]["ann"] = value * 2
        return value

    assert node.transact(run) == 13
    assert runs == [10, 11, 12, 13]
    assert node.objects["accounts"]["ann"] == 26


def test_transact_does_not_apply_twice_what_raises_a_conflict_of_its_own(node):
    auction, runs = node.objects["auction"], []

    def run(tx):
        runs.append(tx[auction].quarrel(node._engine.replica.table.serial + 1))

    auction.bid("ann", 1000)
    before = len(auction.bids)
    node.objects["line"].append(1)
    with pytest.raises(Conflict, match="too late"):
        node.transact(run)
    assert len(runs) == 1
    assert len(auction.bids) == before + 1


def test_transact_gives_up_when_its_time_is_over():
    (address,) = free_addresses(1)
    accounts = ReplDict({"ann": 0})
    with Node(address, consumers={"accounts": accounts}, call_timeout=0.2) as node:
        node.wait_ready(PATIENCE)

        def run(tx):
            tx[accounts]["ann"] += 1
            other = threading.Thread(target=accounts.set, args=("ann", accounts["ann"] + 1))
            other.start()
            other.join()

        with pytest.raises(Conflict):
            node.transact(run)


def test_who_makes_none_pays_for_none():
    (address,) = free_addresses(1)
    hits = ReplCounter()
    with Node(address, consumers={"hits": hits}) as node:
        hits.inc()
        assert node._engine.replica.table.marks is None
        assert node.transact(lambda tx: tx[hits].inc()) == 2
        assert node._engine.replica.table.marks is not None


def test_there_is_none_before_all_nodes_know_them():
    (address,) = free_addresses(1)
    hits = ReplCounter()
    with Node(address, consumers={"hits": hits}) as node:
        hits.inc()
        node._engine.replica.table.read_by_all = WITH_TRANSACTIONS - 1
        with pytest.raises(VersionRefused, match="before all members and observers"):
            node.transact(lambda tx: tx[hits].inc())
        assert hits.value == 1


def test_what_a_method_gave_in_the_block_counts_only_while_its_version_is_in_force():
    # In here: of what is imported, all nodes of this process tell the versions.
    class Stock(Replicated):
        def __init__(self):
            self.left = 10

        @replicated
        def take(self):
            self.left -= 1
            return 1

        @take.version(2)
        def take_2(self):
            self.left -= 2
            return 2

        @replicated(version=2)
        def refill(self):
            self.left = 10

    (address,) = free_addresses(1)
    stock = Stock()
    with Node(address, consumers={"stock": stock}) as node:
        node.wait_ready(PATIENCE)
        with node.transaction() as tx, pytest.raises(VersionRefused, match="begins with version 2"):
            tx[stock].refill()
        with raises_conflict("stock", node) as tx:
            assert tx[stock].take() == 1
            switching = threading.Thread(target=node.set_version, args=(2,))
            switching.start()
            switching.join()
        assert stock.left == 10
        with node.transaction() as tx:
            assert tx[stock].take() == 2
        assert stock.left == 8


class Tally(SyncObj):
    made = 0

    def __init__(self):
        Tally.made += 1
        super().__init__(*free_addresses(1))
        self.count = 0

    @replicated
    def inc(self):
        self.count += 1


def test_a_node_that_is_an_object_is_not_copied_as_that_would_be_another_node():
    with Tally() as tally:
        tally.wait_ready(PATIENCE)
        with tally.transaction() as tx, pytest.raises(TypeError, match="would be another node"):
            tx[tally]
        assert Tally.made == 1


def test_a_condition_is_not_refused_because_a_node_has_just_come_back(node):
    table, line = node._engine.replica.table, node.objects["line"]
    node.object_version(line)
    told, table.read_by_all = table.read_by_all, 1
    with node.batch() as batch:
        batch.if_absent(node.objects["accounts"], "eve")
        line.append(1)
    table.read_by_all = told
    assert line == [1]


def test_who_cancels_it_unsent_takes_it_back(tmp_path):
    addresses = free_addresses(2)

    def start(number):
        place = addresses[number]
        objects = {"hits": ReplCounter()}
        return Node(place, addresses, consumers=objects, data_dir=tmp_path / str(number))

    node, other = start(0), start(1)
    node.wait_ready(PATIENCE)
    other.wait_ready(PATIENCE)
    hits = node.objects["hits"]
    node.transact(lambda tx: tx[hits].inc())
    other.close()
    while node.leader is not None:
        threading.Event().wait(0.01)
    future = node.transact.submit(lambda tx: tx[hits].inc())
    assert future.cancel()
    with start(1), node:
        assert hits.inc() == 2


def test_it_is_awaited_in_a_loop():
    async def main():
        (address,) = free_addresses(1)
        hits, line = ReplCounter(), ReplList()
        objects = {"hits": hits, "line": line}
        async with Node(address, consumers=objects, drive="asyncio") as node:
            async with node.transaction() as tx:
                tx[line].append(tx[hits].inc())

            async def count():
                for _ in range(5):
                    await node.transact.submit(lambda tx: tx[line].append(tx[hits].inc()))

            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(count())
            assert line == list(range(1, 17))
            told = asyncio.create_task(count())
            with pytest.raises(Conflict):
                await overtaken(node, hits, told)

    async def overtaken(node, hits, others):
        async with node.transaction() as tx:
            tx[hits].inc()
            await others

    asyncio.run(main())


# Conditions of batches


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (lambda batch, d, _: batch.if_equal(d, "ann", 10), True),
        (lambda batch, d, _: batch.if_equal(d, "ann", 10.0), False),
        (lambda batch, d, _: batch.if_equal(d, "ann", 9), False),
        (lambda batch, d, _: batch.if_equal(d, "eve", None), False),
        (lambda batch, d, _: batch.if_absent(d, "eve"), True),
        (lambda batch, d, _: batch.if_absent(d, "ann"), False),
        (lambda batch, _, tags: batch.if_present(tags, "x"), True),
        (lambda batch, _, tags: batch.if_present(tags, "z"), False),
        (lambda batch, _, tags: batch.if_absent(tags, "z"), True),
    ],
)
def test_a_batch_is_applied_only_if_its_conditions_hold(node, condition, holds):
    line, tags = node.objects["line"], node.objects["tags"]
    tags.reset(["x"])
    try:
        with node.batch() as batch:
            condition(batch, node.objects["accounts"], tags)
            line.extend([1, 2])
            future = line.append.submit(3)
    except Conflict:
        assert not holds
        assert isinstance(future.exception(), Conflict)
        assert line == []
    else:
        assert holds
        assert line == [1, 2, 3]


def test_a_condition_that_cannot_be_looked_at_raises_in_its_caller_and_nodes_live_on(node):
    line, accounts, picky = (node.objects[name] for name in ("line", "accounts", "picky"))
    for target, key in [(accounts, ["no hash"]), (node.objects["tags"], {1: 2}), (picky, 1)]:
        with suppress(TypeError, ZeroDivisionError), node.batch() as batch:
            batch.if_absent(target, key)
            line.append(1)
    assert line == []
    line.append(2)
    assert line == [2]


def test_no_condition_stops_members_that_lack_the_class(nodes, node):
    mine = node.attach("mine", Mine({"ann": 1}))
    mine["bob"] = 1
    with node.batch() as batch, pytest.raises(TypeError, match="Mine may be unknown to other"):
        batch.if_absent(mine, "eve")
    ttl = node.attach("ttl", ReplTTLDict())
    with node.batch() as batch:
        batch.if_absent(ttl, "eve")
        mine["eve"] = 1
    assert mine["eve"] == 1
    nodes[1].barrier(PATIENCE)


def test_a_batch_may_rely_on_the_version_of_an_object(nodes, node):
    line = node.objects["line"]
    before = node.object_version(line)
    with node.batch() as batch:
        batch.if_version(line, before)
        line.append(1)
    assert node.object_version(line) > before

    def again():
        with node.batch() as batch:
            batch.if_version(line, before)
            line.append(2)

    with pytest.raises(Conflict):
        again()
    assert line == [1]


def test_conditions_without_meaning_are_refused_where_they_are_given(nodes, node):
    with node.batch() as batch:
        with pytest.raises(TypeError, match="a ReplList has no keys"):
            batch.if_equal(node.objects["line"], 0, 1)
        with pytest.raises(ValueError, match="another node"):
            batch.if_version(nodes[1].objects["line"], 1)
        with pytest.raises(Unserializable):
            batch.if_equal(node.objects["accounts"], "a", object())


@pytest.mark.parametrize("block", ["batch", "transaction"])
def test_a_block_that_was_left_in_another_context_is_open_there_no_longer(node, block):
    left, entered = getattr(node, block)(), contextvars.copy_context()
    entered.run(left.__enter__)
    with pytest.raises(NotApplied, match="left in another context"):
        left.__exit__(None, None, None)

    def after():
        with node.transaction() as tx:
            tx[node.objects["line"]].append("after")
        with node.batch():
            node.objects["line"].append("later")

    entered.run(after)
    assert node.objects["line"] == ["after", "later"]
