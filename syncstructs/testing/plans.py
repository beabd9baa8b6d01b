"""`Plan`: everything that makes one simulated run, as a value that can be kept, replayed and cut.

A plan is drawn from a seed, by a profile. Its faults stand in it one by one, so that a plan with
fewer of them is a plan as well: that is how a failing run is made short.
"""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from importlib.util import find_spec
from random import Random
from typing import Any, Final

import msgspec

PLAN_FORMAT: Final = 1


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """Something that befalls the cluster during the chaos; what the numbers mean, `kind` says."""

    at: float
    """Seconds after the begin of the chaos."""
    kind: str
    """The name of a method of `nemesis.Nemesis`."""
    span: float
    """How many seconds it lasts."""
    pick: float
    """Which of those that it may befall: from 0 to below 1."""
    size: float
    """How bad it is: from 0 to below 1."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run: its cluster, its load, and what befalls it. A function of nothing else."""

    seed: str
    """Of everything that is not said here: times of messages, values, what a crash leaves."""
    size: int = 3
    disks: bool = False
    framing: bool = False
    datagrams: bool = False
    spares: int = 0
    """Nodes besides that may become members."""
    observers: int = 0
    """Nodes without an address."""
    forgetful: bool = False
    """Whether a node that stops loses all it had; only so many as a minority do at a time."""
    settings: dict[str, Any] = {}
    """Fields of `Config`."""
    mixes: dict[str, float] = {}
    """How often clients do what: weights of the methods of `workload.Client`."""
    clients: int = 2
    """Callers per node."""
    think: float = 0.2
    """Mean seconds between two calls of a caller."""
    keys: int = 4
    """How many keys of a dictionary, elements of a set and locks there are."""
    give_up: float = 0.1
    """How often a caller cancels, or gives a call no time."""
    drift: float = 0.0
    """Clocks run by up to this part of a second too fast or too slow, each by its own."""
    chaos: float = 8.0
    """Seconds of faults."""
    faults: tuple[Fault, ...] = ()
    releases: int = 1
    """How many releases of a program there are that nodes go over to; see `releases`."""
    core: float = 0.0
    """Which majority lives while the others are cut off, after the chaos: from 0 to below 1."""

    def token(self) -> str:
        """Return text that `from_token` turns into the same plan again."""
        packed = zlib.compress(msgspec.msgpack.encode((PLAN_FORMAT, self)), 9)
        return urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> "Plan":
        """Return the plan of a token.

        Raises:
            ValueError: it is none, or one of another version.
        """
        try:
            packed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            unzip = zlib.decompressobj()
            unpacked = unzip.decompress(packed, 10_000_000)
            if not unzip.eof:
                raise ValueError("a part of it is missing")
            form, plan = msgspec.msgpack.decode(unpacked, type=tuple[int, Plan])
        except (ValueError, zlib.error, msgspec.MsgspecError) as error:
            raise ValueError(f"{token[:40]!r} is no replay token: {error}") from error
        if form != PLAN_FORMAT:
            raise ValueError(f"the token is of format {form}; this version reads {PLAN_FORMAT}")
        return plan

    def without_faults(self) -> "Plan":
        """Return the same load on a quiet cluster."""
        return msgspec.structs.replace(self, faults=(), drift=0.0)


_NODES: Final = {
    "crash": 3.0, "crash_leader": 2.0, "crash_all": 0.6, "crash_soon": 4.0, "crash_elected": 2.0,
    "pause": 1.0, "pause_leader": 1.0, "close": 0.7, "jump": 0.6,
}  # fmt: skip
_NETWORK: Final = {
    "isolate": 1.5, "isolate_leader": 2.0, "isolate_elected": 1.5, "cut": 2.0, "split": 1.5,
    "hold": 1.0, "reset": 1.5, "slow": 1.5, "lag": 0.7, "narrow": 0.4, "deafen_leader": 1.0,
    "isolate_committed": 1.5, "succession": 1.5, "seizure": 1.0,
    "eclipse": 1.0,
}  # fmt: skip
_MEMBERS: Final = {
    "change_members": 4.0, "add_member": 2.0, "remove_member": 2.0, "remove_leader": 2.0,
    "sever_joint": 2.0, "silence_removal": 1.0, "strand_successor": 1.0,
}
_HOLDERS: Final = {"pause_holder": 2.5, "isolate_holder": 1.0}
_FORGETTING: Final = {"forget": 2.0, "forget_leader": 1.0}
_DATAGRAMS: Final = {"lossy": 2.0, "doubling": 2.0, "shuffling": 2.0}
_DISKS: Final = {
    "slow_disk": 1.5, "stall_disk": 1.0, "full_disk": 1.0, "failing_disk": 1.0, "failing_sync": 1.0,
    "rot": 0.5, "crash_twice": 2.0,
}  # fmt: skip
_SLOW_DISKS: Final = {"slow_disk": 1.5, "stall_disk": 1.0}

