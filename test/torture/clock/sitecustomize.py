"""A clock that can be set: every Python process that finds this file shifts its time by what a file says.

``TORTURE_CLOCK`` names the file; it holds seconds. The clocks that only go forward (`time.monotonic`) stay as they are,
and so does the file system's, as on a machine whose clock is set.
"""

import os
import time


def _shift_clock():
    file, seconds, nanoseconds, local = os.environ["TORTURE_CLOCK"], time.time, time.time_ns, time.localtime

    def offset():
        try:
            with open(file, "rb") as stream:
                return int(stream.read() or 0)
        except (OSError, ValueError):
            return 0

    def now():
        """Seconds since the epoch, shifted."""
        return seconds() + offset()

    def now_ns():
        """Nanoseconds since the epoch, shifted."""
        return nanoseconds() + offset() * 10**9

    time.time, time.time_ns = now, now_ns
    time.localtime = lambda when=None: local(now() if when is None else when)


if os.environ.get("TORTURE_CLOCK"):
    _shift_clock()
