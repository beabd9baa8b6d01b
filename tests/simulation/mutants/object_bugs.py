"""Bugs to plant in what is replicated: sessions, calls, the object table, the types, the locks."""

from loads import COMPARING, CUT_OFF, HELD, IMPATIENT, LATE_ITEMS, RIVALS, SMALL_SNAPSHOTS, SWEEPS

from syncstructs.testing.planted import SHORT_SESSIONS, bug

REPLICA = "replica:Replica."
SESSIONS = "objects.sessions:Sessions."
OUTBOX = "objects.outbox:Outbox."
TABLE = "objects.table:Table."
WAITERS = "objects.waiters:Waiters."
GRANTS = "structs.grants:Grants."
HOLDING = "structs.holding:Holding."
QUEUE = "structs.queues:ReplQueue."

CALLS = (
    bug(
        "dedup_skips_one_too_many",
        "Of a run of calls one more is skipped than was applied before.",
        (SESSIONS + "accept", "live.last + 1 - first", "live.last + 2 - first"),
    ),
    bug(
        "dedup_skips_one_too_few",
        "Of a run of calls that was sent again one is applied again.",
        (
            SESSIONS + "accept",
            "live.last + 1 - first",
            "live.last + 1 - first - (first <= live.last)",
        ),
    ),
    bug(
        "gap_is_applied",
        "Calls are applied although some before them are missing.",
        (
            SESSIONS + "accept",
            "skip = live.last + 1 - first",
            "skip = max(live.last + 1 - first, 0)",
        ),
        (
            "objects.intake:Intake.offer",
            "if first > accepted + 1:\n            return accepted + 1",
            "",
        ),
    ),
    bug(
        "former_life_comes_back",
        "A late request of a former life of a node opens its session again.",
        (SESSIONS + "open", "if incarnation in newest.former:", "if False:"),
        equivalent="a message of a former life would have to arrive behind one of the next life;"
        " a connection ends with the life that made it, in the simulator as in the transport",
    ),
    bug(
        "numbers_begin_anew",
        "After a change of leader a node numbers its pending calls from 1 again.",
        (
            REPLICA + "_resend",
            "self.outbox.rewind()",
            "self.outbox.rewind()\n        self.outbox.first = 1",
        ),
    ),
    bug(
        "pending_calls_not_sent_again",
        "What a lost leader was given is not given to the next one.",
        (REPLICA + "_follow", "self._resend(now)", "pass"),
        (REPLICA + "tick", "self._resend(now)", "pass"),
    ),
    bug(
        "resent_in_another_session",
        "Calls that may have been applied are sent again under a new session.",
        (REPLICA + "_settle_skipped", "self.outbox.skip_to(self.outbox.handed)", "()"),
        profiles=("network", "all"),
        fields=CUT_OFF,
    ),
    bug(
        "lost_result_is_none",
        "A call whose result a snapshot has skipped returns None instead of saying so.",
        (
            REPLICA + "_settle_skipped",
            "else:\n                    progress.end(call, Outcome(None, lost))",
            "else:\n                    progress.end(call, Outcome(None, None))",
        ),
    ),
    bug(
        "replies_to_wrong_calls",
        "The answer to one call is given to another one that is on its way.",
        (OUTBOX + "applied", "return calls", "return calls[::-1]"),
    ),
    bug(
        "not_applied_though_sent",
        "A closing node says of calls that it had sent that they were never applied.",
        ("node.engine:Engine._end_calls", "if sent:", "if False:"),
    ),
    bug(
        "not_applied_though_handed",
        "A closing node forgets what former leaders may have of its calls.",
        (OUTBOX + "drain", "numbered = self.handed + 1 - self.first", "numbered = len(self.sent)"),
    ),
    bug(
        "intake_of_former_term",
        "A leader that leads again goes on with what it was given in its former term.",
        (REPLICA + "_follow", "self._intake.clear()", "pass"),
    ),
    bug(
        "duplicates_reach_the_log",
        "A leader proposes calls that it has proposed already, and counts anew from there.",
        ("objects.intake:Intake.offer", "if first + count - 1 <= accepted:", "if False:"),
    ),
    bug(
        "serial_lost_in_snapshot",
        "A replica that takes over a snapshot goes on with its own count of commands.",
        (
            TABLE + "_take_over",
            "self.serial, self.time, self.applied_index = parts.serial,",
            "_, self.time, self.applied_index = parts.serial,",
        ),
    ),
    bug(
        "own_error_counts_less",
        "A call that raises counts as a command only where it was not made.",
        (
            TABLE + "_apply_commands",
            "result = _raised(error)",
            "result = _raised(error)\n                    context.serial -= own",
        ),
    ),
    bug(
        "error_undone_by_caller",
        "A call that raises ends the run of calls on the node that made it.",
        (
            TABLE + "_apply_commands",
            "result = _raised(error)",
            "result = _raised(error)\n"
            "                    if own and len(commands) > 1:\n"
            "                        results.append((sequence, result))\n"
            "                        break",
        ),
    ),
    bug(
        "calls_at_once_uncounted",
        "Calls of a batch that are done at once count as none of the applied commands.",
        ("objects.table:Table._apply_run", "context.serial += len(results)", "pass"),
    ),
    bug(
        "calls_at_once_but_one",
        "Of the calls of a batch that are done at once, the last one is left out.",
        (
            "structs.dicts:ReplDict._set_all",
            "zip(keys, values, strict=True)",
            "list(zip(keys, values))[:-1]",
        ),
    ),
    bug(
        "batch_in_reverse",
        "The calls of a batch are applied in reverse order.",
        ("node.batch:Batch.command", "in self._calls:", "in self._calls[::-1]:"),
        (
            "node.batch:Batch.command",
            "run = call.copy()",
            "run = call.copy()\n"
            "            starts = range(0, len(run.values), run.width)\n"
            "            calls_ = [run.values[at : at + run.width] for at in starts]\n"
            "            run.values = [value for call_ in calls_[::-1] for value in call_]",
        ),
    ),
    bug(
        "batch_serial_not_counted",
        "The calls of a batch share the number that is to tell them apart.",
        (TABLE + "_apply_commands", "context.serial += 1\n", "context.serial += not nested\n"),
    ),
    bug(
        "batch_ends_with_an_error",
        "What follows in a batch after a call that raised is not done, and said to be done.",
        (
            TABLE + "_apply_commands",
            "round_.resume()",
            "round_.resume()\n"
            "            if nested and result.error is not None:\n"
            "                results.extend(_DONE for _ in commands[len(results) :])\n"
            "                break",
        ),
    ),
    bug(
        "call_storm",
        "Every refusal of a run of calls makes all of them be sent again.",
        (
            REPLICA + "_on_forward_reply",
            "if message.expected > self._refused_from:",
            "if message.expected:",
        ),
        profiles=("network",),
        fields={"mixes": {"pipeline": 1.0}, "think": 0.05, "clients": 3, "datagrams": True},
    ),
)

