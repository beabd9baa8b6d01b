"""The load of a simulated run: callers on every node that use all types as programs do.

They call one after another or many at once, give up and cancel, gather batches, read behind
barriers, wait for items, and hold locks over whatever happens. What each saw is recorded, with the
place that the log gave to its call, for the checkers of `verdicts`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from functools import partial
from queue import Empty, Full
from random import Random
from typing import TYPE_CHECKING, Any, Final

from ..errors import (
    Busy,
    NodeFailed,
    NotApplied,
    SyncError,
)
from ..structs.counters import ReplCounter
from ..structs.dicts import ReplDict
from ..structs.lists import ReplList
from ..structs.locks import ReplLock, ReplLockManager
from ..structs.queues import ReplPriorityQueue, ReplQueue
from ..structs.sets import ReplSet
from .assorted import ASSORTED
from .followers import Followers
from .history import NOT_APPLIED, UNKNOWN, Op, Raised, plain
from .offices import ELECTION, Office
from .permits import PERMITS, hold
from .plans import Plan
from .presence import GROUP, View
from .recording import Fence, Handles, Record, Recorder, error_of, kept, spoil
from .releases import NAMES
from .streams import Streams
from .toil import Rota, Toil
from .upgrading import ask_for_version
from .violation import Violation

if TYPE_CHECKING:
    from ..futures import Future
    from ..node.transaction import Transaction
    from .hosts import Life
    from .schedule import VirtualLoop
    from .simulator import Simulation

class Ledger(ReplList[int]):
    """A list that no member has until it attaches it, with the sessions that have ended since."""

    _embeddable = False

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[int] = []

    def on_session_expired(self, session: int) -> None:
        """Note it."""
        self.ended.append(session)


CONSUMERS: Final[dict[str, Callable[[], Any]]] = {
    "hits": ReplCounter,
    "users": ReplDict,
    "items": ReplList,
    "tags": ReplSet,
    "jobs": lambda: ReplQueue(3),
    "ranks": ReplPriorityQueue,
    "lock": ReplLock,
    "locks": ReplLockManager,
    "ledger": Ledger,
}
"""The objects of every run, as every node makes them."""


def consumers_of(plan: Plan) -> dict[str, Callable[[], Any]]:
    """Return the objects of a run, as every node makes them."""
    makes = {name: kind.make for kinds in (ASSORTED, PERMITS) for name, kind in kinds.items()}
    return CONSUMERS | {name: makes[name] for name in plan.mixes if name in makes}


_CLOSING: Final = 2
"""How many items a queue holds that is made to be shut down."""
_LATE: Final = 0.3
"""How many lives of nodes attach an object late."""
_LONGEST_THOUGHT: Final = 30.0
"""Seconds between two calls of a caller at the most."""


class Load:
    """The callers of all nodes of one simulation, by its plan."""

    def __init__(self, simulation: Simulation, plan: Plan) -> None:
        self.simulation = simulation
        self.plan = plan
        released = () if simulation.releases is None else NAMES
        self.recorder = Recorder((*consumers_of(plan), *released))
        self.fences: dict[object, Fence] = {}
        self.handles: dict[int, Handles] = {}
        """What the callers of each life were told of its locks, by its id."""
        self.views: dict[int, View] = {}
        """What each life is told of who joins the group and leaves it, by its id."""
        self.is_open = True
        """Whether callers go on calling."""
        self.read_only = False
        self.toils = {kind.NAME: kind() for kind in (Toil, Rota)}
        self.put: dict[int, Record] = {}
        """Every item ever put into a queue."""
        self.taken: dict[int, str] = {}
        """Items that somebody got, and who."""
        self.given: dict[int, str] = {}
        """Ids that somebody was given, and who."""
        self.newest: dict[int, int] = {}
        """The last id that each life was given, by the id of that."""
        self.waits: list[tuple[Life, str, Future[Any]]] = []
        """Calls that wait in objects that may be dropped meanwhile."""
        self.puzzled: list[BaseException] = []
        """Errors that no call should raise."""
        self.streams = Streams(plan.seed)
        """What subscribers are told, where objects have versions."""
        self.followers = Followers(self)
        self._numbers = itertools.count(1)
        self._tasks: list[tuple[VirtualLoop, asyncio.Task[None]]] = []

    def is_late(self, life: Life, name: str) -> bool:
        """Return whether a node attaches an object only some time after its start."""
        releases = self.simulation.releases
        if releases is not None and releases.is_late(life, name):
            return True
        if name != "ledger" or "note" not in self.plan.mixes:
            return False
        return Random(f"{self.plan.seed}/{life.id}/late").random() < _LATE

    def join(self, life: Life) -> None:
        """Let callers begin on a node that has just been made."""
        loop = life.event_loop
        handles = self.handles[life.id] = Handles(self.puzzled)
        life.consumers["lock"].on_lost = lambda: handles.lose("lock", None)
        life.consumers["locks"].on_lost = lambda key: handles.lose("locks", key)
        if ELECTION in life.consumers:
            life.consumers[ELECTION].on_lost = lambda: handles.lose(ELECTION, None)
        if GROUP in life.consumers:
            self.views[life.id] = View(life, self.puzzled)
        if self.simulation.releases is not None:
            self.streams.join(life)
        self.followers.join(life)
        if life.late:
            self._tasks.append((loop, loop.create_task(Client(self, life, -1).come_late())))
        for number in range(self.plan.clients):
            self._tasks.append((loop, loop.create_task(Client(self, life, number).run())))

    def number(self) -> int:
        """Return a number that it never returned before."""
        return next(self._numbers)

    def fence(self, key: object) -> Fence:
        """Return what the lock of that key protects."""
        return self.fences.setdefault(key, Fence())

    @property
    def is_idle(self) -> bool:
        """Whether no caller is at work on a node that lives."""
        tasks = self._tasks
        # Asked after every event: mostly the last one is at work still.
        while tasks:
            loop, task = tasks[-1]
            if not loop.over and not task.done():
                return False
            tasks.pop()
        return True

    def check(self) -> None:
        """Raise what a caller should not have met."""
        if self.puzzled:
            raise Violation(f"a call raised {self.puzzled[0]!r}") from self.puzzled[0]

    def histories(self) -> dict[str, list[Op]]:
        """Return what was recorded, by object, in the order of the calls.

        The log tells of a call without an outcome: when it was committed, or that it never was.
        """
        checks = self.simulation.checks
        numbers = itertools.count(1)
        histories: dict[str, list[Op]] = {}
        for name, records in self.recorder.records.items():
            ops = histories[name] = []
            for record in records:
                end, outcome, place = record.end, record.outcome, record.place
                if place is None and type(record.call) is checks.call_type:
                    if not checks.is_conflict(record.call):
                        place = checks.place_of(record.call)
                    if outcome is NOT_APPLIED and place is not None:
                        raise Violation(
                            f"{record.process}: {record.method}{record.args!r} of {name!r} was said"
                            " to be not applied, but the log has it"
                        )
                    if outcome is UNKNOWN:
                        if place is None:
                            outcome = NOT_APPLIED
                        else:
                            end = checks.committed_at(place)
                    if place is not None:
                        place += record.part
                time = None if place is None else checks.time_at(place)
                ops.append(Op(
                    id=next(numbers), process=record.process, method=record.method,
                    args=record.args, kwargs=record.kwargs, call=record.began, end=end,
                    outcome=outcome, index=place, time=time, session=record.session,
                ))  # fmt: skip
        return histories


_FORGIVEN = (SyncError, Empty, Full, LookupError, ValueError, TypeError)


class Client:
    """One caller: a coroutine in the life of one node."""

    def __init__(self, load: Load, life: Life, number: int) -> None:
        plan = load.plan
        self.load = load
        self.life = life
        self.name = f"{life.host.address}.{life.number}/{number}"
        self.random = Random(f"{plan.seed}/{self.name}")
        self._kinds = list(plan.mixes) or ["count"]
        self._weights = list(plan.mixes.values()) or [1.0]
        self._objects = life.consumers

    async def run(self) -> None:
        """Call again and again, until the load is closed."""
        load, random = self.load, self.random
        while load.is_open:
            await asyncio.sleep(self._thought())
            if load.read_only:
                await self._guard(self.read())
                continue
            (kind,) = random.choices(self._kinds, self._weights)
            await self._guard(self._step(kind))

    def _step(self, kind: str) -> Coroutine[Any, Any, None]:
        if kind in PERMITS:
            return hold(self, kind)
        step: Coroutine[Any, Any, None]
        step = self.assort(kind) if kind in ASSORTED else getattr(self, kind)()
        return step

    def _thought(self) -> float:
        """Return how many seconds to think; not for so long that the load could not be ended."""
        return min(self.random.expovariate(1.0) * self.load.plan.think, _LONGEST_THOUGHT)

    async def _guard(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except (NotApplied, NodeFailed):
            pass
        except Exception as error:
            self.load.puzzled.append(error)
            raise

    # Calls

    def _submit(self, name: str, method: str, *args: Any) -> Future[Any] | None:
        recorder = self.load.recorder
        record = recorder.begin(self.name, name, method, *map(kept, args))
        try:
            future: Future[Any] = getattr(self._objects[name], method).submit(*args)
        except Exception as error:
            recorder.fail(record, error)
            return None
        spoil(*args)
        recorder.follow(record, future)
        return future

    async def _call(self, name: str, method: str, *args: Any) -> None:
        future = self._submit(name, method, *args)
        if future is not None:
            await self._await(future)

    async def _await(self, future: Future[Any]) -> bool:
        """Wait as patiently as this caller is; return whether the future is done."""
        random = self.random
        if random.random() < self.load.plan.give_up:
            patience = random.random() * 0.1
            if not await _done_within(future, patience) and random.random() < 0.5:
                future.cancel()
            return future.done()
        return await _done_within(future, 5.0)

    async def done(self, future: Future[Any]) -> bool:
        """Wait as patiently as this caller is; return whether the future is done."""
        return await self._await(future)

    async def count(self) -> None:
        random = self.random
        method = random.choice(("inc", "inc", "add", "dec", "sub", "set", "get_and"))
        if method == "get_and":
            value = self._objects["hits"].value
            await self._call("hits", "compare_and_set", value, value + 10)
        elif method in ("add", "sub", "set"):
            await self._call("hits", method, random.randrange(1, 9))
        else:
            await self._call("hits", method)

    def _key(self) -> str:
        return f"k{self.random.randrange(self.load.plan.keys)}"

    def _value(self) -> object:
        number = self.load.number()
        return [number] if self.random.random() < 0.2 else number

    def _change(self) -> tuple[str, str, tuple[Any, ...]]:
        """Return some change of the dictionary, the list, the set or the counter."""
        which = self.random.randrange(4)
        if which == 0:
            return ("users", *self._key_change())
        if which == 1:
            return ("items", *self._list_change())
        if which == 2:
            return ("tags", *self._set_change())
        return "hits", "add", (self.random.randrange(1, 9),)

    def _key_change(self) -> tuple[str, tuple[Any, ...]]:
        method = self.random.choice(("set", "set", "set", "delete", "setdefault", "pop", "swap"))
        key = self._key()
        if method == "swap":
            expected = kept(self._objects["users"].get(key))
            return "compare_and_set", (key, expected, self._value())
        if method in ("set", "setdefault"):
            return method, (key, self._value())
        return method, (key, None) if method == "pop" and self.random.random() < 0.5 else (key,)

    def _list_change(self) -> tuple[str, tuple[Any, ...]]:
        random = self.random
        if len(self._objects["items"]) > 20:
            return random.choice((("pop", ()), ("pop", (0,)), ("clear", ())))
        method = random.choice(("append", "append", "insert", "pop", "set", "remove", "reverse"))
        number = self.load.number()
        if method == "append":
            return method, (number,)
        if method == "insert" or method == "set":
            return method, (random.randrange(5), number)
        return method, (random.randrange(9),) if method == "remove" else ()

    def _set_change(self) -> tuple[str, tuple[Any, ...]]:
        method = self.random.choice(("add", "add", "discard", "remove", "pop"))
        return method, () if method == "pop" else (self.random.randrange(self.load.plan.keys),)

    async def sweep(self) -> None:
        """Change much of an object at once; some do so several times, without waiting."""
        last = None
        for _ in range(self.random.choice((1, 3, 8))):
            name, method, args = self._sweeping_change()
            last = self._submit(name, method, *args) or last
        if last is not None:
            await self._await(last)

    def _sweeping_change(self) -> tuple[str, str, tuple[Any, ...]]:
        random, number = self.random, self.load.number
        some = [random.randrange(self.load.plan.keys) for _ in range(random.randrange(4))]
        few = len(self._objects["items"]) <= 10
        first, last = random.randrange(-3, 4), random.choice((None, random.randrange(-3, 6)))
        step = random.choice((None, None, 1, 2, -1))
        changes: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
            ("users", "update", ({self._key(): self._value() for _ in some},)),
            ("users", "popitem", ()),
            ("users", "clear", ()),
            ("users", "reset", ({self._key(): self._value() for _ in some},)),
            ("items", "extend", ([number() for _ in some],)),
            ("items", "delete", (random.randrange(-2, 4),)),
            ("items", "sort", ()),
            ("items", "_sort", (None, True)),
            ("items", "_repeat", (random.choice((0, 1, 2 if few else 1, 3 if few else 1)),)),
            ("items", "_set_slice", ([first, last, step], [number() for _ in some])),
            ("items", "_delete_slice", ([first, last, step],)),
            ("items", "reset", ([number() for _ in some],)),
            ("tags", "update", (some,)),
            ("tags", "difference_update", (some,)),
            ("tags", "symmetric_difference_update", (some,)),
            ("tags", "intersection_update", (some, some[1:] or range(self.load.plan.keys))),
            ("tags", "reset", (some[::-1],)),
            ("tags", "clear", ()),
        )  # fmt: skip
        return random.choice(changes)

    async def write_key(self) -> None:
        method, args = self._key_change()
        await self._call("users", method, *args)

    async def change_list(self) -> None:
        method, args = self._list_change()
        await self._call("items", method, *args)

    async def change_set(self) -> None:
        method, args = self._set_change()
        await self._call("tags", method, *args)

    async def pipeline(self) -> None:
        """Make many calls without waiting, and wait for the last of them."""
        last = None
        for _ in range(self.random.choice((2, 5, 20))):
            name, method, args = self._change()
            last = self._submit(name, method, *args) or last
        if last is not None:
            await self._await(last)

    async def batch(self) -> None:
        """Make some calls as one."""
        recorder = self.load.recorder
        block = self.life.node.batch()
        block._open()
        records = []
        for part in range(self.random.randrange(1, 5)):
            name, method, args = self._change()
            record = recorder.begin(self.name, name, method, *map(kept, args))
            record.part = part
            try:
                gathered = getattr(self._objects[name], method).submit(*args)
            except Exception as error:
                recorder.fail(record, error)
                continue
            spoil(*args)
            records.append((record, gathered))
        try:
            call = block._send(raised=False)
        except NotApplied as error:
            for record, _ in records:
                recorder.fail(record, error)
            return
        for record, gathered in records:
            recorder.follow(record, gathered)
            record.call = call
        if call is not None:
            block._end(call)
            await self._await(call)

    async def transact(self) -> None:
        """Read and change some objects as one."""
        block = self.life.node.transaction()
        try:
            transaction = await block.__aenter__()
        except SyncError:
            return
        recorder, records, commands = self.load.recorder, [], []
        for part in range(self.random.randrange(1, 5)):
            before = len(transaction)
            records.append(self._part(transaction, part))
            if len(transaction) > before:
                commands.append(records[-1])
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.random() * 0.1)
        try:
            call = block.end(raised=False)
        except NotApplied as error:
            for record, _ in records:
                recorder.fail(record, error)
            return
        for record, _ in records:
            record.call = call
        if call is None or not await self._await(call):
            return
        failure = error_of(call)
        for record, outcome in records:
            if failure is None:
                record.outcome, record.end = outcome, recorder.clock()
            else:
                recorder.fail(record, failure)
        if failure is None:
            for (record, outcome), ended in zip(commands, call.result(), strict=True):
                applied = Raised.of(ended.error) if ended.error else plain(ended.value)
                if applied != outcome:
                    raise Violation(
                        f"{record.process}: {record.method}{record.args!r} gave {outcome!r} in a"
                        f" transaction, and {applied!r} where that was applied"
                    )

    def _part(self, transaction: Transaction, part: int) -> tuple[Record, object]:
        """Read or change an object in a transaction; return what it gave there."""
        random = self.random
        if random.random() < 0.5:
            name = random.choice(("hits", "users", "items", "tags"))
            method, args = random.choice(_READS[name])
            args = (self._key() if name == "users" else random.randrange(9),) if args else ()
        else:
            name, method, args = self._change()
        record = self.load.recorder.begin(self.name, name, method, *map(kept, args))
        record.part = part
        try:
            target: Any = transaction[self._objects[name]]
            if (name, method) == ("hits", "get"):
                return record, target.value
            outcome = getattr(target, method)(*args)
        except _FORGIVEN as error:
            return record, Raised.of(error)
        seen = kept(plain(outcome))
        spoil(*args, outcome)
        return record, seen

    async def read(self) -> None:
        """Read behind a barrier."""
        random = self.random
        name = random.choice(("hits", "users", "items", "tags"))
        if self.load.simulation.releases is not None and random.random() < 0.4:
            name = random.choice(NAMES)
            if self.life.table.objects.get(name) is not self._objects[name]:
                return
        if random.random() < 0.1 and "ledger" in self.life.table.objects:
            name = "ledger"
        key = self._key() if name == "users" else random.randrange(self.load.plan.keys)
        method, args = random.choice(_READS[name])
        if args:
            args = (key,)
        await self._read(name, method, args)

    async def _read(self, name: str, method: str, args: tuple[Any, ...]) -> None:
        recorder = self.load.recorder
        record = recorder.begin(self.name, name, method, *args)
        try:
            await self.life.node.barrier.submit(5.0)
        except SyncError:
            record.outcome = NOT_APPLIED
            return
        try:
            found = getattr(self._objects[name], method)
            value = found(*args) if callable(found) else found
        except Exception as error:
            value = Raised.of(error)
        record.outcome = kept(plain(value))
        record.place = self.load.simulation.checks.place_after(self.life.table.applied_index)
        record.end = recorder.clock()
        spoil(value)

    async def assort(self, name: str) -> None:
        """Read an object that only some runs have, or call it; some do so without waiting."""
        if name == ELECTION:
            await self._hold(name, None)
            return
        random, kind = self.random, ASSORTED[name]
        if kind.reads and random.random() < 0.25:
            await self._read(name, *random.choice(kind.reads))
            return
        if kind.act is not None:
            await kind.act(self, name)
            return
        last, waits = None, []
        for _ in range(random.choice((1, 1, 1, 3))):
            method, args = kind.draw(self._objects[name], random, self.load.number)
            future = self._submit(name, method, *args)
            if future is not None and kind.gives_ids:
                future.add_done_callback(partial(self._given, *args))
            if future is not None and method in kind.lines:
                waits.append(future)
            last = future or last
        if last is not None:
            await self._await(last)
        for wait in waits:
            # Or waits would pile up, until nobody can call any more.
            if not wait.done():
                wait.cancel()

    def _given(self, *args: Any) -> None:
        """Judge an id, or the first of some, that this caller was given."""
        *counts, future = args
        if error_of(future) is not None:
            return
        load, life, first = self.load, self.life.id, future.result()
        for number in range(first, first + sum(counts, start=not counts)):
            if number in load.given:
                what = f"{self.name} was given the id {number}, which {load.given[number]} has"
                load.puzzled.append(Violation(what))
            load.given[number] = self.name
        if not counts:
            if first <= load.newest.get(life, 0):
                load.puzzled.append(Violation(f"{self.name} was given {first} after a greater id"))
            load.newest[life] = first

    # Queues

    async def put(self) -> None:
        await self._put("jobs", self.load.number())

    async def put_ranked(self) -> None:
        for _ in range(self.random.choice((1, 1, 4))):
            await self._put("ranks", self.random.randrange(3) * 10**9 + self.load.number())

    async def finish(self) -> None:
        """Say that an item was dealt with, or wait until all were."""
        if self.random.random() < 0.8:
            await self._call("jobs", "task_done")
            return
        future = self._submit("jobs", "join")
        if future is not None and not await self._await(future):
            future.cancel()

    async def get(self) -> None:
        await self._get("jobs")

    async def get_ranked(self) -> None:
        await self._get("ranks")

    async def _put(self, name: str, item: int) -> None:
        random = self.random
        record = self.load.recorder.begin(self.name, name, "put", item)
        self.load.put[item] = record
        method, args = random.choice(
            (("put_nowait", ()), ("put", (False,)), ("put", ()), ("put", (True, random.random())))
        )
        record.method, record.args = method, (item, *args)
        try:
            future = getattr(self._objects[name], method).submit(*record.args)
        except Exception as error:
            self.load.recorder.fail(record, error)
            return
        self.load.recorder.follow(record, future)
        await self._await(future)

    async def _get(self, name: str) -> None:
        random = self.random
        load = self.load
        method, args = random.choice(
            (("get_nowait", ()), ("get", (False,)), ("get", ()), ("get", (True, random.random())))
        )
        record = load.recorder.begin(self.name, name, method, *args)
        try:
            future = getattr(self._objects[name], method).submit(*args)
        except Exception as error:
            load.recorder.fail(record, error)
            return
        load.recorder.follow(record, future)
        future.add_done_callback(self._took)
        await self._await(future)

    def _took(self, future: Future[Any]) -> None:
        if error_of(future) is not None:
            return
        item = future.result()
        taken = self.load.taken
        if item in taken:
            what = f"{self.name} took {item}, which {taken[item]} had taken"
            self.load.puzzled.append(Violation(what))
        elif item not in self.load.put:
            self.load.puzzled.append(Violation(f"{self.name} took {item}, which nobody has put"))
        taken[item] = self.name

    async def shift(self) -> None:
        """Work for a while at a queue that is made for that, until somebody shuts it down."""
        node, random = self.life.node, self.random
        name = f"y{random.randrange(2)}"
        future = node.create.submit(name, ReplQueue, _CLOSING)
        if not await self._await(future) or error_of(future) is not None:
            return
        queue = future.result()
        ended = None
        # By turns more is put than taken, and more done than there is.
        puts, takes = random.choice(((4, 1), (1, 1), (1, 4)))
        methods = random.choices(
            ("put", "put_nowait", "get", "get_nowait", "task_done", "join"),
            (puts, 1, takes, 1, 2, 2), k=random.randrange(1, 9),
        )  # fmt: skip
        closes = random.random() < 0.4
        if closes:
            last = random.choices(("get_nowait", "put_nowait", "get", "put"), k=3)
            methods += ["shutdown", *last]
        for method in methods:
            args = self._made_args(method)
            ended = self._submit_made(name, queue, method, *args) or ended
            if method == "join" and ended is not None:
                self.life.event_loop.call_later(random.expovariate(1.0), ended.cancel)
        if ended is not None and not await self._await(ended):
            ended.cancel()
        if closes:
            # What is dropped can be made anew; until then, others find it shut down.
            await asyncio.sleep(self._thought())
            await self._await(node.drop.submit(name))

    def _made_args(self, method: str) -> tuple[Any, ...]:
        if method in ("put", "put_nowait"):
            return (self.load.number(), True, 1.0)[: 1 if method == "put_nowait" else 3]
        if method == "shutdown":
            return (self.random.random() < 0.5,)
        return (True, 0.5) if method == "get" else ()

    def _submit_made(
        self, name: str, queue: ReplQueue[int], method: str, *args: Any
    ) -> Future[Any] | None:
        recorder = self.load.recorder
        record = recorder.begin_made(self.name, name, method, *args)
        try:
            future: Future[Any] = getattr(queue, method).submit(*args)
        except SyncError as error:
            recorder.fail(record, error)
            return None
        recorder.follow(record, future)
        return future

    # Locks

    async def hold(self) -> None:
        await self._hold("lock", None)

    async def hold_key(self) -> None:
        await self._hold("locks", self._key())

    async def _hold(self, name: str, key: str | None) -> None:
        random = self.random
        lock = self._objects[name] if key is None else self._objects[name][key]
        if name == ELECTION:
            lock = Office(lock, self.life.node.address, self.load.number())
        recorder = self.load.recorder
        arguments = random.choice(((), (False,), (True, random.random()), (True, 3.0)))
        named = () if key is None else (key,)
        record = recorder.begin(self.name, name, "acquire", *named, *arguments)
        record.session = self.life.id
        if key is not None and arguments == (False,):
            future = self._objects[name].try_acquire.submit(key)
        else:
            future = lock.acquire.submit(*arguments)
        recorder.follow(record, future)
        future.add_done_callback(lambda ended: self._acquired(ended, name, key, lock))
        if not await self._await(future) or error_of(future) is not None:
            if not future.done():
                future.cancel()
            return
        token = lock.token
        if not future.result() or token is None:
            return
        # Some hold it for longer than a session may be silent.
        for _ in range(random.choice((0, 0, 1, 1, 2, 2, 3, 8))):
            self._use(name, key, lock, token)
            if name == ELECTION and lock.token == token and random.random() < 0.5:
                lock.proclaim(self.load.number())
            await asyncio.sleep(random.expovariate(1.0) * 0.3)
        if random.random() < 0.1:
            return  # never released, as by a careless program, until the node ends
        await self._release(name, key, lock)

    async def _release(self, name: str, key: str | None, lock: Any) -> None:
        named = () if key is None else (key,)
        recorder = self.load.recorder
        record = recorder.begin(self.name, name, "release", *named)
        record.session = self.life.id
        record.token = lock.token
        handles = self.load.handles[self.life.id]
        handles.sees(name, key, record.token, self.name)
        future = lock.release.submit()
        recorder.follow(record, future)
        if record.token is None:
            # It is known at once then, and nobody need be asked.
            assert future.done(), f"{lock!r} is not held, and yet its release goes on"
            handles.refused(name, key, error_of(future), self.name)
            # If another caller of this node has it, that would be his that is released.
            if lock.token is None:
                handles.refused(name, key, error_of(lock.release.submit()), self.name)
        await self._await(future)

    def _use(self, name: str, key: str | None, lock: Any, token: int) -> None:
        """Write to what the lock protects, with its token, and see what the node says of it."""
        life = self.life
        sure = lock.held and lock.token == token
        fence = self.load.fence(name if key is None else key)
        fence.write(token, sure=sure, who=f"{self.name} of {key or name}")
        if not sure:
            return
        self.load.simulation.checks.relies(life, name, key, token)
        lock.ensure_held()
        whole = self._objects["locks"]
        held = whole.keys()
        if not lock.locked() or (
            key is not None and (key not in held or whole.holders()[key].token != token)
        ):
            what = f"{self.name} holds {lock!r} with token {token}, and its node does not say so"
            self.load.puzzled.append(Violation(what))

    def _acquired(self, future: Future[Any], name: str, key: str | None, lock: Any) -> None:
        if error_of(future) is not None or not future.result():
            return
        if not lock.held:
            what = f"{self.name} was told that it has {lock!r}, of which its node is not sure"
            self.load.puzzled.append(Violation(what))
            return
        self.load.handles[self.life.id].acquire(name, key, self.name)
        self.load.simulation.checks.relies(self.life, name, key, lock.token)

    # Objects that come and go

    async def create(self) -> None:
        node = self.life.node
        number = self.random.randrange(3)
        name = f"x{number}"
        future = node.create.submit(name, ReplQueue if number == 2 else ReplCounter)
        if not await self._await(future) or error_of(future) is not None:
            return
        target = future.result()
        if number != 2:
            await self._await(target.add.submit(self.random.randrange(9)))
            return
        try:
            waits = target.get.submit()
        except NotApplied:
            return
        self.load.waits.append((self.life, name, waits))
        if self.random.random() < 0.5:
            await self._await(waits)

    async def note(self) -> None:
        if self._objects["ledger"]._binding is not None and "ledger" in self.life.table.objects:
            await self._call("ledger", "append", self.load.number())

    # Objects whose methods have versions

    async def take(self) -> None:
        """Call what has several bodies."""
        number = self.random.randrange(1, 9)
        await self._call_released(self.random.choice(("take", "take", "take_twice")), number)

    async def give(self) -> None:
        """Call what is there from a version on, where the class of this node has it."""
        await self._call_released("give", self.random.randrange(1, 9))

    async def _call_released(self, method: str, number: int) -> None:
        future = self._submit_released(method, number)
        if future is not None:
            await self._await(future)

    def _submit_released(self, method: str, number: int) -> Future[Any] | None:
        name = self.random.choice(NAMES)
        target = self._objects[name]
        is_there = target._binding is not None and hasattr(target, method)
        return self._submit(name, method, number) if is_there else None

    async def switch(self) -> None:
        """Ask for a version, and call what has several bodies right behind it."""
        releases, random = self.load.simulation.releases, self.random
        if releases is None or self.load.read_only:
            return
        version = random.randint(1, releases.newest)
        ask_for_version(self.load.simulation, self.life, version)
        last = None
        for _ in range(random.randrange(1, 4)):
            last = self._submit_released("take", random.randrange(1, 9)) or last
        if last is not None:
            await self._await(last)

    # Objects that are attached late

    async def come_late(self) -> None:
        """Attach what this node was started without."""
        await self._guard(self._attach())

    async def _attach(self) -> None:
        if self.load.simulation.releases is not None:
            await asyncio.sleep(self.random.expovariate(1.0))
            # All at once, as an import would have it.
            while True:
                try:
                    self.life.node._engine.tell_bodies(*map(type, self._objects.values()))
                    break
                except Busy:
                    await asyncio.sleep(0.1)
        for name in self.life.late:
            await asyncio.sleep(self.random.expovariate(1.0))
            while self.life.table.objects.get(name) is not self._objects[name]:
                # One that was told that nobody knows may have been done, and then it is there.
                future = self.life.node.attach.submit(name, self._objects[name])
                await _done_within(future, _LONGEST_THOUGHT)
                await asyncio.sleep(0.1)
            if self.load.simulation.releases is not None:
                self.load.streams.join(self.life)

    async def drop(self) -> None:
        await self._await(self.life.node.drop.submit(f"x{self.random.randrange(3)}"))


_READS: Final[dict[str, tuple[tuple[str, tuple[Any, ...]], ...]]] = {
    "hits": (("get", ()),),
    "users": (("get", (0,)), ("get", (0,)), ("get", (0,)), ("__contains__", (0,)), ("copy", ())),
    "items": (("copy", ()), ("copy", ()), ("__len__", ()), ("count", (0,))),
    "ledger": (("copy", ()),),
    "stock": (("peek", ()),),
    "cellar": (("peek", ()),),
    "tags": (("__contains__", (0,)), ("__contains__", (0,)), ("copy", ()), ("__len__", ())),
}
"""How each object is read; who has an argument is asked for a key."""


async def _done_within(future: Future[Any], seconds: float) -> bool:
    if future.done():
        return True
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def release(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = loop.call_later(seconds, release)
    future.add_done_callback(release)
    await waiter
    timer.cancel()
    return future.done()
