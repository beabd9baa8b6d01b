"""The replicated state machine: applies committed entries to sessions and objects, in log order.

Two tables that were fed the same entries hold the same state, whatever instances their members
attached when, and whether or not an image came in between. Nothing here reads a clock, draws a
number or asks the world. What a command raises ends that command and nothing else; the only ways
out are `NodeFailed` and `MemoryError`, after which this replica must not go on.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, groupby, islice, repeat
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..codec import STATE_DEPTH, copy, decode_many, encode, shown
from ..config import is_nameless
from ..errors import (
    Conflict,
    DecodeError,
    MembershipRefused,
    NodeFailed,
    NotReplicated,
    ObjectExists,
    ObjectMismatch,
    ObjectNotFound,
    ResultLost,
    UnknownType,
    Unserializable,
    VersionRefused,
)
from ..raft.membership import MEMBER_COUNT_MAX, decode_membership, sorted_members
from ..raft.messages import DIGEST_BYTES, REPORT_COUNT_MAX, Entry, EntryKind
from .applied import Applied, Result
from .batches import Group, command_parts, decode_groups, is_run, one_by_one
from .comparison import EVERYTHING, Divergence, Range, divergences_of, rows_of
from .context import PARKED, CallId, Context, Outcome, _current
from .digest import digest_bytes, measured, outweighs
from .directory import Directory, Record
from .due import Due, is_due
from .image import (
    Image,
    decode_image,
    encode_image,
    encode_state,
    pieces_of_object,
    state_pieces,
)
from .pieces import whole
from .port import Port
from .replicated import AT_ONCE, Replicated, not_in_force
from .sessions import Sessions
from .transactions import Condition, Marks
from .versions import RELEASE, VERSION_MAX, Versions, split_bodies
from .waiters import Waiters

if TYPE_CHECKING:
    from random import Random

_log = logging.getLogger("syncstructs.objects")

C = TypeVar("C", bound=Context)

# So many times it is told that bytes of the log are skipped; then each time that the count doubles.
_SKIPPED_TOLD: Final = 16
# Values of exactly these types cannot be changed, so they leave the state without being copied.
_ATOMS: Final = frozenset({type(None), bool, int, float, str, bytes})

# Times are floats, and there are integers beyond those.
_TTL_MAX: Final = sys.float_info.max

_DONE: Final = Outcome()
_NO_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {}
_NOT_TAKEN_OVER: Final = "a snapshot was not taken over to its end"

# What may come from outside in the midst of a command, where it is applied in a main thread; and
# what other members may have had more memory for. All else is the command's own doing, everywhere.
_FATAL: Final = (MemoryError, KeyboardInterrupt, SystemExit)


class _Round:
    """The entry being applied: its context, whose outcomes are reported, and the report."""

    __slots__ = ("applied", "context", "own")

    def __init__(self, context: Context, own: int) -> None:
        self.context = context
        self.own = own
        self.applied = Applied()

    def outcome(self, value: object) -> Outcome:
        """Return an outcome that shares nothing with the state, if anybody here will see it."""
        if type(value) in _ATOMS or self.context.session != self.own:
            return Outcome(value)
        return _isolated(value)

    def resume(self) -> None:
        """Report the parked calls that the present command has ended."""
        resumed = self.context.resumed
        for call, outcome in resumed:
            if call.session == self.own:
                if outcome.error is None and type(outcome.value) not in _ATOMS:
                    outcome = _isolated(outcome.value)
                self.applied.resumed.append((call.sequence, outcome))
        resumed.clear()


class Table:
    """All replicated state of one member: sessions, and objects by name.

    `serial` counts the commands applied in the life of the cluster, `time` is cluster time in
    microseconds. The caller sees to it that nobody reads objects during `apply` and `restore`.
    """

    def __init__(self, *, owner: Port, random_type: type["Random"], detached_bytes: int) -> None:
        self.serial = 0
        self.time = 0
        self.applied_index = 0
        self.sessions = Sessions()
        self.wanted: tuple[str, ...] = ()
        """Who is to have a vote, sorted: what the leader changes the membership towards."""
        self.voters: tuple[str, ...] = ()
        """Who has a vote as of the log up to here, those on their way out too. In no image: the
        snapshot that it is part of tells it, and whoever reads that sets it."""
        self.versions = Versions()
        self.marks: Marks | None = None
        """Which command ran last on each object; None: the cluster has had no transaction yet."""
        self.read_by_all = 1
        """The release that all members and all nodes with a session have told to have, at least."""
        self.diverged: dict[int, Divergence] = {}
        """Objects that are not the same on all members, by id; as far as they were compared."""
        self._torn: str | None = None
        self._skipped_count = 0
        self._owner = owner
        self._random_type = random_type
        self._directory = Directory(owner, random_type, detached_bytes, self.versions)

    # Local instances

    def offer(self, name: str, target: Replicated) -> None:
        """Let a local instance wait for the attach of `name`; call `withdraw` if that fails.

        Raises:
            ObjectExists: `target`, or another one under this name, waits or is attached already.
            Unserializable: its options have no encoding.
            ConfigError: it would unpickle what anybody sends.
        """
        self._directory.offer(name, target)

    def withdraw(self, name: str) -> None:
        """Take back an offer; without effect once the instance is attached."""
        self._directory.withdraw(name)

    def rewatch(self, name: str) -> None:
        """Take note that the instance of that name is watched now, or no longer."""
        self._directory.rewatch(name)

    @property
    def first_due(self) -> Due | None:
        """The earliest due time of what is attached on this member; None: nothing is due."""
        return self._directory.due.first

    def due_until(self, time: float, limit: int) -> list[Due]:
        """Return what is due up to `time` of what is attached here, earliest first."""
        return self._directory.due.until(time, limit)

    def is_detached(self, id_: int) -> bool:
        """Return whether the object with that id is attached on other members at the most."""
        record = self._directory.find(id_)
        return record is not None and record.live is None

    def end_watches(self) -> None:
        """Tell those who are told of changes that there will be none: the node ends."""
        for target in self._directory.instances():
            if target._watch is not None:
                target._watch.end()

    @property
    def objects(self) -> Mapping[str, Replicated]:
        """The instances attached on this member, by name, oldest object first."""
        records = self._directory.records.values()
        return {record.name: record.live for record in records if record.live is not None}

    @property
    def divergences(self) -> list[tuple[str, str, Divergence]]:
        """Name and type of the objects that are not the same on all members, oldest first."""
        found = ((self._directory.find(id_), d) for id_, d in sorted(self.diverged.items()))
        return [(r.name, r.type_name, d) for r, d in found if r is not None]

    def is_parked(self, call: CallId) -> bool:
        """Return whether some object attached here holds that call. O(number of waits)."""
        return any(
            waiters.holds(call)
            for target in self.objects.values()
            for waiters in target._all_waiters()
        )

    # Applying

    def apply(self, entry: Entry, session: int) -> Applied:
        """Apply a committed entry; entries come in the order of their indexes, without a gap.

        `session` is this node's own (0: none yet); outcomes are reported for its calls only.

        Raises:
            NodeFailed: this replica cannot go on without diverging; it must stop.
        """
        if self._torn is not None:
            self._refuse_torn()
        assert entry.index == self.applied_index + 1, (entry.index, self.applied_index)
        self.applied_index = entry.index
        self.time = max(self.time, entry.time)
        if entry.kind != EntryKind.BATCH:
            if entry.kind is EntryKind.MEMBERSHIP and not self.wanted:
                self.wanted = decode_membership(entry.payload).voters
            return Applied()
        context: Context = self.context()
        round_ = _Round(context, session or -1)
        try:
            groups = decode_groups(entry.payload)
        except DecodeError as error:
            self._stop_if_older(error)
            self._tell_skipped(f"entry {entry.index} is skipped, on every member: {error}")
            return round_.applied
        # Also an interrupt in the midst of an entry, such as Ctrl-C under manual drive, leaves it
        # half applied; whoever went on from there would diverge.
        self._torn = f"entry {entry.index} was not applied to its end"
        token = _current.set(context)
        try:
            for group in groups:
                self._apply_group(round_, group)
            round_.applied.parked = bool(context.parked)
            self._torn = None
        except MemoryError as error:
            raise NodeFailed(
                f"out of memory while applying entry {entry.index}: the state may differ from the"
                " other members' now, so this node stops; start it again with more memory"
            ) from error
        finally:
            _current.reset(token)
            self.serial = context.serial
        return round_.applied

    def _tell_skipped(self, sentence: str) -> None:
        """Log what became of bytes that no correct member sends; if it goes on, ever less often."""
        self._skipped_count += 1
        count = self._skipped_count
        if count <= _SKIPPED_TOLD or count & (count - 1) == 0:
            _log.error("%s", sentence if count == 1 else f"{sentence} (time number {count} here)")

    def _apply_group(self, round_: _Round, group: Group) -> None:
        if group.session == 0:
            skip, count = 0, group.count
        else:
            skip, count = self.sessions.accept(group.session, group.first_sequence, group.count)
        if not count:
            return
        context = round_.context
        context.session = group.session
        first = group.first_sequence + skip if group.session else 0
        try:
            commands = decode_many(group.count, group.commands)
        except UnknownType as error:
            # Other members may know the class: skipping what they apply would part this replica.
            raise NodeFailed(f"entry {context.index} cannot be applied here: {error}") from error
        except DecodeError as error:
            self._stop_if_older(error)
            self._tell_skipped(f"{count} commands of entry {context.index} are skipped: {error}")
            if group.session == round_.own:
                round_.applied.results.append((first, [Outcome(None, error)] * count))
            return
        results = self._apply_commands(round_, commands[skip:] if skip else commands, first)
        if results:
            round_.applied.results.append((first, results))

    def _apply_commands(
        self, round_: _Round, commands: list[Any], first: int, *, nested: bool = False
    ) -> list[Result]:
        """Apply commands of the context's session, numbered from `first` (0: not numbered).

        Return how each of them ended, if they are of this node. The library's innermost loop: what
        is here is paid per command, on every member.
        """
        context = round_.context
        own = context.session == round_.own
        results: list[Result] = []
        live = self._directory.live
        resumed = context.resumed
        atoms = _ATOMS
        marks = context.marks
        step = 1 if first else 0
        sequence = first - step
        result: Result = _DONE
        for command in commands:
            sequence += step
            context.serial += 1
            context.sequence = sequence
            try:
                target, method, args = command
                instance, functions = live[target]
                function = functions[method]
                # What only equals a target, or comes apart like a list, is no command: it is
                # refused where the object is detached, and so it has to be here.
                kind = type(target)
                if type(args) is list and type(command) is list and (kind is int or kind is str):
                    count = len(args)
                else:
                    count = -1
            except (KeyError, ValueError, TypeError):
                count = -1
            if count < 0:
                result = self._apply_other(round_, command, nested=nested)
            else:
                if marks is not None:
                    marks.set(instance._binding.name, context.serial)  # type: ignore[union-attr]
                try:
                    # Spelled out, a call takes half the time.
                    if count == 1:
                        value = function(instance, args[0])
                    elif count == 2:
                        value = function(instance, args[0], args[1])
                    else:
                        value = function(instance, *args)
                except _FATAL:
                    raise
                except BaseException as error:
                    result = _raised(error)
                else:
                    if value is None:
                        result = _DONE
                    elif own:
                        result = Outcome(value) if type(value) in atoms else _settled(value, round_)
            if own:
                results.append(result)
            if resumed:
                round_.resume()
        return results

    def _apply_other(self, round_: _Round, command: Any, *, nested: bool = False) -> Result:
        """Apply a command that is not a plain call of an object attached here."""
        try:
            target, method, args, kwargs = command_parts(command)
            if target == 0:
                if nested:
                    raise DecodeError("a batch holds calls of objects only")
                return self._apply_system(round_, method, args)
            record = self._directory.find(target)
            if record is None:
                raise ObjectNotFound(
                    f"the cluster has no object {shown(target)}, or it was dropped"
                )
            body = record.bodies.get(method)
            if body is None or "." in method:
                raise self._no_body(record, method)
            if self.marks is not None:
                self.marks.set(record.name, round_.context.serial)
        except DecodeError as error:
            self._stop_if_older(error)
            return Outcome(None, error)
        except (ObjectNotFound, NotReplicated, VersionRefused) as error:
            return Outcome(None, error)
        if record.live is None:
            self._directory.keep(record, round_.context, method, args, kwargs)
            return Outcome(
                None,
                ResultLost(f"applied, but {record} is not attached on this node: no result"),
            )
        command = record.command(record.live, method, body)
        try:
            value = command(record.live, *args, **kwargs)
        except _FATAL:
            raise
        except BaseException as error:
            return _raised(error)
        return _settled(value, round_)

    def refusal(self, name: str, method: str) -> Exception:
        """Return why the cluster takes no call of that method of an object."""
        record = self._directory.records.get(name)
        if record is None:
            return ObjectNotFound(f"the cluster has no object {name!r}, or it was dropped")
        return self._no_body(record, method)

    def _no_body(self, record: Record, method: str) -> NotReplicated | VersionRefused:
        """Return why no call of that name is taken."""
        first = self.versions.first_version(record.type_name, method)
        if first is None or "." in method:
            return NotReplicated(f"{method}() of {record} is not marked @replicated")
        return VersionRefused(not_in_force(method, first, self.versions.in_force))

    def _stop_if_older(self, error: DecodeError) -> None:
        """Let pass what nobody understands, and is thus skipped or refused by every member.

        Raises:
            NodeFailed: a node has a later release, which may understand it.
        """
        newest = self.versions.newest_release
        if newest > RELEASE:
            self._torn = f"entry {self.applied_index} was not applied"
            raise NodeFailed(
                f"entry {self.applied_index} has no meaning for this release ({error}), and may"
                " have one for a later release that other nodes run: start this node again with"
                " the release that they run"
            ) from error

    # Commands of the cluster itself: target 0

    def _apply_system(self, round_: _Round, method: str, args: list[Any]) -> Outcome:
        if method not in _SYSTEM:
            self._stop_if_older(DecodeError(f"{method}() is no command of the cluster"))
            raise NotReplicated(f"{method}() is no command of the cluster")
        handler, shape = _SYSTEM[method]
        if method == "know":
            # Whatever a later release has to say besides: how late it is, is all that counts here.
            args = args[: len(shape)]
        if len(args) != len(shape) or not all(map(isinstance, args, shape)):
            raise DecodeError(f"{method}() with arguments of other types: {shown(args)}")
        try:
            outcome = handler(self, round_, *args)
        except _REFUSALS as error:
            if isinstance(error, DecodeError):
                self._stop_if_older(error)
            return Outcome(None, error)
        if method in _OF_NODES:
            self._note_releases()
        return outcome

    def _note_releases(self) -> None:
        nodes = {address for address, _ in self.sessions.live().values()}
        self.read_by_all = self.versions.oldest_release(nodes.union(self.wanted))

    def _change_members(
        self, round_: _Round, added: list[Any], removed: list[Any], only: list[Any] | None
    ) -> Outcome:
        """Note who is to have a vote: `only` these or those of before, with some more or less.

        The result is who they are now, sorted. The leader sees to it.
        """
        before = self.wanted if only is None else only
        for address in (*added, *removed, *before):
            if not isinstance(address, str):
                raise DecodeError(f"addresses of members are text, not {shown(address)}")
        wanted = sorted_members({*before, *added}.difference(removed))
        if not 0 < len(wanted) <= MEMBER_COUNT_MAX:
            raise MembershipRefused(
                f"the cluster would have {len(wanted)} members; it must keep 1 to"
                f" {MEMBER_COUNT_MAX}"
            )
        self.wanted = wanted
        return Outcome(list(wanted))

    def _transfer_leadership(self, round_: _Round, to: str) -> Outcome:
        """Have whoever leads hand over to `to`, or to anybody if that is empty."""
        round_.applied.successor = to
        return Outcome()

    def _know(
        self, round_: _Round, version: int, release: int, bodies: dict[str, Any]
    ) -> Outcome:
        """Take note of what the calling node knows: all at once, before it attaches anything.

        A node that counts as one that knows a version has told of all its bodies up to it.
        """
        address = self.sessions.owner(round_.context.session)
        if address is None or not 1 <= version <= VERSION_MAX or not 1 <= release < 2**31:
            raise DecodeError(
                f"know({shown(version)}, {shown(release)}) of {shown(address)} has no meaning"
            )
        later: dict[str, list[str]] = {}
        for type_name, names in bodies.items():
            if not isinstance(type_name, str) or not isinstance(names, list):
                raise DecodeError(f"bodies of {shown(type_name)} are a list, not {shown(names)}")
            later[type_name] = split_bodies(names)[1]
        for type_name, names in later.items():
            self._learn(type_name, names)
        # Observers have no say in a switch, and there may be thousands of them.
        self.versions.know(address, version, release, {} if is_nameless(address) else later)
        return _DONE

    def _learn(self, type_name: str, bodies: list[str]) -> None:
        if bodies:
            versions, directory = self.versions, self._directory
            is_new = not versions.has_bodies(type_name) and not directory.knows_type(type_name)
            versions.learn(type_name, bodies, is_new=is_new)

    def _set_version(self, round_: _Round, version: int) -> Outcome:
        """Put a version in force, if all who have a vote, or are to have one, know it.

        Those on their way out too: without a majority of them, no change of members comes to its
        end.
        """
        if not 1 <= version <= VERSION_MAX:
            raise DecodeError(f"there is no version {shown(version)}")
        members = sorted_members({*self.wanted, *self.voters})
        if not members:
            members = tuple(address for address, _ in self.sessions.live().values())
        before = self.versions.in_force
        self.versions.switch(version, members)
        if self.versions.in_force != before:
            round_.context.version = version
            self._directory.switch()
            # Else a transaction that has tried the old bodies would run the new ones.
            self._mark_all(round_.context.serial)
        return _DONE

    def _compare_digests(self, round_: _Round, after: int) -> Outcome:
        """Have every member take digests of the objects behind `after` and send them to the leader.

        Of many objects, the first ones: no report grows without bound.
        """
        ids = (r.id for r in self._directory.records.values() if r.id > after)
        found = list(islice(ids, REPORT_COUNT_MAX + 1))
        is_end = len(found) <= REPORT_COUNT_MAX
        last = round_.context.serial if is_end else found[-2]
        round_.applied.compared = Range(after, last, is_end)
        return Outcome()

    def _note_divergence(self, round_: _Round, rows: list[Any]) -> Outcome:
        """Note which objects differ, and on whom: these and no others."""
        applied, before = round_.applied, self.diverged
        noted = divergences_of(rows)
        # One of them may have been dropped meanwhile.
        self.diverged = {id_: d for id_, d in noted.items() if self._directory.find(id_)}
        applied.noted = True
        for id_ in sorted({*before, *self.diverged}):
            record, now = self._directory.find(id_), self.diverged.get(id_)
            assert record is not None, id_
            if now is None:
                applied.agreed.append(record.name)
            elif id_ not in before or not {*now.members} <= {*before[id_].members}:
                applied.diverged.append((record.name, now))
        return Outcome()

    def _open_session(
        self, round_: _Round, address: str, incarnation: int, attempt: int, ttl: float
    ) -> Outcome:
        if not 0 < ttl <= _TTL_MAX:
            raise DecodeError(
                f"a session of {shown(address)} cannot have a ttl of {shown(ttl)} seconds"
            )
        older = self.sessions.of_address(address)
        is_new_life = not self.sessions.last_attempt(address, incarnation)
        session = self.sessions.open(address, incarnation, attempt, ttl, round_.context.serial)
        if session is None:
            return Outcome()
        if is_new_life:
            self.versions.forget(address)
        if older is not None:
            self._give_up(round_, older)
        round_.applied.opened.append((address, incarnation, attempt, session))
        return Outcome(session)

    def _expire_session(self, round_: _Round, session: int) -> Outcome:
        live = self.sessions.expire(session)
        if live:
            self._give_up(round_, session)
            for address in self.sessions.take_forgotten():
                self.versions.forget(address)
        return Outcome(live)

    def _give_up(self, round_: _Round, session: int) -> None:
        """Let all objects give up what a session holds; it is no longer live."""
        with _nobodys(round_.context) as context:
            self._directory.give_up(session, context)
        self._mark_all(round_.context.serial)
        round_.applied.expired.append(session)

    def _mark_all(self, serial: int) -> None:
        if self.marks is not None:
            for name in self._directory.records:
                self.marks.set(name, serial)

    def _wake(self, round_: _Round, rows: list[Any]) -> Outcome:
        """Call `on_due` of objects in the given order, of each if that is its due time, and past.

        Which objects is said in the command: a member where some are not attached does not know
        whether they are due, and could not choose as the others do.
        """
        if not all(map(is_due, rows)):
            raise DecodeError(f"rows of a due time and an id are not {shown(rows)}")
        with _nobodys(round_.context) as context:
            for time, id_ in rows:
                record = self._directory.find(id_)
                if record is not None and time <= context.time:
                    self._directory.wake(record, time, context)
                    if self.marks is not None:
                        self.marks.set(record.name, context.serial)
        round_.applied.woken += map(tuple, rows)
        return _DONE

    def _attach(
        self,
        round_: _Round,
        name: str,
        type_name: str,
        options: dict[str, Any],
        state: Any,
        methods: list[Any],
    ) -> Outcome:
        record = self._directory.records.get(name)
        if record is None:
            outcome = self._enter(round_, name, type_name, options, None, state, methods)
        elif (record.type_name, record.options) != (type_name, options):
            asked = Record(0, name, type_name, options, None, (), [], [])
            raise ObjectMismatch(f"the cluster has {record}; here it was attached as {asked}")
        else:
            outcome = self._join(round_, record, methods)
        if round_.context.session == round_.own:
            self._directory.settle(name)
        return outcome

    def _create(
        self,
        round_: _Round,
        name: str,
        type_name: str,
        args: list[Any],
        options: dict[str, Any],
        state: Any,
        methods: list[Any],
    ) -> Outcome:
        record = self._directory.records.get(name)
        if record is None:
            return self._enter(round_, name, type_name, options, args, state, methods)
        if (record.type_name, record.args) != (type_name, args) or record.options != options:
            raise ObjectExists(f"the cluster has {record} already; drop it, or take another name")
        return self._join(round_, record, methods)

    def _enter(
        self,
        round_: _Round,
        name: str,
        type_name: str,
        options: dict[str, Any],
        args: list[Any] | None,
        state: Any,
        methods: list[Any],
    ) -> Outcome:
        serial = round_.context.serial
        encoded = encode(state, max_depth=STATE_DEPTH)
        # They are part of every snapshot; what has no encoding would keep all from being taken.
        encode([options, args], max_depth=STATE_DEPTH)
        plain, bodies = split_bodies(methods)
        self._learn(type_name, bodies)
        record = Record(serial, name, type_name, options, args, whole(encoded), [], plain)
        error = self._directory.add(record)
        if self.marks is not None:
            self.marks.set(name, serial)
        round_.applied.changed = True
        return Outcome(None, error)

    def _join(self, round_: _Round, record: Record, methods: list[Any]) -> Outcome:
        before = record.live
        if methods != record.methods:
            plain, bodies = split_bodies(methods)
            self._learn(record.type_name, bodies)
            self._directory.learn(record, plain)
        error = self._directory.join(record)
        round_.applied.changed |= record.live is not before
        return Outcome(None, error)

    def _drop(self, round_: _Round, name: str) -> Outcome:
        record = self._directory.records.get(name)
        if record is None:
            raise ObjectNotFound(f"the cluster has no object {shown(name)}, or it was dropped")
        if record.live is not None:
            for waiters in record.live._all_waiters():
                waiters.refuse_all(ObjectNotFound(f"{name!r} was dropped"))
        self._directory.remove(record)
        self.diverged.pop(record.id, None)
        if self.marks is not None:
            self.marks.drop(name)
        round_.applied.changed = True
        return Outcome()

    def _batch(self, round_: _Round, calls: list[Any]) -> Outcome:
        """Run all calls in order, whatever some of them raise; the outcomes are the result."""
        context = round_.context
        sequence = context.sequence
        outcomes: list[Result] = []
        for are_runs, found in groupby(calls, is_run):
            if are_runs:
                for run in found:
                    outcomes += self._apply_run(round_, run)
            else:
                outcomes += self._apply_commands(round_, [*found], 0, nested=True)
        context.sequence = sequence
        return Outcome(outcomes)

    def _mark(self, round_: _Round) -> Outcome:
        """Mark from now on which command ran last on each object."""
        if self.marks is None:
            self.marks = round_.context.marks = Marks(round_.context.serial)
        return _DONE

    def _transact(self, round_: _Round, conditions: list[Any], calls: list[Any]) -> Outcome:
        """Do as `_batch` does if all conditions hold; else nothing."""
        for row in conditions:
            condition = Condition.of(row)
            try:
                conflict = self._conflict(condition)
            except (*_FATAL, NodeFailed):
                raise
            except BaseException as error:
                # A key that has no hash, or what a class of the user's raises: on every member.
                return _raised(error)
            if conflict is not None:
                round_.applied.conflicts.append(round_.context.call)
                return Outcome(None, Conflict(f"{conflict}; nothing of it was applied"))
        return self._batch(round_, calls)

    def _conflict(self, condition: Condition) -> str | None:
        """Return why a condition does not hold, or None."""
        record, marks = self._directory.find(condition.target), self.marks
        if record is None:
            return f"object {condition.target}, which the transaction read, was dropped"
        if marks is not None and condition.since >= marks.last(record.name):
            return None
        if condition.reads is not None:
            if record.live is None:
                raise NodeFailed(
                    f"a transaction has read a part of {record}, which is not attached on this"
                    " member: nobody here can tell whether that part has changed; attach it, and"
                    " start this node again"
                )
            if record.live.still_reads(condition.reads):
                return None
        return f"{shown(record.name)}, which the transaction read, was changed meanwhile"

    def _apply_run(self, round_: _Round, run: list[Any]) -> list[Result]:
        """Do as `_apply_commands` does with the calls of the run, which is in a batch."""
        target, method, values, width = run
        instance, functions = self._directory.live.get(target, (None, _NO_FUNCTIONS))
        function = functions.get(method)
        if function is None:
            return self._apply_commands(round_, one_by_one(run), 0, nested=True)
        context = round_.context
        context.sequence = 0
        columns = [values[at::width] for at in range(width)]
        # How most calls end: what is spared here is spared on every member.
        results: list[Result] = [_DONE] * len(columns[0])
        if _is_done_at_once(function, instance, columns):
            context.serial += len(results)
        else:
            _call_each(round_, map(function, repeat(instance), *columns), results)
        if context.marks is not None:
            context.marks.set(instance._binding.name, context.serial)  # type: ignore[union-attr]
        return results if context.session == round_.own else []

    # The whole state

    def image(self) -> Iterator[bytes]:
        """Return the whole state as bytes, in parts that are made as they are taken.

        Nothing may be applied before the last one is.

        Raises:
            Unserializable: the state of an object holds a value without encoding; the message
                names object and attribute. As the parts are taken.
            NodeFailed: an entry was left half applied.
        """
        self._refuse_torn()
        return encode_image(
            Image(
                serial=self.serial,
                time=self.time,
                applied_index=self.applied_index,
                sessions=self.sessions.state(),
                wanted=self.wanted,
                objects=self._directory.image(),
                versions=self.versions.state(),
                diverged=self.diverged,
                marks=self.marks,
                due=self._directory.due_image(),
            )
        )

    def restore(self, image: Iterable[bytes]) -> None:
        """Replace the whole state by an image, in parts of any size.

        Instances go on standing for their objects. The parts are taken again if an instance has
        refused its state, which is kept then.

        Raises:
            NodeFailed: the image cannot be read, or an instance refused its state.
        """
        parts = decode_image(image)
        self._torn = _NOT_TAKEN_OVER
        try:
            self._take_over(parts, lambda id_: pieces_of_object(image, id_))
            # One that contradicts itself would end this replica later, and nobody would know why.
            self._check()
            encode(
                [self.sessions.state(), self.versions.state(), self.applied_index + self.time],
                max_depth=STATE_DEPTH,
            )
        except NodeFailed:
            raise
        except MemoryError as error:
            raise NodeFailed("out of memory while taking over a snapshot") from error
        except Exception as error:
            # Its checksum is right, so this is what a member has sent, or a bug.
            raise NodeFailed(
                f"a snapshot cannot be read: it has no meaning: {shown(error)}"
            ) from error
        self._torn = None

    def _take_over(self, parts: Image, again: Callable[[int], Iterable[bytes]]) -> None:
        self.serial, self.time, self.applied_index = parts.serial, parts.time, parts.applied_index
        self.sessions.restore(parts.sessions)
        self.wanted = parts.wanted
        self.versions.restore(parts.versions)
        self.diverged = parts.diverged
        self.marks = parts.marks
        self._note_releases()
        token = _current.set(self.context())
        try:
            self._directory.restore(parts.objects, parts.due, again)
        finally:
            _current.reset(token)

    def digests(self) -> dict[str, str]:
        """Return a digest of the state of each object that is attached here, by name.

        Comparable between members at the same applied index. See `digest_bytes`.

        Raises:
            Unserializable: as `image` does.
        """
        return {
            name: digest_bytes(state_pieces(name, target))
            for name, target in self.objects.items()
        }

    def digests_in(self, range_: Range) -> dict[int, tuple[bytes, int]]:
        """Return the digest of each object in a range that is attached here, by id, and its size.

        Of a state that has no encoding both are zero: that, too, must be the same on all members.
        The digest is empty where `snapshot_state` raised, which may be over the next time.
        """
        due = self._directory.due
        return {id_: _measured(live, due.of(id_)) for id_, live in self._attached(range_)}

    def note_sizes(self, sizes: Mapping[int, int]) -> None:
        """Keep how many bytes the states of objects have, by id."""
        for id_, size_bytes in sizes.items():
            record = self._directory.find(id_)
            if record is not None:
                record.size_bytes = size_bytes

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that were noted last, by name; those of objects that have none yet lack."""
        return {r.name: r.size_bytes for r in self._directory.records.values() if r.size_bytes}

    def name_of(self, id_: int) -> str | None:
        """Return the name of the object with that id, or None."""
        record = self._directory.find(id_)
        return None if record is None else record.name

    def outweighs(self, limit: int, range_: Range = EVERYTHING) -> bool:
        """Return whether the objects in a range hold more than `limit` values; see `outweighs`."""
        values = [
            value.state() if isinstance(value, Waiters) else value
            for _, live in self._attached(range_)
            for name, value in list(vars(live).items())
            if name not in live._local
        ]
        return outweighs(values, limit)

    def _attached(self, range_: Range) -> list[tuple[int, Replicated]]:
        records = self._directory.records.values()
        return [(r.id, r.live) for r in records if r.live is not None and range_.covers(r.id)]

    def digest(self) -> str:
        """Return one digest of everything; comparable between members with the same attached."""
        records = self._directory.records.values()
        states = [encode_state(r.name, r.live) for r in records if r.live is not None]
        objects: list[Any] = []
        for r in records:
            # All in one list, which is quickly encoded; the id of the next object ends the methods.
            objects += (r.id, r.name, r.type_name, r.options, r.args, r.live is not None)
            objects += r.methods
        numbers = [self.serial, self.time, self.applied_index, *self.wanted]
        parts = (
            numbers, self.sessions.state(), objects, self.versions.state(), rows_of(self.diverged),
            sorted(self._directory.due.items()), self.marks and self.marks.state(),
        )  # fmt: skip
        about = [encode(part) for part in parts]
        return digest_bytes([*about, *states])

    @property
    def is_readable(self) -> bool:
        """Whether objects have the state of some time: not if a snapshot was taken over in part."""
        return self._torn is not _NOT_TAKEN_OVER

    def _refuse_torn(self) -> None:
        if self._torn is not None:
            raise NodeFailed(f"{self._torn}, so the state may differ from the other members'")

    def context(self, kind: type[C] = Context) -> C:  # type: ignore[assignment]
        """Return a context of that kind for what comes after all that was applied."""
        context = kind(
            index=self.applied_index,
            time=self.time / 1_000_000,
            owner=self._owner,
            random_type=self._random_type,
        )
        context.serial = self.serial
        context.version = self.versions.in_force
        context.marks = self.marks
        return context

    def _check(self) -> None:
        self.sessions._check()
        self.versions._check()
        self._directory._check()
        newest = max((r.id for r in self._directory.records.values()), default=0)
        assert max(self.sessions.live(), default=newest) <= self.serial
        assert newest <= self.serial, (newest, self.serial)
        ids = {r.id for r in self._directory.records.values()}
        assert self.diverged.keys() <= ids, (self.diverged, ids)


