"""Installs syncstructs: pure Python, or its core as machine code too, if that is asked for.

`SYNCSTRUCTS_COMPILE=1 pip install .` compiles the modules below with mypyc and a C compiler. It is
the same code and passes the same tests; the pure code is the reference, and is installed as well.

What mypyc does not know, it drops without a word, and what annotations say, it believes: an int
that comes as a `float` is one from then on. So the modules below hold no class that another package
makes (a msgspec.Struct loses its keywords, and has other bytes), none that anybody inherits from or
keeps weak references to, and no annotation that is only nearly true. Nor are there any that look
into values of users (codec, objects): those may be what no annotation says.
`tests/unit/test_compiled.py` looks after the rest.
"""

import os
import sys

from setuptools import Extension, setup

# What most calls run through, from where they are made to where they are applied.
COMPILED = (
    "futures", "replica",
    "raft/appends", "raft/ballot", "raft/core", "raft/following", "raft/leading", "raft/log",
    "raft/observing", "raft/progress", "raft/quorum", "raft/reads", "raft/recovery",
    "raft/silences", "raft/transfer", "raft/wire",
    "node/batch", "node/calls", "node/driver", "node/engine",
    "net/connection", "net/frames", "net/link", "net/peer", "net/peers", "net/transport",
)  # fmt: skip

# Another mypy may make something else of it; msgspec is there for its types.
NEEDED = ["mypy==2.4.*", "msgspec>=0.19"]


def extensions() -> list[Extension]:
    """Return the modules to compile, in C."""
    try:
        from mypyc.build import mypycify
    except ImportError:
        sys.exit(
            "SYNCSTRUCTS_COMPILE is set, but mypy, which compiles, is not installed here:"
            f" pip install {' '.join(map(repr, NEEDED))}, or unset it for the pure Python code"
        )
    return mypycify(
        [f"syncstructs/{name}.py" for name in COMPILED], group_name="syncstructs", debug_level="0"
    )


if os.environ.get("SYNCSTRUCTS_COMPILE", "0") in ("", "0"):
    setup()
elif {"egg_info", "dist_info"}.intersection(sys.argv):
    # An installer asks first what the build needs, when that is not there yet.
    setup(setup_requires=NEEDED)
else:
    setup(ext_modules=extensions())
