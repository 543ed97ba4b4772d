"""Looking at files below one directory without ever being led out of it, whatever links say and whoever moves them.

A path is walked one directory at a time, each opened relative to the one before and never through a link. A link is
read and its target walked in the same way, so there is no moment between a check and its use: what was opened is below
the top.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import BinaryIO, NamedTuple

from pipelet.errors import MissingProductError, PrefixError, RefusedProductError, StorageError
from pipelet.storage.files import explain

#: So many links are followed for one path.
MOST_LINKS = 40
#: Longer paths are no one's.
_MOST_PARTS = 256

_NEVER_THROUGH = os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | _NEVER_THROUGH
#: A directory on the way needs no permission to be read, where the system can say that it is only passed through.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | _NEVER_THROUGH


class Kind(str, Enum):
    """What stands under a name."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    PIPE = "pipe"
    SOCKET = "socket"
    DEVICE = "device"

    def __str__(self) -> str:
        return self.value


class Entry(NamedTuple):
    """One name in a directory, as the directory has it: nothing was opened."""

    name: str
    kind: Kind
    size: int
    modified: float
    target: str | None = None  #: where a link points, as it says
    leads: Kind | None = None  #: what it leads to, if that may be shown
    refusal: str | None = None  #: why it is not followed


def kind_of(mode: int) -> Kind:
    """Tell what a mode says."""
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.FOLDER
    if stat.S_ISLNK(mode):
        return Kind.LINK
    if stat.S_ISFIFO(mode):
        return Kind.PIPE
    return Kind.SOCKET if stat.S_ISSOCK(mode) else Kind.DEVICE


def printable(name: str) -> str:
    """Write a name so that a person sees what it is: control signs and those that turn the line are written out."""
    plain = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if plain.isprintable():
        return plain
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in plain)


class Spot(NamedTuple):
    """The end of a walk: a name in an open directory."""

    directory: int
    name: str
    info: os.stat_result


