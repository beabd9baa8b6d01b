"""`SyncObj`: a node that is itself a replicated object, for classes in PySyncObj's style."""

from collections.abc import Iterable
from typing import Any, ClassVar

from ..config import Config
from ..objects.replicated import Replicated, ReplicatedDescriptor
from .engine import Engine
from .node import Consumers, Node, _named

_NAME = "self"
_OWN = frozenset({"_attached", "_consumers", "_engine", "_ready"})
"""Attributes of a node itself, which are no state."""


class _StartsWhenMade(type):
    """Start the node once the subclass's `__init__` has set all attributes, not before."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        made._start()
        return made


class SyncObj(Node, Replicated, metaclass=_StartsWhenMade):
    """Be a `Node` whose own attributes are the replicated state; inherit and mark methods.

    Takes what `Node` takes. Every attribute that the subclass sets, before or after
    `super().__init__()`, is replicated state; change it only in `@replicated` methods. The node
    starts when the outermost `__init__` has returned.
    """

    LOCAL: ClassVar[frozenset[str]] = _OWN
    _embeddable: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in vars(cls).items():
            # Who overrides `close` to do more is welcome; a command of that name would end nothing.
            hides = name.startswith("_") or isinstance(member, ReplicatedDescriptor)
            if name in _OWN or (hides and not name.startswith("__") and hasattr(Node, name)):
                raise TypeError(
                    f"{cls.__name__}.{name} would hide what every node has under this name; give it"
                    " another one"
                )

    def __init__(
        self,
        address: str | None,
        partners: Iterable[str] = (),
        *,
        consumers: Consumers | None = None,
        config: Config | None = None,
        **config_fields: Any,
    ) -> None:
        self._prepare(address, partners, config, config_fields)
        self._consumers = _named(consumers)

    def _start(self) -> None:
        sound = isinstance(self._engine, Engine) and isinstance(self._consumers, dict)
        if not sound or not _OWN.isdisjoint(vars(self).keys() - {"_consumers", "_engine"}):
            if isinstance(self._engine, Engine):
                self._engine.abort()
            raise TypeError(
                f"{type(self).__name__} has set one of {', '.join(sorted(_OWN))}, which every node"
                " has for itself; give it another name"
            )
        self._begin({_NAME: self, **self._consumers})
