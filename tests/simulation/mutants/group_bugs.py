"""Bugs to plant in what depends on who is alive: groups, and elections."""

from syncstructs.testing.planted import SHORT_SESSIONS, bug

ELECTION = "structs.elections:ReplElection."
GROUP = "structs.groups:ReplGroup."
# Nodes that come and go within a common fault.
CROWD = SHORT_SESSIONS | {"mixes": {"group": 3.0, "count": 0.3}, "think": 0.1}
RIVALS = SHORT_SESSIONS | {
    "mixes": {"election": 3.0, "count": 0.3}, "think": 0.1, "give_up": 0.3, "clients": 2,
}  # fmt: skip

GROUPS = (
    bug(
        "group_keeps_the_dead",
        "Who has died stays in the group.",
        (GROUP + "on_session_expired", "if member[0] == session", "if member[0] < 0"),
        fields=CROWD,
    ),
    bug(
        "group_forgets_who_was_cut_off",
        "Who was cut off for long does not join again.",
        (GROUP + "on_session_lost", "if self._wish.joined:", "if False:"),
        fields=CROWD,
    ),
    bug(
        "group_takes_back_who_has_left",
        "Who has left joins again after its session was lost.",
        (
            GROUP + "leave",
            "_Wish(False)",
            "_Wish(self._wish.joined, self._wish.metadata)",
        ),
        fields=CROWD,
    ),
    bug(
        "group_remembers_older_metadata",
        "Who joins again has the metadata of before its last update.",
        (
            GROUP + "update",
            "wish = _Wish(True, isolated(metadata))",
            "wish = _Wish(True, self._wish.metadata)",
        ),
        fields=CROWD,
    ),
    bug(
        "group_moves_who_changes",
        "Who changes its metadata loses its place.",
        (
            GROUP + "_sign_in",
            "self._members[address] =",
            "self._members.pop(address, None)\n        self._members[address] =",
        ),
        fields=CROWD,
    ),
    bug(
        "group_keeps_who_has_left",
        "Who leaves is told so, and stays.",
        (GROUP + "_take_out", "self._members.pop(address)", "self._members[address]"),
        fields=CROWD,
    ),
    bug(
        "group_tells_changes_as_joins",
        "A change of metadata is told as if its node had joined.",
        (GROUP + "_sign_in", "if is_new:", "if True:"),
        fields=CROWD,
    ),
    bug(
        "group_says_nothing_of_snapshots",
        "Who came or went within what a snapshot covers is not told of.",
        (GROUP + "_tell_missing", "if address not in others or", "if False and"),
        fields=CROWD,
    ),
    bug(
        "group_tells_the_same_life_only",
        "Of a node that came back within what a snapshot covers it is told that it left, no more.",
        (
            GROUP + "restore_state",
            "self._tell_missing(self.on_join, self._members, before)",
            "self._tell_missing(self.on_join, self._members, self._members | before)",
        ),
        fields=CROWD,
    ),
    bug(
        "notified_twice",
        "What an object has to tell its user is told twice.",
        ("objects.changes:notify", "_: callback(*args)", "_: (callback(*args), callback(*args))"),
        fields=CROWD,
    ),
)

ELECTIONS = (
    bug(
        "election_announces_the_last_candidate",
        "Who is elected is said to be whoever was the last to campaign.",
        (
            ELECTION + "leader",
            "self._candidates[holder[:2]]",
            "list(self._candidates.values())[-1]",
        ),
        fields=RIVALS,
    ),
    bug(
        "election_forgets_who_withdraws",
        "Who gives up its candidacy stays in the list.",
        (
            ELECTION + "_withdraw",
            "self._candidates.pop((current_context().session, ticket), None)",
            "pass",
        ),
        fields=RIVALS,
    ),
    bug(
        "election_forgets_who_leads_when_a_rival_withdraws",
        "Whoever withdraws takes the others out of the list as well.",
        (
            ELECTION + "_withdraw",
            "self._candidates.pop((current_context().session, ticket), None)",
            "self._candidates.clear()",
        ),
        fields=RIVALS,
    ),
    bug(
        "election_keeps_the_dead",
        "Who has died stays a candidate.",
        (ELECTION + "on_session_expired", "del self._candidates[candidate]", "pass"),
        fields=RIVALS,
    ),
    bug(
        "election_keeps_who_has_resigned",
        "Who led before stays in the list.",
        (ELECTION + "_free", "self._candidates.pop(self._holders[key][:2], None)", "pass"),
        fields=RIVALS,
    ),
    bug(
        "election_lets_former_leaders_speak",
        "What a former leader announces late takes the place of what its successor has announced.",
        (ELECTION + "_proclaim", "if leads != token:", "if not leads:"),
        fields=RIVALS,
    ),
    bug(
        "election_says_nothing_of_a_loss",
        "A leader is not told that it leads no more.",
        (ELECTION + "_tell_lost", "if self.on_lost is not None:", "if False:"),
        fields=RIVALS,
    ),
)

BUGS = (*GROUPS, *ELECTIONS)
