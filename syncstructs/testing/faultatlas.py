"""`FaultAtlas`: which disks of a cluster may be damaged, so that nothing acknowledged is lost.

What was acknowledged is on a majority of disks, and nobody knows on which. So disks of a minority
may be damaged, always the same ones, until a member is whole again.
"""

from collections.abc import Collection


class FaultAtlas:
    """The damage to the disks of one cluster, shared by all who do it.

    >>> atlas = FaultAtlas(["a", "b", "c"])
    >>> atlas.damaged("a")
    >>> atlas.may_damage("a"), atlas.may_damage("b"), "a" in atlas
    (True, False, True)
    >>> atlas.repaired("a")
    >>> atlas.may_damage("b")
    True
    """

    def __init__(self, addresses: Collection[str]) -> None:
        self._most = (len(addresses) - 1) // 2
        self._damaged: set[str] = set()

    def __contains__(self, address: str) -> bool:
        """Whether this member's disk was damaged, and not repaired since."""
        return address in self._damaged

    def may_damage(self, address: str) -> bool:
        """Return whether a majority is whole even if this member's disk is not."""
        return len(self._damaged | {address}) <= self._most

    def damaged(self, address: str) -> None:
        """Note that this member's disk was damaged; only if it may be."""
        assert self.may_damage(address), (address, sorted(self._damaged))
        self._damaged.add(address)

    def repaired(self, address: str) -> None:
        """Note that this member holds all again that it ever acknowledged."""
        self._damaged.discard(address)
