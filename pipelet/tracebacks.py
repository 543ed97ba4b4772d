"""Tracebacks as users want to see them: their own lines and those of their libraries, without the engine's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import FrameType, TracebackType

_HERE = __file__[: __file__.rindex("/") + 1]


def without_engine(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the engine's frames; ``None`` if it has no others."""
    kept: TracebackType | None = None
    for frame, last, line in reversed([item for item in _frames(trace) if not _is_ours(item[0])]):
        kept = TracebackType(kept, frame, last, line)
    return kept


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lasti, trace.tb_lineno
        trace = trace.tb_next


def _is_ours(frame: FrameType) -> bool:
    # The engine's own context managers come by way of the standard library.
    return frame.f_code.co_filename.startswith(_HERE) or frame.f_code.co_filename == contextlib.__file__
