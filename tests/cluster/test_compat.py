"""Programs written for PySyncObj run on `syncstructs.compat.pysyncobj`, with what was changed for
the import alone.

What both libraries promise is run on both, where PySyncObj is installed; so these tests are about
its behaviour, not about what we believe of it. Three members live in this process, on loopback.
"""
# ruff: noqa: N802, N803, N806  (names are spelled as users of PySyncObj do)

import logging
import threading
import time
from types import SimpleNamespace

import pytest

import syncstructs
from syncstructs import ConfigError, LockLost, NodeClosed, NotAttached, Unserializable
from syncstructs.cli.processes import free_addresses
from syncstructs.compat import pysyncobj as compat

FAST = {"raftMinTimeout": 0.4, "raftMaxTimeout": 0.8, "connectionRetryTime": 0.2}


def libraries():
    """Return this package's adapter, and PySyncObj if it is installed."""
    found = [pytest.param(compat, id="syncstructs")]
    try:
        import pysyncobj
        from pysyncobj import batteries
    except ImportError:
        return found
    theirs = SimpleNamespace(**{**vars(pysyncobj), **vars(batteries)})
    return [*found, pytest.param(theirs, id="pysyncobj")]


def classes_for(library):
    """Return a replicated class and a consumer class, as PySyncObj's README has them."""

    class KeyValue(library.SyncObj):
        def __init__(self, selfAddress, partners, conf, consumers):
            self.localName = selfAddress  # before the base's __init__: not replicated
            super().__init__(selfAddress, partners, conf, consumers)
            self.__counter = 0
            self.__pairs = {}

        @library.replicated
        def incCounter(self):
            self.__counter += 1
            return self.__counter

        @library.replicated_sync
        def addValue(self, value, times=1):
            self.__counter += value * times
            return self.__counter

        @library.replicated
        def put(self, key, value=None):
            self.__pairs[key] = value

        @library.replicated
        def putTwo(self, one, two):
            self.put(one, 1, _doApply=True)
            self.put(two, 2, _doApply=True)
            return sorted(self.__pairs)

        def getCounter(self):
            return self.__counter

        def getPairs(self):
            return dict(self.__pairs)

    class Notes(library.SyncObjConsumer):
        def __init__(self):
            super().__init__()
            self.notes = []

        @library.replicated
        def add(self, note):
            self.notes.append(note)
            return len(self.notes)

    return KeyValue, Notes


class Member:
    """One member with one consumer of each kind."""

    def __init__(self, library, address, addresses, **settings):
        self.library = library
        KeyValue, Notes = library_classes(library)
        self.ready = threading.Event()
        self.notes = Notes()
        self.counter = library.ReplCounter()
        self.list = library.ReplList()
        self.dict = library.ReplDict()
        self.set = library.ReplSet()
        self.queue = library.ReplQueue(2)
        self.urgent = library.ReplPriorityQueue()
        self.locks = library.ReplLockManager(autoUnlockTime=30)
        consumers = [
            self.notes, self.counter, self.list, self.dict, self.set, self.queue, self.urgent,
            self.locks,
        ]  # fmt: skip
        conf = library.SyncObjConf(onReady=self.ready.set, **FAST, **settings)
        partners = [other for other in addresses if other != address]
        self.kv = KeyValue(address, partners, conf, consumers)

    def close(self):
        self.locks.destroy()
        self.kv.destroy_synchronous()


_classes = {}


def library_classes(library):
    return _classes.setdefault(id(library), classes_for(library))


def start(library):
    addresses = free_addresses(3)
    members = [Member(library, address, addresses) for address in addresses]
    assert all(member.ready.wait(30) for member in members)
    return members


@pytest.fixture(scope="module", params=libraries())
def members(request):
    """Three members of either library; each test uses objects or keys of its own."""
    made = start(request.param)
    yield made
    for member in made:
        member.close()


@pytest.fixture(scope="module")
def ours():
    """Three members of this package, for what PySyncObj does not promise."""
    made = start(compat)
    yield made
    for member in made:
        member.close()


class Outcome:
    """A callback that keeps what it got."""

    def __init__(self):
        self.came = threading.Event()

    def __call__(self, result, error):
        self.result, self.error = result, error
        self.came.set()

    def wait(self):
        assert self.came.wait(20)
        return self.result, self.error


def eventually(claim):
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


# What holds for both libraries


