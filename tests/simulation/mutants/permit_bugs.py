"""Bugs to plant in the types that give several permits at once: semaphores, read/write locks."""

from loads import faults

from syncstructs.testing.planted import SHORT_SESSIONS, bug

PERMITS = "structs.permits:Permits."


def load(name):
    """Return the fields of a plan whose callers hold permits, and lose some of them."""
    return SHORT_SESSIONS | {
        "mixes": {name: 1.0}, "think": 0.05, "clients": 3,
        "faults": faults(
            ("isolate_holder", "pause_holder", "crash"), every=0.7, span=0.3, count=10,
        ),
    }  # fmt: skip


SEMAPHORES = (
    bug(
        "one_permit_too_many",
        "A semaphore gives one permit more than it has.",
        (
            "structs.semaphores:ReplSemaphore._admits",
            "len(self._holders) < self._value",
            "len(self._holders) <= self._value",
        ),
        fields=load("gate"),
    ),
    bug(
        "permit_overtakes",
        "Who comes when a permit is free is granted it, although somebody waits.",
        (PERMITS + "_acquire", "not self._waiters and ", ""),
        (PERMITS + "_release", "self._serve()", "len(self._holders) % 2 or self._serve()"),
        fields=load("gate"),
    ),
    bug(
        "permits_of_the_dead",
        "The permits of a session that has ended are not freed.",
        (
            PERMITS + "on_session_expired",
            "self._free_where(lambda permit: permit[0] == session)",
            "pass",
        ),
        fields=load("gate"),
    ),
    bug(
        "permit_given_back_serves_nobody",
        "A permit that is given back is not granted to who waits.",
        (PERMITS + "_release", "self._serve()", "pass"),
        fields=load("gate"),
    ),
    bug(
        "late_permit_is_kept",
        "Who gives up keeps a permit that it was granted at that very moment.",
        (
            PERMITS + "_withdraw",
            "self._free_where(lambda permit: permit[:2] == (session, ticket))",
            "pass",
        ),
        fields=load("gate") | {"give_up": 0.6},
    ),
    bug(
        "permit_withdrawn_by_another",
        "Who gives up frees the permits of all callers of its node.",
        (PERMITS + "_withdraw", "permit[:2] == (session, ticket)", "permit[0] == session"),
        fields=load("gate") | {"give_up": 0.6},
    ),
    bug(
        "permit_under_the_token_of_now",
        "Who has waited is granted a permit under the number of the command that freed it.",
        (
            PERMITS + "_serve",
            "self._holders[token] =",
            "token = current_context().serial\n            self._holders[token] =",
        ),
        fields=load("gate"),
    ),
)

RLOCKS = (
    bug(
        "whole_node_owns_it",
        "Any caller of a node may acquire again what another one of it holds.",
        (
            "structs.rlocks:ReplRLock._acquiring",
            "self._depths.get(caller, 0)",
            "max(self._depths.values(), default=0)",
        ),
        fields=load("nested"),
    ),
    bug(
        "inner_release_frees_it",
        "The first release of a lock that was acquired several times frees it.",
        ("structs.rlocks:ReplRLock._leaves", "return depth <= 1", "return True"),
        fields=load("nested"),
    ),
    bug(
        "inner_acquire_is_blind",
        "Who has lost a lock may acquire it again inside.",
        (
            "structs.rlocks:ReplRLock._acquiring",
            "if grant is None or not self._is_sure(grant):",
            "if False:",
        ),
        fields=load("nested"),
    ),
    bug(
        "inner_release_does_not_count",
        "Who has released a lock as often as acquired still has it.",
        ("structs.rlocks:ReplRLock._leaves", "= depth - 1", "= depth"),
        fields=load("nested"),
    ),
)

RWLOCKS = (
    bug(
        "reader_beside_a_writer",
        "A reader is let in while somebody writes.",
        (
            "structs.rwlocks:ReplRWLock._admits",
            "(kind == READ and self._locked(READ))",
            "kind == READ",
        ),
        fields=load("book"),
    ),
    bug(
        "readers_overtake_writers",
        "Readers are let in beside others although a writer waits.",
        (
            PERMITS + "_acquire",
            "if not self._waiters and self._admits(kind):",
            "if self._admits(kind):",
        ),
        fields=load("book"),
    ),
    bug(
        "one_reader_at_a_time",
        "Of several readers that wait only the first is let in.",
        (PERMITS + "_serve", "while self._waiters:", "if self._waiters:"),
        fields=load("book"),
    ),
    bug(
        "writer_that_gives_up_blocks_readers",
        "Readers wait on behind a writer who has given up.",
        (
            PERMITS + "_withdraw",
            "        self._serve()",
            "        self._holders or self._serve()",
        ),
        fields=load("book"),
    ),
)

BUGS = SEMAPHORES + RLOCKS + RWLOCKS
