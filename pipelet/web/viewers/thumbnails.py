"""Pictures of products, remembered for a while in memory: never in the prefix, which a reader may not write to."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from pipelet.errors import BusyError, ViewError
from pipelet.web.viewers import limited
from pipelet.web.viewers.base import Source
from pipelet.web.viewers.kinds import kind_by_name

#: Sides that can be asked for.
SIDES = {"small": 240, "large": 900}
_ROOM = 48 << 20
_LIMITS = limited.Limits(seconds=15.0)
_KINDS = frozenset({"image", "array", "archive", "fits"})

_lock = threading.Lock()
_kept: OrderedDict[tuple[object, ...], bytes | str] = OrderedDict()
_size = 0


def mark(source: Source) -> tuple[int, ...]:
    """What changes when a file does."""
    info = os.fstat(source.file.fileno())
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)


def picture(source: Source, size: str = "small", part: str = "") -> bytes:
    """Draw a product, or give what was drawn before.

    Parameters
    ----------
    source
        The file.
    size
        One of `SIDES`.
    part
        Of a file that holds several, which one.

    Returns
    -------
    bytes
        PNG or JPEG.

    Raises
    ------
    ViewError
        There is no picture of it.
    BusyError
        It could not be drawn now.
    """
    kind = kind_by_name(source.name)
    if kind not in _KINDS:
        raise ViewError("there is no picture of it")
    key = (*mark(source), kind, size, part[:20])
    found = _recall(key)
    if found is None:
        try:
            found = limited.ask("picture", source.file, {"of": kind, "side": SIDES[size], "part": part[:20]}, _LIMITS)
        except BusyError:
            # That is no fault of the file, and not for long.
            raise
        except ViewError as error:
            # Also what can't be drawn is not tried again and again.
            found = str(error)
        _remember(key, found)
    if isinstance(found, str):
        raise ViewError(found)
    return found


def picture_type(data: bytes) -> str:
    """The content type of what `picture` gave."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


def _recall(key: tuple[object, ...]) -> bytes | str | None:
    with _lock:
        found = _kept.get(key)
        if found is not None:
            _kept.move_to_end(key)
        return found


def _remember(key: tuple[object, ...], data: bytes | str) -> None:
    global _size
    with _lock:
        if key not in _kept:
            _kept[key] = data
            _size += len(data) + 200
        while _size > _ROOM:
            _size -= len(_kept.popitem(last=False)[1]) + 200
