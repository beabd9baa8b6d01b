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
    bug(
        "leases_end_early",
        "A lease ends when half of its time is over.",
        (TASKS + "_grant", "time + lease", "time + lease / 2"),
        fields=_TOILING,
        first_seed=2,
    ),
    bug(
        "heartbeat_changes_nothing",
        "A heartbeat is answered, and the lease ends as if there had been none.",
        (TASKS + "_extend", "self._set_time(", "(lambda *_: None)("),
        fields=_TOILING,
        first_seed=2,
    ),
    bug(
        "retried_at_once",
        "A task that failed is ready again without delay.",
        (TASKS + "_fail", "self._retry_seconds(entry.attempts) if", "0.0 if"),
        fields=_TOILING,
    ),
    bug(
        "delay_ignored",
        "A task is ready though its delay is not over.",
        (TASKS + "_enter", "self._make_ready(id_, delay)", "self._make_ready(id_, 0.0)"),
        fields=_TOILING,
    ),
    bug(
        "taken_in_any_order",
        "The task that is taken is not always that of the highest priority, or the oldest.",
        (TASKS + "_next_ready", "heappop(self._ready)", "self._ready.pop()"),
        fields=_TOILING,
    ),
    bug(
        "attempts_not_counted",
        "The second attempt, and every one after it, says that it is the first.",
        (TASKS + "_grant", "entry.attempts += 1", "entry.attempts = 1"),
        fields=_TOILING,
    ),
    bug(
        "lease_refused_that_counts",
        "Who has the second lease of a task is told that it has ended.",
        (TASKS + "_leased", "not self._is_leased(id_, token)",
         "not self._is_leased(id_, token) or self._entries[id_].attempts > 1"),
        fields=_TOILING,
    ),
    bug(
        "expired_session_frees_all_tasks",
        "With the session of one node, the leases of all end.",
        (TASKS + "on_session_expired", "if owner == session]", "]"),
        fields=_TOILING | SHORT_SESSIONS,
    ),
)
