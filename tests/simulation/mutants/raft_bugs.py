"""Bugs to plant in `raft/`: elections, replication, commit, reads, snapshots, time."""

from loads import (
    HASTY,
    SLOW_DISKS,
    SMALL_SNAPSHOTS,
    SPLIT_VOTES,
    STUBBORN,
    THROTTLED,
    THROTTLED_LOAD,
    THROTTLED_TERMS,
    TORN,
)

from syncstructs.testing.planted import READING, bug

CORE = "raft.core:RaftCore."
LEADING = "raft.leading:Leading."
PROGRESS = "raft.progress:Progress."
LOG = "raft.log:RaftLog."

ELECTIONS = (
    bug(
        "vote_by_length_only",
        "Of two logs the longer one counts as newer, whatever the term of its last entry.",
        (
            CORE + "_up_to_date",
            "last >= max(self.log.last_id, self._floor)",
            "last.index >= max(self.log.last_index, self._floor.index)",
        ),
    ),
    bug(
        "two_votes_in_a_term",
        "A member votes for whoever asks, again and again in one term.",
        (CORE + "_on_vote_request", "self.voted_for in (None, sender)", "True"),
    ),
    bug(
        "term_not_persisted",
        "A member takes up a higher term without persisting it.",
        (CORE + "_become_follower", "self._persist_hard_state()", "pass"),
    ),
    bug(
        "candidate_asks_before_sync",
        "A candidate asks for votes before its own vote is durable.",
        (
            CORE + "_campaign",
            "self._send(peer, self._vote_request())",
            "self._effects.sends.append((peer, self._vote_request()))",
        ),
    ),
    bug(
        "majority_one_short",
        "A candidate needs one vote less than a majority.",
        ("raft.quorum:majority", "voter_count // 2 + 1", "max(voter_count // 2, 1)"),
    ),
    bug(
        "vote_survives_its_term",
        "A member that takes up a higher term keeps the vote it gave in the old one.",
        (
            CORE + "_become_follower",
            "self.term, self.voted_for = term, None",
            "self.term = term",
        ),
    ),
    bug(
        "votes_of_other_terms_count",
        "A candidate counts answers that were given in an older campaign.",
        (
            CORE + "_on_vote_reply",
            "elif message.term == self.term and self.role is Role.CANDIDATE:",
            "elif self.role is Role.CANDIDATE:",
        ),
        profiles=("network", "all"),
        fields=SPLIT_VOTES,
    ),
    bug(
        "lost_timer_after_step_down",
        "A leader that steps down never stands for election again by itself.",
        (
            CORE + "_become_follower",
            "self._reset_election_timer()",
            'self._election_at = float("inf")',
        ),
    ),
    bug(
        "lost_timer_after_vote",
        "A member that has voted never stands for election again by itself.",
        (
            CORE + "_on_vote_request",
            "self._reset_election_timer()",
            'self._election_at = float("inf")',
        ),
    ),
    bug(
        "leader_ignores_higher_term",
        "A leader that is answered with a higher term goes on leading.",
        (
            CORE + "_on_reply",
            "if message.term > self.term:",
            "if message.term > self.term and self._leading is None:",
        ),
        fields=STUBBORN,
    ),
    bug(
        "old_leader_is_followed",
        "A follower takes messages of a leader of an older term for ones of its own leader.",
        (
            CORE + "_follow",
            "if message.term < self.term:",
            "if message.term < self.term and self.leader is None:",
        ),
        profiles=("network", "all"),
        fields=TORN,
    ),
    bug(
        "no_noop",
        "A new leader appends no entry of its own term.",
        (CORE + "_become_leader", 'self._append_own(EntryKind.NOOP, b"")', "pass"),
    ),
    bug(
        "pre_vote_without_lease",
        "A pre-vote is granted although a leader is there.",
        (CORE + "_on_pre_vote_request", "and not self._leader_alive()", ""),
        fields=HASTY,
    ),
)