def test_a_replicated_method_returns_none_at_once_and_tells_its_callback(members):
    before = members[0].kv.addValue(0)
    outcome = Outcome()
    assert members[1].kv.incCounter(callback=outcome) is None
    assert outcome.wait() == (before + 1, members[0].library.FAIL_REASON.SUCCESS)
    assert members[1].kv.getCounter() == before + 1


def test_sync_waits_for_the_result_and_a_callback_has_precedence(members):
    before = members[2].kv.addValue(0)
    assert members[2].kv.incCounter(sync=True, timeout=20) == before + 1
    outcome = Outcome()
    assert members[2].kv.incCounter(sync=True, callback=outcome) is None
    assert outcome.wait() == (before + 2, 0)


def test_replicated_sync_is_synchronous_by_default_and_takes_arguments_by_name(members):
    before = members[0].kv.addValue(0)
    assert members[0].kv.addValue(3, times=2, timeout=20) == before + 6
    outcome = Outcome()
    assert members[0].kv.addValue(1, sync=False, callback=outcome) is None
    assert outcome.wait() == (before + 7, 0)


def test_all_members_reach_the_same_state(members):
    for i, member in enumerate(members):
        member.kv.put(f"same{i}", value=i, sync=True, timeout=20)
        member.notes.add(f"note{i}")
    eventually(lambda: all(len(member.notes.notes) >= 3 for member in members))
    wanted = {"same0": 0, "same1": 1, "same2": 2}
    eventually(lambda: all(wanted.items() <= m.kv.getPairs().items() for m in members))
    assert members[0].notes.notes == members[1].notes.notes == members[2].notes.notes
    assert [member.kv.localName for member in members] == [str(m.kv.selfNode) for m in members]


def test_a_nested_call_with_doapply_is_a_part_of_the_outer_one(members):
    keys = members[1].kv.putTwo("n1", "n2", sync=True, timeout=20)
    assert {"n1", "n2"} <= set(keys)


def test_the_readme_example_of_consumers(members):
    counter1, dict1 = members[0].counter, members[0].dict
    assert counter1.set(42, sync=True) == 42
    assert counter1.add(10, sync=True) == 52
    assert counter1.sub(2, sync=True) == 50
    assert counter1.inc(sync=True) == 51
    assert counter1.get() == 51
    dict1.set("testKey1", "testValue1", sync=True)
    dict1["testKey2"] = "testValue2"
    assert dict1.setdefault("testKey3", "testValue3", sync=True) == "testValue3"
    assert dict1["testKey1"] == "testValue1"
    assert dict1.get("testKey2") == "testValue2"
    assert sorted(dict1.keys()) == ["testKey1", "testKey2", "testKey3"]
    assert dict1.pop("testKey1", sync=True) == "testValue1"
    assert dict1.pop("testKey1", sync=True) is None
    assert dict1.pop("testKey1", default=7, sync=True) == 7
    dict1.update({"a": 1}, sync=True)
    assert dict1.rawData() == {"testKey2": "testValue2", "testKey3": "testValue3", "a": 1}
    dict1.reset({"b": 2}, sync=True)
    assert list(dict1.items()) == [("b", 2)]
    assert list(dict1.values()) == [2]
    dict1.clear(sync=True)
    assert len(dict1) == 0
    assert "b" not in dict1


def test_a_list_has_pysyncobjs_methods(members):
    line = members[1].list
    line.reset([3, 1], sync=True)
    line.append(2, sync=True)
    line.extend([9, 9], sync=True)
    line.insert(0, 5, sync=True)
    line.remove(9, sync=True)
    line.set(0, 4, sync=True)
    assert line.rawData() == [4, 3, 1, 2, 9]
    line.sort(sync=True)
    assert line.rawData() == [1, 2, 3, 4, 9]
    line.sort(reverse=True, sync=True)
    assert line.pop(0, sync=True) == 9
    assert line.rawData() == [4, 3, 2, 1]
    assert len(line) == 4
    assert line.get(0) == line[0] == 4
    assert line.index(2) == 2
    assert line.count(1) == 1


def test_a_set_has_pysyncobjs_methods(members):
    words = members[2].set
    words.reset({"a"}, sync=True)
    words.add("b", sync=True)
    words.update({"c"}, sync=True)
    words.remove("a", sync=True)
    words.discard("a", sync=True)
    assert words.rawData() == {"b", "c"}
    assert len(words) == 2
    assert "b" in words
    assert words.pop(sync=True) in {"b", "c"}
    words.clear(sync=True)
    assert len(words) == 0


@pytest.mark.parametrize(("kind", "order"), [("queue", [(2, "b"), (1, "a")]),
                                             ("urgent", [(1, "a"), (2, "b")])])  # fmt: skip
