"""Bugs to plant in `ReplScheduler`: in what is due, by which clock, and in what follows from it."""

from typing import Any

from loads import SMALL_SNAPSHOTS

from syncstructs.testing.planted import bug

JOBS = "structs.schedulers:ReplScheduler."

_WORKING: dict[str, Any] = {"mixes": {"rota": 8.0}}

BUGS = (
    bug(
        "job_overlaps_itself",
        "A job that is due puts a task though its last one is not done.",
        (JOBS + "_fire", "or id_ in self._entries", ""),
        fields=_WORKING,
    ),
    bug(
        "what_was_due_once_is_due_again",
        "A job that is due once is due again if it is added again, or late.",
        (JOBS + "_put_due", "del self._jobs[name]", "job.next = current_context().time + 1.7e9"),
        fields=_WORKING,
    ),
    bug(
        "late_jobs_are_dropped",
        "A job that is due once, and late, is left out.",
        (JOBS + "_in_time", "job.grace is None or late <= job.grace", "late <= 0.05"),
        fields=_WORKING,
    ),
    bug(
        "clock_set_back_brings_jobs_back",
        "A job that was due once can be added again if a clock is behind that of who added it.",
        (JOBS + "_now", "max(self._reached or 0.0, time + self._ahead)", "time + self._ahead"),
        fields=_WORKING | {"drift": 0.02},
    ),
    bug(
        "clock_changes_no_due_time",
        "Jobs by the time of day are due by the first clock that anybody told.",
        (JOBS + "_agree", "self._set_next_due()", "pass"),
        fields=_WORKING | {"drift": 0.02},
    ),
    bug(
        "tasks_share_an_id",
        "Jobs that are due at once put tasks of one id.",
        (JOBS + "_fire", "self._next_number()", "current_context().serial"),
        fields=_WORKING,
    ),
    bug(
        "snapshot_forgets_jobs",
        "Who takes a snapshot over does not know when jobs are due.",
        (JOBS + "_derive", "self._derive_calendar()", "self._calendar = [], []"),
        fields=SMALL_SNAPSHOTS | _WORKING,
    ),
    bug(
        "scheduled_for_now",
        "A task says that it was due when its job was looked after.",
        (JOBS + "_put_due", "self._wall_time(job, due)", "now"),
        fields=_WORKING,
    ),
    bug(
        "interval_too_short",
        "A job is due again when half of its interval is over.",
        ("structs.schedulers:_Job.after", "return now + self.every", "return now + self.every / 2"),
        fields=_WORKING,
    ),
    bug(
        "every_add_changes_something",
        "Who adds a job that is there already is told that it has changed.",
        (JOBS + "_add", "return job != old", "return True"),
        fields=_WORKING,
    ),
    bug(
        "trigger_denies_what_it_did",
        "Who triggers a job is told that its last task is not done, and it is put all the same.",
        (JOBS + "trigger", "return self._fire(name, self._jobs[name], None)",
         "return self._fire(name, self._jobs[name], None) and False"),
        fields=_WORKING,
        first_seed=3,
    ),
)
