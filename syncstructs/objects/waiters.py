"""Fair waiting through the log: the calls that an object has parked, first come, first served.

Part of the object's state, the same on every member. A waiter is named by its session and a ticket
that its caller chose, so that a caller whose time ran out can withdraw exactly that wait.
"""

from collections.abc import Iterator
from typing import Any

from ..codec import shown
from ..errors import DecodeError, SessionExpired
from .context import CallId, current_context


class Waiters:
    """A first-in, first-out queue of parked calls, each with a payload.

    Assigned to an attribute of a `Replicated`, it is kept in snapshots and its calls are given up
    when their session expires. All methods are used inside replicated methods only.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], tuple[CallId, Any]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Iterate over (session, ticket), the longest waiting first."""
        return iter(self._waiting)

    def park(self, ticket: int, payload: object = None) -> Any:
        """Queue the present call; return what this returns from the replicated method.

        Raises:
            ValueError: a call of this session waits under that ticket already. `Wait` gives each a
                ticket of its own.
        """
        context = current_context()
        key = context.session, ticket
        # Without this, nobody could end the wait of the other one any more.
        if key in self._waiting:
            raise ValueError(f"ticket {ticket!r} of session {context.session} waits already")
        result = context.park()
        self._waiting[key] = (context.call, payload)
        return result

    def first(self) -> Any:
        """Return the payload of the call that waits longest; KeyError if none waits."""
        return self._waiting[next(iter(self._waiting), (0, 0))][1]

    def serve(self, value: object = None) -> Any:
        """End the longest wait with `value`; return its payload. KeyError if none waits."""
        key = next(iter(self._waiting), None)
        if key is None:
            raise KeyError("nobody waits")
        call, payload = self._waiting.pop(key)
        current_context().resume(call, value)
        return payload

    def serve_ticket(self, session: int, ticket: int, value: object = None) -> Any:
        """End that very wait with `value`; return its payload. KeyError if it does not wait."""
        call, payload = self._waiting.pop((session, ticket))
        current_context().resume(call, value)
        return payload

    def move(self, session: int, ticket: int, to: "Waiters", payload: object = None) -> bool:
        """Let that wait go on in another queue, as its last; False if it does not wait here."""
        waiter = self._waiting.pop((session, ticket), None)
        if waiter is None:
            return False
        to._waiting[session, ticket] = (waiter[0], payload)
        return True

    def refuse(self, error: Exception) -> Any:
        """End the longest wait by raising `error` in its caller; return its payload."""
        call, payload = self._waiting.pop(next(iter(self._waiting)))
        current_context().refuse(call, error)
        return payload

    def cancel(self, ticket: int, value: object = None) -> bool:
        """End the wait that the calling session named `ticket`; False if it waits no more."""
        context = current_context()
        waiter = self._waiting.pop((context.session, ticket), None)
        if waiter is None:
            return False
        context.resume(waiter[0], value)
        return True

    def expire(self, session: int) -> int:
        """Give up all waits of `session`, whose callers see `SessionExpired`; return how many."""
        keys = [key for key in self._waiting if key[0] == session]
        context = current_context()
        for key in keys:
            call, _ = self._waiting.pop(key)
            context.refuse(call, SessionExpired("the node was cut off; its wait was given up"))
        return len(keys)

    def refuse_all(self, error: Exception) -> int:
        """End all waits by raising `error` in their callers; return how many there were."""
        context = current_context()
        calls = [call for call, _ in self._waiting.values()]
        self._waiting.clear()
        for call in calls:
            # One instance each: raised in several threads, they would share their traceback.
            context.refuse(call, type(error)(*error.args))
        return len(calls)

    def holds(self, call: CallId) -> bool:
        """Return whether that call waits here. O(number of waits)."""
        return any(waiting == call for waiting, _ in self._waiting.values())

    def state(self) -> list[object]:
        """Return the queue as a value for a snapshot."""
        return [
            [session, ticket, call.sequence, payload]
            for (session, ticket), (call, payload) in self._waiting.items()
        ]

    def restore(self, state: list[Any]) -> None:
        """Replace the queue by what `state` returned.

        Raises:
            DecodeError: no correct member says this.
        """
        for row in state:
            if len(row) != 4 or not all(isinstance(number, int) for number in row[:3]):
                raise DecodeError(f"{shown(row)} is no call that waits")
        self._waiting = {
            (session, ticket): (CallId(session, sequence), payload)
            for session, ticket, sequence, payload in state
        }
