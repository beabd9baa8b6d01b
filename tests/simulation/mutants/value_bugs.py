"""Bugs to plant in the types that hold values and maps beside the first ones."""

from syncstructs.testing.planted import bug


def load(name):
    """Return the fields of a plan that mostly calls one of the assorted objects."""
    return {"mixes": {name: 3.0, "count": 0.3}, "think": 0.1, "clients": 2}


REGISTERS = (
    bug(
        "register_set_whatever_the_version",
        "A register is set although somebody has written to it since its version was read.",
        ("structs.registers:ReplRegister.set_if_version", "return False\n", "pass\n"),
        fields=load("register"),
    ),
    bug(
        "cas_of_register_always",
        "compare_and_set() of a register sets, whatever it had.",
        ("structs.registers:ReplRegister.compare_and_set", "return False\n", "pass\n"),
        fields=load("register"),
    ),
    bug(
        "register_counts_news_only",
        "A write of what a register has already does not raise its version.",
        (
            "structs.registers:ReplRegister._write",
            "self._value = value\n        self._version += 1",
            "self._version += self._value != value\n        self._value = value",
        ),
        fields=load("register"),
    ),
)

SORTED = "structs.sorteditems:"

SORTED_TYPES = (
    bug(
        "sorted_update_by_half",
        "What an update of a sorted collection has brought stays there when it raises.",
        (SORTED + "SortedItems.update", "for key in added:", "for key in ():"),
        fields=load("prices"),
    ),
    bug(
        "sorted_default_out_of_order",
        "setdefault() leaves a key that cannot be compared, outside of the order.",
        (
            SORTED + "SortedItems.setdefault",
            "self[key] = default",
            "dict.__setitem__(self, key, default)\n            self._list_add(key)",
        ),
        fields=load("prices"),
    ),
    bug(
        "keys_without_an_order",
        "Keys are taken of which neither is less than the other, wherever they come to stand.",
        (SORTED + "_refuse_disorder", "lower < higher for", "not higher < lower for"),
        fields=load("due"),
    ),
    bug(
        "key_range_with_its_end",
        "delete_range() removes the key at its end as well.",
        (SORTED + "SortedItems.between", "self.irange(first, last, inclusive)",
         "self.irange(first, last)"),
        fields=load("prices"),
    ),
    bug(
        "sorted_pop_of_the_greatest",
        "pop() of a sorted set takes the greatest element, whichever is asked for.",
        ("structs.sortedsets:ReplSortedSet.pop", "self._items.keys()[index]",
         "self._items.keys()[min(index, -1)]"),
        fields=load("due"),
    ),
    bug(
        "sorted_toggle_only_adds",
        "symmetric_difference_update() of a sorted set removes nothing.",
        ("structs.sortedsets:ReplSortedSet._toggle", "del self._items[element]", "pass"),
        fields=load("due"),
    ),
    bug(
        "sorted_popitem_of_the_least",
        "popitem() of a sorted dictionary takes the least key, whichever is asked for.",
        ("structs.sorteddicts:ReplSortedDict.popitem", "popitem(index)", "popitem(0)"),
        fields=load("prices"),
    ),
)  # fmt: skip

COUNTER_MAP = "structs.countermaps:ReplCounterMap."

COUNTER_MAPS = (
    bug(
        "inc_forgets_the_rest",
        "inc() of a counter map begins at 0 each time.",
        (COUNTER_MAP + "inc", "self._items.get(key, 0) + ", ""),
        fields=load("tally"),
    ),
    bug(
        "missing_key_is_no_zero",
        "compare_and_set() of a counter map does not take a key that is missing for 0.",
        (COUNTER_MAP + "compare_and_set", "get(key, 0)", "get(key)"),
        fields=load("tally"),
    ),
    bug(
        "counts_that_replace",
        "update() of a counter map replaces the numbers that are there.",
        (COUNTER_MAP + "_update", "self._items.get(key, 0) + count", "count"),
        fields=load("tally"),
    ),
    bug(
        "operators_start_anew",
        "Operators in place forget what a counter map has.",
        (COUNTER_MAP + "_combine", "Counter(self._items)", "Counter()"),
        fields=load("tally"),
    ),
)