SESSIONS_AND_LOCKS = (
    bug(
        "session_expires_locally",
        "The leader ends a session by itself, not through the log.",
        (
            REPLICA + "_expire_sessions",
            'self._intake.offer_system(encode_command(0, "expire_session", (session,), {}))',
            "self.table.sessions.expire(session)",
        ),
        profiles=("locks",),
    ),
    bug(
        "session_expires_early",
        "A session ends after half of the silence that it may last.",
        (
            REPLICA + "_expire_sessions",
            "if now >= silent_since + ttl:",
            "if now >= silent_since + ttl / 2:",
        ),
        profiles=("locks",),
    ),
    bug(
        "session_never_expires",
        "The session of a dead node is never ended while it is down.",
        (REPLICA + "_expire_sessions", "if now >= silent_since + ttl:", "if False:"),
        (
            REPLICA + "_expire_sessions",
            "self._expiry_at = min(self._expiry_at, silent_since + ttl)",
            "pass",
        ),
    ),
    bug(
        "sure_without_leader",
        "A node stays sure of its session long after the leader may have ended it.",
        (REPLICA + "_follow", "* (1 - _DRIFT)", "* (1 + 4 * _DRIFT)"),
        profiles=("locks",),
    ),
    bug(
        "sure_of_own_leadership",
        "A leader is sure of its session for as long as it thinks it leads.",
        (
            REPLICA + "_follow",
            "heard = core.quorum_contact if leads",
            "heard = now if leads",
        ),
        (REPLICA + "_follow", "(not leads or self._leading)", "True"),
        profiles=("locks",),
    ),
    bug(
        "echo_before_a_quorum",
        "A leader makes a peer sure of its session without knowing that it still leads.",
        (
            "raft.progress:Progress.heard_at",
            "self._latest = (sent, now)",
            "self._latest = (sent, now)\n            self.echo = sent",
        ),
        profiles=("network", "locks"),
        fields=SHORT_SESSIONS | {"size": 5},
    ),
    bug(
        "vouches_for_expiring_session",
        "A leader makes a peer sure of a session that it is about to end.",
        (
            REPLICA + "_vouches",
            "return self._leading and session is not None and session not in self._expiring",
            "return True",
        ),
        profiles=("locks",),
        fields=SHORT_SESSIONS,
    ),
    bug(
        "held_after_session_loss",
        "A lock counts as held although the session that held it was lost.",
        (HOLDING + "_is_sure", "grant.session == port.session and ", ""),
        (HOLDING + "on_session_lost", "if not self._forget(grant):", "if True:"),
        profiles=("locks",),
    ),
    bug(
        "locks_of_the_dead",
        "The locks of a session that has ended are not freed.",
        (
            GRANTS + "on_session_expired",
            "if holder[0] == session]:\n            self._free(key)",
            "if holder[0] == session]:\n            pass",
        ),
        profiles=("locks",),
    ),
    bug(
        "waits_of_the_dead",
        "A lock is given to who waited in a session that has ended.",
        (GRANTS + "on_session_expired", "self._waiters.expire(session)", "pass"),
        (
            GRANTS + "on_session_expired",
            "for waiter in [w for w in line if w[0] == session]:",
            "for waiter in []:",
        ),
        profiles=("locks",),
    ),
    bug(
        "token_does_not_grow",
        "A lock is passed on under the token of who had it before.",
        (
            GRANTS + "_grant_first",
            "token = current_context().serial",
            "token = self._holders[key][2]",
        ),
        profiles=("locks",),
    ),
    bug(
        "lock_granted_twice",
        "A lock is granted to who asks at once, though somebody has it.",
        (GRANTS + "_acquire", "if key not in self._holders:", "if True:"),
        profiles=("locks",),
    ),
    bug(
        "released_by_a_stranger",
        "A late release frees the lock of whoever has it by then.",
        (
            GRANTS + "_release",
            "if holder is None or holder[2] != token:",
            "if holder is None:",
        ),
        profiles=("locks",),
        fields=RIVALS | {"settings": SMALL_SNAPSHOTS["settings"]},
    ),
    bug(
        "withdrawn_by_another",
        "Who gives up waiting frees a lock that another caller of its node holds.",
        (
            GRANTS + "_withdraw",
            "self._holders.get(key, (0, 0, 0))[:2] == (session, ticket)",
            "self._holders.get(key, (0, 0, 0))[0] == session",
        ),
        profiles=("locks",),
        fields=RIVALS,
    ),
    bug(
        "last_come_first_served",
        "Of those who wait for a lock the last one is served first.",
        (
            GRANTS + "_grant_first",
            "next(iter(self._lines[key]))",
            "next(reversed(self._lines[key]))",
        ),
        profiles=("locks",),
    ),
)

