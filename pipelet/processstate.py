"""What belongs to a whole process and must not pass from one task to the next."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress


class ProcessState:
    """Directory, environment variables, ``sys.argv``, umask and root logger, as they are when this is made."""

    def __init__(self) -> None:
        self._directory = _current_directory()
        self._variables = dict(os.environb)
        self._arguments = list(sys.argv)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._level = logging.root.level
        self._handlers = list(logging.root.handlers)

    def restore(self) -> None:
        """Give everything back; quick where nothing has changed."""
        if self._directory is not None:
            try:
                moved = os.getcwd() != self._directory
            except OSError:  # somebody has removed it
                moved = True
            if moved:
                with suppress(OSError):
                    os.chdir(self._directory)
        # The public view decodes each name and each value, for every task; this is the table behind it.
        table = getattr(os.environ, "_data", None)
        if (table if type(table) is dict else dict(os.environb)) != self._variables:
            for name in [name for name in os.environb if name not in self._variables]:
                del os.environb[name]
            os.environb.update(self._variables)
        if sys.argv != self._arguments:
            sys.argv[:] = self._arguments
        os.umask(self._umask)
        if logging.root.level != self._level:
            logging.root.setLevel(self._level)
        if logging.root.handlers != self._handlers:
            logging.root.handlers[:] = self._handlers


def _current_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # somebody has removed it
        return None