def test_queues_have_pysyncobjs_methods(members, kind, order):
    queue = getattr(members[0], kind)
    assert queue.put((2, "b"), sync=True) is True
    assert queue.put((1, "a"), sync=True) is True
    assert queue.full() is (kind == "queue")
    assert not queue.empty()
    if kind == "queue":
        assert queue.put((3, "c"), sync=True) is False
    assert queue.qsize() == len(queue) == 2
    assert [queue.get(sync=True), queue.get(sync=True)] == order
    assert queue.get(sync=True) is None
    assert queue.get("none", sync=True) == "none"
    outcome = Outcome()
    queue.get(default=5, callback=outcome)
    assert outcome.wait() == (5, 0)
    assert queue.empty()


def test_a_lock_is_held_by_one_member_and_may_be_taken_again_by_its_holder(members):
    first, second = members[0].locks, members[1].locks
    # A node that has just started may not be sure of its session yet, and is then given no lock.
    eventually(lambda: first.tryAcquire("door", sync=True) is True)
    assert first.tryAcquire("door", sync=True) is True
    assert first.isAcquired("door")
    assert not second.isAcquired("door")
    outcome = Outcome()
    assert second.tryAcquire("door", callback=outcome) is None
    assert outcome.wait() == (False, 0)
    second.release("door", sync=True)
    assert first.isAcquired("door")
    first.release("door", sync=True)
    assert not first.isAcquired("door")
    eventually(lambda: second.tryAcquire("door", sync=True, timeout=20) is True)
    second.release("door", sync=True)


def test_the_cluster_can_be_looked_at(members):
    kv = members[0].kv
    others = {str(member.kv.selfNode) for member in members[1:]}
    assert {node.address for node in kv.otherNodes} == others
    assert {node.id for node in kv.otherNodes} == others
    assert kv.selfNode.host == "127.0.0.1"
    assert f"{kv.selfNode.host}:{kv.selfNode.port}" == str(kv.selfNode) == kv.selfNode.address
    eventually(lambda: all(kv.isNodeConnected(node) for node in kv.otherNodes))
    eventually(lambda: sum(member.kv._isLeader() for member in members) == 1)
    leader = next(member.kv for member in members if member.kv._isLeader())
    assert kv._getLeader() == leader.selfNode
    status = kv.getStatus()
    assert status["leader"] == leader.selfNode
    assert status["self"] == kv.selfNode
    assert leader.getStatus()["state"] == 2
    assert status["has_quorum"] is True
    assert status["partner_nodes_count"] == 2
    assert all(status[f"partner_node_status_server_{other}"] == 2 for other in others)
    assert status["raft_term"] == kv.raftCurrentTerm == kv._getTerm() >= 1
    assert 1 <= status["last_applied"] <= kv.raftLastApplied <= kv.raftCommitIndex
    assert kv.hasQuorum
    assert kv.isReady()
    assert kv.tick_thread_alive()
    assert kv._getRaftLogSize() > 0
    assert status["uptime"] >= 0
    kv.waitReady()
    kv.waitBinded()
    kv.printStatus()


@pytest.mark.parametrize("library", libraries())
def test_manual_ticks_drive_a_node(library):
    counter = library.ReplCounter()
    conf = library.SyncObjConf(autoTick=False)
    node = library.SyncObj(free_addresses(1)[0], [], conf, consumers=[counter])
    outcome = Outcome()
    counter.add(3, callback=outcome)
    deadline = time.monotonic() + 20
    while not outcome.came.is_set() and time.monotonic() < deadline:
        node.doTick(0.01)
    assert outcome.wait() == (3, 0)
    assert counter.get() == 3
    node.destroy()


# What is different here, on purpose


def test_what_a_method_raises_reaches_its_caller_and_the_cluster_goes_on(ours, caplog):
    words, line = ours[0].set, ours[0].list
    with pytest.raises(KeyError):
        words.remove("absent", sync=True)
    outcome = Outcome()
    line.reset([], sync=True)
    line.pop(callback=outcome)
    result, error = outcome.wait()
    assert result is None
    assert isinstance(error, IndexError)
    with caplog.at_level(logging.WARNING, logger="syncstructs.compat.pysyncobj"):
        words.remove("absent")
        assert ours[0].counter.set(0, sync=True) == 0
    assert "ReplSet failed" in caplog.text
    assert "absent" in caplog.text
    assert all(member.counter.add(1, sync=True) == i for i, member in enumerate(ours, 1))


