"""Bugs that showed, when all checks stood, which of them were still missing."""

from functools import partial

from loads import (
    CLOSED,
    CROWDED,
    CROWDS,
    FAILED_CHUNKS,
    FALTERING,
    GARBLED,
    KILLED_WITH_SNAPSHOTS,
    OUTPACED,
    PARTED,
    RIVALS,
    SKIPPED_LOCKS,
    SLOW_DISKS,
    SLOW_SNAPSHOTS,
    SMALL_SNAPSHOTS,
    SPLIT_SEGMENTS,
    STRANDED,
    SWEEPS,
    TORN,
)

from syncstructs.testing.planted import bug

network_bug = partial(bug, profiles=("network", "all"))
disk_bug = partial(bug, disks=True, profiles=("disk", "all"))
lock_bug = partial(bug, profiles=("locks", "all"))

BUGS = (
    bug(
        "vote_told_before_sync",
        "A granted vote is told before it is durable.",
        (
            "raft.core:RaftCore._on_vote_request",
            "self._send(sender, VoteReply(self.term, granted))",
            "self._effects.sends.append((sender, VoteReply(self.term, granted)))",
        ),
    ),
    bug(
        "ack_before_term_durable",
        "An acknowledgement does not wait for the term it is said in.",
        (
            "raft.core:RaftCore._acknowledge",
            "max(ticket, self._appends.hard_state_ticket)",
            "ticket",
        ),
    ),
    bug(
        "snapshot_done_unsynced",
        "'done' for a snapshot does not wait for the reset of the log.",
        (
            "raft.core:RaftCore._reply_snapshot",
            "self._send_after(max(ticket, self._appends.hard_state_ticket), self.leader, reply)",
            "self._effects.sends.append((self.leader, reply))",
        ),
        fields=SLOW_DISKS | SMALL_SNAPSHOTS,
    ),
    network_bug(
        "done_by_log_length",
        "A snapshot is 'done' if the log is as long, whatever is in it.",
        (
            "raft.core:RaftCore._on_snapshot_chunk",
            "snapshot.index <= self.commit_index",
            "snapshot.index <= self.log.last_index",
        ),
        fields=PARTED,
    ),
    network_bug(
        "install_keeps_conflicting_suffix",
        "A snapshot leaves what follows its index though the log differs there.",
        (
            "raft.core:RaftCore._install",
            "if self.log.has(snapshot.id):",
            "if snapshot.index <= self.log.last_index:",
        ),
        fields=PARTED,
    ),
    bug(
        "presumed_equal",
        "A follower of a new leader takes its whole log for compared.",
        (
            "raft.core:RaftCore._become_follower",
            "Following(self.commit_index, self._now)",
            "Following(self.log.last_index, self._now)",
        ),
    ),
    bug(
        "following_survives_term",
        "What was known of an old leader is kept for the next.",
        (
            "raft.core:RaftCore._become_follower",
            "self._following = None if leader is None else "
            "Following(self.commit_index, self._now)",
            "self._following = None if leader is None else (self._following or "
            "Following(self.commit_index, self._now))",
        ),
        fields=TORN,
    ),
    network_bug(
        "no_check_quorum",
        "A leader that hears nobody leads on for ever.",
        (
            "raft.core:RaftCore.tick",
            "elif leading.quorum_heard_at + self._config.election_timeout_max <= now:",
            "elif False:",
        ),
        (
            "raft.leading:Leading.deadline",
            "if self._heard_at_least + patience < deadline:",
            "if False:",
        ),
    ),
    bug(
        "compacts_to_commit",
        "The log is compacted to the commit index, not to the snapshot.",
        (
            "raft.core:RaftCore.compacted",
            "self.log.compact(self._keep_from(snapshot))",
            "self.log.compact(self._delivered_index)",
        ),
    ),
    bug(
        "commit_goes_back",
        "A follower takes the leader's commit index even if lower.",
        (
            "raft.core:RaftCore._on_append_request",
            "self.commit_index = max(self.commit_index, min(message.commit_index, last))",
            "self.commit_index = min(message.commit_index, last)",
        ),
    ),
    bug(
        "rounds_not_answered",
        "A follower answers no round that brings nothing new.",
        (
            "raft.following:Following.has_told",
            "return self.round <= round and index <= told",
            "return index <= told",
        ),
    ),
    bug(
        "prevote_adopts_candidates_term",
        "A refused pre-vote makes the voter take up the asked term: no vote.",
        (
            "raft.core:RaftCore._on_pre_vote_request",
            "granted = (",
            "self._become_follower(max(self.term, message.term), None)\n        granted = (",
        ),
    ),
    bug(
        "hint_taken_for_match",
        "The hint of a refusal counts as acknowledged.",
        (
            "raft.leading:Leading.append_replied",
            "progress.refused(self._equal_up_to(reply))",
            "progress.accepted(self._equal_up_to(reply))",
        ),
    ),
    network_bug(
        "refusal_loop",
        "A leader goes back to the hint even if the terms there differ.",
        (
            "raft.leading:Leading._equal_up_to",
            "if refusal.index < base.index:",
            "if refusal.index <= self._log.last_index:",
        ),
    ),
    network_bug(
        "base_taken_for_equal",
        "Where the base does not fit, it is probed again and again.",
        (
            "raft.leading:Leading._equal_up_to",
            "max(base.index - 1, 0)",
            "base.index",
        ),
        fields=PARTED,
    ),
    bug(
        "pruned_snapshot_waited_for",
        "A transfer whose snapshot was pruned waits for it for ever.",
        (
            "raft.leading:Leading.chunk_missing",
            "if newest is not None and newest != missing:",
            "if False:",
        ),
        fields=OUTPACED,
    ),
    network_bug(
        "one_answer_confirms_round",
        "One answer confirms a round, of however many members.",
        (
            "raft.leading:Leading._confirm_rounds",
            "int(self._reached(self.rounds.current, _acknowledged_round))",
            "max(map(_acknowledged_round, self.peers.values()))",
        ),
        fields={"size": 5},
    ),
    lock_bug(
        "echo_of_former_life",
        "A peer is echoed times of its former life.",
        (
            "raft.progress:Progress.relinked",
            "self.echo = 0.0\n        self._latest = self._unconfirmed = (0.0, now)",
            "pass",
        ),
        (
            "raft.following:Following.heard",
            "if self.echo < echo <= now:",
            "if self.echo < echo:",
        ),
    ),
    bug(
        "held_sent_early",
        "What waits for one append is sent with any.",
        (
            "raft.appends:Appends.persisted",
            "if needed <= ticket",
            "if needed",
        ),
        fields=SLOW_DISKS,
    ),
    network_bug(
        "persisted_survives_truncation",
        "Entries that replace durable ones count as durable.",
        (
            "raft.log:RaftLog.truncate",
            "self.persisted_index = min(self.persisted_index, first - 1)",
            "pass",
        ),
        fields=PARTED,
    ),
    network_bug(
        "reset_forgets_pending",
        "What was on its way to the disk before a reset counts after it.",
        (
            "raft.log:RaftLog.reset",
            "self._pending.append((ticket, snapshot.index + 1, snapshot.index))",
            "pass",
        ),
        equivalent="what follows a reset is appended after it, so when an older append is reported,"
        " the first of those is pending and nothing beyond the snapshot counts; without any,"
        " nothing counts beyond the end of the log, which is the snapshot",
    ),
    disk_bug(
        "failed_chunk_not_wanted_again",
        "After a failed write the receiver goes on expecting what follows.",
        (
            "raft.transfer:Incoming.stored",
            "if not ok or next_offset != offset + size:",
            "if False:",
        ),
        fields=FAILED_CHUNKS,
    ),
    bug(
        "reads_dropped_on_step_down",
        "Reads of a leader that steps down are dropped, and never asked again.",
        (
            "raft.core:RaftCore._become_follower",
            "self._end_reads()",
            "pass",
        ),
        (
            "replica:Replica._ask_barriers_again",
            "if self.core.leader is None:",
            "if True:",
        ),
    ),
    bug(
        "wrong_entry_at_chunk_edge",
        "A message cut by its size leaves out an entry.",
        (
            "raft.log:RaftLog.run",
            "return entries[start:end], size_bytes",
            "return (entries[start:end] if end == len(entries) or end - start < "
            "3 else entries[start:end - 2] + entries[end - 1:end]), size_bytes",
        ),
    ),
    bug(
        "attempt_not_counted",
        "A node that lost its session asks for the same one again.",
        (
            "replica:Replica._lose_session",
            "self._attempt += 1",
            "pass",
        ),
        profiles=("locks",),
    ),
    lock_bug(
        "drift_ignored",
        "Clocks are taken to run equally fast.",
        (
            "replica:Replica._follow",
            "(1 - _DRIFT)",
            "1",
        ),
    ),
    bug(
        "skipped_never_settled",
        "After a snapshot nobody looks after the calls that it covers.",
        (
            "replica:Replica.install",
            "self._settle_skipped(progress)",
            "pass",
        ),
    ),
    bug(
        "resend_skips_first",
        "What is sent again begins one call too late, always.",
        (
            "objects.outbox:Outbox.rewind",
            "keep = max(0, start - self.first)",
            "keep = max(0, start - self.first) + (1 if len(self.sent) > 3 else 0)",
        ),
    ),
    bug(
        "intake_drops_when_full",
        "A leader without room takes a run for taken.",
        (
            "objects.intake:Intake.offer",
            "and self._groups:\n            return accepted + 1",
            "and self._groups:\n            self._accepted[session] = first + "
            "count - 1\n            return None",
        ),
        fields=CROWDED,
    ),
    bug(
        "leader_own_calls_overtake",
        "A leader's window takes runs out of order.",
        (
            "objects.intake:Intake.take",
            "taken: list[bytes] = []\n",
            "groups.rotate(1)\n        taken: list[bytes] = []\n",
        ),
    ),
    lock_bug(
        "former_life_keeps_locks",
        "A node that comes back under a new session keeps the locks of its old one.",
        (
            "objects.table:Table._open_session",
            "self._give_up(round_, older)",
            "pass",
        ),
    ),
    bug(
        "waits_of_the_dropped",
        "Calls that wait in an object that is dropped wait for ever.",
        (
            "objects.table:Table._drop",
            "waiters.refuse_all(ObjectNotFound(f\"{name!r} was dropped\"))",
            "pass",
        ),
    ),
    bug(
        "backlog_lost_in_snapshot",
        "A snapshot leaves out the calls of objects that are not attached.",
        (
            "objects.directory:Directory.image",
            "r.backlog,",
            "[],",
        ),
    ),
    lock_bug(
        "expiry_missed_by_detached",
        "An object that is not attached never hears of an expiry.",
        (
            "objects.directory:Directory.give_up",
            "self.keep(record, context, _EXPIRED, [session], {})",
            "pass",
        ),
    ),
    lock_bug(
        "attempt_lost_in_snapshot",
        "A snapshot forgets which attempt opened a session.",
        (
            "objects.sessions:Sessions.state",
            "n.attempt",
            "0",
        ),
    ),
    bug(
        "time_lost_in_snapshot",
        "A snapshot forgets cluster time.",
        (
            "objects.table:Table.image",
            "time=self.time",
            "time=0",
        ),
    ),
    lock_bug(
        "waiters_restored_sorted",
        "A snapshot brings waiters back in the order of their sessions.",
        (
            "objects.waiters:Waiters.restore",
            "for session, ticket, sequence, payload in state",
            "for session, ticket, sequence, payload in sorted(state, key=lambda w: w[:3])",
        ),
    ),
    lock_bug(
        "lines_restored_reversed",
        "A snapshot brings the line for a lock back in reverse.",
        (
            "structs.grants:Grants.restore_state",
            "in state[\"_waiters\"]",
            "in reversed(state[\"_waiters\"])",
        ),
        fields=SKIPPED_LOCKS,
    ),
    bug(
        "expired_wait_never_ends",
        "Who waited in an expired session is never told.",
        (
            "objects.waiters:Waiters.expire",
            "context.refuse(call, SessionExpired(\"the node was cut off; its wait "
            "was given up\"))",
            "pass",
        ),
        profiles=("locks",),
    ),
    bug(
        "withdrawn_wait_never_ends",
        "Who gives up is taken out of the line and never told.",
        (
            "objects.waiters:Waiters.cancel",
            "context.resume(waiter[0], value)",
            "pass",
        ),
    ),
    bug(
        "batch_results_swapped",
        "The results of a batch are given out in reverse.",
        (
            "node.batch:Batch.end",
            "(gathered, outcomes[place].value, outcomes[place].error)",
            "(gathered, outcomes[-1 - place].value, outcomes[-1 - place].error)",
        ),
    ),
    lock_bug(
        "granted_while_withdrawing",
        "A lock granted as its caller gives up stays taken.",
        (
            "structs.grants:Grants._withdraw",
            "elif self._holders.get(key, (0, 0, 0))[:2] == (session, ticket):",
            "elif False:",
        ),
    ),
    lock_bug(
        "acquired_though_unsure",
        "acquire() says yes though the node is not sure of its session.",
        (
            "structs.holding:Holding._granted",
            "if self._is_sure(grant):",
            "if True:",
        ),
    ),
    lock_bug(
        "unsure_lock_not_released",
        "A lock the node became unsure of is forgotten, not released.",
        (
            "structs.holding:Holding.on_session_lost",
            "cleaning(self._give_up, grant)",
            "pass",
        ),
    ),
    lock_bug(
        "lost_grant_not_freed",
        "A grant whose answer was lost stays taken.",
        (
            "structs.waiting:Wait.served",
            "yield from self.seen_through(cleaning(self.withdraw, ticket), deadline)",
            "pass",
        ),
        fields=SKIPPED_LOCKS,
    ),
    lock_bug(
        "freed_and_yet_used",
        "A lock granted at the last moment is freed, and used.",
        (
            "structs.waiting:Wait._withdrawn",
            "return not self.frees",
            "return True",
        ),
        fields=RIVALS,
    ),
    bug(
        "abandoned_wait_stays",
        "A cancelled wait stays in the line.",
        (
            "structs.waiting:Wait._abandon",
            "self.port.start(self._settle(cleaning(self.withdraw, ticket), future))",
            "pass",
        ),
    ),
    bug(
        "unfinished_not_counted_for_getters",
        "An item handed to a waiting get does not count as unfinished.",
        (
            "structs.queues:ReplQueue._add",
            "self._getters.serve([item])\n        else:",
            "self._getters.serve([item])\n            return True\n        else:",
        ),
    ),
    bug(
        "priorities_reversed_by_snapshot",
        "A priority queue out of a snapshot is upside down.",
        (
            "structs.queues:ReplPriorityQueue._store",
            "return list(items)",
            "return sorted(items)",
        ),
    ),
    bug(
        "insert_breaks_order",
        "A priority queue misplaces an item when it holds four or more.",
        (
            "structs.queues:ReplPriorityQueue._insert",
            "low, high = 0, len(self._items)",
            "low, high = 0, min(4, len(self._items))",
        ),
        fields={"mixes": {"put_ranked": 2.0, "get_ranked": 0.5}},
    ),
    bug(
        "put_refused_counts",
        "A put that finds no room counts as unfinished.",
        (
            "structs.queues:ReplQueue._add",
            "if self._is_full():\n            return False",
            "if self._is_full():\n            self._unfinished += 1\n            return False",
        ),
    ),
    bug(
        "pop_default_silent",
        "pop() of an absent key without default gives None.",
        (
            "structs.dicts:ReplDict.pop",
            "self._items.pop(key, *default)",
            "self._items.pop(key, *(default or (None,)))",
        ),
    ),
    bug(
        "update_keeps_old",
        "update() does not replace values.",
        (
            "structs.dicts:ReplDict._update",
            "self._items.update(items)",
            "self._items = items | self._items",
        ),
        fields=SWEEPS,
    ),
    bug(
        "popitem_first",
        "popitem() takes the oldest pair.",
        (
            "structs.dicts:ReplDict.popitem",
            "return self._items.popitem()",
            "return (k := next(iter(self._items), 0), self._items.pop(k))",
        ),
    ),
    bug(
        "list_reset_appends",
        "reset() of a list keeps what was there.",
        (
            "structs.lists:ReplList._reset",
            "self._items = list(values)",
            "self._items = self._items + list(values)",
        ),
        fields=SWEEPS,
    ),
    bug(
        "list_remove_nothing",
        "remove() of a list removes nothing.",
        (
            "structs.sequences:SharedSequence.remove",
            "self._items.remove(value)",
            "self._items.index(value)",
        ),
    ),
    bug(
        "list_remove_last",
        "remove() takes the last of equal elements.",
        (
            "structs.sequences:SharedSequence.remove",
            "self._items.remove(value)",
            "del self._items[len(self._items) - 1 - self._items[::-1].index(value)]",
        ),
    ),
    bug(
        "delete_ignores_sign",
        "del items[-1] deletes items[1].",
        (
            "structs.sequences:SharedSequence.delete",
            "del self._items[index]",
            "del self._items[abs(index)]",
        ),
        fields=SWEEPS,
    ),
    bug(
        "set_add_moves",
        "add() of an element that is there moves it to the end.",
        (
            "structs.sets:ReplSet.add",
            "self._items[element] = None",
            "self._items.pop(element, None)\n        self._items[element] = None",
        ),
    ),
    bug(
        "read_shares_state",
        "get() of a dictionary hands out the state itself.",
        (
            "structs.dicts:ReplDict.get",
            "isolated(items[key])",
            "items[key]",
        ),
    ),
    bug(
        "copy_shares_lists",
        "Copies of lists are the lists.",
        (
            "codec:_copy_list",
            "return value[:]",
            "return value",
        ),
    ),
    disk_bug(
        "failed_append_goes_on",
        "A driver whose log failed goes on as if it were stored.",
        (
            "node.driver:Driver._append",
            "if result is not None:",
            "if False:",
        ),
    ),
    bug(
        "timer_fires_once",
        "A timer that has fired stands for an armed one.",
        (
            "node.engine:Engine._on_timer",
            "self._timer = None\n",
            "",
        ),
    ),
    bug(
        "room_never_given_back",
        "Calls that ended count as pending.",
        (
            "node.engine:Engine._on_progress",
            "self.calls.ended(len(ended), sum([len(call.command) for call in ended]))",
            "pass",
        ),
    ),
    bug(
        "calls_newest_first",
        "Calls are taken newest first.",
        (
            "node.calls:CallQueue.take",
            "taken.extend(waiting)",
            "taken.extend(reversed(waiting))",
        ),
    ),
    bug(
        "reads_inside_apply_slice",
        "A barrier passes before the slice is applied.",
        (
            "replica:Replica._take_passed_barriers",
            "if 0 < index <= reached",
            "if 0 < index <= reached + 1",
        ),
        (
            "replica:Replica._barrier_passed",
            "<= self.table.applied_index",
            "<= self.table.applied_index + 1",
        ),
    ),
    disk_bug(
        "tail_not_rewritten",
        "What a start finds is marked whole without being made durable.",
        (
            "storage.wal:Wal._settle",
            "self._file.write(tail.offset, tail.data)\n        self._file.sync()",
            "pass",
        ),
    ),
    disk_bug(
        "header_after_records",
        "A segment says that it begins where its first write ends.",
        (
            "storage.wal:Wal._begin_segment",
            "_Header(_FORMAT, self._directory.identity.id, number, last, hard_state)",
            "_Header(_FORMAT, self._directory.identity.id, number, "
            "self._position.last, hard_state)",
        ),
    ),
    disk_bug(
        "identity_not_synced",
        "The identity gets its name before its content is synced.",
        (
            "storage.disk:_write_identity",
            "file.sync()",
            "pass",
        ),
    ),
    disk_bug(
        "failed_write_retried",
        "A log that failed once takes the next write.",
        (
            "storage.wal:Wal._refuse_after_failure",
            "if self._failure is not None:",
            "if False:",
        ),
        (
            "node.driver:Driver._append",
            "self.fail(NodeFailed(f\"the log cannot be written, so this node stops: {result}\"))",
            "pass",
        ),
    ),
    disk_bug(
        "checksum_without_salt",
        "Bytes of a removed file are taken for records of this one.",
        (
            "storage.records:_record_at",
            "if checksum != _checksum(salt, checked, payload):",
            "if False:",
        ),
    ),
    disk_bug(
        "newest_snapshot_pruned",
        "The newest snapshot is pruned, and the two before kept.",
        (
            "storage.snapshots:DiskSnapshots._adopt",
            "for known in kept[:-_KEPT]:",
            "for known in kept[_KEPT:]:",
        ),
    ),
    disk_bug(
        "hard_state_of_older_append",
        "Of several terms gathered in one write the first counts.",
        (
            "storage.replay:Position.apply",
            "self.hard_state = piece.hard_state",
            "self.hard_state = piece.hard_state if piece.hard_state.term > "
            "self.hard_state.term else self.hard_state",
        ),
        fields=SPLIT_SEGMENTS,
    ),
    bug(
        "late_ack_unsynced",
        "What a former leader sent is acknowledged before it is durable.",
        (
            "raft.core:RaftCore._acknowledge_late",
            "min(following.verified_index, self.log.persisted_index)",
            "following.verified_index",
        ),
        fields=FALTERING,
    ),
    bug(
        "install_always_resets",
        "A snapshot replaces all of the log, also what follows it and was acknowledged.",
        (
            "raft.core:RaftCore._install",
            "if self.log.has(snapshot.id):",
            "if False:",
        ),
        profiles=("all", "network", "disk", "locks"),
    ),
    bug(
        "done_while_entries_pending",
        "A snapshot whose entries came by the log counts as there before they are durable.",
        (
            "raft.core:RaftCore._reply_snapshot",
            "if done and self.log.persisted_index < snapshot.index:",
            "if False:",
        ),
        fields=SLOW_SNAPSHOTS,
    ),
    network_bug(
        "crowded_read_joins_old_round",
        "A read joins a round that began before it, once very many are open.",
        (
            "raft.leading:Leading.hold_read",
            "self.reads.hold(read, commit_index, self.rounds.current + 1)",
            "self.reads.hold(read, commit_index, self.rounds.current)",
        ),
        fields=CROWDS,
    ),
    lock_bug(
        "attempt_unknown_after_snapshot",
        "A node asks again and again for a session that was opened and has ended unseen.",
        (
            "replica:Replica._settle_skipped",
            "self._attempt = max(self._attempt, known + 1)",
            "pass",
        ),
        fields=STRANDED,
    ),
    lock_bug(
        "counter_of_parked_lost",
        "A call that waited, and was served by what a snapshot covers, never ends.",
        (
            "replica:Replica._settle_skipped",
            "if not self.table.is_parked(CallId(session, sequence)):\n"
            "                call = self.outbox.parked.pop(sequence)",
            "if False:\n                call = self.outbox.parked.pop(sequence)",
        ),
        fields=SKIPPED_LOCKS,
    ),
    lock_bug(
        "expiring_forgotten_never",
        "Who leads again believes that it has asked for the end of sessions, and never does.",
        ("replica:Replica._follow", "self._expiring.clear()", "pass"),
    ),
    disk_bug(
        "clean_close_leaves_no_mark",
        "After an orderly close, damage in the last write is taken for a torn tail and cut off.",
        (
            "storage.wal:Wal.close",
            "if self._unmarked and self._failure is None:",
            "if False:",
        ),
        fields=CLOSED,
    ),
    disk_bug(
        "received_image_not_verified",
        "A received snapshot is kept if it is only as long as it should be.",
        (
            "storage.snapshots:DiskSnapshots.finish",
            "if arrived != (snapshot.size_bytes, snapshot.checksum):",
            "if arrived[0] != snapshot.size_bytes:",
        ),
        fields=GARBLED,
    ),
    disk_bug(
        "snapshot_names_not_synced_at_start",
        "A start removes older snapshots, though the name of a newer one may not be durable.",
        (
            "storage.snapshots:DiskSnapshots._find",
            "self._directory.sync()\n",
            "pass\n",
        ),
        fields=KILLED_WITH_SNAPSHOTS,
    ),
    disk_bug(
        "settle_without_name_sync",
        "A start relies on a segment whose name may not be durable.",
        (
            "storage.wal:Wal._settle",
            "self._directory.sync()",
            "pass",
        ),
        equivalent="the store of snapshots is opened before the log is loaded, and has synced the"
        " same directory; the log does it all the same, as it cannot know",
    ),
)
