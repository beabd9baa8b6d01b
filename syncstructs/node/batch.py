"""`node.batch()`: calls that are gathered and applied as one command."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..futures import Blocker, Future
from ..objects.batches import encode_batch

if TYPE_CHECKING:
    from .transaction import Transaction

current_batch: ContextVar["Batch | Transaction | None"] = ContextVar(
    "syncstructs_batch", default=None
)


class Batch:
    """Gathered calls of one `with node.batch():` block, with the futures they will end."""

    def __init__(self, owner: object, blocker: Blocker) -> None:
        self.owner = owner
        self._blocker = blocker
        self._commands: list[bytes] = []
        # By the place of the call; most calls in a block need none.
        self._futures: dict[int, Future[Any]] = {}
        self.first_error: BaseException | None = None
        """What the first call that raised has raised, once all have ended."""
        self.open = True
        """Whether it still gathers; a task that was begun in the block may outlive it."""

    def __len__(self) -> int:
        return len(self._commands)

    def add(self, command: bytes) -> None:
        """Gather a call."""
        self._commands.append(command)

    def submit(self, command: bytes) -> Future[Any]:
        """Gather a call; its future ends when the block has ended and the batch is applied."""
        future = self._futures[len(self._commands)] = Future[Any](self._blocker)
        self._commands.append(command)
        return future

    def command(self) -> bytes:
        """Return the whole batch as one command.

        Raises:
            Unserializable: values are nested too deeply to stand in a batch.
        """
        return encode_batch(self._commands)

    def end(self, future: Future[Any]) -> None:
        """End the gathered futures as the batch has ended."""
        try:
            outcomes = future.result()
        except BaseException as error:
            for gathered in self._futures.values():
                gathered.finish(None, error)
            return
        errors = (outcome.error for outcome in outcomes)
        self.first_error = next(filter(None, errors), None)
        for place, gathered in self._futures.items():
            gathered.finish(outcomes[place].value, outcomes[place].error)

    def discard(self, error: Exception) -> None:
        """End everything with `error`; nothing of it was sent."""
        for gathered in self._futures.values():
            gathered.finish(None, error)

