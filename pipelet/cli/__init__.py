"""The commands: what they have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pipelet.errors import PipeletError


def run(program: str, action: Callable[[], int]) -> int:
    """Run a command, and say what went wrong in words instead of a traceback.

    Parameters
    ----------
    program
        The command's name, the first word of its messages.
    action
        Does the work, and returns the exit status.

    Returns
    -------
    int
        The exit status: that of `action`, 1 after an error, 130 when the user interrupted.
    """
    try:
        return action()
    except PipeletError as error:
        return complain(program, str(error))
    except OSError as error:
        what = error.strerror or str(error) or type(error).__name__
        return complain(program, f"{error.filename}: {what}" if error.filename else what)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130


def complain(program: str, message: str) -> int:
    """Print an error to the standard error, and return the exit status that goes with it."""
    print(f"{program}: error: {message}", file=sys.stderr)
    return 1
