"""Bugs to plant in the types by which callers wait for each other."""

from value_bugs import load

from syncstructs.testing.planted import bug

EVENT = "structs.events:ReplEvent."
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

BUGS = EVENTS
