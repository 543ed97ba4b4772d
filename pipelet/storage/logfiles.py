"""The log of a prefix as lines that can be walked through in either direction, block by block, across its files.

A place in the log is the mark of a file and an offset in it. The mark is made of the file's first line, so a place
stays what it is when the files are rotated or copied.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple

from pipelet.storage.tree import Tree

#: So much is read at once.
BLOCK = 1 << 16
#: Of a longer line only the beginning is given.
LONGEST_LINE = 1 << 18
_NAME = re.compile(r"pipelet\.log(?:\.(\d{1,3}))?")
_MARK_BYTES = 512


class Line(NamedTuple):
    """One line of the log, without its end."""

    mark: str  #: which file it is in
    begin: int  #: the offset of its first byte
    end: int  #: the offset where the next line begins
    text: bytes


class _Part(NamedTuple):
    mark: str
    handle: int
    size: int


class LogFiles:
    """The log files of a prefix, as long as they were when this was made: a context manager.

    Parameters
    ----------
    tree
        The prefix.
    """

    def __init__(self, tree: Tree) -> None:
        self._parts: list[_Part] = []
        for path in _paths(tree.log_dir):
            part = _open(path)
            # A rotation may come between two files: what was seen already is not seen again.
            if part is None:
                continue
            if any(part.mark == other.mark for other in self._parts):
                os.close(part.handle)
            else:
                self._parts.append(part)

    def __enter__(self) -> LogFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._parts:
            os.close(self._parts.pop().handle)

    @property
    def oldest(self) -> tuple[str, int]:
        """The place where the log begins."""
        return (self._parts[0].mark, 0) if self._parts else ("", 0)

    @property
    def newest(self) -> tuple[str, int]:
        """The place where the log ends."""
        return (self._parts[-1].mark, self._parts[-1].size) if self._parts else ("", 0)

    def holds(self, place: tuple[str, int]) -> bool:
        """Whether a place is in the log still."""
        return any(part.mark == place[0] and place[1] <= part.size for part in self._parts)

    def backward(self, place: tuple[str, int] | None = None) -> Iterator[Line]:
        """Go through the lines that end at or before a place, the last one first.

        Parameters
        ----------
        place
            The end of the log if not given; where it is in the log no longer, there are no lines.
        """
        mark, offset = place or self.newest
        numbers = [number for number, part in enumerate(self._parts) if part.mark == mark]
        for number in range(numbers[0] if numbers else -1, -1, -1):
            part = self._parts[number]
            yield from _lines_back(part, min(offset, part.size) if part.mark == mark else part.size)

    def forward(self, place: tuple[str, int]) -> Iterator[Line]:
        """Go through the whole lines that begin at or after a place, the first one first.

        Parameters
        ----------
        place
            Where it is in the log no longer, the lines come from the oldest on.
        """
        mark, offset = place
        numbers = [number for number, part in enumerate(self._parts) if part.mark == mark]
        for number in range(numbers[0] if numbers else 0, len(self._parts)):
            part = self._parts[number]
            yield from _lines_on(part, offset if part.mark == mark else 0)

    def locate(self, earlier: Callable[[bytes], bool | None]) -> tuple[str, int]:
        """Find a moment by halving, as far as the log is in order.

        Parameters
        ----------
        earlier
            Whether a line is of before the moment; None where it does not say.

        Returns
        -------
        tuple
            The place of the first line that is not earlier.
        """
        for part in reversed(self._parts):
            first = _first_told(part, 0, earlier)
            if first is not None and first[1]:
                low, high = 0, part.size
                while high - low > 1:
                    middle = (low + high) // 2
                    told = _first_told(part, middle, earlier)
                    low, high = (middle, high) if told is not None and told[1] else (low, middle)
                told = _first_told(part, high, earlier)
                return (part.mark, part.size if told is None else told[0])
        return self.oldest


def _first_told(part: _Part, offset: int, earlier: Callable[[bytes], bool | None]) -> tuple[int, bool] | None:
    """The first line that begins at or after an offset and says when: where it begins, and whether it is earlier."""
    lines = _lines_on(part, max(0, offset - 1))
    if offset:
        # The end of the line before, even if that is its last byte only.
        next(lines, None)
    for line in lines:
        told = earlier(line.text)
        if told is not None:
            return line.begin, told
    return None


def _paths(directory: str) -> list[str]:
    """The log files, the oldest first."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = [(int(match[1] or 0), name) for name in names if (match := _NAME.fullmatch(name))]
    return [os.path.join(directory, name) for _, name in sorted(found, reverse=True)]


def _open(path: str) -> _Part | None:
    # Neither a link nor a pipe in the place of a log file is followed or waited for.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    found = os.fstat(handle)
    begin = _read(handle, 0, _MARK_BYTES).split(b"\n", 1)[0] if stat.S_ISREG(found.st_mode) else b""
    if not begin:
        os.close(handle)
        return None
    return _Part(hashlib.sha256(begin).hexdigest()[:12], handle, found.st_size)


def _read(handle: int, begin: int, size: int) -> bytes:
    try:
        return os.pread(handle, size, begin)
    except OSError:
        return b""


def _lines_back(part: _Part, end: int) -> Iterator[Line]:
    # None as long as no end of a line was met: what stands behind the last one is still being written.
    rest: bytes | None = None
    behind = end
    while end > 0:
        begin = max(0, end - BLOCK)
        block = _read(part.handle, begin, end - begin)
        stop = len(block)
        while (cut := block.rfind(b"\n", 0, stop)) >= 0:
            if rest is not None:
                yield Line(part.mark, begin + cut + 1, behind, (block[cut + 1 : stop] + rest)[:LONGEST_LINE])
            rest, behind, stop = b"", begin + cut + 1, cut
        if rest is not None:
            rest = (block[:stop] + rest)[:LONGEST_LINE]
        end = begin
    if rest is not None:
        yield Line(part.mark, 0, behind, rest)


def _lines_on(part: _Part, begin: int) -> Iterator[Line]:
    rest, first = b"", begin
    while begin < part.size:
        block = _read(part.handle, begin, min(BLOCK, part.size - begin))
        if not block:
            return
        start = 0
        while (cut := block.find(b"\n", start)) >= 0:
            yield Line(part.mark, first, begin + cut + 1, (rest + block[start:cut])[:LONGEST_LINE])
            rest, first, start = b"", begin + cut + 1, cut + 1
        rest = (rest + block[start:])[:LONGEST_LINE]
        begin += len(block)
