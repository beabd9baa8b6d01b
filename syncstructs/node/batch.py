"""`node.batch()`: calls that are gathered and applied as one command."""

from contextvars import ContextVar
from typing import Any

from ..codec import decode
from ..futures import Blocker, Future
from ..objects.batches import encode_command

current_batch: ContextVar["Batch | None"] = ContextVar("syncstructs_batch", default=None)


class Batch:
    """Gathered calls of one `with node.batch():` block, each with the future it will end."""

    def __init__(self, owner: object, blocker: Blocker) -> None:
        self.owner = owner
        self._blocker = blocker
        self._commands: list[bytes] = []
        self._futures: list[Future[Any]] = []
        self.open = True
        """Whether it still gathers; a task that was begun in the block may outlive it."""

    def __len__(self) -> int:
        return len(self._commands)

    def add(self, command: bytes) -> Future[Any]:
        """Gather a call; its future ends when the block has ended and the batch is applied."""
        self._commands.append(command)
        future: Future[Any] = Future(self._blocker)
        self._futures.append(future)
        return future

    def command(self) -> bytes:
        """Return the whole batch as one command."""
        return encode_command(0, "batch", ([decode(c) for c in self._commands],), {})

    def end(self, future: Future[Any]) -> None:
        """End the gathered futures as the batch has ended."""
        error: BaseException | None = None
        outcomes = None
        try:
            outcomes = future.result()
        except BaseException as raised:
            error = raised
        for i, gathered in enumerate(self._futures):
            if outcomes is None:
                gathered.finish(None, error)
            else:
                gathered.finish(outcomes[i].value, outcomes[i].error)

    def first_error(self) -> BaseException | None:
        """Return what the first call that raised has raised, once all have ended."""
        return next((e for f in self._futures if (e := f.exception()) is not None), None)

    def discard(self, error: Exception) -> None:
        """End everything with `error`; nothing of it was sent."""
        for gathered in self._futures:
            gathered.finish(None, error)