class Walls:
    """What is below a directory.

    Parameters
    ----------
    top
        The directory; links that lead to it are followed.
    closed
        Paths below it that are never entered or opened, not even through a link from elsewhere.
    """

    def __init__(self, top: str, closed: Sequence[str] = ()) -> None:
        self._top = top
        self._names = {tuple(os.path.relpath(path, top).lower().split("/")) for path in closed}
        self._identities = set()
        for path in closed:
            with contextlib.suppress(OSError):
                info = os.stat(path)
                self._identities.add((info.st_dev, info.st_ino))

    @contextlib.contextmanager
    def walk(self, parts: Sequence[str], follow: bool = True) -> Iterator[Spot]:
        """Walk to a name.

        Parameters
        ----------
        parts
            One name each.
        follow
            Whether the last one is followed, if it is a link.

        Yields
        ------
        Spot
            Its directory is open while the block lasts.

        Raises
        ------
        MissingProductError
            There is no such thing.
        RefusedProductError
            The path is none, or a link leads out.
        PrefixError
            The top is not there.
        StorageError
            It can't be read.
        """
        for part in parts:
            check_part(part)
        if len(parts) > _MOST_PARTS:
            raise RefusedProductError("the path is too long")
        shown = printable("/".join(parts))
        with contextlib.ExitStack() as opened, _translated(shown):
            yield self._spot(_Way(self._open_top(), opened), parts, follow, shown)

    def open(self, parts: Sequence[str]) -> BinaryIO:
        """Open a regular file for reading; the errors are those of `walk`."""
        shown = printable("/".join(parts))
        with self.walk(parts) as spot:
            if not stat.S_ISREG(spot.info.st_mode):
                raise RefusedProductError(f"{shown} is a {kind_of(spot.info.st_mode)}, not a file: it is not opened")
            # Another thing may have taken its place: a pipe would block, and is not read from.
            handle = os.open(spot.name, _READ, dir_fd=spot.directory)
            try:
                info = os.fstat(handle)
                if not stat.S_ISREG(info.st_mode):
                    raise RefusedProductError(f"{shown} is a {kind_of(info.st_mode)}, not a file: it is not read")
                self._check_identity(info, shown)
                return os.fdopen(handle, "rb")
            except BaseException:
                os.close(handle)
                raise

    @contextlib.contextmanager
    def folder(self, parts: Sequence[str]) -> Iterator[int]:
        """Open a directory for listing, while the block lasts; the errors are those of `walk`."""
        with self.walk(parts) as spot:
            handle = os.open(spot.name, os.O_RDONLY | os.O_DIRECTORY | _NEVER_THROUGH, dir_fd=spot.directory)
            try:
                self._check_identity(os.fstat(handle), printable("/".join(parts)))
                yield handle
            finally:
                os.close(handle)

    def entry(self, parts: Sequence[str]) -> Entry:
        """Say what stands under a name, without opening it; the errors are those of `walk`."""
        with self.walk(parts, follow=False) as spot:
            kind = kind_of(spot.info.st_mode)
            name = parts[-1] if parts else ""
            if kind is not Kind.LINK:
                return Entry(name, kind, spot.info.st_size, spot.info.st_mtime)
            target = os.readlink(spot.name, dir_fd=spot.directory)
        try:
            with self.walk(parts) as spot:
                found = spot.info
            return Entry(name, kind, found.st_size, found.st_mtime, target, kind_of(found.st_mode))
        except MissingProductError:
            return Entry(name, kind, 0, 0.0, target, None, "there is nothing where it leads")
        except StorageError as error:
            return Entry(name, kind, 0, 0.0, target, None, str(error))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _open_top(self) -> int:
        try:
            return os.open(self._top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise PrefixError(explain("read the prefix", self._top, error)) from error

    def _spot(self, way: _Way, parts: Sequence[str], follow: bool, shown: str) -> Spot:
        todo = deque(parts)
        links = 0
        while todo:
            part = todo.popleft()
            if part == "..":
                if not way.names:
                    raise _leaves(shown)
                way.back()
                continue
            if (*(name.lower() for name in way.names), part.lower()) in self._names:
                raise _closed(shown)
            info = os.stat(part, dir_fd=way.here, follow_symlinks=False)
            self._check_identity(info, shown)
            if stat.S_ISLNK(info.st_mode) and (todo or follow):
                links += 1
                if links > MOST_LINKS:
                    raise RefusedProductError(f"{shown}: too many links lead to one another")
                todo.extendleft(reversed(self._target(os.readlink(part, dir_fd=way.here), way, shown)))
            elif not todo:
                return Spot(way.here, part, info)
            else:
                way.enter(part)
        return Spot(way.here, ".", os.fstat(way.here))

    def _target(self, target: str, way: _Way, shown: str) -> list[str]:
        """Give the steps of a link's target, from here or from the top."""
        steps = [step for step in target.split("/") if step not in ("", ".")]
        if not target.startswith("/"):
            return steps
        for top in (self._top, os.path.realpath(self._top)):
            begin = [step for step in top.split("/") if step]
            if steps[: len(begin)] == begin:
                way.to_top()
                return steps[len(begin) :]
        raise _leaves(shown)

    def _check_identity(self, info: os.stat_result, shown: str) -> None:
        """Refuse what is closed also under another name."""
        if (info.st_dev, info.st_ino) in self._identities:
            raise _closed(shown)


class _Way:
    """The open directories from the top to where one stands."""

    def __init__(self, top: int, opened: contextlib.ExitStack) -> None:
        self._handles = [top]
        self.names: list[str] = []
        opened.callback(self._close)

    @property
    def here(self) -> int:
        return self._handles[-1]

    def enter(self, name: str) -> None:
        self._handles.append(os.open(name, _PASS, dir_fd=self.here))
        self.names.append(name)

    def back(self) -> None:
        os.close(self._handles.pop())
        self.names.pop()

    def to_top(self) -> None:
        while self.names:
            self.back()

    def _close(self) -> None:
        for handle in self._handles:
            os.close(handle)


def check_part(part: str) -> None:
    """Raise a `RefusedProductError` unless `part` is a single name."""
    if part in ("", ".", "..") or "/" in part or "\0" in part:
        raise RefusedProductError(f"{printable(part)!r} is no name of a file")


def names_in(handle: int, wanted: Callable[[str], bool], most: int) -> tuple[list[str], bool]:
    """List an open directory: the names, sorted, and whether there were more than `most`."""
    found: list[str] = []
    with os.scandir(handle) as entries:
        for entry in entries:
            if wanted(entry.name):
                if len(found) >= most:
                    return sorted(found), True
                found.append(entry.name)
    return sorted(found), False


def _leaves(shown: str) -> RefusedProductError:
    return RefusedProductError(f"{shown} leads out of the prefix: it is shown, not followed")


def _closed(shown: str) -> RefusedProductError:
    return RefusedProductError(f"{shown} leads to the engine's own files: it is shown, not followed")


@contextlib.contextmanager
def _translated(shown: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            raise MissingProductError(f"there is no {shown}") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise RefusedProductError(f"{shown} can't be read by the user that the server runs as") from error
        raise StorageError(explain("read", shown, error)) from error
    except UnicodeEncodeError as error:
        # No file system has such a name.
        raise MissingProductError(f"there is no {shown!a}") from error
