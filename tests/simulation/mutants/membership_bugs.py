"""Bugs to plant in how members come, go, and come back empty: `raft/membership.py`, `recovery.py`,
and what the leader and the state machine make of them.
"""

from functools import partial

from loads import faults

from syncstructs.testing.plans import Fault
from syncstructs.testing.planted import bug

CORE = "raft.core:RaftCore."
LEADING = "raft.leading:Leading."
PROGRESS = "raft.progress:Progress."
LOG = "raft.log:RaftLog."
MEMBERSHIP = "raft.membership:Membership."
RECOVERY = "raft.recovery:Recovery."
REPLICA = "replica:Replica."

member_bug = partial(bug, profiles=("membership",))

# Members that lose all they had, again and again.
FORGETFUL = {
    "disks": False, "forgetful": True, "spares": 0, "size": 3,
    "faults": faults(
        ("forget", "isolate", "forget_leader", "crash_soon", "hold", "forget", "isolate_leader",
         "slow", "pause"), every=0.21, span=0.35, count=36,
    ),
}  # fmt: skip
# Members whose disks are replaced, and that crash before they have recovered.
REPLACED = FORGETFUL | {
    "forgetful": False, "spares": 1,
    "faults": faults(
        ("forget", "crash_soon", "crash", "crash_soon"), every=0.15, span=0.1, count=50
    ),
}
# The same, with elections that have no winner at once.
FORGETFUL_ELECTIONS = FORGETFUL | {
    "size": 5,
    "settings": {
        "election_timeout_min": 0.15, "election_timeout_max": 0.2, "heartbeat_interval": 0.05,
        "session_ttl": 1.0,
    },
    "faults": faults(
        ("forget", "isolate_leader", "forget_leader", "crash_elected"), every=0.25, span=0.3,
        count=30, least=0.2,
    ),
}  # fmt: skip
# Members that came later, and lose all they had.
FORGETFUL_NEWCOMERS = FORGETFUL | {
    "spares": 3,
    "faults": faults(("change_members", "forget", "add_member", "forget"), every=0.2, span=0.2,
        count=38),
}  # fmt: skip
# Changes of members that meet changes of leader.
CHANGING = {
    "size": 3, "spares": 3, "forgetful": False,
    "faults": faults(
        ("change_members", "isolate_leader", "change_members", "remove_leader", "cut"), every=0.2,
        span=0.4, count=40,
    ),
}  # fmt: skip
# Joint memberships whose leader reaches one half only, under many reads.
JOINT = {
    "size": 3, "spares": 3, "forgetful": False, "disks": False, "chaos": 12.0, "think": 0.05,
    "clients": 2, "mixes": {"read": 10.0, "count": 1.0},
    "settings": {
        "election_timeout_min": 0.1, "election_timeout_max": 0.3, "heartbeat_interval": 0.04,
        "session_ttl": 1.0,
    },
    "faults": faults(("sever_joint", "change_members"), every=0.3, span=0.3, count=40, least=0.3),
}  # fmt: skip
# A member that misses a change of members, is sent a snapshot of it, and stands for election before
# its disk has that.
SENT_SNAPSHOTS = {
    "size": 3, "spares": 3, "forgetful": False, "disks": False, "chaos": 13.0,
    "settings": {
        "election_timeout_min": 0.1, "election_timeout_max": 0.16, "heartbeat_interval": 0.04,
        "session_ttl": 1.0, "snapshot_log_entries": 4, "snapshot_log_bytes": 1,
        "log_keep_bytes": 1, "chunk_bytes": 2000,
    },
    "faults": tuple(
        Fault(0.4 + 1.7 * number + at, kind, span, pick, 0.5)
        for number in range(7)
        for at, kind, span, pick in (
            (0.0, "isolate", 0.6, 0.0),
            (0.1, "remove_member" if number % 2 else "add_member", 0.3, 0.99),
            (0.59, "stall_disk", 0.7, 0.0),
            (0.7 + 0.02 * number, "isolate", 0.9, 0.0),
        )
    ),
}  # fmt: skip
# Leaders that are to go, and whose successors hear of it late.
STRANDED = JOINT | {
    "faults": faults(
        ("strand_successor", "remove_leader", "add_member"), every=0.4, span=0.3, count=30
    ),
}

_OWN = "int(self._reached(self._log.persisted_index, _match_index))"
_ROUND = "int(self._reached(self.rounds.current, _acknowledged_round))"
_HEARD = 'self._reached(float("inf"), _HEARD)'


