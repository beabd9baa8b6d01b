"""What an input reaches in the library: every place, once.

From Python 3.12 on by `sys.monitoring`, where a place that was reached costs nothing from then on;
before by a trace function, with which all is some five times slower.
"""

import sys
from types import CodeType, FrameType
from typing import Any

import syncstructs

_ROOT = syncstructs.__path__[0]
# Tool 3 is free for anybody.
_TOOL = 3


class Coverage:
    """Places in the library's code that were reached; `new` since the last `take`."""

    def __init__(self) -> None:
        self.reached: set[tuple[str, str, int]] = set()
        self._new = 0

    def take(self) -> int:
        """Return how many places were reached for the first time since the last call."""
        new, self._new = self._new, 0
        return new

    def _note(self, code: CodeType, place: int) -> None:
        key = (code.co_filename, code.co_qualname, place)
        if key not in self.reached:
            self.reached.add(key)
            self._new += 1

    def lines(self) -> dict[str, int]:
        """Return how many places were reached, by module."""
        found: dict[str, int] = {}
        for filename, _, _ in self.reached:
            name = filename.removeprefix(_ROOT).strip("/\\")
            found[name] = found.get(name, 0) + 1
        return found


if sys.version_info >= (3, 12):

    class Tracing(Coverage):
        """Coverage of what runs while it is entered."""

        def __enter__(self) -> "Tracing":
            monitoring = sys.monitoring
            monitoring.use_tool_id(_TOOL, "fuzz")
            # What was reached before this one began is new to it.
            monitoring.restart_events()
            monitoring.register_callback(_TOOL, monitoring.events.INSTRUCTION, self._instruction)
            monitoring.set_events(_TOOL, monitoring.events.INSTRUCTION)
            return self

        def __exit__(self, *exc: object) -> None:
            sys.monitoring.set_events(_TOOL, 0)
            sys.monitoring.free_tool_id(_TOOL)

        def _instruction(self, code: CodeType, offset: int) -> Any:
            if code.co_filename.startswith(_ROOT):
                self._note(code, offset)
            return sys.monitoring.DISABLE

else:

    class Tracing(Coverage):
        """Coverage of what runs while it is entered."""

        def __init__(self) -> None:
            super().__init__()
            # Lines of a function that were not reached yet.
            self._left: dict[CodeType, set[int]] = {}

        def __enter__(self) -> "Tracing":
            sys.settrace(self._call)
            return self

        def __exit__(self, *exc: object) -> None:
            sys.settrace(None)

        def _call(self, frame: FrameType, event: str, arg: object) -> Any:
            code = frame.f_code
            left = self._left.get(code)
            if left is None:
                known = code.co_filename.startswith(_ROOT)
                left = {line for _, _, line in code.co_lines() if line} if known else set()
                left.discard(code.co_firstlineno)
                self._left[code] = left
            return self._line if left else None

        def _line(self, frame: FrameType, event: str, arg: object) -> Any:
            left = self._left[frame.f_code]
            if frame.f_lineno in left:
                left.discard(frame.f_lineno)
                self._note(frame.f_code, frame.f_lineno)
            return self._line if left else None
