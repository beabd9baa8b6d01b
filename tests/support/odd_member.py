"""A member whose clocks are hours away from everybody else's; runs before anything is imported.

The offset follows from PYTHONHASHSEED, which differs per member as well. No clock of any member
may matter: neither the wall clock nor where a monotonic clock happens to start.
"""

import os
import time

_hours = 3600.0 * int(os.environ["PYTHONHASHSEED"])
_time, _monotonic = time.time, time.monotonic
time.time = lambda: _time() + _hours
time.time_ns = lambda: int((_time() + _hours) * 1e9)
time.monotonic = lambda: _monotonic() + 7 * _hours

if __name__ == "__main__":
    from syncstructs.cli.member import main

    main()
