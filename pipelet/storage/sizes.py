"""How much room directories take."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

#: So many entries are looked at between two calls of the pause.
_AT_ONCE = 500


class Size(NamedTuple):
    """How much something takes on the disk."""

    bytes: int
    files: int

    def __add__(self, other: object) -> Size:
        if not isinstance(other, Size):
            return NotImplemented
        return Size(self.bytes + other.bytes, self.files + other.files)


def measure(
    paths: Iterable[str],
    pause: Callable[[], None] = lambda: None,
    skip: Callable[[str], bool] = lambda name: False,
) -> Size:
    """Add up what files take on the disk; links are not followed, and what can't be read or has gone counts nothing.

    Parameters
    ----------
    paths
        Files and directories.
    pause
        Called now and then; what it raises ends the measuring.
    skip
        Tells of the name of a directory directly below one of the paths whether to leave it out.
    """
    total = files = seen = 0
    for path in paths:
        todo = [path]
        with contextlib.suppress(OSError):
            stat = os.lstat(path)
            total, files = total + taken(stat), files + 1
        while todo:
            folder = todo.pop()
            try:
                entries = os.scandir(folder)
            except OSError:
                continue
            with entries:
                for entry in entries:
                    seen += 1
                    if seen % _AT_ONCE == 0:
                        pause()
                    with contextlib.suppress(OSError):
                        inside = entry.is_dir(follow_symlinks=False)
                        if inside and folder == path and skip(entry.name):
                            continue
                        total += taken(entry.stat(follow_symlinks=False))
                        files += 1
                        if inside:
                            todo.append(entry.path)
    return Size(total, files)


def taken(stat: os.stat_result) -> int:
    """The bytes that a file takes: a sparse one less than its length."""
    blocks = getattr(stat, "st_blocks", None)
    return stat.st_size if blocks is None else int(blocks) * 512
