"""The debugger at a task: from its first line, and where it failed."""

from __future__ import annotations

import bdb
import contextlib
import pdb
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from pipelet.tracebacks import without_engine


class _Stepper(pdb.Pdb):
    """Stops at the first line of one script; before that, and behind its end, at nothing."""

    def __init__(self, script: str) -> None:
        super().__init__(skip=["pipelet", "pipelet.*"])
        self._script = self.canonic(script)
        self._frame: FrameType | None = None

    def _outside(self, frame: FrameType) -> bool:
        if self._frame is None and self.canonic(frame.f_code.co_filename) == self._script:
            self._frame = frame
        return self._frame is None

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        if not self._outside(frame) and frame is not self._frame:
            super().user_call(frame, argument_list)

    def user_line(self, frame: FrameType) -> None:
        if not self._outside(frame):
            super().user_line(frame)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        if not self._outside(frame):
            super().user_return(frame, return_value)
            if frame is self._frame:
                self.set_continue()

    def user_exception(self, frame: FrameType, exc_info: Any) -> None:
        if not self._outside(frame):
            super().user_exception(frame, exc_info)


@contextlib.contextmanager
def stepping(script: str) -> Iterator[None]:
    """While this lasts, the debugger stops at the first line of a script.

    Parameters
    ----------
    script
        Its path, as its code object has it.
    """
    debugger = _Stepper(script)
    interrupt = signal.getsignal(signal.SIGINT)
    debugger.reset()
    debugger.set_step()
    sys.settrace(debugger.trace_dispatch)
    try:
        yield
    finally:
        sys.settrace(None)
        # The debugger lets Ctrl-C stop a task that runs on.
        signal.signal(signal.SIGINT, interrupt)


def post_mortem(error: BaseException) -> bool:
    """Look at what a task left when it raised, at the last line of its own.

    Returns
    -------
    bool
        False where the error came from no line of the task's.
    """
    trace = without_engine(error.__traceback__)
    if trace is None:
        return False
    pdb.post_mortem(trace)
    return True


def was_left(error: BaseException | None) -> bool:
    """Whether an error is that the user left the debugger."""
    return isinstance(error, bdb.BdbQuit)
