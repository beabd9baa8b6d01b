"""Classes whose methods have several versions: a right one, and some that are not."""

import itertools

from syncstructs import Replicated, current_context, replicated
from syncstructs.objects.replicated import _classes, type_name


class Stock(Replicated):
    """The first bodies are wrong in every way, and must not run."""

    def __init__(self):
        self.left = 5
        self.seen = []

    @replicated
    def take(self, count):
        raise AssertionError("the first body")

    @take.version(2)
    def take_2(self, count):
        self.left -= min(count, self.left)
        self.seen.append(current_context().version)
        return self.left

    @replicated(version=3)
    def give(self, count):
        self.left += count
        return self.left

    @replicated
    def both(self, count):
        return [self.take(count), self.give(count)]

    def least(self):
        return self.left


class Derived(Stock):
    @replicated(version=3)
    def take(self, count):
        return super().take(count) + 1


class Counted(Stock):
    """The newest body depends on what is no state."""

    _count = itertools.count()

    @replicated(version=4)
    def give(self, count):
        self.left += next(self._count)


class Unkept(Stock):
    """The newest body leaves what has no encoding."""

    @replicated(version=4)
    def give(self, count):
        self.left = object()


# Or every node of every test in this process would tell its cluster of these bodies.
for _cls in (Stock, Derived, Counted, Unkept):
    del _classes[type_name(_cls)]
