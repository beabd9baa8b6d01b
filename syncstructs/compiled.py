"""Whether the engine runs as the Python code that is beside it, or compiled from that.

To build it compiled see `setup.py`. Both do the same, to the byte; the compiled one is faster.
"""

from types import FunctionType
from typing import Final

from .raft.quorum import majority

IS_COMPILED: Final = type(majority) is not FunctionType
"""Whether the engine is compiled."""
