"""Bugs to plant in the types by which callers wait for each other."""

from value_bugs import load

from syncstructs.testing.planted import SHORT_SESSIONS, bug

BARRIER = "structs.barriers:ReplBarrier."
EVENT = "structs.events:ReplEvent."
LATCH = "structs.events:ReplLatch."
ONCE = "structs.once:ReplOnce."
GATE = "structs.events:Gate."

EVENTS = (
    bug(
        "event_wakes_one",
        "Of all who wait for an event only the first is woken.",
        (GATE + "_let_pass", "while self._waiters:", "if self._waiters:"),
        fields=load("event"),
    ),
    bug(
        "event_wakes_nobody",
        "Who waits for an event that is set goes on waiting.",
        (EVENT + "set", "self._let_pass()", "pass"),
        fields=load("event"),
    ),
    bug(
        "event_waits_though_set",
        "Who comes to an event that was set waits until it is set again.",
        (GATE + "_wait", "True if self._is_open() else ", ""),
        fields=load("event"),
    ),
    bug(
        "event_is_never_cleared",
        "An event that was cleared lets pass who comes after.",
        (EVENT + "clear", "self._flag = False", "pass"),
        fields=load("event"),
    ),
    bug(
        "event_ghost",
        "Who gives up waiting for an event stays in the line.",
        (GATE + "_leave", "self._waiters.cancel(ticket)", "pass"),
        fields=load("event"),
    ),
    bug(
        "event_time_out_is_success",
        "A wait whose time ran out says that the event was set.",
        (GATE + "_passing", "(yield from wait.served(remaining)) is not None",
         "(yield from wait.served(remaining)) is not False"),
        fields=load("event"),
    ),
)

LATCHES = (
    bug(
        "latch_opens_early",
        "Who waits for a latch passes when one count is left.",
        (LATCH + "count_down", "if not self._count:", "if self._count <= 1:"),
        fields=load("latch"),
    ),
    bug(
        "latch_does_not_wake",
        "Who waits for a latch goes on waiting when the count has reached zero.",
        (LATCH + "count_down", "self._let_pass()", "pass"),
        fields=load("latch"),
    ),
    bug(
        "latch_counts_by_one",
        "A latch is counted down by one, whatever was asked for.",
        (LATCH + "count_down", "_not_negative(n)", "(_not_negative(n) and 1)"),
        fields=load("latch"),
    ),
    bug(
        "latch_counts_below_zero",
        "A latch that is counted down too far is closed again.",
        (LATCH + "count_down", "max(0, self._count - _not_negative(n))",
         "self._count - _not_negative(n)"),
        fields=load("latch"),
    ),
)

BARRIERS = (
    bug(
        "barrier_one_short",
        "All pass a barrier when one is missing.",
        (BARRIER + "_arrive", "before + 1 < self._parties", "before + 2 < self._parties"),
        fields=load("barrier"),
    ),
    bug(
        "barrier_same_index",
        "The last one that comes to a barrier is given the number of the first.",
        (BARRIER + "_arrive", "return before\n", "return 0\n"),
        fields=load("barrier"),
    ),
    bug(
        "barrier_time_out_unnoticed",
        "Who gives up waiting at a barrier leaves, and breaks nothing.",
        (BARRIER + "_leave", "self._break()", "self._waiters.cancel(ticket)"),
        fields=load("barrier"),
    ),
    bug(
        "barrier_ghost",
        "Who gives up waiting at a barrier is counted all the same.",
        (BARRIER + "_leave", "self._break()", "pass"),
        fields=load("barrier"),
    ),
    bug(
        "barrier_waits_for_the_dead",
        "A barrier is not broken by the end of a session that waits there.",
        (BARRIER + "on_session_expired", "self._break()", "self._waiters.expire(session)"),
        profiles=("locks",),
        fields=load("barrier") | SHORT_SESSIONS,
    ),
    bug(
        "barrier_reset_keeps_waiters",
        "Who waits at a barrier that is reset goes on waiting.",
        (BARRIER + "reset", "self._waiters.refuse_all(BrokenBarrierError())", "pass"),
        fields=load("barrier"),
    ),
    bug(
        "barrier_stays_broken",
        "A barrier that was reset is broken still.",
        (BARRIER + "reset", "self._broken = False", "pass"),
        fields=load("barrier"),
    ),
    bug(
        "barrier_lets_in_though_broken",
        "Who comes to a broken barrier waits for the others.",
        (BARRIER + "_arrive", "if self._broken:", "if False:"),
        fields=load("barrier"),
    ),
)

ONCES = (
    bug(
        "once_late_run_counts",
        "A run counts although another one was begun in its place.",
        (ONCE + "_finish", "self._runner is None or self._runner[2] != token", "self._done"),
        profiles=("locks",),
        fields=load("once") | SHORT_SESSIONS,
    ),
    bug(
        "once_waits_for_the_dead",
        "Nobody runs what was run by a node that is dead.",
        (ONCE + "on_session_expired", "self._pass_on()", "pass"),
        profiles=("locks",),
        fields=load("once") | SHORT_SESSIONS,
    ),
    bug(
        "once_failure_is_final",
        "A run that has failed is never run again.",
        (ONCE + "_fail", "self._pass_on()", "pass"),
        fields=load("once"),
    ),
    bug(
        "once_result_for_the_runner_only",
        "Who waits for a run gets None in place of its result.",
        (ONCE + "_finish", "self._waiters.serve((True, result, 0))",
         "self._waiters.serve((True, None, 0))"),
        fields=load("once"),
    ),
    bug(
        "once_runs_what_is_done",
        "Who asks for what was done is told to run it again.",
        (ONCE + "_claim", "if self._done:", "if False:"),
        fields=load("once"),
    ),
)

BUGS = (*EVENTS, *LATCHES, *BARRIERS, *ONCES)
