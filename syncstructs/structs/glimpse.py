"""`Glimpse`: a dict that is read piece by piece in a transaction, and remembers what was looked at.

It stands for the `_items` of an object's copy. Nothing is taken over as the copy is made; each key
is, when it is looked at, and the whole once somebody iterates. Changes stay in here.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from ..codec import encode
from .values import isolated

K = TypeVar("K")
V = TypeVar("V")

_ABSENT: Any = object()


class Glimpse(MutableMapping[K, V]):
    """The items of an object as a transaction sees them; O(1) per key, O(n) for all at once."""

    def __init__(
        self, items: Callable[[], Mapping[K, V]], lock: AbstractContextManager[object]
    ) -> None:
        """`items`: gives the object's own, to be read under `lock`."""
        self._base = items
        self._lock = lock
        self._seen: dict[K, Any] = {}
        # What was done so far, in order, until there is a `_whole` to do it to.
        self._changes: list[tuple[K, Any]] = []
        self._mine: dict[K, Any] = {}
        self._whole: dict[K, V] | None = None
        self._has_read_all = False

    def reads(self) -> list[list[Any]] | None:
        """Return the keys that were looked at, with their values in a list, or none; None: all."""
        if self._has_read_all:
            return None
        return [[k, [] if v is _ABSENT else [v]] for k, v in self._seen.items()]

    def __getitem__(self, key: K) -> V:
        value = self._look(key)
        if value is _ABSENT:
            raise KeyError(key)
        found: V = value
        return found

    def __contains__(self, key: object) -> bool:
        return self._look(key) is not _ABSENT

    def __setitem__(self, key: K, value: V) -> None:
        if self._whole is not None:
            self._whole[key] = value
        else:
            self._mine[key] = value
            self._changes.append((key, value))

    def __delitem__(self, key: K) -> None:
        if self._look(key) is _ABSENT:
            raise KeyError(key)
        if self._whole is not None:
            del self._whole[key]
        else:
            self._mine[key] = _ABSENT
            self._changes.append((key, _ABSENT))

    def __iter__(self) -> Iterator[K]:
        return iter(self._all())

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def popitem(self) -> tuple[K, V]:
        """Remove and return the newest item, as a dict does."""
        return self._all().popitem()

    def clear(self) -> None:
        """Remove all items; nothing is read."""
        self._whole = {}

    def __repr__(self) -> str:
        return repr(self._all())

    def _look(self, key: Any) -> Any:
        if self._whole is not None:
            return self._whole.get(key, _ABSENT)
        if key in self._mine:
            return self._mine[key]
        if key not in self._seen:
            with self._lock:
                items = self._base()
                self._seen[key] = isolated(items[key]) if key in items else _ABSENT
        return self._seen[key]

    def _all(self) -> dict[K, V]:
        if self._whole is None:
            self._has_read_all = True
            with self._lock:
                whole = {key: isolated(value) for key, value in self._base().items()}
            for key, value in self._changes:
                # It may have been removed meanwhile; then the transaction will not be applied.
                if value is _ABSENT:
                    whole.pop(key, None)
                else:
                    whole[key] = value
            self._whole = whole
        return self._whole


def still_reads(items: Mapping[Any, Any], reads: Any) -> bool:
    """Return whether a `Glimpse` of `items` would read the same, of the same types."""
    for key, values in reads:
        found = [items[key]] if key in items else []
        if encode(found) != encode(values):
            return False
    return True