def test_what_a_callback_raises_changes_no_replica(ours):
    before = ours[0].kv.addValue(0)

    def explode(result, error):
        raise RuntimeError("the callback's own")

    ours[0].kv.incCounter(callback=explode)
    assert ours[0].kv.addValue(0) == before + 1
    assert ours[1].kv.addValue(0) == ours[2].kv.addValue(0) == before + 1


def test_a_nested_call_needs_no_doapply_and_a_bare_one_is_refused(ours):
    class Pair(compat.SyncObj):
        def __init__(self, *args):
            super().__init__(*args)
            self.count = 0

        @compat.replicated
        def one(self):
            self.count += 1
            return self.count

        @compat.replicated_sync
        def two(self):
            return self.one() + self.one(sync=True)

        @compat.replicated_sync
        def withCallback(self):
            self.one(callback=print)

    addresses = free_addresses(3)
    pairs = [Pair(address, addresses) for address in addresses]
    try:
        assert pairs[0].two() == 3
        assert [pair.one(sync=True) for pair in pairs] == [3, 4, 5]
        with pytest.raises(TypeError, match="every member"):
            pairs[1].withCallback()
        with pytest.raises(RuntimeError, match="this member alone"):
            pairs[1].one(_doApply=True)
        assert pairs[2].one.submit().result(20) == 6
    finally:
        for pair in pairs:
            pair.destroy_synchronous()


def test_what_was_read_can_be_changed_without_a_replica_changing(ours):
    ours[0].dict.set("nested", [1], sync=True)
    ours[0].dict["nested"].append(2)
    ours[0].dict.rawData()["nested"] = 0
    assert ours[0].dict["nested"] == [1]
    assert list(ours[0].dict) == ["nested"]
    assert "nested" in repr(ours[0].dict)
    ours[0].dict.clear(sync=True)


def test_a_structure_of_ours_and_its_handle_are_the_same_object():
    addresses = free_addresses(2)
    handle, users = compat.ReplDict(), syncstructs.ReplDict()
    old = compat.SyncObj(addresses[0], addresses, consumers=[handle])
    mixed = syncstructs.ReplCounter()
    new = syncstructs.Node(addresses[1], addresses, consumers=[users, mixed])
    try:
        handle.set("ann", 7, sync=True)
        new.barrier(20)
        users["bob"] = users["ann"] + 1
        assert handle.set("eve", 9, sync=True) is None
        assert handle.rawData() == {"ann": 7, "bob": 8, "eve": 9}
    finally:
        old.destroy_synchronous()
        new.close()


def test_own_attributes_stay_with_their_process_and_a_restart_keeps_the_rest(tmp_path):
    class Shop(compat.SyncObj):
        def __init__(self, address, conf, lock):
            self.lock = lock  # has no encoding, and needs none
            super().__init__(address, [], conf)
            self.stock = {}

        @compat.replicated_sync
        def put(self, name, count):
            self.stock[name] = count

    conf = compat.SyncObjConf(journalFile=str(tmp_path / "journal"))
    address = free_addresses(1)[0]
    shop = Shop(address, conf, threading.Lock())
    shop.put("apples", 3)
    shop.destroy_synchronous()
    lock = threading.Lock()
    shop = Shop(address, conf, lock)
    shop.put("pears", 1)
    assert shop.stock == {"apples": 3, "pears": 1}
    assert shop.lock is lock
    shop.destroy_synchronous()
    with pytest.raises(Unserializable):
        Late(address)


class Late(compat.SyncObj):
    def __init__(self, address):
        super().__init__(address, [])
        self.lock = threading.Lock()


def test_a_class_that_moves_over_to_syncobj_finds_its_state(tmp_path):
    def classes(SyncObj, replicated):
        class Stock(SyncObj):
            LOCAL = frozenset({"name"})  # of no use to the adapter, needed after it

            def __init__(self, address, *args, **settings):
                self.name = address
                super().__init__(address, [], *args, **settings)
                self.__items = {}

            @replicated
            def put(self, name, count):
                self.__items[name] = count
                return dict(self.__items)

        return Stock

    before = classes(compat.SyncObj, compat.replicated)
    after = classes(syncstructs.SyncObj, syncstructs.replicated)
    room, address = str(tmp_path / "room"), free_addresses(1)[0]
    stock = before(address, compat.SyncObjConf(journalFile=room))
    stock.put("apples", 3, sync=True)
    stock.destroy_synchronous()
    stock = after(address, data_dir=room)
    assert stock.put("pears", 1) == {"apples": 3, "pears": 1}
    stock.close()


