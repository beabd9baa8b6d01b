"""Bugs to plant in the types by which callers wait for each other."""

from value_bugs import load

from syncstructs.testing.planted import bug

EVENT = "structs.events:ReplEvent."
LATCH = "structs.events:ReplLatch."
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

BUGS = (*EVENTS, *LATCHES)
