"""Bugs to plant in how observers are served: nodes without an address, which only follow."""

from loads import faults

from syncstructs.testing.plans import Fault
from syncstructs.testing.planted import SHORT_SESSIONS, bug

CORE = "raft.core:RaftCore."
LEADING = "raft.leading:Leading."
OBSERVERS = "raft.observing:Observers."
REPLICA = "replica:Replica."

# Observers under a load that all of them share.
OBSERVED = {"observers": 2, "size": 3, "think": 0.1}
# Messages to them are lost.
LOSSY = OBSERVED | {
    "disks": False, "framing": False, "datagrams": True,
    "faults": faults(("lossy", "doubling"), every=0.3, span=0.2, count=30, least=0.4),
}  # fmt: skip
# Their sessions are short, and so are their links.
BRIEF = OBSERVED | {
    "settings": SHORT_SESSIONS["settings"],
    "faults": faults(("reset", "crash", "reset", "isolate"), every=0.12, span=0.1, count=80),
}  # fmt: skip
# They are cut off while most members are replaced.
UNAWARE = {
    "observers": 1, "size": 3, "spares": 3, "forgetful": False,
    "faults": tuple(
        fault
        for number in range(4)
        for fault in (
            Fault(3.0 * number, "isolate", 2.5, 0.99, 0.5),
            Fault(3.0 * number + 0.1, "change_members", 0.5, (0.34, 0.01)[number % 2], 0.7),
            Fault(3.0 * number + 1.5, "crash_leader", 0.5, 0.0, 0.5),
        )
    ),
}  # fmt: skip

BUGS = (
    bug(
        "observers_share_an_echo",
        "Observers are told of a session's life by another one's clock.",
        (LEADING + "_serve_observers", "echo=0.0", "echo=progress.echo"),
        fields=OBSERVED,
    ),
    bug(
        "observer_echo_not_confirmed",
        "An observer is told at once that it was heard, by a leader that may lead no more.",
        (LEADING + "_serve_observer", "progress.confirm(self.rounds.contact)",
         "progress.confirm(now)"),
        fields=OBSERVED,
    ),
    bug(
        "observers_confirm_rounds",
        "An answer to a round counts whoever gives it, an observer as well.",
        (
            LEADING + "heard",
            "            self.observers.answered(peer, progress)\n            return\n",
            "            self.observers.answered(peer, progress)\n"
            "            if news:\n"
            "                self.rounds.confirm(reply.round)\n"
            "            return\n",
        ),
        fields=OBSERVED,
    ),
    bug(
        "observers_count_for_commits",
        "What observers have acknowledged counts for a commit.",
        (
            LEADING + "quorum_index",
            "int(self._reached(self._log.persisted_index, _match_index))",
            "sorted([self._log.persisted_index, *map(_match_index, self.peers.values())],"
            " reverse=True)[len(self._halves[0]) // 2]",
        ),
        fields=OBSERVED,
        equivalent="observers are sent what is committed and nothing else, so that they never have"
        " more than a majority of the members",
    ),
    bug(
        "observer_left_behind",
        "An observer that did not answer before the next turn is not served any more.",
        (OBSERVERS + "answered", "progress.mode is not Mode.REPLICATE or behind",
         "progress.mode is Mode.SNAPSHOT"),
        fields=LOSSY,
    ),
    bug(
        "observer_heard_is_forgotten",
        "When an observer was heard last is forgotten as soon as its link is lost.",
        (CORE + "forget_departed", "if peer in known or heard >= before", "if False"),
        fields=BRIEF,
    ),
    bug(
        "observers_are_not_introduced",
        "An observer hears of the members from the leader only, which it may not know.",
        (CORE + "_on_introduction", "if self.observes and news", "if False and news"),
        profiles=("membership",),
        fields=UNAWARE,
    ),
    bug(
        "observer_does_not_ask_again",
        "An observer asks those it is linked to once only.",
        (CORE + "_on_election_timeout", "        if self.observes:\n", "        if False:\n"),
        fields=LOSSY,
    ),
)  # fmt: skip