TYPES = (
    bug(
        "queue_waiters_lifo",
        "Of those who wait for an item the last one is served first.",
        (
            WAITERS + "serve",
            "key = next(iter(self._waiting), None)",
            "key = next(reversed(self._waiting), None)",
        ),
    ),
    bug(
        "ghost_waiter",
        "Who has given up waiting stays in the line, and is served.",
        (
            WAITERS + "cancel",
            "waiter = self._waiting.pop((context.session, ticket), None)",
            "waiter = self._waiting.get((context.session, ticket), None)",
        ),
    ),
    bug(
        "cancel_does_nothing",
        "Who gives up waiting is told so when somebody serves it.",
        (QUEUE + "_stop_getting", "self._getters.cancel(ticket)", "pass"),
    ),
    bug(
        "put_back_lost",
        "An item that comes back from who had given up is lost.",
        (QUEUE + "_put_back", "self._insert_front(item)", "pass"),
        fields=IMPATIENT,
    ),
    bug(
        "undo_forgotten",
        "What a wait was served after its caller had given up is not given back.",
        (
            "structs.waiting:Wait._settle",
            "if served is not None and self.undo is not None:",
            "if False:",
        ),
        fields=LATE_ITEMS,
    ),
    bug(
        "put_overtakes",
        "An item is put at the front of the queue.",
        (QUEUE + "_insert", "self._items.append(item)", "self._items.appendleft(item)"),
    ),
    bug(
        "queue_overfull",
        "A queue takes one item more than it may.",
        (
            QUEUE + "_is_full",
            "0 < self._maxsize <= len(self._items)",
            "0 < self._maxsize < len(self._items)",
        ),
    ),
    bug(
        "putter_not_woken",
        "Who waits for room is not served when an item is taken.",
        (QUEUE + "_remove", "while self._putters and not self._is_full():", "while False:"),
    ),
    bug(
        "order_lost_in_snapshot",
        "A dictionary has another order after it came out of a snapshot.",
        (
            "objects.replicated:Replicated.restore_state",
            "mine[name] = value",
            "mine[name] = dict(reversed(value.items())) if type(value) is dict else value",
        ),
    ),
    bug(
        "counter_returns_old_value",
        "A counter returns its value before the addition.",
        (
            "structs.counters:ReplCounter.add",
            "return self._value",
            "return self._value - _whole(amount)",
        ),
    ),
    bug(
        "swap_compares_nothing",
        "compare_and_set() of a dictionary sets, whatever was there.",
        (
            "structs.dicts:ReplDict.compare_and_set",
            "if key not in self._items or self._items[key] != expected:",
            "if key not in self._items:",
        ),
    ),
    bug(
        "setdefault_overwrites",
        "setdefault() replaces a value that is there.",
        (
            "structs.dicts:ReplDict.setdefault",
            "return self._items.setdefault(key, default)",
            "self._items[key] = default\n        return default",
        ),
    ),
    bug(
        "result_shares_state",
        "What a call returns is a piece of the state itself.",
        (
            "objects.table:_Round.outcome",
            "return _isolated(value)",
            "return Outcome(value)",
        ),
    ),
)