_Handler = Callable[..., Outcome]

# How a command of the cluster itself may end without having changed anything.
_REFUSALS: Final = (
    DecodeError, MembershipRefused, ObjectExists, ObjectMismatch, ObjectNotFound, Unserializable,
    VersionRefused,
)  # fmt: skip

# Names of the commands, and what types their arguments have.
_SYSTEM: Final[dict[str, tuple[_Handler, tuple[Any, ...]]]] = {
    "open_session": (Table._open_session, (str, int, int, int | float)),
    "expire_session": (Table._expire_session, (int,)),
    "change_members": (Table._change_members, (list, list, list | None)),
    "transfer_leadership": (Table._transfer_leadership, (str,)),
    "know": (Table._know, (int, int, dict)),
    "set_version": (Table._set_version, (int,)),
    "compare_digests": (Table._compare_digests, (int,)),
    "note_divergence": (Table._note_divergence, (list,)),
    "wake": (Table._wake, (list,)),
    "attach": (Table._attach, (str, str, dict, object, list)),
    "create": (Table._create, (str, str, list, dict, object, list)),
    "drop": (Table._drop, (str,)),
    "batch": (Table._batch, (list,)),
    "mark": (Table._mark, ()),
    "transact": (Table._transact, (list, list)),
}
# Those after which other nodes may have to be reckoned with, or know more.
_OF_NODES: Final = frozenset({"open_session", "expire_session", "change_members", "know"})


