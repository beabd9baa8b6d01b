"""Inquiries: what people who operate the cluster ask of a node, over the links of its members.

Whoever has a link may ask: another member, or a guest such as the command line. An answer is what
one of the node's own operations gives, so asking can do nothing that a program with a node cannot.
How many are being answered is bounded, and who loses the link waits no longer. A node may ask the
others itself, so that each of them can show the whole cluster.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from ..errors import Busy, NodeClosed, NodeFailed, SyncError
from ..futures import Blocker, Future
from ..objects.port import Steps
from ..raft.messages import Answer, Inquiry, Message

RUNNING_COUNT: Final = 64
"""Inquiries that are being answered at a time, of all who ask."""
RUNNING_COUNT_OF_ONE: Final = 8
"""The same of one of them."""
PAYLOAD_BYTES: Final = 4 * 1024 * 1024
"""The largest answer."""
TIMEOUT_MAX: Final = 300.0
"""How long an inquiry may take, in seconds."""


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an inquiry may say besides its verb; each verb uses some of it."""

    addresses: tuple[str, ...] = ()
    to: str | None = None
    number: int | None = None
    timeout: float = 30.0
    """Seconds after which the asked node gives up waiting."""


Verb = Callable[[Arguments], Steps[object]]


class InquiryFailed(SyncError, RuntimeError):
    """The node that was asked did not do it; the message is its own."""


class Owner(Protocol):
    """The node that is asked, and asks."""

    address: str
    failure: SyncError | None

    @property
    def blocker(self) -> Blocker:
        """How threads wait for this node's futures."""

    def send_to(self, peer: str, message: Message) -> bool:
        """Send to a node to which there is a link; False if it was dropped."""

    def start(self, steps: Steps[object]) -> Future[object]:
        """Run an operation."""

    def post(self, function: Callable[[], object]) -> bool:
        """Run `function` in the driver's thread, soon; False if the node is closed for good."""


class Inquiries:
    """What is asked of one node, and by it. All but `ask` belongs to the driver's thread."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.verbs: Mapping[str, Verb] = {}
        """What can be asked; each gives an operation whose result goes through JSON."""
        self._running: dict[str, set[Future[object]]] = {}
        self._ids = itertools.count(1)
        self._asked: dict[int, tuple[str, Future[bytes]]] = {}

    # Being asked

    def received(self, peer: str, message: Inquiry | Answer) -> None:
        """Take in what another node asks, or answers."""
        if type(message) is Answer:
            self._take_answer(peer, message)
            return
        assert type(message) is Inquiry, message
        try:
            steps = self._steps_for(peer, message)
        except (SyncError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._refuse(peer, message.id, error)
            return
        future = self._owner.start(steps)
        self._running.setdefault(peer, set()).add(future)
        future.add_done_callback(lambda future: self._answer(peer, message.id, future))

    def _steps_for(self, peer: str, inquiry: Inquiry) -> Steps[object]:
        verb = self.verbs.get(inquiry.verb)
        if verb is None:
            known = ", ".join(sorted(self.verbs))
            raise InquiryFailed(f"{inquiry.verb!r} is unknown to this node; it knows {known}")
        running = sum(map(len, self._running.values()))
        if running >= RUNNING_COUNT or len(self._running.get(peer, ())) >= RUNNING_COUNT_OF_ONE:
            raise Busy(f"{running} inquiries are being answered by this node; ask again later")
        arguments = msgspec.json.decode(inquiry.arguments, type=Arguments)
        if not 0 <= arguments.timeout <= TIMEOUT_MAX:
            raise InquiryFailed(
                f"timeout {arguments.timeout} must be from 0 to {TIMEOUT_MAX:.0f} seconds"
            )
        return verb(arguments)

    def _answer(self, peer: str, id: int, future: Future[object]) -> None:
        running = self._running.get(peer, set())
        running.discard(future)
        if not running:
            self._running.pop(peer, None)
        try:
            payload = msgspec.json.encode(future.result())
        except Exception as error:
            # Whatever a verb raises is for who asked, as it would be for who calls.
            self._refuse(peer, id, error)
            return
        if len(payload) > PAYLOAD_BYTES:
            self._refuse(peer, id, InquiryFailed(f"the answer has {len(payload)} bytes, too many"))
        else:
            self._owner.send_to(peer, Answer(id, True, payload))

    def _refuse(self, peer: str, id: int, error: Exception) -> None:
        said = {"error": type(error).__name__, "message": str(error)[:4096]}
        self._owner.send_to(peer, Answer(id, False, msgspec.json.encode(said)))

    # Asking

    def ask(self, peer: str, verb: str, arguments: Mapping[str, object]) -> Future[bytes]:
        """Ask another node; the future ends with the payload of its answer. From any thread.

        It ends as soon as there is no link to the peer; until then it waits for ever, so wait with
        a time limit, and call `forget` after that.
        """
        future: Future[bytes] = Future(self._owner.blocker)
        inquiry = Inquiry(next(self._ids), verb, msgspec.json.encode(arguments))

        def begin() -> None:
            self._asked[inquiry.id] = peer, future
            if self._owner.failure is not None or not self._owner.send_to(peer, inquiry):
                self._end(inquiry.id, None, InquiryFailed(f"there is no link to {peer}"))

        if not self._owner.post(begin):
            future.finish(None, NodeClosed(f"node {self._owner.address} is closed"))
        return future

    def forget(self, future: Future[bytes]) -> None:
        """Wait for an answer no longer."""
        for id in [id for id, (_, known) in self._asked.items() if known is future]:
            del self._asked[id]

    def _take_answer(self, peer: str, answer: Answer) -> None:
        asked = self._asked.get(answer.id)
        if asked is None or asked[0] != peer:
            # It comes too late, or from somebody who was not asked.
            return
        if answer.ok:
            self._end(answer.id, answer.payload, None)
            return
        said = ascii(answer.payload[:500].decode("utf-8", "replace"))
        self._end(answer.id, None, InquiryFailed(f"{peer} answered {said}"))

    def _end(self, id: int, payload: bytes | None, error: SyncError | None) -> None:
        _, future = self._asked.pop(id)
        future.finish(payload, error)

    # Ends

    def lost(self, peer: str) -> None:
        """Note that the link to `peer` is gone: it is answered no more, and answers nothing."""
        for future in self._running.pop(peer, set()):
            future.cancel()
        for id in [id for id, (asked, _) in self._asked.items() if asked == peer]:
            self._end(id, None, InquiryFailed(f"the link to {peer} is gone"))

    def close(self, refusal: NodeClosed | NodeFailed) -> None:
        """Wait for no answer any more."""
        for id in list(self._asked):
            self._end(id, None, refusal)

    def _check(self) -> None:
        counts = {peer: len(running) for peer, running in self._running.items()}
        assert all(0 < count <= RUNNING_COUNT_OF_ONE for count in counts.values()), counts
        assert sum(counts.values()) <= RUNNING_COUNT, counts
