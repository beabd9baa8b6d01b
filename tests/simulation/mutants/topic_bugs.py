"""Bugs to plant in topics: their offsets, what they drop, and their readers."""

from value_bugs import load

from syncstructs.testing.planted import bug

TOPIC = "structs.topics:ReplTopic."

BUGS = (
    bug(
        "offset_counts_what_is_kept",
        "The offset of a message is its place among those that are kept.",
        (TOPIC + "publish", "return offset", "return len(self._messages) - 1"),
        fields=load("topic"),
    ),
    bug(
        "topic_keeps_one_less",
        "A topic keeps one message less than it has room for.",
        (TOPIC + "_is_over", "len(self._messages) > self._maxlen", "len(self._messages) > 7"),
        fields=load("topic"),
    ),
    bug(
        "commit_of_topic_goes_back",
        "An earlier offset may be committed behind a later one.",
        (
            TOPIC + "commit",
            "max(as_index(offset), self._committed.get(subscriber, 0))",
            "as_index(offset)",
        ),
        fields=load("topic"),
    ),
    bug(
        "missed_in_silence",
        "A reader goes on behind what was dropped, and says nothing of it.",
        ("structs.topics:Messages._take", "raise missed", "pass"),
        fields=load("topic"),
    ),
    bug(
        "missed_one_too_many",
        "A reader that has missed messages misses another one.",
        (
            "structs.topics:Messages._take",
            "self._position = topic._first",
            "self._position = topic._first + 1",
        ),
        fields=load("topic"),
    ),
    bug(
        "reader_waits_for_news",
        "A reader does not look at what is there before it waits.",
        (
            "structs.topics:Messages.__anext__",
            "if (message := self._take()) is not None:\n                return message\n"
            "            await changes.__anext__()",
            "await changes.__anext__()\n            if (message := self._take()) is not None:\n"
            "                return message",
        ),
        fields=load("topic"),
    ),
    bug(
        "subscriber_begins_where_it_likes",
        "A subscriber begins with the oldest message that is kept, whatever was dropped before.",
        ("structs.topics:Subscriber._least", "self.committed", "self._topic.first_offset"),
        fields=load("topic"),
    ),
    bug(
        "message_to_come_is_committed",
        "A subscriber commits the message that it is given next, too.",
        ("structs.topics:Subscriber.commit", "self._position if", "self._position + 1 if"),
        fields=load("topic"),
    ),
)