def _of(own: str, value: str, group: str) -> str:
    """Return what counts in one group of voters only."""
    return f"int(reached_by_majority([{own} if p is None else {value}(p) for p in {group}]))"


_NEW, _OLD = "self._halves[0]", "self._halves[-1]"
_BOTH = "{p for half in self._halves for p in half}"
_LOG_END, _NOW = "self._log.persisted_index", "self.rounds.current"

_BOTH_HALVES = "return not self.outgoing or _has_majority(self.outgoing, agreed)"
_CHANGES_EARLY = (
    "            self._change_members(now)\n",
    "        if leads and self.table.wanted:\n            self._change_members(now)\n",
)

QUORUMS = (
    member_bug(
        "membership_counts_when_committed",
        "A membership counts from when it is committed, not from when it is in the log.",
        (
            CORE + "_note_membership",
            "membership = self.log.membership\n",
            "membership = self.log.membership_at(max(self.commit_index, self.log.base.index))\n",
        ),
        (
            CORE + "_advance_commit",
            "self.commit_index = index\n",
            "self.commit_index = index\n        self._note_membership()\n",
        ),
        (
            CORE + "_on_append_request",
            "min(message.commit_index, last))",
            "min(message.commit_index, last))\n        self._note_membership()",
        ),
        (
            LEADING + "__init__",
            "self.change(log.membership, now)",
            "self.change(log.membership_at(max(commit_index, log.base.index)), now)",
        ),
    ),
    member_bug(
        "joint_quorum_of_the_new",
        "Of a joint membership the new half decides alone.",
        (MEMBERSHIP + "is_quorum", _BOTH_HALVES, "return True"),
        (LEADING + "_reached", "for half in self._halves", "for half in self._halves[:1]"),
    ),
    member_bug(
        "election_by_the_new_half",
        "In a joint membership a candidate needs a majority of the new voters only.",
        (MEMBERSHIP + "is_quorum", _BOTH_HALVES, "return True"),
    ),
    member_bug(
        "election_by_the_old_half",
        "In a joint membership a candidate needs a majority of the old voters only.",
        (MEMBERSHIP + "is_quorum", "_has_majority(self.voters, agreed)",
         "_has_majority(self.outgoing or self.voters, agreed)"),
    ),
    member_bug(
        "election_by_the_union",
        "In a joint membership a candidate needs a majority of all voters together.",
        (MEMBERSHIP + "is_quorum", "_has_majority(self.voters, agreed)",
         "_has_majority(self.all_voters, agreed)"),
        (MEMBERSHIP + "is_quorum", _BOTH_HALVES, "return True"),
    ),
    member_bug(
        "commit_by_the_new_half",
        "In a joint membership entries are committed by a majority of the new voters.",
        (LEADING + "quorum_index", _OWN, _of(_LOG_END, "_match_index", _NEW)),
    ),
    member_bug(
        "commit_by_the_old_half",
        "In a joint membership entries are committed by a majority of the old voters.",
        (LEADING + "quorum_index", _OWN, _of(_LOG_END, "_match_index", _OLD)),
    ),
    member_bug(
        "commit_by_the_union",
        "In a joint membership entries are committed by a majority of all voters together.",
        (LEADING + "quorum_index", _OWN, _of(_LOG_END, "_match_index", _BOTH)),
    ),
    member_bug(
        "rounds_of_the_new_half",
        "In a joint membership the new voters alone confirm that the leader leads.",
        (LEADING + "_confirm_rounds", _ROUND, _of(_NOW, "_acknowledged_round", _NEW)),
        fields=JOINT,
    ),
    member_bug(
        "rounds_of_the_old_half",
        "In a joint membership the old voters alone confirm that the leader leads.",
        (LEADING + "_confirm_rounds", _ROUND, _of(_NOW, "_acknowledged_round", _OLD)),
        fields=JOINT,
    ),
    member_bug(
        "rounds_of_the_union",
        "In a joint membership a majority of all voters together confirms that the leader leads.",
        (LEADING + "_confirm_rounds", _ROUND, _of(_NOW, "_acknowledged_round", _BOTH)),
        fields=JOINT,
    ),
    member_bug(
        "check_quorum_by_the_new_half",
        "In a joint membership a leader is content to hear the new voters.",
        (LEADING + "quorum_heard_at", _HEARD,
         'reached_by_majority([float("inf") if p is None else p.heard for p in self._halves[0]])'),
        fields=JOINT,
    ),
    member_bug(
        "check_quorum_by_the_old_half",
        "In a joint membership a leader is content to hear the old voters.",
        (LEADING + "quorum_heard_at", _HEARD,
         'reached_by_majority([float("inf") if p is None else p.heard for p in self._halves[-1]])'),
        fields=JOINT,
    ),
    member_bug(
        "learners_count_for_commits",
        "An acknowledgement counts whoever gives it: a voter, a learner, or one that has left.",
        (
            LEADING + "quorum_index", _OWN,
            "sorted([self._log.persisted_index, *map(_match_index, self.peers.values())],"
            " reverse=True)[len(self._halves[0]) // 2]",
        ),
    ),
    member_bug(
        "learners_confirm_rounds",
        "An answer to a round counts whoever gives it: a voter, a learner, or one that has left.",
        (
            LEADING + "_confirm_rounds", _ROUND,
            "sorted([self.rounds.current, *map(_acknowledged_round, self.peers.values())],"
            " reverse=True)[len(self._halves[0]) // 2]",
        ),
    ),
    member_bug(
        "learners_count_as_voters",
        "A leader counts learners as if they were voters.",
        (
            LEADING + "change",
            "for half in (membership.voters, membership.outgoing)",
            "for half in ((*membership.voters, *membership.learners), membership.outgoing)",
        ),
        fields={"spares": 3},
    ),
    member_bug(
        "learners_elect",
        "A candidate counts the votes of learners.",
        ("raft.ballot:Ballot.record", "if self._membership.is_voter(voter):", "if True:"),
        (
            "raft.ballot:Ballot.won",
            "return self._membership.is_quorum([v for v, granted in self._answers.items()"
            " if granted])",
            "return sum(self._answers.values()) > len(self._membership.voters) // 2",
        ),
        ("raft.ballot:Ballot._check", "assert all(", "assert True or all("),
        fields=CHANGING,
    ),
    member_bug(
        "learner_stands",
        "A learner stands for election.",
        (CORE + "_stands_in", "return self._leaderless > 1 and self", "return self"),
        fields=CHANGING,
    ),
    member_bug(
        "leader_outside_counts_itself_for_commits",
        "A leader that is no voter any more counts itself for commits.",
        (
            LEADING + "quorum_index", _OWN,
            "min(sorted([self._log.persisted_index, *(_match_index(p) for p in half if p)],"
            " reverse=True)[len(half) // 2] for half in self._halves)",
        ),
    ),
    member_bug(
        "leader_outside_counts_itself_for_rounds",
        "A leader that is no voter any more counts itself for rounds.",
        (
            LEADING + "_confirm_rounds", _ROUND,
            "min(sorted([self.rounds.current, *(_acknowledged_round(p) for p in half if p)],"
            " reverse=True)[len(half) // 2] for half in self._halves)",
        ),
    ),
    member_bug(
        "outgoing_never_stands",
        "Who is to go stands for election no more, though only it has the entry that says so.",
        (CORE + "_may_stand", "self.log.memberships_from(self.commit_index)",
         "(self._membership,)"),
        fields=CHANGING,
    ),
    member_bug(
        "votes_survive_their_membership",
        "A candidate that takes over another membership goes on counting under the old one.",
        (CORE + "_note_membership", "elif self._ballot is not None:", "elif False:"),
        fields=SENT_SNAPSHOTS,
    ),
)

