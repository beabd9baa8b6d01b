"""Whether the core runs as Python or as machine code that was compiled from it, and which is to.

What was compiled (see `setup.py`) lies beside its source, and is found first. Both do the same, to
the byte. The source is the reference: with `SYNCSTRUCTS_PURE=1` in the environment it runs instead,
from the same installation.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import (
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import find_spec
from typing import Final

_PACKAGE: Final = __name__.partition(".")[0]


class _Sources:
    """Finds the modules of this package that are written in Python, and no others."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: object = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != _PACKAGE:
            return None
        for place in path or ():
            found = FileFinder(place, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name)
            if found is not None:
                return found
        return None


# The package imports this first: what is imported later is chosen by it.
if os.environ.get("SYNCSTRUCTS_PURE", "0") not in ("", "0"):
    sys.meta_path.insert(0, _Sources)

_core: Final = find_spec(f"{_PACKAGE}.raft.core")
IS_COMPILED: Final = _core is not None and isinstance(_core.loader, ExtensionFileLoader)
"""Whether the core is compiled that runs in this process."""
