"""The directory of one task: making it, walking its products, and globbing in it."""

from __future__ import annotations

import fnmatch
import os
import re
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

from pipelet.errors import StorageError
from pipelet.storage.files import is_directory, remove, scan, storage_errors

_LATE_PAUSE = 0.05
_MAGIC = re.compile(r"[*?\[]")


def make_task_directory(directory: str, siblings: Collection[str] = ()) -> None:
    """Make the directory of a task that is about to run, or empty what an earlier try left there.

    Parameters
    ----------
    directory
        Absolute path.
    siblings
        Names in it that belong to other tasks; they are not touched.

    Raises
    ------
    StorageError
        It can't be made or emptied, or a file or a link stands in its place.
    """
    try:
        os.mkdir(directory)
    except OSError:
        _make_or_empty(directory, siblings)


def await_directory(directory: str, seconds: float) -> None:
    """See to it that a directory that was made on another host is seen here, with what is in it.

    To open a directory makes NFS ask its server anew for what is there, so that nothing is taken to be missing since
    this host did not find it some seconds ago.

    Parameters
    ----------
    directory
        Absolute path.
    seconds
        How long the file system may take to show it. One that is not there even then is nobody's error here.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            os.scandir(directory).close()
            return
        except OSError:
            if time.monotonic() > end:
                return
        with suppress(OSError):
            os.scandir(os.path.dirname(directory)).close()
        time.sleep(_LATE_PAUSE)


def _make_or_empty(directory: str, siblings: Collection[str]) -> None:
    with storage_errors("make the task's directory", directory):
        try:
            os.makedirs(directory)
            return
        except FileExistsError:
            if not is_directory(directory):
                raise StorageError(
                    f"{directory} should be the directory of a task, and is a file or a link: move it away"
                ) from None
        for entry in scan(directory):
            if entry.name not in siblings:
                remove(entry.path)


def products(directory: str, siblings: Collection[str] = ()) -> Iterator[str]:
    """Walk the files of one task.

    Parameters
    ----------
    directory
        The task's directory; one that is not there has no files.
    siblings
        Names at its top that belong to other tasks.

    Yields
    ------
    str
        Absolute paths, folder by folder, in the order of names. Links to files are files; links to directories are
        not entered.

    Raises
    ------
    StorageError
        A directory can't be read.
    """
    todo = [os.path.abspath(directory)]
    hidden = siblings
    while todo:
        folder = todo.pop()
        with storage_errors("read", folder):
            entries = scan(folder)
        inside = [entry for entry in entries if entry.name not in hidden]
        yield from (entry.path for entry in inside if entry.is_file())
        todo.extend(entry.path for entry in reversed(inside) if entry.is_dir(follow_symlinks=False))
        hidden = ()


def glob_products(
    directory: str, pattern: str, siblings: Collection[str] = (), virtual: str | None = None
) -> list[str]:
    """Find files and directories of one task by a pattern of the shell, with ``**`` for any number of directories.

    Only the pattern is a pattern: signs such as ``[`` in `directory` and `virtual` stand for themselves. Names that
    begin with a dot match only where the pattern has the dot. Links are entered where a part of the pattern matches
    them, never by ``**``.

    Parameters
    ----------
    directory
        The task's directory.
    pattern
        Relative; ``''`` is the directory itself; a final ``/`` asks for directories only.
    siblings
        Names at the top of `directory` that belong to other tasks; never shown.
    virtual
        Match as if `directory` had this name and the pattern were relative to the directory above.

    Returns
    -------
    list of str
        Absolute paths, sorted, each once.

    Raises
    ------
    StorageError
        The pattern leaves the task's directory, or a directory can't be read.
    """
    parts = _split(pattern)
    directory = os.path.abspath(directory)
    if not os.path.isdir(directory):
        return []
    found: set[str] = set()
    start = 0
    todo: list[tuple[str, int]] = []
    if virtual is not None:
        while start < len(parts) and parts[start] == "**":
            todo.append((directory, start))
            start += 1
        if start == len(parts):
            above = os.path.dirname(directory)
            found.add(above if os.path.basename(directory) == virtual else directory)
        elif _pattern(parts[start]).fullmatch(virtual):
            todo.append((directory, start + 1))
    else:
        todo.append((directory, 0))
    found |= _walk(directory, parts, todo, siblings)
    if pattern.rpartition("/")[2] in ("", "."):
        found = {path for path in found if os.path.isdir(path)}
    return sorted(found)


def _split(pattern: str) -> list[str]:
    parts: list[str] = []
    outside = pattern.startswith("/")
    for part in pattern.split("/"):
        if part == "..":
            outside = outside or not parts
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if outside:
        raise StorageError(f"the pattern {pattern!r} leaves the task's directory: give one relative to it, no '..'")
    return parts


def _pattern(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part))


def _walk(top: str, parts: list[str], todo: list[tuple[str, int]], siblings: Collection[str]) -> set[str]:
    """Follow the parts of a pattern from the given places (path, number of the next part)."""
    found: set[str] = set()
    seen: set[tuple[str, int]] = set()
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        path, index = place
        if index == len(parts):
            found.add(path)
            continue
        hidden = siblings if path == top else ()
        part = parts[index]
        if part == "**":
            if os.path.isdir(path):
                todo.append((path, index + 1))
            for entry in _entries(path, hidden):
                if not entry.name.startswith("."):
                    if entry.is_dir(follow_symlinks=False):
                        todo.append((entry.path, index))
                    elif index + 1 == len(parts):
                        found.add(entry.path)
        elif _MAGIC.search(part) is None:
            child = os.path.join(path, part)
            if part not in hidden and os.path.lexists(child):
                todo.append((child, index + 1))
        else:
            match = _pattern(part).fullmatch
            for entry in _entries(path, hidden):
                if match(entry.name) and (part.startswith(".") or not entry.name.startswith(".")):
                    todo.append((entry.path, index + 1))
    return found


def _entries(path: str, hidden: Collection[str]) -> list[os.DirEntry[str]]:
    with storage_errors("read", path):
        return [entry for entry in scan(path) if entry.name not in hidden]