_UPGRADES: Final = {"upgrade": 4.0, "downgrade": 1.0, "set_version": 3.0, "set_versions": 1.0}

_CALLS: Final = {
    "count": 3.0, "write_key": 4.0, "change_list": 2.0, "change_set": 2.0, "read": 3.0,
    "pipeline": 2.0, "batch": 1.0, "sweep": 1.0,
}  # fmt: skip
_QUEUES: Final = {
    "put": 2.0, "get": 2.0, "put_ranked": 0.8, "get_ranked": 0.7, "finish": 0.3, "shift": 0.3,
}  # fmt: skip
_LOCKS: Final = {"hold": 2.0, "hold_key": 1.0}
_RELEASED: Final = {"take": 4.0, "give": 2.0, "switch": 0.2}
_CHURN: Final = {"create": 0.4, "drop": 0.2, "note": 0.5}

_ASSORTED: Final = {
    "barrier": 2.0, "book": 2.0, "cache": 2.0, "condition": 2.0, "due": 2.0, "election": 2.0,
    "event": 2.0, "gate": 2.0, "group": 2.0, "labels": 2.0, "latch": 1.0, "limiter": 2.0,
    "nested": 2.0, "once": 1.0, "pacer": 2.0, "prices": 2.0, "recent": 2.0, "register": 2.0,
    "rota": 3.0, "serials": 2.0, "tally": 2.0, "tasks": 3.0, "topic": 2.0, "transact": 3.0,
}  # fmt: skip
"""Objects that only some runs have (see `assorted`), and transactions, that few make."""
_ASSORTED_MAX: Final = 4
"""How many of them one run has: callers that meet everywhere meet nowhere often."""

_FLAVOURS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    # Many reads, and leaders that notice late that they lead no more.
    "reading": {
        "size": 3, "think": 0.15, "mixes": {"read": 10.0, "count": 1.0, "write_key": 1.0},
        "settings": {
            "election_timeout_min": 0.1, "election_timeout_max": 0.5, "heartbeat_interval": 0.04,
            "session_ttl": 1.0,
        },
    },
    # Sessions that end within a common fault.
    "sessions": {
        "settings": {
            "election_timeout_min": 0.1, "election_timeout_max": 0.2, "heartbeat_interval": 0.03,
            "session_ttl": 0.4,
        },
    },
    # Elections that often have no winner at first, so that terms differ.
    "elections": {
        "settings": {
            "election_timeout_min": 0.15, "election_timeout_max": 0.16, "heartbeat_interval": 0.05,
            "session_ttl": 1.0,
        },
    },
    # Callers that give up at the very moment when they are served.
    "impatience": {
        "give_up": 0.6, "think": 0.1, "clients": 3,
        "mixes": {"put": 1.0, "get": 1.0, "hold": 0.3, "hold_key": 0.3},
    },
    # Methods that change much of an object at once, on little else.
    "sweeps": {
        "think": 0.1, "mixes": {"sweep": 4.0, "change_list": 1.0, "change_set": 1.0, "read": 1.5},
    },
    # Queues that are shut down while others wait for their items, and for the end of these.
    "closing": {"think": 0.1, "clients": 3, "mixes": {"shift": 1.0, "count": 1.0}},
    # Followers that get snapshots in small pieces.
    "snapshots": {
        "settings": {
            "snapshot_log_entries": 4, "snapshot_log_bytes": 1, "log_keep_bytes": 1,
            "chunk_bytes": 300,
        },
    },
}  # fmt: skip
"""What makes rare things frequent: laid over what was drawn."""
_CHANCES: Final = {
    "plain": 12.0, "reading": 1.0, "sessions": 1.0, "elections": 1.0, "impatience": 1.0,
    "sweeps": 1.0, "closing": 1.0, "snapshots": 1.0,
}  # fmt: skip

