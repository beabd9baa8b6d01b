"""`SyncObj`: a node that is itself a replicated object, for classes in PySyncObj's style."""

from collections.abc import Iterable
from typing import Any, ClassVar

from ..config import Config
from ..objects.replicated import Replicated
from .node import Consumers, Node, _named

_NAME = "self"


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

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_attached", "_consumers", "_engine", "_ready"})
    _embeddable: ClassVar[bool] = False

    def __init__(
        self,
        address: str,
        partners: Iterable[str] = (),
        *,
        consumers: Consumers | None = None,
        config: Config | None = None,
        **config_fields: Any,
    ) -> None:
        self._prepare(address, partners, config, config_fields)
        self._consumers = _named(consumers)

    def _start(self) -> None:
        self._begin({_NAME: self, **self._consumers})
