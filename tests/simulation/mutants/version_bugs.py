"""Bugs to plant in versions of methods: who knows them, when they count, and which body runs.

And in what subscribers are told of it.
"""

from functools import partial
from typing import Any

from syncstructs.testing.plans import Fault
from syncstructs.testing.planted import bug

VERSIONS = "objects.versions:Versions."
TABLE = "objects.table:Table."
DIRECTORY = "objects.directory:"
REPLICATED = "objects.replicated:"
CHANGES = "objects.changes:"

version_bug = partial(bug, profiles=("upgrades",))

# Nodes that attach late, and sessions that end while they are cut off.
BRIEF: dict[str, Any] = {
    "settings": {
        "election_timeout_min": 0.1, "election_timeout_max": 0.2, "heartbeat_interval": 0.03,
        "session_ttl": 0.4, "snapshot_log_entries": 15, "snapshot_log_bytes": 1,
        "log_keep_bytes": 1,
    },
}  # fmt: skip
# Nodes go back to an older release, whose former lives have said more.
BACK: dict[str, Any] = {
    "size": 3, "disks": False, "forgetful": False, "spares": 0, "releases": 3,
    "mixes": {"take": 1.0, "count": 1.0},
    "faults": tuple(
        fault
        for turn in range(4)
        for fault in (
            Fault(3.0 * turn + 0.2, "upgrade", 0.1, 0.0, 0.72),
            Fault(3.0 * turn + 0.6, "upgrade", 0.1, 0.0, 0.72),
            Fault(3.0 * turn + 1.0, "upgrade", 0.1, 0.0, 0.72),
            Fault(3.0 * turn + 1.6, "downgrade", 0.1, 0.3 * turn, 0.3),
            Fault(3.0 * turn + 2.6, "set_version", 0.1, 0.5, 0.4 + 0.1 * turn),
        )
    ),
}  # fmt: skip
# Nodes are cut off as they have just begun to speak, until a snapshot hides what was said.
UNHEARD: dict[str, Any] = {
    "size": 3, "disks": False, "forgetful": False, "spares": 0, "releases": 2, "chaos": 8.0,
    "framing": False, "datagrams": False, "drift": 0.0,
    "clients": 3, "think": 0.05, "mixes": {"count": 1.0},
    "settings": BRIEF["settings"] | {
        "snapshot_log_entries": 4, "batch_bytes": 60, "chunk_bytes": 2000, "append_bytes": 2000,
    },
    "faults": tuple(
        fault
        for turn in range(3)
        for fault in (
            Fault(2.5 * turn + 0.2, "upgrade", 0.1, 0.0, 0.72),
            Fault(2.5 * turn + 0.33 + 0.012 * turn, "isolate", 1.5, turn / 3 + 0.01, 0.5),
        )
    ),
}  # fmt: skip
# Many ask for versions, and call at once.
EAGER: dict[str, Any] = {
    "clients": 3, "think": 0.1, "mixes": {"switch": 1.0, "give": 0.3},
    "settings": BRIEF["settings"] | {"session_ttl": 1.0},
}  # fmt: skip