DEQUE = "structs.deques:ReplDeque."

DEQUES = (
    bug(
        "deque_without_its_bound",
        "What is taken over from a snapshot of a deque has no bound.",
        ("codec:_unpack_deque", "return deque(values, limit)", "return deque(values)"),
        fields=load("recent") | {"settings": {"snapshot_log_entries": 4, "log_keep_bytes": 1}},
    ),
    bug(
        "extendleft_in_order",
        "extendleft() keeps the order of what it adds.",
        (DEQUE + "_extendleft", "extendleft(values)", "extendleft(values[::-1])"),
        fields=load("recent"),
    ),
    bug(
        "popleft_from_the_right",
        "popleft() of a deque takes the last element.",
        (DEQUE + "popleft", "popleft()", "pop()"),
        fields=load("recent"),
    ),
    bug(
        "rotates_the_other_way",
        "A deque is rotated to the left.",
        (DEQUE + "rotate", "rotate(n)", "rotate(-n)"),
        fields=load("recent"),
    ),
)

IDS = "structs.idgenerators:ReplIdGenerator."

ID_GENERATORS = (
    bug(
        "blocks_overlap",
        "The last id of a block is the first one of the next.",
        (IDS + "reserve", "self._next += count", "self._next += count - 1 or 1"),
        fields=load("serials"),
    ),
    bug(
        "block_begun_by_each_who_waits",
        "Each of those who wait for a block begins it anew.",
        (IDS + "_take_over", "if self._asked is asked:", "if True:"),
        fields=load("serials"),
    ),
    bug(
        "reserved_behind_a_gap",
        "What is reserved begins behind the number that was free.",
        (IDS + "reserve", "first = self._next", "first = self._next = self._next + count % 3"),
        fields=load("serials"),
    ),
)

MULTI_DICT = "structs.multidicts:ReplMultiDict."

MULTI_DICTS = (
    bug(
        "key_without_values_stays",
        "A key of a multi-dictionary whose last value was taken is still there.",
        (MULTI_DICT + "_tidy", "if not self._items[key]:", "if False:"),
        fields=load("labels"),
    ),
    bug(
        "extend_replaces",
        "extend() of a multi-dictionary replaces the values of the keys that it brings.",
        (MULTI_DICT + "_extend", "setdefault(key, []).extend(values)", "update({key: values})"),
        fields=load("labels"),
    ),
    bug(
        "popone_takes_the_last",
        "popone() takes the last value of a key.",
        (MULTI_DICT + "popone", "pop(0)", "pop()"),
        fields=load("labels"),
    ),
)

TTL = "structs.ttl:ReplTTLDict."

TTL_DICTS = (
    bug(
        "keys_end_too_early",
        "A key lives for half as long as it was told.",
        (TTL + "_end", "current_context().time + ttl", "current_context().time + ttl / 2"),
        fields=load("cache"),
    ),
    bug(
        "former_end_of_key_counts",
        "A key that was given another life ends with its former one.",
        (
            TTL + "on_due",
            "if self._ends.get(key) == (time, number):",
            "if key in self._ends:",
        ),
        fields=load("cache"),
    ),
    bug(
        "touched_key_keeps_its_end",
        "A key that is touched ends when it would have ended without that.",
        (TTL + "touch", "self._keep(key, end)", "pass"),
        fields=load("cache"),
    ),
    bug(
        "keys_are_to_live_for_ever_and_end",
        "A key that had an end, and is set for ever, ends all the same.",
        (TTL + "_keep", "self._ends.pop(key, None)", "pass"),
        fields=load("cache"),
    ),
    bug(
        "keys_end_when_another_is_set",
        "A key whose time is over is there until some key is set.",
        (TTL + "on_due", "self._arm()", "pass"),
        fields=load("cache"),
    ),
    bug(
        "ended_keys_end_one_by_one",
        "Of the keys whose time is over only the first ends.",
        (TTL + "on_due", "range(_EXPIRED_MAX)", "range(1)"),
        fields=load("cache"),
    ),
)

BUGS = (
    *COUNTER_MAPS, *DEQUES, *ID_GENERATORS, *MULTI_DICTS, *REGISTERS, *SORTED_TYPES, *TTL_DICTS,
)  # fmt: skip