CHANGES = (
    member_bug(
        "learner_promoted_at_once",
        "A learner becomes a voter without having caught up.",
        (LEADING + "keeps_up", "return (", "return progress is not None or ("),
    ),
    member_bug(
        "change_before_own_entry",
        "A leader changes the membership before an entry of its term is committed.",
        (CORE + "change_towards", "or not self.leader_ready", ""),
        (REPLICA + "take_effects", *_CHANGES_EARLY),
    ),
    member_bug(
        "change_upon_change",
        "A leader changes the membership before the last change is committed.",
        (CORE + "change_towards", "if self.log.membership_index > self.commit_index:",
         "if False:"),
    ),
    member_bug(
        "change_by_a_stale_table",
        "A leader changes the membership towards what it has applied, though not all is.",
        (REPLICA + "take_effects", *_CHANGES_EARLY),
    ),
    member_bug(
        "no_joint_step",
        "One membership follows another without a joint one between.",
        (MEMBERSHIP + "next_towards", "return Membership(wanted, outgoing=self.voters, ",
         "return Membership(wanted, "),
        (MEMBERSHIP + "allows", "if self.outgoing:", "return True\n        if self.outgoing:"),
    ),
    member_bug(
        "joint_for_one_left_out",
        "If one voter comes or goes there is no joint membership (as in single-server changes).",
        (
            MEMBERSHIP + "next_towards", "return Membership(wanted, outgoing=self.voters, ",
            "return Membership(wanted, outgoing=self.voters if"
            " len({*wanted} ^ {*self.voters}) > 1 else (), ",
        ),
        (MEMBERSHIP + "allows", "if self.outgoing:", "return True\n        if self.outgoing:"),
    ),
    member_bug(
        "joint_left_for_the_old",
        "A joint membership is left for the voters of before.",
        (MEMBERSHIP + "next_towards", "return Membership(self.voters, genesis=self.genesis)\n"
         "        coming", "return Membership(self.outgoing, genesis=self.genesis)\n"
         "        coming"),
        (MEMBERSHIP + "allows", "if self.outgoing:", "return True\n        if self.outgoing:"),
    ),
    member_bug(
        "joint_never_left",
        "A joint membership stays.",
        (MEMBERSHIP + "next_towards", "return Membership(self.voters, genesis=self.genesis)\n"
         "        coming", "return None\n        coming"),
    ),
    member_bug(
        "joint_with_the_silent",
        "A membership is made joint with voters that do not answer.",
        (CORE + "_may_become", "if not joint.is_quorum(leading.able(self._now)):", "if False:"),
    ),
    member_bug(
        "joint_with_the_cut_off",
        "Newcomers get votes in memory though a voter that stays has not heard of them.",
        (CORE + "_may_become", "return leading.all_know_members(joint.voters)", "return True"),
        fields=FORGETFUL_NEWCOMERS,
    ),
    member_bug(
        "removed_leader_stays",
        "A leader that is no member any more leads on.",
        (CORE + "_leave_lead", "if self._membership.is_voter(self.address):", "if True:"),
    ),
    member_bug(
        "departed_not_spoken_to",
        "Who is removed is spoken to no more, nor told so when it asks.",
        (LEADING + "change", "now + 2 * self._config.election_timeout_max", "now"),
        (LEADING + "dismiss", "or commit_index < self._log.membership_index", ""),
        (CORE + "_on_pre_vote_request", "self._dismiss(sender)", "pass"),
    ),
    member_bug(
        "departed_dropped_at_once",
        "Who is removed is spoken to no more.",
        (LEADING + "change", "now + 2 * self._config.election_timeout_max", "now"),
        (LEADING + "dismiss", "or commit_index < self._log.membership_index", ""),
        equivalent="who missed that it was removed stands for election within an election timeout,"
        " and whoever it asks tells it so (`Dismissal`): being spoken to only spares the delay",
    ),
    member_bug(
        "dismissed_by_the_uncommitted",
        "A node is told that it is no member by a membership that is not committed.",
        (CORE + "_dismiss", "if 0 < index <= self.commit_index:", "if index:"),
        fields=CHANGING,
    ),
    member_bug(
        "strangers_are_not_heard",
        "A member does not listen to a leader or candidate that it does not know as a member.",
        (CORE + "step", "if sender == self.address:",
         "if sender == self.address or (self._membership.voters"
         " and sender not in self._membership.members):"),
    ),
    member_bug(
        "ends_before_its_removal_is_committed",
        "A node ends once its log lacks it, although the others may need it to commit that.",
        (REPLICA + "has_left",
         "and address not in self._applied_membership.members\n", "\n"),
    ),
    member_bug(
        "removed_session_expires_at_once",
        "The session of a removed node ends before that node knows it.",
        (CORE + "heard", "self._leading.departed.get(peer, 0.0)", "0.0"),
        (REPLICA + "_expire_sessions", "silent_since = max(self.core.heard(address),"
         " self._leader_since)",
         "silent_since = max(self.core.heard(address), self._leader_since)\n"
         "            if address not in self.core.members:\n                silent_since = 0.0"),
    ),
    member_bug(
        "change_done_at_once",
        "A change of members is said to be done as soon as it is asked for.",
        ("node.members:change_members",
         'wanted = tuple((yield from answered(change, timeout, "to change the members")))',
         'yield from answered(change, timeout, "to change the members")\n    return'),
    ),
    member_bug(
        "settled_while_joint",
        "A change of members is said to be done while the old members still count.",
        (REPLICA + "_note_wanted", "and not membership.outgoing", ""),
        (REPLICA + "_change_members", "or not self._is_settled", "or True"),
    ),
    member_bug(
        "wanted_left_out_of_image",
        "A snapshot does not tell who is to be a member.",
        ("objects.table:Table.image", "wanted=self.wanted", "wanted=()"),
    ),
    member_bug(
        "wanted_by_whoever_is_member",
        "Each membership that is applied is taken for the one that is wanted.",
        ("objects.table:Table.apply", "and not self.wanted:", ":"),
    ),
    member_bug(
        "genesis_lost",
        "The first leader does not tell the members by an entry.",
        (CORE + "_become_leader", "if self._membership.genesis:", "if True:"),
    ),
)

