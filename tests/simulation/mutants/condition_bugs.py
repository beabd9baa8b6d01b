"""Bugs to plant in conditions: who sleeps there, who is woken, and who in their place."""

from permit_bugs import load

from syncstructs.testing.planted import bug

CONDITION = "structs.conditions:ReplCondition."
FIELDS = load("condition")
RESTLESS = FIELDS | {"give_up": 0.6}

BUGS = (
    bug(
        "sleeper_keeps_the_lock",
        "Who falls asleep does not release the lock.",
        (CONDITION + "_sleep", "self._let_go()", "pass"),
        fields=FIELDS,
    ),
    bug(
        "sleeps_without_the_lock",
        "Who has lost the lock falls asleep, and releases that of its holder.",
        (
            CONDITION + "_sleep",
            "self._ensure_holder(token)",
            "self._holders or self._ensure_holder(token)",
        ),
        fields=FIELDS,
    ),
    bug(
        "newest_is_woken",
        "Who sleeps for the shortest time is notified first.",
        (
            CONDITION + "_wake",
            "list(islice(self._sleepers, max(0, min(n, len(self._sleepers)))))",
            "list(self._sleepers)[::-1][:n]",
        ),
        fields=FIELDS,
    ),
    bug(
        "woken_overtakes",
        "Who is notified is served before those who wait for the lock.",
        (
            CONDITION + "_line_up",
            "self._lines.setdefault(None, OrderedDict())[waiter] = None",
            "self._lines.setdefault(None, OrderedDict())[waiter] = None\n"
            "        self._lines[None].move_to_end(waiter, last=False)",
        ),
        fields=FIELDS,
    ),
    bug(
        "woken_waits_for_a_free_lock",
        "Whose time is over waits for a lock that nobody holds.",
        (CONDITION + "_line_up", "if None not in self._holders:", "if False:"),
        fields=FIELDS,
    ),
    bug(
        "wake_up_lost_with_who_gave_up",
        "The wake-up of a caller that gives up is lost.",
        (
            CONDITION + "_withdraw",
            "self._pass_on([(current_context().session, ticket)])",
            "self._notified.pop((current_context().session, ticket), None)",
        ),
        fields=RESTLESS,
    ),
    bug(
        "wake_up_lost_with_a_session",
        "The wake-ups of a session that has ended are lost.",
        (
            CONDITION + "on_session_expired",
            "self._pass_on([waiter for waiter in self._notified if waiter[0] == session])",
            "self._notified = {w: None for w in self._notified if w[0] != session}",
        ),
        fields=FIELDS,
    ),
    bug(
        "wake_up_passes_on_for_ever",
        "Who was notified and has come back passes the wake-up on as its session ends.",
        (CONDITION + "_let_go", "self._notified.pop(self._holders[None][:2], None)", "pass"),
        fields=FIELDS,
    ),
    bug(
        "sleeper_that_gave_up_sleeps_on",
        "Who gives up asleep is not taken out.",
        (CONDITION + "_withdraw", "if not self._sleepers.cancel(ticket):", "if True:"),
        fields=RESTLESS,
    ),
    bug(
        "sleepers_of_the_dead",
        "Who slept in a session that has ended sleeps on.",
        (CONDITION + "on_session_expired", "self._sleepers.expire(session)", "pass"),
        fields=FIELDS,
    ),
    bug(
        "cancelled_sleep_goes_on",
        "A wait that is cancelled is not withdrawn.",
        (
            CONDITION + "_sleeping",
            "cleaning(self._withdraw.submit, None, ticket)\n            raise",
            "pass\n            raise",
        ),
        fields=RESTLESS,
    ),
)
