"""A machine for each member: network namespaces, joined by a bridge in one more of them.

The kernel's own TCP meets the faults here: a packet that is dropped is sent again, and a heal
finds connections as they were. A flow is cut at its receiver, by a routing rule that drops what
comes from one address, so each direction can be cut by itself. Needs root and `ip`; nothing
outside these namespaces is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from rights import Heir, attempt, require, run

PORT = 4321
Flow = tuple[str, str]


class NetNamespaces:
    """`count` namespaces with an address each; a context manager.

    Raises:
        Unavailable: there are no rights, no `ip`, or no namespaces here.
    """

    def __init__(self, count: int) -> None:
        require("ip")
        stem = f"syncstructs-{os.getpid()}"
        self._hub = f"{stem}-hub"
        self.addresses = [f"10.99.0.{number + 1}:{PORT}" for number in range(count)]
        self._names = {
            address: f"{stem}-{number}" for number, address in enumerate(self.addresses)
        }
        self._cut: set[Flow] = set()
        self._heir = Heir(("ip", "netns", "del", name) for name in self.names)
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> NetNamespaces:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the namespaces; with them go their links, once no process is in them."""
        self._heir.close()

    @property
    def names(self) -> list[str]:
        """The names of all namespaces."""
        return [*self._names.values(), self._hub]

    def command(self, address: str, command: Sequence[str]) -> tuple[str, ...]:
        """Return `command` as it runs in the namespace of that address."""
        return ("ip", "netns", "exec", self._names[address], *command)

    def cut(self, flows: Iterable[Flow]) -> None:
        """Drop all packets of these flows, each a pair (from, to) of addresses."""
        for flow in set(flows) - self._cut:
            self._cut.add(flow)
            self._rule("add", flow)

    def heal(self) -> None:
        """Let all packets through again."""
        for flow in list(self._cut):
            self._rule("del", flow)
            self._cut.remove(flow)

    def _rule(self, action: str, flow: Flow) -> None:
        source, target = flow
        run("ip", "-n", self._names[target], "rule", action, "pref", "10",
            "from", source.partition(":")[0], "blackhole")  # fmt: skip

    def _make(self) -> None:
        attempt("ip", "netns", "add", self._hub)
        attempt("ip", "-n", self._hub, "link", "add", "hub", "type", "bridge")
        run("ip", "-n", self._hub, "link", "set", "hub", "up")
        for number, (address, name) in enumerate(self._names.items()):
            run("ip", "netns", "add", name)
            plug = f"m{number}"
            attempt("ip", "-n", self._hub, "link", "add", plug, "type", "veth",
                    "peer", "name", "eth0", "netns", name)  # fmt: skip
            run("ip", "-n", self._hub, "link", "set", plug, "master", "hub", "up")
            run("ip", "-n", name, "address", "add", f"{address.partition(':')[0]}/24",
                "dev", "eth0")  # fmt: skip
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            # The rule that delivers local packets comes first of all; ours must precede it.
            attempt("ip", "-n", name, "rule", "add", "pref", "100", "lookup", "local")
            attempt("ip", "-n", name, "rule", "del", "pref", "0")