def test_a_consumer_may_say_itself_what_its_state_is(tmp_path):
    class Plain:
        def __init__(self, text):
            self.text = text

    class Box(compat.SyncObjConsumer):
        def __init__(self):
            super().__init__()
            self.content = Plain("")
            self.ended = False

        @compat.replicated_sync
        def write(self, text):
            self.content.text += text
            return self.content.text

        def _serialize(self):
            return self.content.text

        def _deserialize(self, data):
            self.content = Plain(data)

        def _destroy(self):
            super()._destroy()
            self.ended = True

    addresses = free_addresses(2)
    boxes = [Box(), Box()]
    nodes = [
        compat.SyncObj(address, addresses, consumers=[box])
        for address, box in zip(addresses, boxes, strict=True)
    ]
    assert [box._syncObj for box in boxes] == nodes
    assert boxes[0].write("a") == "a"
    assert boxes[1].write("b") == "ab"
    for node in nodes:
        node.destroy_synchronous()
    assert [(box.ended, box._syncObj) for box in boxes] == [(True, None)] * 2


def test_a_call_that_cannot_be_sent_in_time_is_taken_back_and_says_so():
    addresses = free_addresses(3)
    counter = compat.ReplCounter()
    alone = compat.SyncObj(addresses[0], addresses, consumers=[counter])
    with pytest.raises(compat.SyncObjException) as caught:
        counter.inc(sync=True, timeout=0.05)
    assert caught.value.errorCode == "Timeout"
    assert "0.05 s; it was taken back unsent" in str(caught.value)
    assert not alone.isReady()
    assert not alone.hasQuorum
    assert alone._getLeader() is None
    alone.destroy_synchronous()


def test_calls_of_a_destroyed_node_are_discarded_and_say_so():
    counter = compat.ReplCounter()
    node = made(consumers=[counter])
    assert counter.inc(sync=True) == 1
    assert node.tick_thread_alive()
    node.destroy_synchronous()
    node.destroy()
    assert not node.tick_thread_alive()
    outcome = Outcome()
    assert counter.inc(callback=outcome) is None
    assert outcome.wait() == (None, compat.FAIL_REASON.DISCARDED)
    with pytest.raises(compat.SyncObjException) as caught:
        counter.inc(sync=True)
    assert caught.value.errorCode == compat.FAIL_REASON.DISCARDED
    assert isinstance(caught.value.__cause__, NodeClosed)


def test_a_full_queue_of_commands_is_a_reason():
    addresses = free_addresses(3)
    counter = compat.ReplCounter()
    conf = compat.SyncObjConf(commandsQueueSize=3)
    alone = compat.SyncObj(addresses[0], addresses, conf, consumers=[counter])
    outcomes = [Outcome() for _ in range(5)]
    for outcome in outcomes:
        counter.inc(callback=outcome)
    assert outcomes[-1].wait() == (None, compat.FAIL_REASON.QUEUE_FULL)
    alone.destroy_synchronous()
    assert outcomes[0].wait()[1] in (
        compat.FAIL_REASON.DISCARDED,
        compat.FAIL_REASON.UNKNOWN_OUTCOME,
    )


def test_a_synchronous_call_in_a_callback_is_refused_and_not_applied(ours):
    counter, came, seen = ours[0].counter, threading.Event(), []
    start_value = counter.set(100, sync=True)

    def call_back(result, error):
        try:
            counter.inc(sync=True)
        except Exception as raised:
            seen.append(raised)
        came.set()

    with ours[0].kv._syncstructs.running.reading():
        # Nothing is applied in here, so the callback is there before the result, and runs in the
        # driver's thread.
        counter.add(1, callback=call_back)
    assert came.wait(20)
    assert isinstance(seen[0], syncstructs.BlockingCall)
    assert counter.add(0, sync=True) == start_value + 1


def test_a_lock_that_was_lost_says_so_when_it_is_released(ours):
    locks = ours[2].locks
    eventually(lambda: locks.tryAcquire("lost", sync=True))
    locks._consumer().on_session_lost()  # as after a long cut
    assert not locks.isAcquired("lost")
    with pytest.raises(LockLost):
        locks.release("lost", sync=True)


# Settings