HANDLES = (
    bug(
        "held_though_unsure",
        "A lock counts as held for as long as the session is the same, sure or not.",
        (
            HOLDING + "_is_sure",
            "return grant.session == port.session and port.now() < port.sure_until()",
            "return grant.session == port.session",
        ),
        profiles=("locks", "all"),
    ),
    bug(
        "lost_not_reported_twice",
        "Who releases a lock that was lost is told that he never had it.",
        (HOLDING + "_not_held", "if grant is not None:", "if False:"),
        profiles=("locks", "all"),
    ),
    bug(
        "loss_is_reported_for_ever",
        "A loss that was reported is reported again by each release of what is not held.",
        (HOLDING + "_not_held", "lost.pop(grant.token, None)", "pass"),
        profiles=("locks", "all"),
    ),
    bug(
        "loss_not_told",
        "A lock is forgotten when the node is sure no more, and its user hears nothing of it.",
        (HOLDING + "on_session_lost", "self._tell_lost(grant.key)", "pass"),
        profiles=("locks", "all"),
    ),
    bug(
        "loser_releases_what_another_has",
        "Who has lost a lock frees it when another caller of the node has been granted it since.",
        (HOLDING + "_found", "if found.caller != caller and", "if False and"),
        profiles=("locks", "all"),
        fields=HELD,
    ),
    bug(
        "release_of_lost_succeeds",
        "The release of a lock that was taken meanwhile says that all is well.",
        (HOLDING + "_giving_back", "if not freed:", "if False:"),
        profiles=("locks", "all"),
        fields=HELD,
    ),
    bug(
        "release_says_lost",
        "A release that freed the lock, and passed it on, says that it had been lost.",
        (GRANTS + "_release", "self._free(key)\n        return True",
         "self._free(key)\n        return key not in self._holders"),
        profiles=("locks", "all"),
    ),
    bug(
        "locks_forget_their_keys",
        "What holders() of the manager tells is the token of another lock.",
        (
            "structs.locks:ReplLockManager.holders",
            "return {key: Holder(*holder) for key, holder in self._holders.items()}",
            "return dict(zip(self._holders, map(Holder._make, reversed(self._holders.values()))))",
        ),
        profiles=("locks", "all"),
    ),
    bug(
        "try_acquire_always_succeeds",
        "try_acquire() of the manager says that it has a lock that somebody else holds.",
        ("structs.locks:ReplLockManager.try_acquire", "is not None", "is not False"),
        profiles=("locks", "all"),
        fields=RIVALS,
    ),
)