LOGS = (
    member_bug(
        "truncation_keeps_membership",
        "An entry that is cut off leaves its membership behind.",
        (LOG + "truncate", "while self._memberships[-1][0] >= first:", "while False:"),
    ),
    member_bug(
        "truncation_is_not_noted",
        "A follower that cuts off a membership goes on by it.",
        (CORE + "_new_entries", "self._note_membership()", "pass"),
        (CORE + "_on_append_request", "self._note_membership()",
         "if self.log.membership_index >= entries[0].index:\n"
         "                self._note_membership()"),
    ),
    member_bug(
        "snapshot_without_membership",
        "A snapshot does not tell who the members are.",
        (REPLICA + "snapshot_point", "self.core.log.membership_at(index)", "Membership()"),
    ),
    member_bug(
        "snapshot_with_newest_membership",
        "A snapshot tells the members that the end of the log has, not those of its index.",
        (REPLICA + "snapshot_point", "self.core.log.membership_at(index)",
         "self.core.log.membership"),
    ),
    member_bug(
        "snapshots_membership_ignored",
        "A received snapshot leaves the membership as it was.",
        (LOG + "reset", "if snapshot.membership.voters:", "if False:"),
    ),
    member_bug(
        "compaction_drops_base",
        "The log forgets the membership of its base, and has only later ones.",
        (LOG + "compact", "len(self._memberships) > 1 and self._memberships[1][0] <= index",
         "len(self._memberships) > 1"),
    ),
)

