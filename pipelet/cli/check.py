"""The verb ``pipeutils --check``: whether tree and database agree."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TextIO

EXAMPLES = """\
  pipeutils --check . .sqlstatus    say what differs between the data below . and the database
  pipeutils --check . .sqlstatus --repair  put right what can be
"""

#: A check that takes no longer says nothing before its end.
_PATIENCE = 1.0
_PAUSE = 0.2


def add_options(options: argparse.ArgumentParser, verbs: argparse._MutuallyExclusiveGroup) -> None:
    """Add the verb and the option that goes with it."""
    verbs.add_argument(
        "--check", metavar="PREFIX", help="compare the data below PREFIX with the database; changes nothing"
    )
    group = options.add_argument_group("with --check")
    group.add_argument("--repair", action="store_true", help="put right what can be; no product is deleted")


def misused(given: argparse.Namespace) -> str | None:
    """What is wrong with the options, if anything is."""
    return "--repair goes with --check only" if given.repair and given.check is None else None


def run(prefix: str, sqlfile: str, repair: bool) -> int:
    """Compare, and print what was found.

    Parameters
    ----------
    prefix, sqlfile
        What to compare.
    repair
        Put right what can be.

    Returns
    -------
    int
        0 if nothing is wrong any more.
    """
    # the engine is slow to import beside the other verbs
    from pipelet.utils import check_prefix

    line = _Line(sys.stderr)
    try:
        report = check_prefix(prefix, sqlfile, repair, line.tell)
    finally:
        line.clear()
    print(report)
    return 0 if report.clean else 1


class _Line:
    """One line that tells how far it is, on a terminal, when it takes long."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream is not None and stream.isatty()
        self._next = time.monotonic() + _PATIENCE
        self._shown = False

    def tell(self, done: int, total: int) -> None:
        if not self._terminal or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PAUSE
        self._shown = True
        self._stream.write(f"\r\x1b[K{done} of {total} tasks looked at")
        self._stream.flush()

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
