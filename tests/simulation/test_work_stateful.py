"""Work that is handed out on a simulated cluster, as nodes come and go: tasks, jobs, and ids.

Hypothesis draws who puts, takes, and says how it went, and what befalls the cluster in between.
When leases end and what is due when, cluster time decides: so the objects keep what they were
asked and when, and a plain model that is told the same must end up the same.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from queue import Empty, Full

import hypothesis.strategies as st
from coming_and_going import NODES, ComingAndGoing, few
from hypothesis import settings
from hypothesis.stateful import precondition, rule

from syncstructs import ReplIdGenerator, ReplScheduler, ReplTaskQueue, current_context, replicated
from syncstructs.errors import LockLost, ResultLost
from syncstructs.structs.tasks import Progress
from syncstructs.testing.hosts import EPOCH

LEASE, ATTEMPTS, MAXSIZE = 6.0, 3, 5
SECOND = 1_000_000
"""In which the models count, in integers, as the log does."""
ROUNDING = 5
"""What floats of seconds since 1970 may be off by, in those units."""


def micros(seconds):
    return None if seconds is None else round(seconds * SECOND)


def noted(name):
    """Return the command of that name, which also keeps when, by whom, and what it was asked."""

    def command(self, *args):
        self.note(name, *args)
        return getattr(super(Noted, self), name)(*args)

    command.__name__ = command.__qualname__ = name
    return replicated(command)


class Noted:
    """What a queue of tasks is asked, and what befalls it, in the order of the log."""

    def __init__(self, *args, **kwargs):
        self.notes = []
        super().__init__(*args, **kwargs)

    def note(self, name, *args):
        context = current_context()
        row = micros(context.time), context.session, context.serial, name.strip("_"), args
        self.notes.append(row)

    put, _take, _withdraw = noted("put"), noted("_take"), noted("_withdraw")
    _give_back, _ack = noted("_give_back"), noted("_ack")
    _nack, _extend = noted("_nack"), noted("_extend")

    def on_due(self):
        self.note("due")
        super().on_due()

    def on_session_expired(self, session):
        self.note("expired", session)
        super().on_session_expired(session)


@dataclass
class Task:
    """A task that is not done. What has a token is leased; else what has a time is delayed."""

    id: int
    payload: object
    priority: int
    key: str | None
    attempts: int = 0
    time: int | None = None
    token: int = 0
    owner: tuple[int, int] | None = None
    """Session and ticket."""

    @property
    def is_ready(self):
        return not self.token and self.time is None


class TaskModel:
    """A list of tasks that is looked through for every question."""

    def __init__(self, retry):
        self.retry = retry
        self.tasks, self.dead, self.line = [], [], []
        self.granted = {}
        self.put_count = self.done = self.retried = self.last = self.now = 0
        self.ends = {}
        """How the commands of each name ended."""

    def told(self, row):
        self.now, self.session, self.serial, name, args = row
        self.ends.setdefault(name, []).append(getattr(self, name)(*args))

    def number(self):
        self.last = max(self.last + 1, self.serial)
        return self.last

    def put(self, payload, priority=0, delay=0.0, key=None):
        for task in self.tasks + self.dead:
            if key is not None and task.key == key:
                return task.id
        if len(self.tasks) == MAXSIZE:
            return Full
        id_ = self.number()
        self.enter(Task(id_, payload, priority, key), delay)
        return id_

    def enter(self, task, delay=0.0):
        self.tasks.append(task)
        self.put_count += 1
        self.makes_ready(task, delay)

    def makes_ready(self, task, delay):
        task.token, task.owner = 0, None
        task.time = self.now + micros(delay) if delay else None
        self.serve()

    def serve(self):
        while self.line and self.first() is not None:
            self.grant(self.first(), *self.line.pop(0))

    def first(self):
        ready = [task for task in self.tasks if task.is_ready]
        return min(ready, key=lambda task: (-task.priority, task.id), default=None)

    def grant(self, task, session, ticket, lease):
        task.attempts += 1
        task.token, task.owner = self.number(), (session, ticket)
        task.time = None if lease is None else self.now + micros(lease)
        self.granted[task.token] = session, task.id, task.attempts, task.key, task.payload

    def take(self, ticket, lease, wait):
        if self.first() is not None:
            self.grant(self.first(), self.session, ticket, lease)
        elif wait:
            self.line.append((self.session, ticket, lease))

    def withdraw(self, ticket):
        owner = self.session, ticket
        self.line = [waiter for waiter in self.line if waiter[:2] != owner]
        for task in [task for task in self.tasks if task.owner == owner]:
            self.give_back(task.id, task.token)

    def leased(self, id_, token):
        """Return the task if that lease counts, in a list; or an empty one."""
        return [task for task in self.tasks if token and (task.id, task.token) == (id_, token)]

    def give_back(self, id_, token):
        for task in self.leased(id_, token):
            del self.granted[token]
            task.attempts -= 1
            self.makes_ready(task, 0.0)

    def ack(self, id_, token):
        for task in self.leased(id_, token):
            self.tasks.remove(task)
            self.done += 1
            return None
        return LockLost

    def nack(self, id_, token, delay, error):
        for task in self.leased(id_, token):
            self.fail(task, delay)
            return None
        return LockLost

    def fail(self, task, delay=None):
        if task.attempts == ATTEMPTS:
            task.token, task.owner = 0, None
            self.tasks.remove(task)
            self.dead.append(task)
        else:
            self.retried += 1
            later = self.retry * 2 ** (task.attempts - 1)
            self.makes_ready(task, later if delay is None else delay)

    def extend(self, id_, token, lease):
        for task in self.leased(id_, token):
            task.time = None if lease is None else self.now + micros(lease)
            return None
        return LockLost

    def due(self):
        while (task := self.next()) is not None and task.time <= self.now:
            if task.token:
                self.fail(task)
            else:
                self.makes_ready(task, 0.0)

    def next(self):
        timed = [task for task in self.tasks if task.time is not None]
        return min(timed, key=lambda task: (task.time, task.id), default=None)

    def next_time(self):
        """Return when something is due, or None."""
        return None if self.next() is None else self.next().time

    def expired(self, session):
        self.line = [waiter for waiter in self.line if waiter[0] != session]
        lost = [task for task in self.tasks if task.owner and task.owner[0] == session]
        for task in sorted(lost, key=lambda task: task.token):
            self.fail(task)

    def progress(self):
        leased = sum(task.token > 0 for task in self.tasks)
        ready = sum(task.is_ready for task in self.tasks)
        return Progress(
            ready, len(self.tasks) - leased - ready, leased, len(self.dead),
            put=self.put_count, done=self.done, retried=self.retried,
        )  # fmt: skip


class CountsWaits:
    """Knows how often a wait was begun on this node: again, if a snapshot hid what it had got."""

    LOCAL = frozenset({"begun"})

    def __init__(self, *args, **kwargs):
        self.begun = 0
        super().__init__(*args, **kwargs)

    def _ask(self, ticket, lease, wait):
        self.begun += wait
        return super()._ask(ticket, lease, wait)


class TaskQueue(Noted, CountsWaits, ReplTaskQueue):
    pass


class Workers(ComingAndGoing):
    """Takes tasks and says how they went."""

    retry = 0.0

    @classmethod
    def make(cls):
        return TaskQueue(
            LEASE, max_attempts=ATTEMPTS, retry_delay=cls.retry, maxsize=MAXSIZE
        )  # fmt: skip

    def begin(self):
        self.model, self.heard = self.new_model(), 0
        self.heard_at = 0.0
        self.waiting, self.taken = [], []
        self.asked = {}
        """How many waits were asked for on each node, since nobody waited there."""
        self.seen = set()

    def new_model(self):
        return TaskModel(self.retry)

    @rule(
        node=NODES, priorities=st.lists(st.integers(0, 2), min_size=1, max_size=3),
        delay=st.sampled_from([0.0, 0.0, 0.0, 2.0]), key=st.sampled_from([None, None, "a"]),
    )  # fmt: skip
    def put(self, node, priorities, delay, key):
        put = self.at(node).put
        futures = [put.submit(priority, priority, delay, key) for priority in priorities]
        ends = [self.end_of(future) for future in futures]
        self.all_agree()
        assert self.ended("put", *ends)

    def ended(self, method, *ends):
        """Return whether the last commands ended so: unless a snapshot hid how."""
        expected = self.model.ends[method][-len(ends) :]
        return all(end in (ResultLost, right) for end, right in zip(ends, expected, strict=True))

    @rule(node=NODES, count=st.integers(1, 3), lease=st.sampled_from([LEASE, None]))
    def get(self, node, count, lease):
        for _ in range(count):
            self.waits(node, lease)
        self.all_agree()

    def waits(self, node, lease):
        if node not in [at for at, _ in self.waiting]:
            self.at(node).begun = self.asked[node] = 0
        self.asked[node] += 1
        self.waiting.append((node, self.at(node).get.submit(lease=lease)))

    @rule(node=NODES)
    def get_at_once(self, node):
        task = self.call(node, "get", False)
        if task is not Empty:
            self.notes_taken(node, task)
        self.all_agree()

    @precondition(lambda self: self.taken)
    @rule(which=st.lists(st.integers(0, 20), min_size=1, max_size=4), how=st.sampled_from(
        [("ack",), ("ack",), ("nack",), ("nack", 0.0), ("nack", 2.0), ("heartbeat",)]
    ))  # fmt: skip
    def tell(self, which, how):
        """Say how tasks went, also of such whose leases have ended, which others may have now."""
        method, *args = how
        for number in which:
            node, task = self.taken[number % len(self.taken)]
            end = self.call(node, method, task, *args)
            self.all_agree()
            assert self.ended("extend" if method == "heartbeat" else method, end)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 10))
    def give_up(self, which):
        # Who was served meanwhile, as a node stood still, does not wait any more.
        self.all_agree()
        if self.waiting:
            assert self.waiting.pop(which % len(self.waiting))[1].cancel()
            self.all_agree()

    @rule(seconds=st.sampled_from([1.0, 3.0, LEASE]))
    def work(self, seconds):
        self.time_passes(seconds)
        self.all_agree()

    def happens_before(self, node, value):
        """Let it take tasks of which another one hears by a snapshot, and the third one waits."""
        if value > 1:
            second, third = (other for other in self.present if other != node)
            self.put(node, [0, value], 0.0, None)
            self.get(node, 2, None)
            for _ in range(4):
                self.call(second, "revive", [])
            self.starts_anew(second)
            self.get(third, 3, None)

    def has_gone(self, node):
        self.gone = [[one for one in ones if one[0] == node] for ones in (self.waiting, self.taken)]
        self.waiting = [one for one in self.waiting if one[0] != node]
        self.taken = [one for one in self.taken if one[0] != node]

    def happens_meanwhile(self, node, value):
        self.waits(node, LEASE)
        self.call(node, "put", "meanwhile", value, 0.0, "a")

    def is_back(self, node):
        self.waiting += self.gone[0]
        # Of leases that have ended meanwhile, which it is told when it says how it went.
        self.taken += self.gone[1]

    def notes_taken(self, node, task):
        assert task.token not in self.seen, "each lease is given once"
        self.seen.add(task.token)
        self.taken.append((node, task))
        return task

    def all_agree(self):
        present = self.present
        self.cluster.run_until(lambda: all(self.is_right(self.at(node)) for node in present))
        for node in present:
            self.at(node)._check()
            served = [future.done() for at, future in self.waiting if at == node]
            if served and self.asked[node] == self.at(node).begun:
                assert served == sorted(served, reverse=True), "who came first is served first"
        for node, future in [one for one in self.waiting if one[1].done()]:
            self.waiting.remove((node, future))
            self.notes_taken(node, future.result())
        assert self.seen <= self.model.granted.keys()
        for _, task in self.taken:
            what = task.id, task.attempt, task.key, task.payload
            assert self.model.granted[task.token][1:] == what

    def is_right(self, target):
        self.listen(target)
        model, it = self.model, target
        waiting = [row[:2] for row in it._getters.state()]
        futures = [node for node, future in self.waiting if not future.done()]
        nodes = {self.at(node)._port.session: node for node in self.present}
        return (
            len(it.notes) == self.heard
            and it.progress() == model.progress()
            and [task.id for task in it.dead_letters()] == [task.id for task in model.dead]
            and [tuple(row) for row in waiting] == [waiter[:2] for waiter in model.line]
            and sorted(futures) == sorted(nodes.get(waiter[0], "") for waiter in model.line)
            and self.times(it) == [(task.id, task.token, task.time) for task in model.tasks]
            and self.granted_to(nodes) <= self.seen | self.served()
            and not self.is_overdue()
        )

    def granted_to(self, sessions):
        """Return the tokens of what these were given, and have not given back."""
        return {token for token, what in self.model.granted.items() if what[0] in sessions}

    def served(self):
        return {future.result().token for _, future in self.waiting if future.done()}

    def listen(self, target):
        """Tell the model what a member has applied and others have not."""
        for row in target.notes[self.heard :]:
            self.model.told(row)
            self.heard += 1
            self.heard_at = self.cluster.now

    def times(self, target):
        return sorted(
            (id_, entry.token, micros(entry.time)) for id_, entry in target._entries.items()
        )

    def is_overdue(self):
        due = self.model.next_time()
        return due is not None and due < self.model.now + micros(
            self.cluster.now - self.heard_at - 1.0
        )


class PatientWorkers(Workers):
    """Take tasks that failed some time before, twice as long each time."""

    retry = 2.0


class Scheduler(Noted, CountsWaits, ReplScheduler):
    _add, remove, trigger = noted("_add"), noted("remove"), noted("trigger")
    _take_at = noted("_take_at")


@dataclass
class JobModel:
    """A job; its next time is one of cluster time if it has an interval, else of the clock."""

    payload: object
    every: float | None
    cron: str | None
    at: float | None
    grace: float | None
    priority: int
    next: int | None = None

    @property
    def schedule(self):
        return self.every, self.cron, self.at

    def after(self, now):
        if self.cron is not None:
            return (now // (60 * SECOND) + 1) * 60 * SECOND
        if self.every is None:
            return None
        every = micros(self.every)
        return now + every if self.next is None else now + every - (now - self.next) % every

    def in_time(self, late):
        """Return the first time that was missed for which there is grace."""
        if self.grace is None or late <= micros(self.grace):
            return self.next
        now = self.next + late
        later = self.after(now - micros(self.grace))
        return None if later is None or later > now else later


class RotaModel(TaskModel):
    """Jobs that are looked through for every question, and the tasks that they put."""

    def __init__(self, retry):
        super().__init__(retry)
        self.jobs = {}
        self.scheduled = {}
        self.clocks = {}
        self.ahead = self.reached = None

    def tells(self, wall):
        # Nobody's counts for less than an hour, which is longer than all that is drawn here.
        self.clocks[self.session] = micros(wall) - self.now
        self.agree()

    def agree(self):
        if self.clocks:
            self.ahead = sorted(self.clocks.values())[len(self.clocks) // 2]
            self.reached = self.reached or self.now + self.ahead

    def expired(self, session):
        super().expired(session)
        self.clocks.pop(session, None)
        self.agree()

    def take_at(self, wall, *args):
        self.tells(wall)

    def clock(self, job):
        """Return what time it is by the clock of a job, which never goes back."""
        if job.every is not None:
            return self.now
        self.reached = max(self.reached, self.now + self.ahead)
        return self.reached

    def until(self, job):
        """Return when a job is due, in cluster time."""
        return job.next if job.every is not None else job.next - self.ahead

    def add(self, wall, name, *args):
        self.tells(wall)
        job, old = JobModel(*args), self.jobs.get(name)
        if old is not None and old.schedule == job.schedule:
            job.next = old.next
            self.jobs[name] = job
            return job != old
        if job.at is not None and micros(job.at) <= self.clock(job):
            return False
        job.next = job.after(self.clock(job)) if job.at is None else micros(job.at)
        self.jobs[name] = job
        return True

    def remove(self, name):
        self.tasks = [task for task in self.tasks if task.key != name or task.token]
        return self.jobs.pop(name, None) is not None

    def trigger(self, name):
        return self.fire(name, self.jobs[name], None) if name in self.jobs else KeyError

    def fire(self, name, job, scheduled):
        if name in [task.key for task in self.tasks]:
            return False
        self.dead = [task for task in self.dead if task.key != name]
        id_ = self.number()
        self.scheduled[id_] = scheduled
        self.enter(Task(id_, job.payload, job.priority, name))
        return True

    def due(self):
        while self.jobs:
            time, name = min((self.until(job), name) for name, job in self.jobs.items())
            if time > self.now + ROUNDING:
                break
            job = self.jobs[name]
            due = job.in_time(self.now - time)
            job.next = job.after(max(self.clock(job), job.next))
            if job.next is None:
                del self.jobs[name]
            if due is not None:
                self.fire(name, job, due + (self.ahead if job.every is not None else 0))
        super().due()

    def next_time(self):
        times = [super().next_time(), *map(self.until, self.jobs.values())]
        return min((time for time in times if time is not None), default=None)


JOBS = st.sampled_from("ab")
SCHEDULES = st.sampled_from(
    [{"every": 4.0}, {"every": 20.0}, {"cron": "* * * * *"}, {"at": 3.0}, {"at": -1.0}]
)


class Rota(Workers):
    """Jobs, and who does them."""

    retry = 1.0
    put = None

    @classmethod
    def make(cls):
        return Scheduler(LEASE, max_attempts=ATTEMPTS, retry_delay=cls.retry)

    def new_model(self):
        return RotaModel(self.retry)

    @rule(node=NODES, name=JOBS, schedule=SCHEDULES, grace=st.sampled_from([None, 0.5]))
    def add(self, node, name, schedule, grace):
        if "at" in schedule:
            now = EPOCH + self.cluster.now
            schedule = {"at": datetime.fromtimestamp(round(now) + schedule["at"], UTC)}
        self.does(node, "add", name, grace=grace, **schedule)

    @rule(node=NODES, name=JOBS, method=st.sampled_from(["trigger", "trigger", "remove"]))
    def trigger_or_remove(self, node, name, method):
        self.does(node, method, name)

    def does(self, node, method, *args, **kwargs):
        end = self.call(node, method, *args, **kwargs)
        self.all_agree()
        assert self.ended(method, end), (end, self.model.ends[method][-1])

    def happens_before(self, node, value):
        self.does(node, "add", "a", value, every=4.0)

    def happens_meanwhile(self, node, value):
        self.call(node, "add", "c", value, every=1.0 + value)

    def all_agree(self):
        super().all_agree()
        for _, task in self.taken:
            at, scheduled = task.scheduled, self.model.scheduled[task.id]
            assert (at is None) is (scheduled is None)
            assert at is None or abs(micros(at.timestamp()) - scheduled) <= ROUNDING

    def is_right(self, target):
        return super().is_right(target) and self.has_jobs(target)

    def has_jobs(self, target):
        jobs = self.model.jobs
        return [*target._jobs] == [*jobs] and all(
            abs(micros(job.next) - jobs[name].next) <= ROUNDING
            and (job.payload, job.schedule) == (jobs[name].payload, jobs[name].schedule)
            for name, job in target._jobs.items()
        )


BLOCK = 3


class Ids(ReplIdGenerator):
    """Keeps how many commands there were, and on each node how often its state was replaced."""

    LOCAL = frozenset({"restored"})

    def __init__(self):
        self.commands = self.restored = 0
        super().__init__(BLOCK)

    @replicated
    def reserve(self, count=1):
        self.commands += 1
        return super().reserve(count)

    def restore_state(self, state):
        super().restore_state(state)
        self.restored += 1


class IdGenerators(ComingAndGoing):
    """Every node has a block of ids, which it loses with its process, or by a snapshot."""

    make = Ids

    def begin(self):
        self.next, self.commands = 1, 0
        # What is left to each node, and in which state of which process it was when it had that.
        self.left, self.states = {}, {}
        self.newest = dict.fromkeys(self.present, 0)

    @rule(node=NODES, count=st.integers(1, 5))
    def next_ids(self, node, count):
        before = self.at(node).restored
        given = [self.at(node).next_id.submit() for _ in range(count)]
        for future in given:
            number = self.end_of(future)
            self.take_block(node)
            while self.at(node).restored > before and number not in self.left[node]:
                # A snapshot took the node beyond its own call: that block is nobody's.
                assert number >= self.next
                self.new_block(node)
            assert number == self.left[node].pop(0)
            assert number > self.newest[node], "it grows, over restarts too"
            self.newest[node] = number
        self.all_agree()

    def take_block(self, node):
        """Take a block if the node has nothing left."""
        state = self.at(node), self.at(node).restored
        if self.states.get(node) != state or not self.left[node]:
            self.new_block(node)
        self.states[node] = state

    def new_block(self, node):
        self.left[node] = list(range(self.next, self.next + BLOCK))
        self.next += BLOCK
        self.commands += 1

    @rule(node=NODES, count=st.integers(0, 4))
    def reserve(self, node, count):
        first = self.call(node, "reserve", count)
        self.commands += 1
        assert first == (self.next if count else ValueError)
        self.next += count
        self.all_agree()

    def happens_meanwhile(self, node, value):
        self.next_ids(node, 1 + value)

    def is_right(self, target):
        return (target._next, target.commands) == (self.next, self.commands)


for _machine in (IdGenerators, PatientWorkers, Rota, Workers):
    _machine.TestCase.settings = settings(few(5, 20), derandomize=True, database=None)

TestIdGenerators = IdGenerators.TestCase
TestPatientWorkers = PatientWorkers.TestCase
TestRota = Rota.TestCase
TestWorkers = Workers.TestCase
