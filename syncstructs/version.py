"""The number of this release, the same as in `setup.cfg`."""

from typing import Final

VERSION: Final = "0.1.0"
