"""A replicated class as its own model: nobody has to write one.

Each operation is called on a plain copy of an object of the class that stands alone, with its
commands applied at once. States are snapshots, which the codec keeps; so what no snapshot keeps
makes no difference.
"""

from collections.abc import Callable, Collection, Hashable
from typing import Any

from ..codec import decode
from ..objects.replicated import Replicated
from .history import Op, Raised
from .sequential import BLOCKED, Replay, SequentialModel, Transition
from .subjects import WAITS, Copy, Moment, Subject


class ClassModel(SequentialModel):
    """The model of a class of replicated objects: the class itself.

    >>> from syncstructs import Replicated, replicated
    >>> class Stock(Replicated):
    ...     def __init__(self):
    ...         self.pieces = 0
    ...     @replicated
    ...     def add(self, count):
    ...         self.pieces += count
    ...         return self.pieces
    >>> model = ClassModel(Stock)
    >>> print(model.describe(model.initial()))
    {'pieces': 0}

    A method that is not a command may be called too; those that certainly change nothing, named
    in `reads`, are checked faster. What `current_context()` tells is taken from `Op.index`,
    `Op.time` and `Op.session`; where a history does not have them, methods that depend on them
    cannot be checked. A command that would wait for another takes effect where it need not.
    """

    def __init__(
        self,
        cls: type[Replicated],
        *args: Any,
        reads: Collection[str] = (),
        partition: Callable[[Op], Collection[Hashable] | None] | None = None,
    ) -> None:
        """Take the class, the arguments to make objects with, and what `Model.keys` shall say.

        Raises:
            TypeError: it is no class of replicated objects.
            ValueError: it has no commands.
            Unserializable: a new object has a state that the codec does not know.
        """
        commands: tuple[Collection[str], ...] = (
            getattr(cls, "_commands", ()), getattr(cls, "_body_versions", ())
        )  # fmt: skip
        methods = sorted({*commands[0], *commands[1]})
        self._subject = Subject(cls, (), args=args, methods=methods)
        self._reads = frozenset(reads)
        self._partition = partition
        self._initial = Copy(self._subject).state()

    def initial(self) -> Hashable:
        """Return the state of a new object."""
        return self._initial

    def apply(self, state: Any, op: Op) -> tuple[Hashable, object]:
        """Return the state after `op`, and its outcome."""
        copy = Copy(self._subject, state)
        outcome = self.call(copy, op)
        unchanged = outcome is BLOCKED or op.method in self._reads
        return state if unchanged else copy.state(), outcome

    def call(self, copy: Copy, op: Op) -> object:
        """Make the call on a copy; return its outcome."""
        if op.index is not None and self._subject.is_command(op.method):
            copy.moments.append(Moment(op.index, op.index, op.time or 0.0, op.session, op.index))
        outcome = copy.invoke(op.method, op.args, op.kwargs)
        copy.moments.clear()
        return BLOCKED if isinstance(outcome, Raised) and outcome == WAITS else outcome

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        self.check_method(op)
        return super().transition(op)

    def check_method(self, op: Op) -> None:
        """Raise ValueError unless the class has such a method."""
        if not hasattr(self._subject.cls, op.method):
            raise ValueError(f"{self._subject.name} has no method {op.method!r}")

    def replay(self, ops: Collection[Op]) -> Replay:
        """Return what takes operations one after another, on one object that lives on."""
        return _ClassReplay(self, Copy(self._subject, self._initial))

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return what `partition` says."""
        return None if self._partition is None else self._partition(op)

    def is_read(self, op: Op) -> bool:
        """Return whether it is one of `reads`."""
        return op.method in self._reads

    def describe(self, state: Any) -> str:
        """Return the attributes."""
        return repr(decode(state))


class _ClassReplay(Replay):
    def __init__(self, model: ClassModel, copy: Copy) -> None:
        super().__init__(model)
        self._class_model = model
        self._copy = copy

    def take(self, op: Op) -> bool:
        """Let `op` take effect; return whether it can, with its outcome."""
        self._class_model.check_method(op)
        outcome = self._class_model.call(self._copy, op)
        return self._saw(outcome, op)
