"""`ReplTTLDict`: a dictionary whose keys may have a time to live, in cluster time.

Nothing private of the library is used for it: due times are there for any class (see
`Replicated.set_due`). A key is gone when the log says so, so all members agree on it at every place
of the log, and reads consult no clock.
"""

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TypeVar

from ..codec import ATOMS, decode, encode, shown
from ..objects.changes import Change, Subscription
from ..objects.context import current_context
from ..objects.pickling import revealed
from ..objects.replicated import reading, replicated
from .dicts import ReplDict
from .values import isolated

K = TypeVar("K")
V = TypeVar("V")

# So many keys expire in one entry of the log, which holds up those behind it.
_EXPIRED_MAX: Final = 1000
# Former ends that are kept at the most, besides as many as there are keys with an end.
_STALE_MAX: Final = 64
_DEFAULT: Final = -1.0
_NONE: Any = None
_End = tuple[float, int]
"""When a key expires, in cluster time, and a number that is given once."""


class ReplTTLDict(ReplDict[K, V]):
    """A `ReplDict` whose keys may have a time to live, `ttl`, in seconds.

    Whatever sets a key gives it the `ttl` of the dictionary (None: it lives for ever), or the one
    that `set` is told; `touch` gives it another one. Members must agree on the `ttl` of the
    dictionary, which begins empty.

    A key is gone when the log says so. Then all members see it go at the same place of the log, and
    until then it can be read: reads are local and consult no clock. That is never before the `ttl`
    is over, measured by the leader from the entry that set the key. As a rule it is a round trip
    later; without a leader, once there is one. The time runs on meanwhile, but not while
    all members are down. Of many keys that expire at once, 1000 go with one entry.

    A change takes O(log n), and one log entry, as in a `ReplDict`; all else is as it is there, also
    when the leader is lost. Keys belong to no session: they outlive the node that has set them.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_listeners"})

    def __init__(self, ttl: float | None = None, *, pickle: bool = False) -> None:
        """`ttl`: how long a key lives that is not told another one; None: for ever.

        Raises:
            ValueError: `ttl` is not above 0.
        """
        if ttl is not None and not 0 < ttl < float("inf"):
            raise ValueError(f"a ttl is a number of seconds above 0, or None, not {ttl!r}")
        super().__init__((), pickle=pickle)
        self._ttl = None if ttl is None else float(ttl)
        self._number = 0
        self._ends: dict[K, _End] = {}
        # Also former ends of keys: one counts if it is what `_ends` has.
        self._heap: list[tuple[float, int, K]] = []
        self._listeners: list[tuple[deque[tuple[int, K, V]], Subscription]] = []

    @classmethod
    def fromkeys(cls, keys: Any, value: Any = None) -> NoReturn:
        """Refuse: what has a time to live is set through the log.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{cls.__name__} begins empty: attach it, and update() it then")

    def options(self) -> dict[str, object]:
        return {"ttl": self._ttl}

    def initial_state(self) -> Any:
        """Return the state of a new object: only the keys that live for ever. O(n).

        When the others end, nobody would be told: no due time is kept of a former object, and in
        another cluster that time may be far away.
        """
        lasting = {key: value for key, value in self._items.items() if key not in self._ends}
        return super().initial_state() | {"_items": lasting, "_ends": {}, "_heap": []}

    # Commands

    @replicated
    def set(self, key: K, value: V, ttl: float | None = _DEFAULT) -> None:
        """Set `key`, which lives for `ttl` seconds from now on. One log entry.

        None: it lives for ever. -1: for as long as the dictionary says, as with `d[key] = value`.

        Raises:
            ValueError: `ttl` is none of these; or it is a number, and `key` is unlike each copy of
                itself, as nan is. So for all methods; nothing has changed.
        """
        end = self._end(ttl, key)
        self._items[key] = value
        self._keep(key, end)
        self._arm()

    @replicated
    def touch(self, key: K, ttl: float | None = _DEFAULT) -> bool:
        """Let `key` live for `ttl` seconds from now on (see `set`); return whether it is there."""
        end = self._end(ttl)
        if key not in self._items:
            return False
        self._keep(key, end)
        self._arm()
        return True

    @replicated
    def delete(self, key: K) -> None:
        """Do as `del d[key]`. One log entry.

        Raises:
            KeyError: there is no such key (when the command is applied).
        """
        del self._items[key]
        self._let_go(key)

    @replicated
    def setdefault(self, key: K, default: V = _NONE) -> V:
        """Return the value of `key`, after setting it to `default` if it was absent."""
        if key not in self._items:
            self._set(key, default)
        return self._items[key]

    @replicated
    def compare_and_set(self, key: K, expected: V, value: V) -> bool:
        """Set `key` to `value` if it is present and equals `expected`; return whether it was."""
        if key not in self._items or self._items[key] != expected:
            return False
        self._set(key, value)
        return True

    if not TYPE_CHECKING:

        @replicated
        def pop(self, key, *default):
            """Remove `key` and return its value, or `default` if it is absent. One log entry.

            Raises:
                KeyError: it is absent and no default is given.
            """
            value = self._items.pop(key, *default)
            self._let_go(key)
            return value

    @replicated
    def popitem(self) -> tuple[K, V]:
        """Remove and return the pair that was inserted last. One log entry.

        Raises:
            KeyError: the dictionary is empty.
        """
        key, value = self._items.popitem()
        self._let_go(key)
        return key, value

    @replicated
    def clear(self) -> None:
        """Remove everything. One log entry."""
        self._reset({})

    @replicated
    def _update(self, items: dict[K, V]) -> None:
        end = self._end(_DEFAULT, *items)
        for key, value in items.items():
            self._items[key] = value
            self._keep(key, end)
        self._arm()

    @replicated
    def _reset(self, items: dict[K, V]) -> None:
        self._end(_DEFAULT, *items)
        self._items, self._ends, self._heap = {}, {}, []
        self._update(items)

    def on_due(self) -> None:
        """Let expire whose time is over. Applied on every member, as a command is."""
        context = current_context()
        for _ in range(_EXPIRED_MAX):
            if not self._heap or self._heap[0][0] > context.time:
                break
            time, number, key = heappop(self._heap)
            if self._ends.get(key) == (time, number):
                del self._ends[key]
                value = self._items.pop(key)
                for gone, subscription in self._listeners:
                    if not subscription.closed:
                        gone.append((context.index, key, isolated(value)))
        self._arm()

    # Here only

    def expires_at(self, key: K) -> float | None:
        """Return the point in cluster time at which `key` is to expire; None: it never is.

        Raises:
            KeyError: there is no such key.
        """
        with reading(self):
            self._items[key]
            end = self._ends.get(key)
        return None if end is None else end[0]

    def on_expire(self, callback: Callable[[K, V], object]) -> Subscription:
        """Have `callback(key, value)` called after each expiry that is applied here.

        In the node's driver, as `subscribe` says, until the subscription is closed. Of what expired
        while this member was down or took over a snapshot, it is not told.

        Raises:
            NotAttached: it is attached to no node.
        """
        gone: deque[tuple[int, K, V]] = deque()

        def tell(change: Change) -> None:
            while gone and gone[0][0] <= change.index:
                _, key, value = gone.popleft()
                callback(key, revealed(self, value) if self._pickles else value)

        with reading(self):
            subscription = self.subscribe(tell)
            mine = [row for row in self._listeners if not row[1].closed]
            self._listeners = [*mine, (gone, subscription)]
        return subscription

    # When keys end

    def _end(self, ttl: float | None, *keys: K) -> float | None:
        """Return when what is set now ends; refuse keys that could not be found again then."""
        if ttl == _DEFAULT:
            ttl = self._ttl
        if ttl is not None and not 0 < ttl < float("inf"):
            raise ValueError(f"a ttl is a number of seconds above 0, None or -1, not {ttl!r}")
        if ttl is None:
            return None
        for key in keys:
            # A key stands in three places, and in a snapshot each of them has a copy of its own.
            if key != (key if type(key) in ATOMS else decode(encode(key))):
                raise ValueError(f"{shown(key)} has no ttl, as it is unlike each copy of itself")
        return current_context().time + ttl

    def _set(self, key: K, value: V) -> None:
        end = self._end(_DEFAULT, key)
        self._items[key] = value
        self._keep(key, end)
        self._arm()

    def _keep(self, key: K, end: float | None) -> None:
        if end is None:
            self._ends.pop(key, None)
        else:
            self._number += 1
            self._ends[key] = end, self._number
            heappush(self._heap, (end, self._number, key))

    def _let_go(self, key: K) -> None:
        if self._ends.pop(key, None) is not None:
            self._arm()

    def _arm(self) -> None:
        """Be woken for whichever key ends first."""
        heap, ends = self._heap, self._ends
        while heap and ends.get(heap[0][2]) != heap[0][:2]:
            heappop(heap)
        if len(heap) > 2 * len(ends) + _STALE_MAX:
            heap[:] = [(*end, key) for key, end in ends.items()]
            heapify(heap)
        self.set_due(heap[0][0] if heap else None)

    def _check(self) -> None:
        super()._check()
        assert self._ends.keys() <= self._items.keys(), (self._ends, self._items)
        assert {(*end, key) for key, end in self._ends.items()} <= {*self._heap}, self._heap
        assert len(self._heap) <= 2 * len(self._ends) + _STALE_MAX, len(self._heap)