RECOVERIES = (
    member_bug(
        "blank_votes",
        "A member that has lost all votes.",
        (CORE + "_up_to_date",
         "self._floor is not None and last >= max(self.log.last_id, self._floor)",
         "last >= max(self.log.last_id, self._floor or EntryId(0, 0))"),
        fields=FORGETFUL,
    ),
    member_bug(
        "blank_stands",
        "A member that has lost all stands for election.",
        (CORE + "_may_stand", "self._recovery is None\n", "True\n"),
        fields=FORGETFUL,
    ),
    member_bug(
        "blank_counts_for_commits",
        "A member that has lost all counts for commits.",
        ("raft.leading:_match_index", "0 if peer.recovering else peer.match_index",
         "peer.match_index"),
        fields=FORGETFUL,
    ),
    member_bug(
        "blank_counts_for_reads",
        "A member that has lost all confirms rounds.",
        ("raft.leading:_acknowledged_round",
         "0 if peer.recovering else peer.acknowledged_round", "peer.acknowledged_round"),
        fields=FORGETFUL,
    ),
    member_bug(
        "recovered_without_barrier",
        "A recovery is over as soon as the leader hears of it.",
        (PROGRESS + "end_recovery",
         "if self.recovering and 0 < self._barrier <= min(commit_index, self.match_index):",
         "if self.recovering:"),
        fields=FORGETFUL,
    ),
    member_bug(
        "barrier_of_before",
        "A recovery is over with an entry that was appended before it began.",
        (CORE + "_set_barrier", 'self._append_own(EntryKind.NOOP, b"").index',
         "self.log.last_index"),
        fields=FORGETFUL,
    ),
    member_bug(
        "barrier_not_committed",
        "A recovery is over when its entry is stored by who recovers, committed or not.",
        (PROGRESS + "end_recovery", "min(commit_index, self.match_index)", "self.match_index"),
        fields=FORGETFUL_ELECTIONS,
    ),
    member_bug(
        "barrier_not_stored",
        "A recovery is over when its entry is committed, though who recovers has it not.",
        (PROGRESS + "end_recovery", "min(commit_index, self.match_index)", "commit_index"),
        fields=FORGETFUL,
    ),
    member_bug(
        "recovered_may_vote_again",
        "Who was recovered may vote in its leader's term, in which it may have voted before.",
        (CORE + "_on_recovered", "self._spend_vote()", "pass"),
        fields=FORGETFUL,
    ),
    member_bug(
        "started_may_vote_again",
        "Who begins to vote by the answers of all may vote in the greatest term that they told.",
        (CORE + "_recover", "self._spend_vote()", "pass"),
        fields=FORGETFUL,
    ),
    member_bug(
        "candidate_keeps_votes_of_former_life",
        "A candidate goes on counting when one that may have voted for it has lost its memory.",
        (CORE + "_on_recovery_request", "if self._ballot is not None:", "if False:"),
        fields=FORGETFUL_ELECTIONS,
    ),
    member_bug(
        "recovers_below_the_floor",
        "Who recovers counts before it has what the answers told of.",
        (CORE + "_recover", "if self._persisted_id < start.floor:", "if False:"),
        fields=FORGETFUL,
    ),
    member_bug(
        "floor_ignored",
        "Who recovers votes for logs that lack what the answers told of.",
        (CORE + "_up_to_date", "max(self.log.last_id, self._floor)", "self.log.last_id"),
        fields=FORGETFUL,
    ),
    member_bug(
        "answers_to_a_former_life",
        "Answers to the question of a former life count.",
        (RECOVERY + "heard", "if reply.nonce == self.nonce:", "if True:"),
        fields=FORGETFUL,
        equivalent="an answer comes over the connection over which it was asked for, and that ends"
        " with the life that made it, in the simulator as in the transport",
    ),
    member_bug(
        "recovered_in_a_former_life",
        "That a former life is recovered counts for this one.",
        (CORE + "_on_recovered", "if nonce == self._recovery_nonce:",
         "if self._recovery is not None:"),
        fields=FORGETFUL,
    ),
    member_bug(
        "one_answer_is_all",
        "One answer stands for those of all.",
        (RECOVERY + "_all_answered", "return all(", "return any("),
        fields=FORGETFUL,
    ),
    member_bug(
        "all_are_the_first_ones",
        "Who asks whether all have answered asks of those it was started with only.",
        (RECOVERY + "start", "[newest, own] if own_index else [newest]", "[own]"),
        (RECOVERY + "_must_help", "[*known, *told]", "known"),
        fields=FORGETFUL_NEWCOMERS,
    ),
    member_bug(
        "members_forgotten_with_a_link",
        "Who recovers knows no more of the members than the last answers tell.",
        (RECOVERY + "heard", "self._newest = self.newest(reply.membership_index, reply.membership)",
         "pass"),
        elusive="a leader that forgets between two questions, as it has told most of the members of"
        " long ago, and is cut off from the rest with them",
    ),
    member_bug(
        "blank_takes_others_for_awake",
        "Who recovers begins to vote though the others can elect a leader without it.",
        (RECOVERY + "_must_help", "not known[0].is_quorum(awake) and ", ""),
        fields=FORGETFUL,
        equivalent="if all have answered this life, no vote of an earlier one is of use, and what"
        " was committed is below the floor, whether the others can do without it or not",
    ),
    member_bug(
        "recovery_forgotten_by_restart",
        "A member that is started again in the midst of its recovery takes itself for whole.",
        ("storage.replay:Replay.is_blank", "self.hard_state.recovering or ", ""),
        fields=REPLACED,
    ),
    member_bug(
        "genesis_not_compared",
        "Members of two lives of a cluster take each other for members of one.",
        (CORE + "_same_cluster", "return not known or not genesis or genesis == known",
         "return True"),
        fields=FORGETFUL,
    ),
)

TRANSFERS = (
    member_bug(
        "timeout_now_of_another_term",
        "A member that was once asked to stand for election does so in a later term.",
        (CORE + "_on_timeout_now", "message.term == self.term and sender == self.leader",
         "self.leader is not None"),
        fields=STRANDED,
    ),
    member_bug(
        "successor_without_the_log",
        "A leader asks a member to take over that lacks entries.",
        (CORE + "_hand_over", "if leading.peers[leading.successor].match_index =="
         " self.log.last_index:", "if True:"),
    ),
    member_bug(
        "proposals_during_transfer",
        "A leader goes on proposing while it hands over.",
        (CORE + "can_propose", "and leading.successor is None", ""),
    ),
    member_bug(
        "transfer_never_given_up",
        "A leader whose successor does not take over waits for it for ever.",
        (CORE + "tick", "if leading.successor is not None and now >= leading.successor_until:",
         "if False:"),
        (LEADING + "deadline", "if self.successor is not None:", "if False:"),
        fields=STRANDED,
    ),
)

BUGS = (*QUORUMS, *CHANGES, *LOGS, *RECOVERIES, *TRANSFERS)