REPLICATION = (
    bug(
        "own_entries_count_unsynced",
        "A leader counts its own entries towards a quorum before they are durable.",
        (LEADING + "quorum_index", "self._log.persisted_index", "self._log.last_index"),
    ),
    bug(
        "commit_by_minority",
        "An entry is committed one acknowledgement too early.",
        (
            "raft.quorum:reached_by_majority",
            "best_first[len(best_first) // 2]",
            "best_first[max(len(best_first) // 2 - 1, 0)]",
        ),
    ),
    bug(
        "sent_counts_as_stored",
        "A leader takes what it has sent for what the peer has stored.",
        (
            PROGRESS + "sent",
            "self.next_index = last_index + 1",
            "self.next_index = last_index + 1\n            self.match_index = last_index",
        ),
    ),
    bug(
        "truncates_what_is_equal",
        "A late append makes a follower cut off entries it acknowledged since.",
        (
            CORE + "_new_entries",
            "new = log.unknown_of(entries)",
            "new = [e for e in entries if e.index > self.commit_index]",
        ),
        profiles=("network", "all"),
    ),
    bug(
        "truncates_committed",
        "A follower cuts off committed entries if a message contradicts them or is late.",
        (
            CORE + "_new_entries",
            "new = log.unknown_of(entries)",
            "new = [e for e in entries if e.index > log.base.index]",
        ),
        (CORE + "_new_entries", "if first.index <= self.commit_index:", "if False:"),
        profiles=("network", "all"),
    ),
    bug(
        "conflict_not_truncated",
        "A follower keeps entries that contradict the leader's, and says they are equal.",
        (
            LOG + "unknown_of",
            "entry.index > self.base.index and self.term_at(entry.index) != entry.term",
            "entry.index > self.last_index",
        ),
    ),
    bug(
        "previous_term_unchecked",
        "A follower appends behind any entry of the right index, whatever its term.",
        (
            CORE + "_on_append_request",
            "not self.log.has(previous)",
            "self.log.term_at(previous.index) is None",
        ),
    ),
    bug(
        "commit_beyond_the_match",
        "A follower commits as far as the leader has, though its own entries may differ there.",
        (
            CORE + "_on_append_request",
            "min(message.commit_index, last)",
            "min(message.commit_index, self.log.last_index)",
        ),
    ),
    bug(
        "acknowledges_its_whole_log",
        "A follower acknowledges all it has, not only what it has compared.",
        (
            CORE + "_acknowledge",
            "self.term, following.round, True, index, 0, self._now",
            "self.term, following.round, True, self.log.persisted_index, 0, self._now",
        ),
    ),
    bug(
        "handed_out_counts_as_durable",
        "An acknowledgement waits until an append is given to the disk, not until it is done.",
        (
            "raft.appends:Appends.send_after",
            "if ticket <= self.durable_ticket:",
            "if ticket <= self._ticket - len(self._ready):",
        ),
    ),
    bug(
        "late_report_of_truncated_append",
        "The report that a truncated append is written counts for the entries that replace it.",
        (LOG + "persisted", "index = min(index, first - 1)", "pass"),
        profiles=("network", "all"),
        fields=SPLIT_VOTES | {"size": 3, "think": 0.1, "clients": 3},
    ),
    bug(
        "driver_sends_before_storing",
        "The driver sends what hangs on an append before it has stored that.",
        (
            "node.driver:Driver._append",
            "self._appending = True\n",
            "self._appending = True\n"
            "        for append in appends:\n"
            "            for peer, message in append.then_send:\n"
            "                self._links.send(peer, encode(message))\n",
        ),
    ),
    bug(
        "refusal_ignored",
        "A leader does not go back when a follower says that entries are missing.",
        (
            PROGRESS + "refused",
            "self.next_index = min(self.next_index, index + 1)",
            "self.next_index = max(self.next_index, self.match_index + 1)",
        ),
    ),
    bug(
        "match_index_goes_back",
        "A late acknowledgement takes back what a newer one has said.",
        (PROGRESS + "accepted", "max(self.match_index, index)", "index"),
        equivalent="it forgets what a peer has until that answers the next round: this can delay a"
        " commit by a heartbeat and send entries twice, but nothing is committed that should not"
        " be, as less is counted than there is",
    ),
    bug(
        "cluster_time_by_own_clock",
        "A leader stamps entries with its own clock, which may be behind the last leader's.",
        (
            LEADING + "cluster_time",
            "return max(self._time_base + elapsed, self._log.last_time)",
            "return int(now * 1_000_000) + elapsed",
        ),
    ),
)

READS = (
    bug(
        "read_before_noop",
        "A new leader gives its commit index to reads before it knows all that is committed.",
        (
            CORE + "leader_ready",
            "leading is not None and self.commit_index >= leading.noop_index",
            "leading is not None",
        ),
        fields=READING,
    ),
    bug(
        "read_by_an_old_round",
        "A read is confirmed by answers to a round that began before it.",
        (LEADING + "hold_read", "if not self.rounds.fresh:", "if not self.rounds.current:"),
        profiles=("network", "all"),
    ),
    bug(
        "read_index_of_yesterday",
        "A read is given the commit index of the leader's election.",
        (
            CORE + "_lead_read",
            "leading.hold_read(read, self.commit_index, self._now)",
            "leading.hold_read(read, leading.noop_index, self._now)",
        ),
        fields=READING,
    ),
    bug(
        "barrier_before_apply",
        "A barrier is passed when its index is known, not when it is applied.",
        ("replica:Replica._take_passed_barriers", "if 0 < index <= reached", "if 0 < index"),
        ("replica:Replica._barrier_passed", "<= self.table.applied_index", "< 2**62"),
        fields=READING,
    ),
)

