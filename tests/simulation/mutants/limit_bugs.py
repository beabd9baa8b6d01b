"""Bugs to plant in rate limiters: tokens too many, too few, or of the wrong bucket, or too late."""

from loads import SMALL_SNAPSHOTS
from value_bugs import load

from syncstructs.testing.planted import SHORT_SESSIONS, bug

LIMITS = "structs.limits:ReplRateLimiter."

BUGS = (
    bug(
        "bucket_overflows",
        "A bucket that is full goes on filling.",
        (LIMITS + "_wait", "max(full_at or 0, now)", "(full_at or now)"),
        (LIMITS + "_take", "max(full_at, now)", "(full_at or now)"),
        fields=load("limiter"),
    ),
    bug(
        "refused_tokens_are_taken",
        "Who is refused pays all the same.",
        (
            LIMITS + "_take",
            "return wait\n",
            "self._older.pop(key, 0)\n"
            "            self._recent[key] = self._now() * self._rate + wait + self._span\n"
            "            return wait\n",
        ),
        fields=load("limiter"),
    ),
    bug(
        "bucket_dropped_too_early",
        "Buckets are dropped that were taken from a moment ago.",
        (LIMITS + "_turn", "self._older = self._recent", "self._older = {}"),
        fields=load("limiter"),
    ),
    bug(
        "keys_share_a_bucket",
        "What is taken under a key is missing from the bucket without one.",
        (LIMITS + "_take", "self._recent[key] =", "self._recent[None] ="),
        fields=load("limiter"),
    ),
    bug(
        "limiter_counts_entries",
        "Time passes with the entries of the log.",
        (
            LIMITS + "_now",
            "round(current_context().time * 1_000_000)",
            "round(current_context().index * 100_000)",
        ),
        fields=load("limiter"),
    ),
    bug(
        "told_to_come_too_early",
        "Who is told when to come back is told a microsecond less, where it is no whole number.",
        (LIMITS + "throttle", "-(-self._ask(n, key) // self._rate)",
         "self._ask(n, key) // self._rate"),
        fields=load("limiter"),
    ),
    bug(
        "who_waits_is_overtaken",
        "Who asks for tokens gets them before who waits for more.",
        (LIMITS + "_ask", "if line is None else", "if True else"),
        fields=load("pacer"),
    ),
    bug(
        "who_leaves_holds_up_others",
        "Who stood behind a wait that was given up is not looked after.",
        (LIMITS + "_leave", "self._serve(key)", "self._lines[key] or self._serve(key)"),
        fields=load("pacer"),
    ),
    bug(
        "expired_waiters_hold_up_others",
        "Who stood behind a wait of an expired session is not looked after.",
        (LIMITS + "on_session_expired", "self._serve(key)", "self._lines[key] or self._serve(key)"),
        fields=load("pacer") | SHORT_SESSIONS,
    ),
    bug(
        "waiters_pay_nothing",
        "Who has waited gets his tokens, and they are in the bucket still.",
        (LIMITS + "_serve", "self._take(n, key)", "max(0, self._wait(n, key))"),
        fields=load("pacer"),
    ),
    bug(
        "the_last_is_served_first",
        "Of those who wait for a bucket, who came last is looked after.",
        (LIMITS + "_serve", "iter(line.items())", "reversed(line.items())"),
        fields=load("pacer"),
    ),
    bug(
        "snapshot_forgets_lines",
        "Who takes a snapshot over does not know who waits for which bucket.",
        (LIMITS + "restore_state", "in rows:", "in rows[:0]:"),
        fields=SMALL_SNAPSHOTS | load("pacer"),
    ),
)