_SMALL_SNAPSHOTS: Final = {
    "snapshot_log_entries": 4, "snapshot_log_bytes": 1, "log_keep_bytes": 1, "chunk_bytes": 300,
}  # fmt: skip
_RARITIES: Final[dict[str, tuple[dict[str, float], dict[str, Any]]]] = {
    # Faults, and fields of a plan under which they do harm to what is wrong.
    "crowds": ({"crowd": 2.0, "isolate": 1.0}, {}),
    "faltering": ({"falter": 1.0}, {
        "size": 3, "think": 0.1, "clients": 2, "mixes": {"pipeline": 2.0, "count": 1.0},
        "settings": {"append_bytes": 1, "append_window_bytes": 300, "batch_bytes": 60},
    }),
    "outrun": ({"outrun": 1.0}, {"think": 0.1, "settings": _SMALL_SNAPSHOTS}),
    "garbled": ({"garble": 1.0}, {"think": 0.1, "settings": _SMALL_SNAPSHOTS}),
    "stranded": ({"strand_opening": 1.0}, {
        "size": 3, "think": 0.1,
        "settings":
            _FLAVOURS["sessions"]["settings"] | _SMALL_SNAPSHOTS | {"chunk_bytes": 2000},
    }),
    "closed": ({"rot_closed": 1.0}, {}),
    "handed": ({"hand_over": 1.0, "isolate": 0.5, "crash": 0.5}, {"size": 3}),
    "observed": ({"reset": 1.0, "crash": 1.0}, {"observers": 2}),
}  # fmt: skip
"""What befalls a cluster hardly ever by chance: laid over one plan of some."""
_RARE: Final = 0.12

_UPGRADED: Final = 0.02
"""How often a plan of another profile has nodes go over to other releases."""

_SEALED: Final = 0.25
"""Of the plans with `framing`, where the extra `crypto` is installed."""

PROFILES: Final = ("all", "network", "disk", "membership", "locks", "upgrades", "calm")