def made(conf=None, consumers=()):
    return compat.SyncObj(free_addresses(1)[0], [], conf, list(consumers))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("password", "too short"),
        ("dynamicMembershipChange", True),
        ("onStateChanged", print),
        ("onCodeVersionChanged", print),
        ("serializer", print),
        ("deserializer", print),
        ("serializeChecker", print),
    ],
)
def test_settings_whose_absence_would_go_unnoticed_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        made(compat.SyncObjConf(**{field: value}))


def test_settings_without_a_meaning_cost_one_warning_that_names_them():
    conf = compat.SyncObjConf(sendBufferSize=1, pollerType="poll")
    conf.dnsCacheTime = 1.0
    with pytest.warns(UserWarning, match="no meaning") as caught:
        made(conf).destroy_synchronous()
    found = [str(warning.message) for warning in caught]
    assert len(found) == 3
    for field, text in zip(["dnsCacheTime", "pollerType", "sendBufferSize"], found, strict=True):
        assert field in text
    assert all(warning.filename == __file__ for warning in caught)


def test_settings_with_a_meaning_reach_the_node(tmp_path, recwarn):
    conf = compat.SyncObjConf(
        raftMinTimeout=1.0,
        commandsQueueSize=7,
        appendEntriesBatchSizeBytes=1000,
        connectionRetryTime=0.5,
        logCompactionMinEntries=10,
        logCompactionBatchSize=2000,
        fullDumpFile=str(tmp_path / "dump"),
        useFork=False,
        password="of twelve characters or more",
    )
    node = made(conf, [compat.ReplLockManager(4), compat.ReplLockManager(autoUnlockTime=6)])
    config = node._syncstructs.node._engine.config
    node.destroy_synchronous()
    assert (config.election_timeout_min, config.election_timeout_max) == (1.0, 1.4)
    assert config.heartbeat_interval == 0.1
    assert config.max_pending_calls == 7
    assert config.password == "of twelve characters or more"
    assert config.append_bytes == 1000
    assert config.reconnect_interval_max == 0.5
    assert config.snapshot_log_entries == 10
    assert config.chunk_bytes == 2000
    assert config.data_dir == str(tmp_path / "dump")
    assert config.snapshot_fork_bytes > 2**50
    assert config.session_ttl == 6.0
    assert not recwarn.list


def test_settings_left_alone_are_those_of_syncstructs(recwarn):
    node = made()
    config = node._syncstructs.node._engine.config
    node.destroy_synchronous()
    assert config == syncstructs.Config()
    assert not recwarn.list


def test_a_lock_time_too_short_for_elections_is_lengthened_with_a_warning():
    with pytest.warns(UserWarning, match="autoUnlockTime=0.5"):
        node = made(compat.SyncObjConf(raftMaxTimeout=2.0), [compat.ReplLockManager(0.5)])
    assert node._syncstructs.node._engine.config.session_ttl == 4.0
    node.destroy_synchronous()
    with pytest.warns(UserWarning, match="selfID"):
        compat.ReplLockManager(5, "me")


def test_what_is_misspelled_or_missing_is_named(tmp_path):
    with pytest.raises(TypeError, match="raftMinTimout"):
        compat.SyncObjConf(raftMinTimout=1)
    with pytest.raises(AttributeError):
        compat.SyncObjConf().raftMinTimout = 1
    journal = tmp_path / "journal"
    journal.write_bytes(b"of PySyncObj")
    with pytest.raises(ConfigError, match="PySyncObj"):
        made(compat.SyncObjConf(journalFile=str(journal)))
    with pytest.raises(ConfigError, match="read-only"):
        compat.SyncObj(None, ["127.0.0.1:4321"])
    with pytest.raises(compat.SyncObjException, match="inherit"):
        made(consumers=[object()])
    with pytest.raises(ValueError, match="ver=1"):
        compat.replicated(ver=1)
    with pytest.raises(NotAttached):
        compat.ReplCounter().inc()
    node = made()
    with pytest.raises(AttributeError, match="members are fixed"):
        node.addNodeToCluster("127.0.0.1:1")
    with pytest.raises(compat.SyncObjException) as caught:
        compat.SyncObj(str(node.selfNode), [])
    assert caught.value.errorCode == "BindError"
    node.destroy_synchronous()


def test_attributes_that_hide_what_the_node_needs_are_refused():
    class Hiding(compat.SyncObjConsumer):
        def __init__(self):
            super().__init__()
            self.options = {}

    with pytest.raises(compat.SyncObjException, match="options"):
        made(consumers=[Hiding()])
    with pytest.raises(TypeError, match="inherit from SyncObjConsumer"):

        class MyDict(compat.ReplDict):
            @compat.replicated
            def double(self):
                pass