@contextmanager
def _nobodys(context: Context) -> Iterator[Context]:
    """Let what is applied be an event of the cluster, and no part of the call that is applied."""
    caller = context.session, context.sequence
    context.session = context.sequence = 0
    yield context
    context.session, context.sequence = caller


def _measured(target: Replicated, due: float | None) -> tuple[bytes, int]:
    try:
        return measured(chain(state_pieces("", target), [] if due is None else [encode(due)]))
    except Unserializable:
        return bytes(DIGEST_BYTES), 0
    except MemoryError:
        raise
    except Exception:
        # Nothing is logged here, which may be in a forked child. One object that fails must not
        # keep all others from being compared.
        return b"", 0


def _raised(error: BaseException) -> Outcome:
    """Return the outcome of a call that raised, without the table's own frame in its traceback.

    Whoever keeps the error would keep that frame, and with it all commands of the group.
    """
    if not isinstance(error, Exception):
        # A caller that awaits the call would take a CancelledError for his own.
        what = f"the method raised {type(error).__name__}, which is no Exception: {error}"
        return Outcome(None, RuntimeError(what))
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    return Outcome(None, error)


def _is_done_at_once(
    function: Callable[..., Any], instance: Replicated | None, columns: list[list[Any]]
) -> bool:
    """Do what calls of a method do, one after the other, if its class says how; else nothing."""
    at_once = AT_ONCE.get(id(function))
    if at_once is None:
        return False
    try:
        return at_once(instance, *columns) is not NotImplemented
    except _FATAL:
        raise
    except BaseException:
        # Which of the calls raises, and what, tell the calls.
        return False


def _call_each(round_: _Round, calls: Iterator[Any], results: list[Result]) -> None:
    """Make calls, numbered from the next serial on; put how they end in `results`, if not None."""
    context = round_.context
    own = context.session == round_.own
    resumed = context.resumed
    first = context.serial + 1
    for context.serial in range(first, first + len(results)):
        try:
            value = next(calls)
        except _FATAL:
            raise
        except BaseException as error:
            results[context.serial - first] = _raised(error)
        else:
            if value is not None and own:
                results[context.serial - first] = _settled(value, round_)
        if resumed:
            round_.resume()


def _settled(value: object, round_: _Round) -> Result:
    """Return the outcome of a call that gave `value`."""
    if value is not PARKED:
        return round_.outcome(value)
    context = round_.context
    if context.sequence and context.parked and context.parked[-1] == context.call:
        return PARKED
    return Outcome(None, RuntimeError("the method returned PARKED, but its call was not parked"))


def _isolated(value: object) -> Outcome:
    try:
        return Outcome(copy(value))
    except Unserializable as error:
        return Outcome(
            None, ResultLost(f"the call was applied, but its result has no encoding: {error}")
        )
