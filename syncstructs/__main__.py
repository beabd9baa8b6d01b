"""`python -m syncstructs`: the same as the command `syncstructs`."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
