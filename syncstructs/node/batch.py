"""`node.batch()`: calls that are gathered and applied as one command."""

import threading
from contextvars import Token
from typing import Any, Final

from ..codec import NATIVE, copy
from ..errors import NotApplied, NotAttached
from ..futures import Blocker, Future
from ..objects.batches import NO_RUN, Run, came_as_it_ended, encode_batch, encode_command
from ..objects.pickling import enclosed
from ..objects.port import Binding, Gathers, current_batch
from ..objects.replicated import Replicated, bound
from ..objects.transactions import Condition

# The version of an object of which nothing is known but what was read.
_NEVER: Final = -1


class Batch:
    """Gathered calls of one `with node.batch():` block, with the futures they will end.

    Threads may share it, as `asyncio.to_thread` has them do. Each has its own calls in its own
    order; who calls as another thread ends the block is told so.
    """

    def __init__(self, owner: object, blocker: Blocker) -> None:
        self.owner = owner
        self._blocker = blocker
        self._conditions: list[Condition] = []
        self._calls: list[tuple[bytes | Run, Future[Any] | None]] = []
        # Held as a call is put at their end, so that `run` is nothing but the end. Arguments are
        # added to a run without it: what comes after that run is of other threads. Re-entrant, as
        # garbage may be collected meanwhile, whose finalizer calls, too.
        self._lock = threading.RLock()
        self.run = NO_RUN
        # By the place of the call, once that is known; most calls in a block need none.
        self._futures: dict[int, Future[Any]] = {}
        self.first_error: BaseException | None = None
        """What the first call that raised has raised, once all have ended."""
        self.open = True

    def __len__(self) -> int:
        """Return how many calls it has gathered; O(n)."""
        return sum(1 if isinstance(call, bytes) else len(call) for call, _ in self._calls)

    def close(self) -> None:
        """Gather no more."""
        with self._lock:
            self.open = False
            self.run = NO_RUN

    def add(
        self,
        binding: Binding,
        method: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> None:
        """Gather a call.

        Raises:
            Unserializable: an argument has no encoding.
            NotApplied: another thread has ended the block.
            OutcomeUnknown: it did so in this very moment; the call may be part of the batch.
        """
        run = self.run
        target = binding.target
        if (
            run.method == method
            and run.target == target
            and run.width == len(args)
            and not kwargs
            and NATIVE.issuperset(map(type, args))
        ):
            run.values.extend(args)
            if not self.open:
                raise came_as_it_ended()
        else:
            self._put(_encoded(binding, method, args, kwargs), None)

    def submit(
        self,
        binding: Binding,
        method: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> Future[Any]:
        """Gather a call; its future ends when the block has ended and the batch is applied.

        Raises:
            Unserializable: an argument has no encoding.
            NotApplied: another thread has ended the block.
        """
        future = Future[Any](self._blocker)
        self._put(_encoded(binding, method, args, kwargs), future)
        return future

    def _put(self, call: bytes | Run, future: Future[Any] | None) -> None:
        with self._lock:
            self._refuse_late()
            self._calls.append((call, future))
            # Not `call`: that finalizer's may have come after it.
            last, waiting = self._calls[-1]
            # A run whose call has a future does not go on: each future has the place of one call.
            self.run = last if isinstance(last, Run) and waiting is None else NO_RUN

    def _refuse_late(self) -> None:
        if not self.open:
            raise NotApplied("the block of this batch has ended, so this is no part of it")

    @property
    def is_conditional(self) -> bool:
        """Whether it has conditions."""
        return bool(self._conditions)

    @property
    def has_any(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._calls or self._conditions)

    def if_version(self, target: Replicated, version: int) -> None:
        """Have the batch applied only if no command has run on `target` since `version`.

        `version`: see `Node.object_version`. Otherwise leaving the block raises `Conflict`.
        """
        self._require(Condition(self._id_of(target), version))

    def if_equal(self, target: Replicated, key: object, value: object) -> None:
        """Have the batch applied only if `target[key]` equals `value`, and is of its type.

        So are all parts of it, and dicts in it have the same order; of what was pickled, the
        pickles are compared. `target` is a `ReplDict`, or of a class of yours that itself has
        `still_reads`, and that all members attach. Otherwise leaving the block raises `Conflict`.
        """
        stored = enclosed(value) if target._pickles else value
        self._if_reads(target, [copy(key), [copy(stored)]])

    def if_absent(self, target: Replicated, key: object) -> None:
        """Have the batch applied only if `key` is not in `target`, a `ReplDict` or a `ReplSet`.

        Otherwise leaving the block raises `Conflict`.
        """
        self._if_reads(target, [copy(key), []])

    def if_present(self, target: Replicated, element: object) -> None:
        """Have the batch applied only if `element` is in `target`, a `ReplSet`.

        Otherwise leaving the block raises `Conflict`.
        """
        self._if_reads(target, [copy(element), [None]])

    def _if_reads(self, target: Replicated, read: list[object]) -> None:
        cls = type(target)
        if cls.still_reads is Replicated.still_reads:
            raise TypeError(f"a {cls.__name__} has no keys that a condition could compare")
        # Members that have not attached it could not go on: see `Replicated.still_reads`.
        if "still_reads" not in vars(cls) and not cls.__module__.startswith("syncstructs.structs."):
            raise TypeError(
                f"{cls.__name__} may be unknown to other members, which could not compare its keys;"
                " if all attach it, say so by a still_reads() in this very class"
            )
        self._require(Condition(self._id_of(target), _NEVER, [read]))

    def _require(self, condition: Condition) -> None:
        with self._lock:
            self._refuse_late()
            self._conditions.append(condition)

    def _id_of(self, target: Replicated) -> int:
        binding = bound(target)
        if binding.port is not self.owner:
            raise ValueError(f"{binding.name!r} belongs to another node than the batch")
        if not isinstance(binding.target, int):
            raise NotAttached(f"{binding.name!r} is not attached in the cluster yet")
        return binding.target

    def command(self, *, in_runs: bool) -> bytes:
        """Return the whole batch, which is closed, as one command; see `encode_batch`.

        Raises:
            Unserializable: values are nested too deeply to stand in a batch.
        """
        calls: list[bytes | Run] = []
        place = 0
        for call, future in self._calls:
            if future is not None:
                self._futures[place] = future
            if isinstance(call, bytes):
                place += 1
                calls.append(call)
                continue
            # Another thread may yet add to this one, and is told that it is too late.
            run = call.copy()
            place += len(run)
            last = calls[-1] if calls else NO_RUN
            if isinstance(last, Run) and last.is_continued_by(run):
                last.values.extend(run.values)
            else:
                calls.append(run)
        return encode_batch(calls, self._conditions, in_runs=in_runs)

    def end(self, future: Future[Any]) -> None:
        """End the gathered futures as the batch has ended."""
        try:
            outcomes = future.result()
        except BaseException as error:
            _end_all([(gathered, None, error) for gathered in self._futures.values()])
            return
        errors = (outcome.error for outcome in outcomes if outcome.error is not None)
        self.first_error = next(errors, None)
        _end_all(
            [
                (gathered, outcomes[place].value, outcomes[place].error)
                for place, gathered in self._futures.items()
            ]
        )

    def discard(self, error: Exception) -> None:
        """End everything with `error`; the batch is closed."""
        _end_all([(future, None, error) for _, future in self._calls if future is not None])


def _end_all(endings: list[tuple[Future[Any], Any, BaseException | None]]) -> None:
    """End futures, each with its value or error: all of them, even if Ctrl-C strikes in one."""
    struck: BaseException | None = None
    for future, value, error in endings:
        try:
            future.finish(value, error)
        except BaseException as interrupt:
            struck = interrupt
    if struck is not None:
        raise struck


def leave(token: Token[Gathers | None], *, raised: bool) -> None:
    """Note that a block, which is closed, is over; it began with `current_batch.set`.

    Raises:
        NotApplied: this is another context, and nothing was `raised` in the block.
    """
    try:
        current_batch.reset(token)
    except ValueError as error:
        # As a generator does that one task begins and another one ends.
        if raised:
            return
        raise NotApplied(
            "the block was left in another context than it was entered in, so nothing of it was"
            " sent; enter and leave it in one task"
        ) from error


def _encoded(
    binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> bytes | Run:
    """Return a call as a run of one, or as a command if it may be in no run."""
    if not args or kwargs or not NATIVE.issuperset(map(type, args)):
        return encode_command(binding.target, method, args, kwargs)
    run = Run(binding.target, method, len(args), binding)
    run.values.extend(args)
    return run

