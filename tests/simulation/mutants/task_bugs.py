"""Bugs to plant in `ReplTaskQueue`: in leases, retries, and in what is derived from the tasks."""

from typing import Any

from loads import SMALL_SNAPSHOTS

from syncstructs.testing.planted import SHORT_SESSIONS, bug

TASKS = "structs.tasks:ReplTaskQueue."

_TOILING: dict[str, Any] = {"mixes": {"tasks": 8.0}}

BUGS = (
    bug(
        "ended_lease_still_counts",
        "Who has lost its lease can still say that the task is done.",
        (TASKS + "_is_leased", "entry is not None and token > 0 and entry.token == token",
         "entry is not None"),
        fields=_TOILING,
    ),
    bug(
        "leases_never_end",
        "A lease whose time is over is not taken back: that is never done.",
        (TASKS + "on_due", "self._fail(id_, None, None)", "pass"),
        fields=_TOILING,
    ),
    bug(
        "expired_session_keeps_its_tasks",
        "The tasks that an expired session has taken are not given up.",
        (TASKS + "on_session_expired", "if owner == session]", "if False]"),
        fields=_TOILING | SHORT_SESSIONS,
    ),
    bug(
        "ready_tasks_wait_for_the_next_call",
        "A task that becomes ready is not given to who waits for one.",
        (TASKS + "_make_ready", "self._serve()", "pass"),
        fields=_TOILING,
    ),
    bug(
        "retried_without_end",
        "A task is tried once more than it may be.",
        (TASKS + "_fail", "entry.attempts >= self._max_attempts",
         "entry.attempts > self._max_attempts"),
        fields=_TOILING,
    ),
    bug(
        "dead_tasks_are_dropped",
        "A task whose attempts are used up is forgotten.",
        (TASKS + "_fail", "self._dead[id_] = DeadTask(", "DeadTask("),
        fields=_TOILING,
    ),
    bug(
        "acknowledged_task_comes_back",
        "A task that was acknowledged is put back as if it had failed.",
        (TASKS + "_ack", "self._remove(id_)", "self._make_ready(id_, 0.0)"),
        fields=_TOILING,
    ),
    bug(
        "grants_share_a_token",
        "Tasks that are granted by one command have one token.",
        (TASKS + "_next_number",
         "self._last_token = max(self._last_token + 1, current_context().serial)",
         "self._last_token = current_context().serial"),
        fields=_TOILING,
    ),
    bug(
        "snapshot_forgets_times",
        "Who takes a snapshot over does not know when leases end and delays are over.",
        (TASKS + "_derive_later", "if e.time is not None]", "if False]"),
        fields=SMALL_SNAPSHOTS | _TOILING,
    ),
    bug(
        "snapshot_forgets_what_is_ready",
        "Who takes a snapshot over does not know which tasks are ready.",
        (TASKS + "_derive", "self._derive_ready()", "self._ready = []"),
        fields=SMALL_SNAPSHOTS | _TOILING,
    ),
)
