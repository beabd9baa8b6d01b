"""What the log has been told already, so that a fault that lasts is one line and not a flood."""

import logging

_SOURCE_COUNT = 256
_NOTICES_PER_SOURCE = 16


class Notices:
    """Logs each sentence once per source, until the source is forgotten.

    A source is a peer's address, or the host of a stranger. Both counts are bounded: strangers can
    make at most 256 times 16 lines, whatever they send.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._told: dict[str, set[str]] = {}

    def once(self, source: str, level: int, sentence: str) -> None:
        """Log `sentence` unless it was logged for `source` since the last `forget`."""
        told = self._told.get(source)
        if told is None:
            if len(self._told) >= _SOURCE_COUNT:
                return
            told = self._told[source] = set()
        if sentence not in told and len(told) < _NOTICES_PER_SOURCE:
            told.add(sentence)
            self._logger.log(level, "%s", sentence)

    def forget(self, source: str) -> None:
        """Note that all is well with `source`: what goes wrong from now on is news again."""
        self._told.pop(source, None)

    def _check(self) -> None:
        assert len(self._told) <= _SOURCE_COUNT, len(self._told)
        for source, told in self._told.items():
            assert 0 < len(told) <= _NOTICES_PER_SOURCE, (source, told)
