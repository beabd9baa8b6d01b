"""What is applied to an object here, told to those of this member who want to know.

It costs nothing as long as nobody does: only the commands of a watched object are wrapped.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ..codec import copy
from .context import Context, _current

if TYPE_CHECKING:
    from .port import Binding
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
    """Name of the replicated method; "on_session_expired" if a session has ended. None: the whole
    state was taken over, from the cluster or from a snapshot, and what led to it is not told."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    """What the method raised; the object may have changed all the same."""

    @property
    def resynchronised(self) -> bool:
        """Whether the whole state was replaced: look at the object, not at single changes."""
        return self.method is None


class Subscription:
    """Somebody who is told of the changes of an object, until `close`; a context manager."""

    __slots__ = ("_callback", "_on_end", "_unsubscribe", "closed")

    def __init__(
        self,
        callback: Callable[[Change], object],
        unsubscribe: "Callable[[Subscription], object]",
        on_end: Callable[[], object] | None,
    ) -> None:
        self._callback = callback
        self._unsubscribe = unsubscribe
        self._on_end = on_end
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
        self._unsubscribe(self)
        self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Watch:
    """The subscribers of one object, and where to put what they are to be told.

    To be changed while nothing is applied.
    """

    __slots__ = ("_inside", "_news", "subscriptions")

    def __init__(self, news: "News") -> None:
        self._news = news
        self._inside = False
        self.subscriptions: tuple[Subscription, ...] = ()

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
        told = tuple(map(copy, args)), {name: copy(value) for name, value in kwargs.items()}
        self._inside, error = True, None
        try:
            return function(target, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._inside = False
            self._note(Change(context.index, method, *told, error))

    def replaced(self, context: Context | None) -> None:
        """Note that the whole state was replaced."""
        self._note(Change(0 if context is None else context.index, None))

    def _note(self, change: Change) -> None:
        if self.subscriptions:
            self._news.append((self.subscriptions, change))

    def end(self) -> None:
        """End all subscriptions: the object is gone."""
        self._news.append((self.subscriptions, None))
        self.subscriptions = ()


News: TypeAlias = list[tuple[tuple[Subscription, ...], Change | None]]
"""What subscribers are to be told once nothing is being applied; None: that there is no more."""


def tell(news: News) -> None:
    """Tell subscribers what there is, and forget it."""
    told = news.copy()
    news.clear()
    for subscriptions, change in told:
        for subscription in subscriptions:
            if change is None:
                subscription.end()
            else:
                subscription.tell(change)


def subscribe(
    target: "Replicated",
    binding: "Binding",
    callback: Callable[[Change], object],
    on_end: Callable[[], object] | None = None,
) -> Subscription:
    """Have `callback` called with every change of an object from now on."""
    port = binding.port

    def unsubscribe(subscription: Subscription) -> None:
        with port.reading:
            watch = target._watch
            if watch is not None:
                watch.subscriptions = tuple(s for s in watch.subscriptions if s is not subscription)
                if not watch.subscriptions:
                    target._watch = None
                    port.rewatch(binding)

    subscription = Subscription(callback, unsubscribe, on_end)
    with port.reading:
        watch = target._watch
        if watch is None:
            watch = target._watch = Watch(port.news)
        watch.subscriptions = (*watch.subscriptions, subscription)
        port.rewatch(binding)
    return subscription
