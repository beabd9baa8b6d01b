"""Objects of users, as they write them; used by members that are real processes."""

from syncstructs import Replicated, replicated


class Nested(Replicated):
    """A command that calls another one."""

    def __init__(self):
        self.total = 0
        self.calls = []

    @replicated
    def add(self, amount):
        self.total += amount
        self.calls.append(amount)
        return self.total

    @replicated
    def add_twice(self, amount):
        self.add(amount)
        return self.add(amount)


class HalfDone(Replicated):
    """A command that raises in its middle."""

    def __init__(self):
        self.steps = []

    @replicated
    def fail_after(self, step):
        self.steps.append(step)
        raise ValueError(f"after {step}")


class Shelf(Replicated):
    """State that is nested and mutable."""

    def __init__(self):
        self.boxes = {}

    @replicated
    def fill(self, box, things):
        self.boxes[box] = things
        return self.boxes[box]