SHUTDOWN = (
    bug(
        "shutdown_leaves_putters",
        "Who waits for room when a queue is shut down goes on waiting.",
        (QUEUE + "shutdown", "self._putters.refuse_all(ShutDown())", "pass"),
        profiles=("all", "locks"),
    ),
    bug(
        "shutdown_leaves_getters",
        "Who waits for an item when a queue is shut down is told that there is none.",
        (
            QUEUE + "shutdown",
            "self._getters.refuse_all(ShutDown())",
            "self._getters.refuse_all(Empty())",
        ),
        profiles=("all", "locks"),
    ),
    bug(
        "closed_queue_says_empty",
        "get_nowait() of a queue that was shut down says that it is empty.",
        (QUEUE + "get_nowait", "raise ShutDown if self._closed else Empty", "raise Empty"),
        profiles=("all", "locks"),
    ),
    bug(
        "closed_queue_takes_items",
        "A queue that was shut down goes on taking items.",
        (QUEUE + "_add", "if self._closed:", "if self._drained:"),
        profiles=("all", "locks"),
    ),
    bug(
        "closed_queue_is_emptied",
        "What is left in a queue that was shut down cannot be had any more.",
        (QUEUE + "_take", "if self._items:", "if self._items and not self._closed:"),
        profiles=("all", "locks"),
    ),
    bug(
        "dropped_items_unfinished",
        "Items that shutdown() throws away count as unfinished for ever.",
        (QUEUE + "shutdown", "self._finish(min(dropped, self._unfinished))", "pass"),
        profiles=("all", "locks"),
    ),
    bug(
        "one_joiner_woken",
        "Of several that wait for all items to be done only the first is told.",
        (QUEUE + "_finish", "while self._joiners:", "if self._joiners:"),
        profiles=("all", "locks"),
    ),
    bug(
        "joiners_woken_early",
        "Who waits for all items to be done is told so when one is left.",
        (QUEUE + "_finish", "if self._unfinished == 0:", "if self._unfinished <= 1:"),
        profiles=("all", "locks"),
    ),
    bug(
        "joiner_never_leaves",
        "Who gives up waiting for all items to be done stays in the line.",
        (QUEUE + "_stop_joining", "self._joiners.cancel(ticket)", "pass"),
        profiles=("all", "locks"),
    ),
)

WHOLES = (
    bug(
        "repeat_once_too_often",
        "A list that is repeated is repeated once more.",
        ("structs.sequences:SharedSequence._repeat", "range(count - 1)", "range(count)"),
        fields=SWEEPS,
    ),
    bug(
        "slice_without_step",
        "A slice of a list is deleted with everything between.",
        (
            "structs.lists:ReplList._delete_slice",
            "slice(*bounds)",
            "slice(*bounds[:2])",
        ),
        fields=SWEEPS,
    ),
    bug(
        "slice_keeps_what_it_replaces",
        "What is put in place of a slice of a list is put before it.",
        (
            "structs.lists:ReplList._set_slice",
            "self._items[slice(*bounds)] = values",
            "slice(*bounds)\n        self._items[bounds[0] : bounds[0]] = values",
        ),
        fields=SWEEPS,
    ),
    bug(
        "sort_ignores_reverse",
        "A list is sorted in ascending order always.",
        ("structs.lists:ReplList._sort", "reverse=reverse", "reverse=False"),
        fields=SWEEPS,
    ),
    bug(
        "counter_sub_adds",
        "A counter that less is to be taken from counts up.",
        (
            "structs.counters:ReplCounter.sub",
            "self._value -= _whole(amount)",
            "self._value += _whole(amount)",
        ),
    ),
    bug(
        "counter_set_keeps_greater",
        "A counter can't be set to less than it has.",
        (
            "structs.counters:ReplCounter.set",
            "self._value = _whole(value)",
            "self._value = max(self._value, _whole(value))",
        ),
    ),
    bug(
        "cas_of_counter_always",
        "compare_and_set() of a counter sets, whatever it had.",
        ("structs.counters:ReplCounter.compare_and_set", "return False\n", "pass\n"),
    ),
    bug(
        "dict_reset_updates",
        "reset() of a dictionary keeps what is not named.",
        ("structs.dicts:ReplDict._reset", "self._items = dict(items)", "self._items.update(items)"),
        fields=SWEEPS,
    ),
    bug(
        "set_keeps_the_others",
        "intersection_update() keeps what is in none of the others.",
        ("structs.sets:ReplSet._keep", "if element in wanted", "if element not in wanted"),
        fields=SWEEPS | {"mixes": {"sweep": 3.0, "change_set": 2.0, "read": 2.0}},
    ),
    bug(
        "intersection_of_the_first",
        "intersection_update() heeds the first of its arguments only.",
        (
            "structs.sets:ReplSet.intersection_update",
            "common = set(others[0]).intersection(*others[1:])",
            "common = set(others[0])",
        ),
        fields=SWEEPS | {"mixes": {"sweep": 3.0, "change_set": 2.0, "read": 2.0}},
    ),
    bug(
        "set_reset_adds",
        "reset() of a set keeps what was in it.",
        (
            "structs.sets:ReplSet._reset",
            "self._items = dict.fromkeys(elements)",
            "self._items.update(dict.fromkeys(elements))",
        ),
        fields=SWEEPS | {"mixes": {"sweep": 3.0, "change_set": 2.0, "read": 2.0}},
    ),
)

