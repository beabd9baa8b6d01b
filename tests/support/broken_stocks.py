"""Replicated classes: some are right, each of the others is wrong in a way of its own.

In a file of their own so that another process can import them.
"""

import copy
import itertools
import os
import random
import time
import uuid
from datetime import datetime

from syncstructs import Replicated, Waiters, current_context, replicated


class Stock(Replicated):
    """Right."""

    def __init__(self):
        self.pieces = {}

    @replicated
    def add(self, article, count=1):
        self.pieces[article] = self.pieces.get(article, 0) + count
        return self.pieces[article]

    @replicated
    def take(self, article):
        if not self.pieces.get(article):
            raise LookupError(article)
        self.pieces[article] -= 1
        return self.pieces[article]

    def left(self, article):
        return self.pieces.get(article, 0)

    @property
    def kinds(self):
        return sorted(self.pieces)


class Journal(Replicated):
    """Right, and uses whatever a command may know."""

    def __init__(self, length=5):
        self.length = length
        self.lines = []

    @replicated
    def write(self, *words, **marks):
        context = current_context()
        line = (words, marks, context.time, context.random.random(), context.serial)
        self.lines.append(line)
        del self.lines[: -self.length]
        return context.index, context.session, line

    @replicated
    def twice(self, word):
        return [self.write(word), self.write(word)]

    def copy(self):
        return copy.deepcopy(self.lines)

    def write_through(self, word):
        """Call one command and nothing else: that is as good as a command."""
        self.write(word)


class Booking(Replicated):
    """Right: takes the seat in the command, and looks at it only to save the trip."""

    def __init__(self):
        self.owners = {}

    @replicated
    def book(self, seat, who):
        return self.owners.setdefault(seat, who) == who

    @replicated
    def free(self, seat):
        del self.owners[seat]

    def book_politely(self, seat, who):
        return self.book.submit(seat, who).result(10)


class Turnstile(Replicated):
    """Right: its callers wait for each other, through the log."""

    def __init__(self):
        self.waiters = Waiters()
        self.count = 0

    @replicated
    def enter(self):
        context = current_context()
        return self.waiters.park(context.serial)

    @replicated
    def turn(self):
        self.count += 1
        if self.waiters:
            self.waiters.serve(self.count)
        return len(self.waiters)


class Clock(Stock):
    @replicated
    def add(self, article, count=1):
        self.pieces[article] = int(time.time()) // 86_400


class Calendar(Stock):
    @replicated
    def add(self, article, count=1):
        self.pieces[article] = datetime.now().hour


class Dice(Stock):
    @replicated
    def add(self, article, count=1):
        self.pieces[article] = random.randint(1, 10**9)


class Ids(Stock):
    @replicated
    def add(self, article, count=1):
        return uuid.uuid4().hex


class Hashes(Stock):
    @replicated
    def add(self, article, count=1):
        self.pieces[article] = hash(article) % 1000


class Addresses(Stock):
    @replicated
    def add(self, article, count=1):
        return id(object()) + id(self)


class SetOrder(Stock):
    @replicated
    def add(self, article, count=1):
        self.pieces[article] = count
        return list({"nut", "bolt", "screw", article})


class RaisesItself(Stock):
    @replicated
    def take(self, article):
        raise LookupError(f"nothing in {object()!r}")


class Global(Stock):
    numbers = itertools.count()

    @replicated
    def add(self, article, count=1):
        self.pieces[article] = next(self.numbers)


class ClassAttribute(Replicated):
    lines = []  # noqa: RUF012  (this is what is wrong)

    @replicated
    def add(self, article, count=1):
        self.lines.append(article)

    @replicated
    def take(self, article):
        return len(self.lines)

    def left(self, article):
        return len(self.lines)


class Unkept(Stock):
    @replicated
    def add(self, article, count=1):
        self.pieces[article] = lambda: count


class Unsent(Stock):
    @replicated
    def add(self, article, count=1):
        return object()


class Forgetful(Stock):
    """Leaves out of its snapshot what it needs."""

    LOCAL = frozenset({"added"})

    def __init__(self):
        super().__init__()
        self.added = 0

    @replicated
    def add(self, article, count=1):
        self.added += 1
        return self.added


class Twins(Stock):
    """Has one list twice in its state: after a snapshot these are two."""

    def __init__(self):
        super().__init__()
        self.first = {}

    @replicated
    def add(self, article, count=1):
        self.first = self.pieces
        self.pieces[article] = count

    def left(self, article):
        return self.first.get(article)


class Leaky(Stock):
    @replicated
    def add(self, article, count=1):
        self.pieces.setdefault(article, []).append(count)

    @replicated
    def take(self, article):
        return 0

    def left(self, article):
        return self.pieces.get(article)


class SecretChange(Stock):
    def left(self, article):
        return self.pieces.setdefault(article, 0)


class Negative(Stock):
    @replicated
    def take(self, article):
        self.pieces[article] = self.pieces.get(article, 0) - 1


class Restored(Stock):
    """Comes back from a snapshot with something else."""

    def restore_state(self, state):
        super().restore_state(state)
        self.pieces = {article: count + 1 for article, count in self.pieces.items()}


class Race(Stock):
    @replicated
    def set(self, article, count):
        self.pieces[article] = count

    def add(self, article, count=1):
        before = self.left(article)
        self.set(article, before + count)
        return before + count


class Stale(Stock):
    """Answers from what this member remembers of an earlier read."""

    LOCAL = frozenset({"seen"})

    def __init__(self):
        super().__init__()
        self.seen = {}

    def left(self, article):
        return self.seen.setdefault(article, self.pieces.get(article, 0))


class Environment(Stock):
    """Wrong: depends on the environment of its process."""

    @replicated
    def add(self, article, count=1):
        self.pieces[article] = os.environ.get("HOSTNAME", "")
        return os.environ.get("PATIENCE", "none")


class Directory(Stock):
    """Wrong: depends on where its process was started."""

    @replicated
    def add(self, article, count=1):
        self.pieces[article] = os.getcwd()


class Lazy(Stock):
    """Wrong: the caller runs what a command returns, whenever it likes."""

    @replicated
    def add(self, article, count=1):
        self.pieces[article] = count
        return (pieces for pieces in self.pieces.values())


class Endless(Stock):
    """Wrong: a command and a plain method that do not return."""

    @replicated
    def add(self, article, count=1):
        while count == 3:
            pass

    def left(self, article):
        while article == "bolt":
            pass


class Exits(Stock):
    """Wrong: ends the process that applies it."""

    @replicated
    def add(self, article, count=1):
        raise SystemExit(3)


class Interrupts(Stock):
    """Wrong: ends the process that calls it."""

    def left(self, article):
        raise KeyboardInterrupt