BUGS = (
    # Who knows a version
    version_bug(
        "switch_ignores_who_said_nothing",
        "A version is put in force though a member has said nothing of it.",
        (VERSIONS + "switch", "for member in members}",
         "for member in members if member in self._told}"),
    ),
    version_bug(
        "switch_once_one_knows",
        "A version is put in force as soon as one member knows it.",
        (VERSIONS + "switch", "if lacking:", "if len(lacking) == len(lacks):"),
    ),
    version_bug(
        "switch_once_a_majority_knows",
        "A version is put in force as soon as most members know it.",
        (VERSIONS + "switch", "if lacking:", "if 2 * len(lacking) >= len(lacks):"),
    ),
    version_bug(
        "switch_asks_whoever_has_a_session",
        "Asked are those who have a session: observers too, and no member that is down for long.",
        (TABLE + "_set_version", "if not members:", "if True:"),
    ),
    version_bug(
        "switch_asks_the_version_before",
        "A member counts that knows the version before the one that is asked for.",
        (VERSIONS + "_what_lacks", "if told.version < version:", "if told.version < version - 1:"),
    ),
    version_bug(
        "former_life_counts",
        "What a node's former life knew counts for the next one, which may be of an older release.",
        (TABLE + "_open_session", "if is_new_life:", "if False:"),
        fields=BACK,
    ),
    version_bug(
        "known_until_the_next_session",
        "What a node knows is forgotten when it opens another session in the same life.",
        (TABLE + "_open_session", "if is_new_life:", "if True:"),
        fields=BRIEF,
    ),
    version_bug(
        "known_until_the_session_expires",
        "What a node knows is forgotten with its session; it will not say it again.",
        (
            TABLE + "_expire_session", "        live = self.sessions.expire(session)\n",
            "        gone = self.sessions.owner(session)\n"
            "        live = self.sessions.expire(session)\n"
            "        if gone is not None:\n"
            "            self.versions.forget(gone)\n",
        ),
        fields=BRIEF,
    ),
    version_bug(
        "node_says_more_than_it_has",
        "A node says that it knows the version after its newest.",
        (REPLICATED + "known_bodies", "return version, found", "return version + 1, found"),
    ),
    version_bug(
        "node_says_nothing_of_its_objects",
        "A node says only what is imported, not what the objects have that it is given.",
        ("node.engine:Engine.tell_bodies", "known_bodies(classes)", "known_bodies()"),
    ),
    version_bug(
        "former_knowledge_outlives_a_snapshot",
        "Who takes over a snapshot goes on with what it knew of others before.",
        (VERSIONS + "restore", "self._told = {", "self._told = self._told | {"),
    ),
    version_bug(
        "lost_knowledge_is_not_said_again",
        "What a node says of its bodies is lost with its session, and not said again.",
        ("node.engine:Engine._on_told", "self.failure is None:", "False:"),
        fields=UNHEARD,
    ),
    version_bug(
        "class_may_lack_a_body_in_force",
        "A member counts that has the version, though it lacks a body up to it that others have.",
        (VERSIONS + "_what_lacks", "for body in told.lacking(type_name, used):", "for body in ():"),
        equivalent="each release of the simulated program has all bodies up to its version",
    ),
    version_bug(
        "who_is_on_the_way_out_has_no_say",
        "A member that is to be removed is not asked, though it still counts for quorums.",
        (TABLE + "_set_version", "{*self.wanted, *self.voters}", "self.wanted"),
    ),
    # What is in force
    version_bug(
        "version_goes_back",
        "A version that is lower than that in force is put in force.",
        (VERSIONS + "switch", "if version < self.in_force:", "if version < 1:"),
    ),
    version_bug(
        "refused_version_is_in_force",
        "A version is put in force before it is refused.",
        (VERSIONS + "switch", "        lacks = {",
         "        self.in_force = version\n        lacks = {"),
    ),
    version_bug(
        "refusal_is_not_told",
        "Who asks for a version is told that it is in force, also if it was refused.",
        ("node.versions:set_version",
         'yield from answered(switched, timeout, f"to put version {version} in force")',
         "yield switched, timeout"),
    ),
    version_bug(
        "lost_answer_counts_as_yes",
        "Who lost the answer to a snapshot is told that the version is in force.",
        ("node.versions:set_version",
         "engine.replica.table.versions.in_force < version", "False"),
        fields=BRIEF,
    ),
    version_bug(
        "versions_not_in_snapshots",
        "A snapshot leaves out which version is in force and who knows what.",
        (TABLE + "image", "versions=self.versions.state()", "versions=None"),
    ),
    version_bug(
        "known_not_in_snapshots",
        "A snapshot leaves out who knows what.",
        (VERSIONS + "state",
         "{address: _row(told) for address, told in sorted(self._told.items())}", "{}"),
    ),
    version_bug(
        "bodies_not_in_snapshots",
        "A snapshot leaves out which bodies there are.",
        (VERSIONS + "state",
         "_sorted(self._bodies)", "{}"),
    ),
    # Which body runs
    version_bug(
        "newest_body_runs_at_once",
        "The newest body that the cluster knows runs before its version is in force.",
        ("objects.versions:bodies_up_to", "if number <= version:", "if True:"),
    ),
    version_bug(
        "body_of_the_very_version",
        "A method that has no body of the version in force goes back to its first.",
        ("objects.versions:bodies_up_to", "if number <= version:", "if number == version:"),
    ),
    version_bug(
        "later_bodies_replace_the_earlier",
        "When a release says what bodies it has, those that it says no more of are forgotten.",
        (VERSIONS + "learn", "sorted({*before, *added})", "sorted(added)"),
    ),
    version_bug(
        "objects_do_not_switch",
        "Objects go on with the bodies of before until something opens them anew.",
        (TABLE + "_set_version", "self._directory.switch()", "pass"),
    ),
    version_bug(
        "rest_of_the_entry_at_the_old_version",
        "What stands behind the switch in one entry is told the version of before.",
        (TABLE + "_set_version", "round_.context.version = version", "pass"),
        fields=EAGER,
    ),
    version_bug(
        "commands_are_told_version_one",
        "Methods that ask for the version in force are told 1.",
        (TABLE + "context", "context.version = self.versions.in_force", "pass"),
    ),
    version_bug(
        "inline_call_runs_the_newest_body",
        "A method that another one calls runs the newest body that this node's class has.",
        (REPLICATED + "_in_force",
         "version = split_body(target._binding.bodies.get(known_as, method))[1]",
         "version = versions[-1]"),
    ),
    version_bug(
        "inline_call_runs_what_stands_last",
        "A method that another one calls runs the body that stands last in the class.",
        (REPLICATED + "ReplicatedMethod.__call__",
         "if type(target)._later_bodies:", "if False:"),
    ),
    version_bug(
        "super_runs_the_version_of_the_override",
        "What super() leads to runs the version of the body that calls it.",
        (REPLICATED + "_in_force",
         'owner, known_as = descriptor.owner, f"{type_name(descriptor.owner)}.{method}"',
         "owner = descriptor.owner"),
    ),
    version_bug(
        "backlog_at_the_version_of_today",
        "An object that is attached late catches up with the bodies in force today.",
        (DIRECTORY + "Directory._replay_unwatched",
         "context.version, bodies = _bodies_then(record, then)",
         "context.version, bodies = self._versions.in_force, record.bodies"),
    ),
    version_bug(
        "backlog_forgets_its_version",
        "A command that is kept for an object to come does not say at which version.",
        (DIRECTORY + "_at_version", "if context.version > 1:", "if context.version > 2:"),
    ),
    version_bug(
        "backlog_is_told_version_one",
        "A command that is applied late is told that version 1 is in force.",
        (DIRECTORY + "Directory._replay_unwatched",
         "context.version, bodies = _bodies_then(record, then)",
         "_, bodies = _bodies_then(record, then)"),
    ),
    version_bug(
        "new_method_is_unknown",
        "A method that is not in force yet is refused as one that there is not.",
        (TABLE + "_no_body", 'if first is None or "." in method:', "if True:"),
    ),
    version_bug(
        "new_method_runs_before_its_version",
        "A method that is new runs before its version is in force.",
        (
            "objects.versions:bodies_up_to", "if number <= version:",
            "if number <= version or (number == 2 and method not in chosen):",
        ),
    ),
    # Who has to stop
    version_bug(
        "lacking_node_goes_on",
        "A node that lacks a body goes on without it.",
        (DIRECTORY + "Record.refuse_lacking", "if find_body(cls, body) is None:", "if False:"),
    ),
    version_bug(
        "first_release_goes_on",
        "A node whose class has no versions at all is not asked for the bodies in force.",
        (DIRECTORY + "Record.refuse_lacking",
         "if body == method and method not in cls._body_versions:",
         "if method not in cls._body_versions:"),
    ),
    version_bug(
        "lacking_is_seen_at_the_switch_only",
        "A node that attaches an object after the switch is not asked for its bodies.",
        (DIRECTORY + "Directory._open", "record.refuse_lacking(target, record.bodies)", "pass"),
    ),
    # Who is told of changes
    version_bug(
        "changes_of_a_backlog_are_told",
        "Commands of a backlog are told to a subscriber, who may have been told of them before.",
        (DIRECTORY + "Directory._replay", "watch, target._watch = target._watch, None",
         "watch = target._watch"),
    ),
    version_bug(
        "changes_are_told_twice",
        "News that were told are not forgotten if there are several.",
        (CHANGES + "tell", "del news[: len(told)]", "del news[3:]"),
    ),
    version_bug(
        "changes_are_told_backwards",
        "The news of one turn are told in the opposite order.",
        (CHANGES + "tell", "told = news.copy()", "told = news[::-1]"),
    ),
    version_bug(
        "inline_calls_are_told",
        "A call that another command makes is told as a change of its own.",
        (CHANGES + "Watch.run", "self._inside, error = True, None", "error = None"),
    ),
    version_bug(
        "new_state_is_not_told",
        "A subscriber is not told that the whole state was taken over.",
        (CHANGES + "Watch.replaced", "self._note(", "str("),
    ),
    version_bug(
        "expiries_are_not_told",
        "A subscriber is not told of sessions that have ended.",
        (DIRECTORY + "_tell", "if target._watch is not None:",
         'if target._watch is not None and hook != "on_session_expired":'),
    ),
    version_bug(
        "switch_ends_the_changes",
        "After a switch of the version, nobody is told of any change.",
        (DIRECTORY + "Directory._open", "if watch is not None:",
         "if watch is not None and record.id not in self.live:"),
    ),
    version_bug(
        "new_state_tells_the_next_index",
        "The index of a state that was taken over is one too high.",
        (CHANGES + "Watch.replaced", "context.index, None", "context.index + 1, None"),
    ),
)