COMPARISONS = (
    bug(
        "digests_of_other_indexes",
        "States are compared that members had at different places in the log.",
        ("objects.comparison:Comparisons.news", "if report.index == self.index", "if report.index"),
        fields=COMPARING,
    ),
    bug(
        "digests_of_a_later_state",
        "Digests are taken of a state to which more was applied than the leader has asked for.",
        (
            REPLICA + "apply",
            "if progress.asked is not None:\n                    break",
            "pass",
        ),
        fields=COMPARING,
    ),
)

_TRANSACTING = {"mixes": {"transact": 6.0, "write_key": 2.0, "count": 2.0, "change_list": 2.0}}

TRANSACTIONS = (
    bug(
        "transaction_without_conditions",
        "A transaction is applied whatever has changed since it read.",
        (TABLE + "_transact", "if conflict is not None:", "if False:"),
        fields=_TRANSACTING,
    ),
    bug(
        "transaction_with_the_last_condition",
        "Only the last of a transaction's conditions counts.",
        (TABLE + "_transact", "if conflict is not None:", "if conflict and row is conditions[-1]:"),
        fields=_TRANSACTING,
    ),
    bug(
        "conflict_of_which_a_part_is_applied",
        "A transaction whose conditions do not hold is applied all the same, and said not to be.",
        (
            TABLE + "_transact",
            "return Outcome(None, Conflict(",
            "self._batch(round_, calls)\n                return Outcome(None, Conflict(",
        ),
        fields=_TRANSACTING,
    ),
    bug(
        "commands_leave_no_marks",
        "That a command ran on an object is not marked.",
        (TABLE + "_apply_commands", "if marks is not None:", "if False:"),
        fields=_TRANSACTING,
    ),
    bug(
        "marks_are_in_no_snapshot",
        "Who takes a snapshot over does not know which command ran last on each object.",
        (TABLE + "_take_over", "self.marks = parts.marks", "pass"),
        fields=SMALL_SNAPSHOTS | _TRANSACTING,
    ),
    bug(
        "marks_of_a_snapshot_are_lost",
        "Who takes a snapshot over knows that there are marks, and has none.",
        (
            "objects.transactions:Marks.restored",
            "return cls(msgspec.convert(since, int), msgspec.convert(of, dict[str, int]))",
            "return cls(msgspec.convert(since, int))",
        ),
        fields=SMALL_SNAPSHOTS | _TRANSACTING,
    ),
    bug(
        "copy_is_older_than_it_says",
        "A copy counts as good up to commands that were applied after it was made.",
        (
            "node.transaction:Transaction.command",
            "Condition(id_, since, seen)",
            "Condition(id_, self.owner.replica.table.serial, seen)",
        ),
        fields=_TRANSACTING,
    ),
    bug(
        "keys_look_as_they_were_read",
        "A key that a transaction has read may have another value where it is applied.",
        ("structs.glimpse:still_reads", "if encode(found) != encode(values):", "if False:"),
        fields=_TRANSACTING,
    ),
    bug(
        "absent_key_is_no_read",
        "That a key was absent is not a thing that a transaction has read.",
        (
            "structs.glimpse:Glimpse.reads",
            "[[k, [] if v is _ABSENT else [v]] for k, v in self._seen.items()]",
            "[[k, [v]] for k, v in self._seen.items() if v is not _ABSENT]",
        ),
        fields=_TRANSACTING,
    ),
    bug(
        "whole_of_a_dict_is_no_read",
        "Who has looked at all of a dict in a transaction has read the keys he looked up only.",
        ("structs.glimpse:Glimpse.reads", "if self._has_read_all:", "if False:"),
        fields=_TRANSACTING,
    ),
)

BUGS = (
    *CALLS, *SESSIONS_AND_LOCKS, *TYPES, *HANDLES, *SHUTDOWN, *WHOLES, *COMPARISONS, *TRANSACTIONS,
)  # fmt: skip
