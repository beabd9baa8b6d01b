"""What the log has been told already, so that a fault that lasts is one line and not a flood."""

import logging

# Of hosts, which anybody may have many of; members are as many as there are.
_HOST_COUNT = 256
_NOTICES_PER_SOURCE = 16


class Notices:
    """Logs each sentence once per source, until the source is forgotten.

    A source is a peer's address, or the host of a stranger. What strangers can have logged is
    bounded, whatever they send: of 256 of them 16 lines each, and one that says that there are
    more. So nothing that they do keeps the log from hearing of members.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._members: dict[str, set[str]] = {}
        self._hosts: dict[str, set[str]] = {}
        self._has_more_hosts = False

    def once(self, source: str, level: int, sentence: str, *, member: bool) -> None:
        """Log `sentence` unless it was logged for `source` since the last `forget`.

        `member`: it is the address of a member, and no stranger can make up more of them.
        """
        kind = self._members if member else self._hosts
        told = kind.get(source)
        if told is None:
            if not member and len(kind) >= _HOST_COUNT:
                if not self._has_more_hosts:
                    self._has_more_hosts = True
                    self._logger.warning(
                        "strangers come from over %d hosts: of others, nothing is logged",
                        _HOST_COUNT,
                    )
                return
            told = kind[source] = set()
        if sentence in told or len(told) >= _NOTICES_PER_SOURCE:
            return
        told.add(sentence)
        if len(told) == _NOTICES_PER_SOURCE:
            sentence += f"; more of {source} is not logged"
        self._logger.log(level, "%s", sentence)

    def forget(self, source: str) -> None:
        """Note that all is well with `source`: what goes wrong from now on is news again."""
        self._members.pop(source, None)
        self._hosts.pop(source, None)

    def _check(self) -> None:
        assert len(self._hosts) <= _HOST_COUNT, len(self._hosts)
        for source, told in (*self._members.items(), *self._hosts.items()):
            assert 0 < len(told) <= _NOTICES_PER_SOURCE, (source, told)
