"""What is applied to an object here, told to those of this member who want to know.

It costs nothing as long as nobody does: only the commands of a watched object are wrapped.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ..codec import copy
from ..errors import NodeClosed, NodeFailed
from .context import Context, _current
from .pickling import revealed

if TYPE_CHECKING:
    from .port import Binding, Port
    from .replicated import Replicated

_log = logging.getLogger("syncstructs.objects")


@dataclass(frozen=True, slots=True)
class Change:
    """One command that was applied to an object on this member.

    Changes come in the order of the log. Those of one entry of the log share its index.
    """

    index: int
    """Index of the log entry."""
    method: str | None
    """Name of the replicated method; "on_session_expired" if a session has ended, "on_due" if the
    object was woken. None: the whole state was taken over, from the cluster or from a snapshot, and
    what led to it is not told."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    """What the method raised; the object may have changed all the same."""

    @property
    def resynchronised(self) -> bool:
        """Whether the whole state was replaced: look at the object, not at single changes."""
        return self.method is None


class _OfPickles(Change):
    """A change of an object that was made with `pickle=True`: who reads its values unpickles them.

    Where he reads them, and anew each time.
    """

    __slots__ = ("_target",)
    _target: "Replicated"

    @property
    def args(self) -> tuple[Any, ...]:
        return self._shown(_args.__get__(self))  # type: ignore[no-any-return]

    @args.setter
    def args(self, value: tuple[Any, ...]) -> None:
        _args.__set__(self, value)

    @property
    def kwargs(self) -> Mapping[str, Any]:
        return self._shown(_kwargs.__get__(self))  # type: ignore[no-any-return]

    @kwargs.setter
    def kwargs(self, value: Mapping[str, Any]) -> None:
        _kwargs.__set__(self, value)

    def _shown(self, value: Any) -> Any:
        # A copy, which has no target, was made of what its maker read.
        target = getattr(self, "_target", None)
        return value if target is None else revealed(target, value)

    def __repr__(self) -> str:
        # Without unpickling: it stands in logs.
        args, kwargs = _args.__get__(self), _kwargs.__get__(self)
        return repr(Change(self.index, self.method, args, kwargs, self.error))


_args: Any = vars(Change)["args"]
_kwargs: Any = vars(Change)["kwargs"]


def _change(target: "Replicated", *parts: Any) -> Change:
    """Return a change of an object as its subscribers are to see it."""
    if not target._pickles:
        return Change(*parts)
    change = _OfPickles(*parts)
    object.__setattr__(change, "_target", target)
    return change


class Subscription:
    """Somebody who is told of the changes of an object, until `close`; a context manager."""

    __slots__ = ("_callback", "_on_end", "_port", "closed", "watch")

    def __init__(
        self,
        callback: Callable[[Change], object],
        port: "Port",
        on_end: Callable[[], object] | None,
    ) -> None:
        self._callback = callback
        self._port = port
        self._on_end = on_end
        self.watch: Watch | None = None
        """Where it is entered; another one once another instance stands for the object."""
        self.closed = False
        """Whether nothing more is told: it was closed, or object or node are gone."""

    def tell(self, change: Change) -> None:
        """Call back, unless closed; what that raises is logged."""
        if self.closed:
            return
        try:
            self._callback(change)
        except KeyboardInterrupt:
            raise
        except BaseException:
            # sys.exit() or a cancelled asyncio future would end the thread that others rely on.
            _log.exception("a subscriber raised at %r", change)

    def end(self) -> None:
        """Tell nothing more, as there is nothing more to tell."""
        if not self.closed:
            self.closed = True
            if self._on_end is not None:
                self._on_end()

    def close(self) -> None:
        """Be told nothing more; idempotent, and from any thread."""
        # Where nothing can be read any more, nothing is told either.
        with suppress(NodeClosed, NodeFailed), self._port.reading:
            if self.watch is not None:
                self.watch.remove(self)
        self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Watch:
    """The subscribers of one object, and where to put what they are to be told.

    To be changed while nothing is applied.
    """

    __slots__ = ("_inside", "_port", "_target", "subscriptions")

    def __init__(self, port: "Port", target: "Replicated") -> None:
        self._port = port
        self._target = target
        self._inside = False
        self.subscriptions: tuple[Subscription, ...] = ()

    def add(self, subscriptions: "tuple[Subscription, ...]") -> None:
        """Tell these, too."""
        self.subscriptions += subscriptions
        for subscription in subscriptions:
            subscription.watch = self
        self._target._watch = self

    def remove(self, subscription: Subscription) -> None:
        """Tell that one no longer; without any, the object is watched no longer."""
        self.subscriptions = tuple(s for s in self.subscriptions if s is not subscription)
        subscription.watch = None
        if not self.subscriptions and self._target._watch is self:
            self._target._watch = None
            if self._target._binding is not None:
                self._port.rewatch(self._target._binding)

    def hand_over(self, target: "Replicated") -> None:
        """Let another instance that stands for the object from now on be watched instead."""
        self._target._watch = None
        watch = target._watch or Watch(self._port, target)
        watch.add(self.subscriptions)
        self.subscriptions = ()

    def command(self, method: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the command, told of whenever it is applied."""

        def watched(target: "Replicated", *args: Any, **kwargs: Any) -> Any:
            return self.run(method, function, target, args, kwargs)

        return watched

    def run(
        self,
        method: str,
        function: Callable[..., Any],
        target: "Replicated",
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Apply a command to the object; one that it calls itself is a part of it."""
        context = _current.get()
        if self._inside or context is None:
            return function(target, *args, **kwargs)
        # Before it can put them into the state, or change them.
        told = _copied(args, kwargs)
        self._inside, error = True, None
        try:
            return function(target, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._inside = False
            if told is None:
                self.replaced(context)
            else:
                self._note(_change(self._target, context.index, method, *told, error))

    def replaced(self, context: Context | None) -> None:
        """Note that the whole state was replaced."""
        self._note(Change(0 if context is None else context.index, None))

    def _note(self, change: Change) -> None:
        if self.subscriptions:
            self._port.news.append((self.subscriptions, change))

    def end(self) -> None:
        """End all subscriptions: the object is gone."""
        self._port.news.append((self.subscriptions, None))
        for subscription in self.subscriptions:
            subscription.watch = None
        self.subscriptions = ()
        if self._target._watch is self:
            self._target._watch = None


def _copied(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return copies of a call's arguments, or None if they cannot be copied.

    What is applied must not depend on whether somebody watches it here.
    """
    try:
        return tuple(map(copy, args)), {name: copy(value) for name, value in kwargs.items()}
    except MemoryError:
        raise
    except Exception:
        _log.exception("what a subscriber is to be told has no copy; the state is told instead")
        return None


News: TypeAlias = list[tuple[tuple[Subscription, ...], Change | None]]
"""What subscribers are to be told once nothing is being applied; None: that there is no more."""


def tell(news: News) -> None:
    """Tell subscribers what there is, and forget it."""
    # In this way nothing is lost that another thread adds meanwhile.
    told = news.copy()
    del news[: len(told)]
    for subscriptions, change in told:
        for subscription in subscriptions:
            if change is None:
                subscription.end()
            else:
                subscription.tell(change)


def notify(target: "Replicated", callback: Callable[..., object], *args: object) -> None:
    """Have `callback(*args)` called on this member once nothing is being applied, exactly once.

    For methods of an object that tell its user more than which of them were applied: called by
    one, or by `restore_state`, it is called back in the order of the log, among what subscribers
    are told, in the node's driver. So it must not block; what it raises is logged. The arguments
    must not be parts of the state. Nothing is told of an object that is attached nowhere.
    """
    if target._binding is not None:
        context = _current.get()
        change = Change(0 if context is None else context.index, "notify", args)
        port = target._binding.port
        port.news.append(((Subscription(lambda _: callback(*args), port, None),), change))


def subscribe(
    target: "Replicated",
    binding: "Binding",
    callback: Callable[[Change], object],
    on_end: Callable[[], object] | None = None,
) -> Subscription:
    """Have `callback` called with every change of an object from now on.

    To be called while nothing is applied: nobody else would end what was dropped meanwhile.
    """
    port = binding.port
    subscription = Subscription(callback, port, on_end)
    watch = target._watch or Watch(port, target)
    watch.add((subscription,))
    port.rewatch(binding)
    return subscription
