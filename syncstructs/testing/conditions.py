"""`ReplCondition`: what its log says, and how simulated callers sleep and wake each other.

To sleep is to release the lock, and to come back is to acquire it: that is what the model of
permits knows. Who is woken, and that nobody's wake-up is lost, is decided by the log alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import LockLost
from .history import NOT_APPLIED
from .locktwins import LockTwin, Owner
from .logtwins import Number
from .violation import Violation

if TYPE_CHECKING:
    from ..structs.conditions import ReplCondition
    from .workload import Client


class ConditionTwin(LockTwin):
    """A condition as its commands describe it: a lock, and a list of those who sleep."""

    def __init__(self, owners: dict[tuple[Any, int], Owner]) -> None:
        super().__init__(owners)
        self._asleep: list[tuple[Owner, Number]] = []
        self._woken: list[Owner] = []
        """Who was notified, and has not let go of the lock since."""

    def sleep(self, number: Number, key: None, ticket: int, token: int) -> None:
        """Release the lock, and be woken by others; refused to who does not hold it."""
        owner = self._owners.get((key, token))
        if owner is None or not self._holds(owner, key):
            self.answers[number] = LockLost
            return
        self._asleep.append(((number[0], ticket), number))
        self._come_back(owner)
        self._free(owner, key)

    def rouse(self, number: Number, key: None, ticket: int) -> None:
        """Have that one wait for the lock, if it is asleep."""
        sleeping = [s for s in self._asleep if s[0] == (number[0], ticket)]
        self.answers[number] = bool(sleeping)
        for one in sleeping:
            self._rise(one)

    def notify(self, number: Number, key: None, token: int, n: int | None) -> None:
        """Wake so many; refused to who does not hold the lock."""
        owner = self._owners.get((key, token))
        if owner is None or not self._holds(owner, key):
            self.answers[number] = LockLost
            return
        self.answers[number] = None
        self._wake(len(self._asleep) if n is None else n)

    def release(self, number: Number, key: None, token: int) -> None:
        """Free the lock: whatever its holder was woken for, is seen to."""
        owner = self._owners.get((key, token))
        if owner is not None and self._holds(owner, key):
            self._come_back(owner)
        super().release(number, key, token)

    def withdraw(self, number: Number, key: None, ticket: int) -> None:
        """End the sleep, or do as a lock does, and wake another one in place of who was woken."""
        owner = number[0], ticket
        for one in [s for s in self._asleep if s[0] == owner]:
            self._asleep.remove(one)
            self.answers[number] = self.answers[one[1]] = None
            return
        self._replace([owner])
        super().withdraw(number, key, ticket)

    def expire(self, session: int) -> None:
        """End the sleep of a session, and wake others in place of who was woken there."""
        self.answers |= {s[1]: self.expired for s in self._asleep if s[0][0] == session}
        self._asleep = [s for s in self._asleep if s[0][0] != session]
        self._replace([owner for owner in self._woken if owner[0] == session])
        super().expire(session)

    def _come_back(self, owner: Owner) -> None:
        self._woken = [other for other in self._woken if other != owner]

    def _replace(self, gone: list[Owner]) -> None:
        for owner in gone:
            if owner in self._woken:
                self._come_back(owner)
                self._wake(1)

    def _wake(self, n: int) -> None:
        for one in self._asleep[:n]:
            self._woken.append(one[0])
            self._rise(one)

    def _rise(self, one: tuple[Owner, Number]) -> None:
        self._asleep.remove(one)
        if None in self.holders:
            self._lines.setdefault(None, []).append(one)
        else:
            self.holders[None] = self.answers[one[1]] = one[0]


async def doze(client: Client, name: str, condition: ReplCondition) -> None:
    """Wake others, or sleep: for some time, until it is woken, or until it gives up."""
    random, recorder = client.random, client.load.recorder
    action = random.choice(("notify", "notify", "notify_all", "wait", "wait"))
    grant = condition._found(None)
    if action != "wait" or grant is None:
        counts = (random.choice((1, 1, 2)),) if action == "notify" else ()
        told = (condition.notify if counts else condition.notify_all).submit(*counts)
        if not await client.done(told):
            told.cancel()
        return
    timeout = random.choice((None, 0.0, random.random(), 3.0))
    released = recorder.begin(client.name, name, "release", None, grant.token)
    acquired = recorder.begin(client.name, name, "acquire", None)
    future = condition.wait.submit(timeout)
    recorder.follow(acquired, future)
    if not await client.done(future):
        future.cancel()
        return
    if acquired.outcome is False and timeout is None:
        raise Violation(f"{client.name} has slept in {name!r} without end, and was told it had one")
    again = condition._found(None)
    if acquired.outcome is False and again is not None and again.token == grant.token:
        # Time ran out before it had left its node: the lock was never released.
        acquired.outcome = released.outcome = NOT_APPLIED
        acquired.end = released.end = recorder.clock()
    elif isinstance(acquired.outcome, bool) and again is not None:
        acquired.outcome = again.token
        if again.session == grant.session:
            # Else the session may have lost the lock before it slept.
            released.outcome, released.end = None, recorder.clock()
