"""Hypothesis strategies for plans of simulated runs. Hypothesis is asked for only when used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from .plans import (
    _DATAGRAMS,
    _DISKS,
    _NETWORK,
    _NODES,
    _SLOW_DISKS,
    PROFILES,
    Fault,
    Plan,
    draw_plan,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "all": (*_NODES, *_NETWORK, *_SLOW_DISKS),
    "network": (*_NETWORK,),
    "disk": (*_DISKS, "crash", "crash_soon", "crash_all"),
    "locks": ("pause", "pause_leader", "isolate", "isolate_leader", "crash", "cut", "split"),
    "calm": (),
}


def hypothesis() -> Any:
    """Return the package `hypothesis`, with its strategies and stateful tests.

    Raises:
        ImportError: it is not installed; says how to.
    """
    try:
        import hypothesis as package
        import hypothesis.stateful
        import hypothesis.strategies
    except ImportError as error:
        raise ImportError(
            "property-based tests need Hypothesis: pip install 'syncstructs[test]'"
        ) from error
    return package


def fault_kinds(faults: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the kinds of faults that a name stands for, or those given, if they exist.

    Raises:
        ValueError: there is no such profile or kind.
    """
    if faults is None or faults == "none":
        return ()
    if isinstance(faults, str):
        profile = "all" if faults == "default" else faults
        if profile not in _KINDS:
            names = ", ".join(("default", "none", *_KINDS))
            raise ValueError(f"faults={faults!r} is none of {names}, nor a list of kinds")
        return _KINDS[profile]
    known = {*_NODES, *_NETWORK, *_SLOW_DISKS, *_DISKS, *_DATAGRAMS}
    for kind in faults:
        if kind not in known:
            raise ValueError(f"{kind!r} is no kind of fault; there are {', '.join(sorted(known))}")
    return tuple(faults)


def fault_lists(
    kinds: Sequence[str], *, within: float = 2.0, max_faults: int = 8
) -> SearchStrategy[tuple[Fault, ...]]:
    """Draw faults of these kinds, in the order of their times, that begin `within` seconds."""
    st = hypothesis().strategies
    drawn: SearchStrategy[tuple[Fault, ...]]
    if not kinds:
        drawn = st.just(())
        return drawn
    hundredths = st.integers(0, 99).map(lambda n: n / 100)
    fault = st.builds(
        Fault,
        st.integers(0, int(within * 100)).map(lambda n: n / 100),
        st.sampled_from(list(kinds)),
        hundredths,
        hundredths,
        hundredths,
    )
    drawn = st.lists(fault, max_size=max_faults).map(
        lambda faults: tuple(sorted(faults, key=lambda fault: fault.at))
    )
    return drawn


def plans(
    profile: str = "all", *, size: int | None = None, max_faults: int = 12, chaos: float = 3.0
) -> SearchStrategy[Plan]:
    """Draw plans of runs, for `run_plan`; they shrink towards few faults.

    Settings, load and sorts of faults follow from a drawn seed, as `draw_plan` has it; the faults
    are drawn one by one. `size`: how many members (None: drawn too); `chaos`: seconds of faults.

    >>> from hypothesis import given, settings
    >>> from syncstructs.testing import Failure, plans, run_plan
    >>> @settings(max_examples=1, deadline=None, database=None)
    ... @given(plans("network"))
    ... def test_nothing_is_lost(plan):
    ...     assert not isinstance(run_plan(plan), Failure)
    >>> test_nothing_is_lost()

    Raises:
        ValueError: there is no such profile.
        ImportError: Hypothesis is not installed.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile {profile!r} is none of {', '.join(PROFILES)}")
    st = hypothesis().strategies

    def with_faults(seed: int, faults: tuple[Fault, ...]) -> Plan:
        plan = replace(draw_plan(seed, profile), faults=faults, chaos=chaos)
        return plan if size is None else replace(plan, size=size)

    return st.builds(  # type: ignore[no-any-return]
        with_faults,
        st.integers(0, 2**31 - 1),
        fault_lists(fault_kinds(profile), within=chaos, max_faults=max_faults),
    )
