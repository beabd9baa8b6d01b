"""Bugs to plant in rate limiters: tokens too many, too few, or of the wrong bucket."""

from value_bugs import load

from syncstructs.testing.planted import bug

WAIT = "structs.limits:ReplRateLimiter._wait"
TURN = "structs.limits:ReplRateLimiter._turn"

BUGS = (
    bug(
        "bucket_overflows",
        "A bucket that is full goes on filling.",
        (WAIT, "max(full_at or 0, now)", "(full_at or now)"),
        fields=load("limiter"),
    ),
    bug(
        "refused_tokens_are_taken",
        "Who is refused pays all the same.",
        (
            WAIT,
            "return full_at - now - self._span\n",
            "self._recent[key] = full_at; self._older.pop(key, None)\n"
            "            return full_at - now - self._span\n",
        ),
        fields=load("limiter"),
    ),
    bug(
        "bucket_dropped_too_early",
        "Buckets are dropped that were taken from a moment ago.",
        (TURN, "self._older = self._recent", "self._older = {}"),
        fields=load("limiter"),
    ),
    bug(
        "keys_share_a_bucket",
        "What is taken under a key is missing from the bucket without one.",
        (WAIT, "self._recent[key] = full_at", "self._recent[None] = full_at"),
        fields=load("limiter"),
    ),
    bug(
        "limiter_counts_entries",
        "Time passes with the entries of the log.",
        (
            WAIT,
            "round(current_context().time * 1_000_000)",
            "round(current_context().index * 100_000)",
        ),
        fields=load("limiter"),
    ),
    bug(
        "told_to_come_too_early",
        "Who is told when to come back is told a microsecond less, where it is no whole number.",
        (
            "structs.limits:ReplRateLimiter.throttle",
            "-(-self._wait(n, key) // self._rate)",
            "self._wait(n, key) // self._rate",
        ),
        fields=load("limiter"),
    ),
)