def draw_plan(seed: int | str, profile: str = "all") -> Plan:
    """Return the plan that follows from a seed.

    Profiles: `all`; `network` and `disk` (mostly faults of these); `membership` (nodes become
    members, and are removed, and come back empty); `locks` (sessions, locks and waits, with long
    pauses and cuts); `upgrades` (nodes go over to other releases of their classes, and versions of
    methods are put in force); `calm` (some load for long, without faults).

    Raises:
        ValueError: there is no such profile.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile {profile!r} is none of {', '.join(PROFILES)}")
    random = Random(f"{seed}/{profile}/plan")
    mixed = profile in ("all", "locks", "membership", "upgrades")
    disks = profile == "disk" or (mixed and random.random() < 0.3)
    framing = profile != "calm" and random.random() < 0.1
    datagrams = not framing and profile != "calm" and random.random() < 0.3
    size = random.choices((1, 2, 3, 5), (1, 1, 17, 2))[0]
    chaos = random.choice((6.0, 12.0, 18.0)) if profile != "calm" else 1200.0
    settings = _draw_settings(random, profile)
    flavour = {} if profile == "calm" else _draw_flavour(random, profile)
    plan = Plan(
        seed=f"{seed}/{profile}",
        size=size,
        disks=disks,
        framing=framing,
        datagrams=datagrams,
        settings=settings,
        mixes=_draw_mixes(random, profile),
        clients=random.choice((1, 2, 3)),
        think=random.choice((0.2, 0.4, 0.8, 1.6)) if profile != "calm" else 15.0,
        keys=random.choice((1, 2, 4, 8)),
        give_up=random.choice((0.0, 0.0, 0.05, 0.2)),
        drift=random.choice((0.0, 0.01, 0.02)),
        chaos=chaos,
        faults=() if profile == "calm" else _draw_faults(
            random, profile, chaos, disks=disks, datagrams=datagrams
        ),
        core=random.random(),
    )  # fmt: skip
    more = {**flavour, "settings": plan.settings | flavour.get("settings", {})}
    plan = msgspec.structs.replace(plan, **more)
    if profile == "membership" or (profile == "upgrades" and random.random() < 0.4):
        plan = _with_members(random, plan)
    if profile == "calm":
        return plan
    plan = _with_upgrades(_with_throttle(_with_rarity(plan)), often=profile == "upgrades")
    return _with_assorted(_with_password(plan))


def _with_throttle(plan: Plan) -> Plan:
    """Return the plan, or now and then one whose snapshots are sent slowly."""
    # By a generator of its own, as above.
    random = Random(f"{plan.seed}/throttle")
    if random.random() >= _RARE:
        return plan
    settings = plan.settings | {"snapshot_rate": random.choice((3000.0, 30_000.0))}
    # What takes longer to send than to write again would never arrive.
    settings.pop("snapshot_log_bytes", None)
    return msgspec.structs.replace(plan, settings=settings)


def _with_upgrades(plan: Plan, *, often: bool) -> Plan:
    """Return the plan with nodes that go over to other releases; now and then only, if not often.

    By a generator of its own: all else is what it would be without.
    """
    random = Random(f"{plan.seed}/upgrades")
    if not often and random.random() >= _UPGRADED:
        return plan
    faults, kinds, chances = list(plan.faults), list(_UPGRADES), list(_UPGRADES.values())
    if often and random.random() < 0.3:
        # So many other faults that nobody would ever get a version put in force.
        faults = [fault for fault in faults if random.random() < 0.3]
    at, interval = 0.0, random.choice((0.2, 0.5, 1.5))
    while (at := at + random.expovariate(1 / interval)) < plan.chaos:
        kind = random.choices(kinds, chances)[0]
        faults.append(Fault(_short(at), kind, _short(random.random() / 2), *_two_parts(random)))
    faults.sort(key=lambda fault: fault.at)
    mixes = plan.mixes if not often or random.random() < 0.7 else {"count": 0.3, "read": 1.0}
    return msgspec.structs.replace(
        plan,
        releases=random.choice((2, 3, 3)),
        mixes=mixes | _RELEASED,
        forgetful=plan.forgetful or (often and not plan.disks and random.random() < 0.15),
        observers=plan.observers or (random.choice((0, 0, 0, 1, 2)) if often else 0),
        faults=tuple(faults),
    )


def _with_assorted(plan: Plan) -> Plan:
    """Return the plan, or now and then one with objects that most runs do without."""
    random = Random(f"{plan.seed}/assorted")
    if random.random() >= _RARE:
        return plan
    names = random.sample(list(_ASSORTED), random.randint(1, _ASSORTED_MAX))
    mixes, settings = plan.mixes | {name: _ASSORTED[name] for name in names}, plan.settings
    if "max_pending_calls" in settings:
        # A node attaches them all at once.
        settings = settings | {"max_pending_calls": settings["max_pending_calls"] + len(names)}
    return msgspec.structs.replace(plan, mixes=mixes, settings=settings)


def _with_password(plan: Plan) -> Plan:
    """Return the plan, or now and then, where links are real, one whose nodes have a password."""
    random = Random(f"{plan.seed}/password")
    if not plan.framing or random.random() >= _SEALED or find_spec("cryptography") is None:
        return plan
    settings = plan.settings | {"password": "known to all who read this"}
    return msgspec.structs.replace(plan, settings=settings)


def _with_rarity(plan: Plan) -> Plan:
    """Return the plan, or now and then one with something more that is rare by itself."""
    # By a generator of its own: all else is what it would be without.
    random = Random(f"{plan.seed}/rarity")
    if random.random() >= _RARE:
        return plan
    names = list(_RARITIES)
    if not plan.disks or any(fault.kind in _FORGETTING for fault in plan.faults):
        # What rots and what is forgotten may be more than a minority.
        names.remove("closed")
    weights, fields = _RARITIES[random.choice(names)]
    faults, kinds, chances = list(plan.faults), list(weights), list(weights.values())
    at, interval = 0.0, random.choice((0.15, 0.4, 1.0))
    while (at := at + random.expovariate(1 / interval)) < plan.chaos:
        kind = random.choices(kinds, chances)[0]
        faults.append(Fault(_short(at), kind, _short(random.random() / 2), *_two_parts(random)))
    faults.sort(key=lambda fault: fault.at)
    more = {**fields, "settings": plan.settings | fields.get("settings", {})}
    return msgspec.structs.replace(plan, **more, faults=tuple(faults))


def _with_members(random: Random, plan: Plan) -> Plan:
    """Return the plan with more nodes than members, and with faults that change who is one."""
    faults = [fault for fault in plan.faults if fault.kind != "rot"]
    spares = random.choice((0, 1, 1, 2, 3))
    weights = _MEMBERS | _FORGETTING if spares else _FORGETTING
    kinds, chances = list(weights), list(weights.values())
    at, interval = 0.0, random.choice((0.2, 0.5, 1.5))
    while (at := at + random.expovariate(1 / interval)) < plan.chaos:
        kind = random.choices(kinds, chances)[0]
        faults.append(Fault(_short(at), kind, _short(random.random()), *_two_parts(random)))
    return msgspec.structs.replace(
        plan,
        size=random.choice((1, 3, 3, 3, 4, 5)),
        spares=spares,
        forgetful=not plan.disks and random.random() < 0.5,
        observers=random.choice((0, 0, 0, 1, 2)),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )


def _draw_flavour(random: Random, profile: str) -> dict[str, Any]:
    chances = _CHANCES | ({"sessions": 8.0} if profile == "locks" else {})
    (name,) = random.choices(list(chances), list(chances.values()))
    return _FLAVOURS[name]


def _draw_settings(random: Random, profile: str) -> dict[str, Any]:
    (low,) = random.choices((0.2, 0.3, 0.5, 0.8), (1, 2, 2, 2))
    high = low * random.choice((1.3, 2.0, 3.0))
    settings: dict[str, Any] = {
        "election_timeout_min": low,
        "election_timeout_max": high,
        "heartbeat_interval": low / random.choice((2.0, 2.5, 4.0)),
        "session_ttl": max(2 * high, random.choice((1.0, 2.0, 4.0, 10.0))),
    }
    if profile == "calm":
        return {"election_timeout_min": 1.0, "election_timeout_max": 2.0, "heartbeat_interval": 0.4}
    settings |= {
        "batch_bytes": random.choice((1, 60, 600, 256 * 1024)),
        "snapshot_log_entries": random.choice((4, 15, 40, 100_000)),
        "log_keep_bytes": random.choice((1, 400, 8 * 1024 * 1024)),
        "chunk_bytes": random.choice((300, 2000, 256 * 1024)),
        "append_bytes": random.choices((1, 300, 2000, 256 * 1024), (1, 3, 3, 3))[0],
        "append_window_bytes": random.choice((300, 3000, 4 * 1024 * 1024)),
        "segment_bytes": random.choice((500, 5000, 64 * 1024 * 1024)),
    }
    if settings["log_keep_bytes"] <= 400 and settings["snapshot_log_entries"] < 100_000:
        # Or the log would be kept for all who answer, and a snapshot be sent hardly ever.
        settings["snapshot_log_bytes"] = 1
    if random.random() < 0.1:
        settings["max_pending_calls"] = 12
    return settings


def _draw_mixes(random: Random, profile: str) -> dict[str, float]:
    pools = [_CALLS, _QUEUES, _LOCKS, _CHURN]
    if profile == "locks":
        pools = [_LOCKS, _QUEUES, {"count": 1.0, "read": 1.0}]
    mixes: dict[str, float] = {}
    for pool in pools:
        if random.random() < 0.75 or pool is pools[0]:
            # Some kinds are left out, so that what is left meets more often.
            mixes |= {kind: w for kind, w in pool.items() if random.random() < 0.75}
    return mixes or dict(_CALLS)


def _draw_faults(
    random: Random, profile: str, chaos: float, *, disks: bool, datagrams: bool
) -> tuple[Fault, ...]:
    pools = [(_NODES, 0.8), (_NETWORK, 0.8), (_DISKS if disks else _SLOW_DISKS, 0.6)]
    if datagrams:
        pools.append((_DATAGRAMS, 0.8))
    if profile == "all":
        pools.append((_HOLDERS, 0.6))
    weights: dict[str, float] = {}
    for pool, chance in pools:
        favoured = (pool is _NETWORK and profile == "network") or (
            pool is _DISKS and profile == "disk"
        )
        for kind, weight in pool.items():
            if random.random() < (0.9 if favoured else chance * 0.75):
                weights[kind] = weight * (4.0 if favoured else 1.0)
    if profile == "locks":
        weights |= {"pause": 3.0, "pause_leader": 2.0, "isolate": 3.0, "isolate_leader": 2.0}
        weights |= {kind: weight * 2 for kind, weight in _HOLDERS.items()}
    if not weights:
        weights = {"crash": 1.0}
    interval = random.choice((0.04, 0.1, 0.2, 0.4, 1.0))
    # How long faults last, so that not everything is broken at once for most of the time.
    longest = random.choice((0.3, 1.0, 3.0))
    kinds, chances = list(weights), list(weights.values())
    faults = []
    at = random.expovariate(1 / interval)
    while at < chaos:
        kind = random.choices(kinds, chances)[0]
        span = random.random() ** 2 * longest
        faults.append(Fault(_short(at), kind, _short(span), *_two_parts(random)))
        at += random.expovariate(1 / interval)
    return tuple(faults)


def _two_parts(random: Random) -> tuple[float, float]:
    return _short(random.random()), _short(random.random())


def _short(number: float) -> float:
    """Return the number with four digits, never rounded up: what is below 1 stays there."""
    return int(number * 10_000) / 10_000