SNAPSHOTS = (
    bug(
        "snapshot_over_newer_state",
        "A snapshot that arrives late replaces newer state.",
        (CORE + "_install", "if snapshot.index <= self.commit_index:", "if False:"),
        profiles=("network", "all"),
    ),
    bug(
        "snapshot_of_wrong_term",
        "A snapshot says that it reaches to an entry of the present term.",
        ("replica:Replica.snapshot_point", "self._applied_term", "self.core.term"),
        fields=SLOW_DISKS,
    ),
    bug(
        "snapshot_one_behind",
        "A snapshot says that it reaches one entry less far than it does.",
        (
            "replica:Replica.snapshot_point",
            "return SnapshotPoint(index,",
            "return SnapshotPoint(max(index - 1, 1),",
        ),
    ),
    bug(
        "compacts_one_too_far",
        "The store forgets one entry more than the snapshot covers.",
        ("node.driver:Driver._compact_log", "snapshot.index)", "snapshot.index + 1)"),
    ),
    bug(
        "chunks_mixed",
        "Chunks of another snapshot are taken for the next ones of this one.",
        (
            CORE + "_receive",
            "incoming is None or incoming.snapshot != snapshot",
            "incoming is None",
        ),
        (
            "storage.memory:MemorySnapshots.write",
            "self._incoming is None or self._incoming.snapshot != snapshot",
            "self._incoming is None",
        ),
        (
            "storage.memory:MemorySnapshots.finish",
            "incoming is None or incoming.snapshot != snapshot",
            "incoming is None",
        ),
        fields=SMALL_SNAPSHOTS,
    ),
    bug(
        "chunks_in_any_order",
        "Chunks are put together in the order in which they come, and not verified.",
        ("raft.transfer:Incoming.accept", "if offset != self.expected:", "if False:"),
        (
            "storage.memory:MemorySnapshots.write",
            "if offset == arrived and offset + len(data) <= snapshot.size_bytes:",
            "if arrived + len(data) <= snapshot.size_bytes:",
        ),
        (
            "storage.memory:MemorySnapshots.finish",
            "if _measured(incoming.file) != (snapshot.size_bytes, snapshot.checksum):",
            "if _measured(incoming.file)[0] != snapshot.size_bytes:",
        ),
        profiles=("network", "all"),
        fields=SMALL_SNAPSHOTS | {"datagrams": True},
    ),
    bug(
        "transfer_never_resumed",
        "Chunks that were lost are not sent again.",
        ("raft.leading:Leading.retry_transfers", "if now >= transfer.retry_at:", "if False:"),
        ("raft.leading:Leading.deadline", "if self._transfers:", "if False:"),
        ("raft.leading:Leading.relinked", "if peer in self._transfers:", "if False:"),
    ),
    bug(
        "throttle_never_refilled",
        "Once as much of snapshots was sent as may go at a time, no more goes.",
        (
            "raft.transfer:Throttle.spend",
            "max(self.free_at, now - SAVED) + size_bytes / self._rate",
            'float("inf")',
        ),
        fields=THROTTLED,
    ),
    bug(
        "throttle_saves_for_ever",
        "What was not sent of snapshots for long may be sent all at once.",
        ("raft.transfer:Throttle.spend", "now - SAVED", "now - 3600.0"),
        fields=THROTTLED,
    ),
    bug(
        "throttle_deadline_forgotten",
        "A leader does not wake up for the next chunk, but for something else some time.",
        (
            "raft.leading:Leading._chunk_deadline",
            "deadline = min(deadline, self._throttle.free_at)",
            "pass",
        ),
        fields=THROTTLED,
    ),
    bug(
        "throttle_serves_one_only",
        "Of those that lag one is sent all of its snapshot before another one gets any.",
        ("raft.leading:Leading._read_chunks", "transfer.turn = self._next_turn()", "pass"),
        fields=THROTTLED,
    ),
    bug(
        "log_not_kept_for_receivers",
        "The log goes that follows a snapshot which is being sent, so that another one is needed.",
        (LEADING + "needed_index", "needed = self._log.last_index", "return self._log.last_index"),
        fields=THROTTLED_LOAD,
    ),
    bug(
        "throttle_of_a_term",
        "Each time that a member is elected it may send at once what it has just sent.",
        (
            CORE + "_become_leader",
            "throttle=self._throttle,",
            "throttle=type(self._throttle)(self._config.snapshot_rate),",
        ),
        fields=THROTTLED_TERMS,
    ),
)

STORES = (
    bug(
        "vote_forgotten_by_store",
        "After a restart the store gives back the term, but not the vote.",
        (
            "storage.memory:MemoryLog.load",
            "self._log.hard_state, snapshot",
            "type(self._log.hard_state)(self._log.hard_state.term), snapshot",
        ),
    ),
    bug(
        "store_keeps_replaced_entries",
        "The store appends behind entries that were to be replaced.",
        (
            "storage.replay:Replay.apply",
            "del self.entries[first - self.base.index - 1 :]",
            "del self.entries[first - self.base.index :]",
        ),
    ),
    bug(
        "store_loses_the_last_entry",
        "After a restart the last entry of the log is not there.",
        ("storage.memory:MemoryLog.load", "tuple(entries or ())", "tuple(entries or ())[:-1]"),
    ),
)

BUGS = (*ELECTIONS, *REPLICATION, *READS, *SNAPSHOTS, *STORES)
