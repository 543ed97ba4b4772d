"""The files of one task for those who look on: given a path that somebody typed, never a file of anybody else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from pipelet.core.text import task_name
from pipelet.errors import MissingProductError, RefusedProductError
from pipelet.storage.tree import Tree
from pipelet.storage.walls import Entry, Kind, Walls, names_in, printable

#: Entries of a directory on one page.
PAGE = 200
#: Of a larger directory only so many names are looked at.
MOST_NAMES = 100_000
#: Files in deeper folders are not walked to.
_DEEPEST = 40
_SIDE_FILES = ("", "-wal", "-shm", "-journal")

#: Given names, tells which are those of other tasks.
Siblings = Callable[[Collection[str]], Collection[str]]


class Folder(NamedTuple):
    """A page of a directory."""

    entries: list[Entry]
    more: bool  #: there are more, after the last of these
    cut: bool  #: it is so large that not all names were looked at


class TaskFiles:
    """The directory and the log of one task.

    Parameters
    ----------
    tree
        Where it is.
    path
        Its instance.
    number, text, place, current
        What `Tree.task_dir` takes; place ``None`` is a task without a directory.
    siblings
        Tells the names of other tasks' directories, which a task whose place is ``data/`` itself never shows.
    sqlfile
        The status database: it holds the accounts, so no link to it is followed.
    """

    def __init__(
        self,
        tree: Tree,
        path: str,
        number: int,
        text: str,
        place: str | None,
        current: bool,
        siblings: Siblings,
        sqlfile: str,
    ) -> None:
        files = dict.fromkeys((tree.default_sqlfile, os.path.abspath(sqlfile)))
        closed = [tree.engine_dir, *(file + end for file in files for end in _SIDE_FILES)]
        self._walls = Walls(tree.prefix, closed)
        self._log = (*path.split("/"), "log", f"{number}.log")
        self._top: tuple[str, ...] | None = None
        if place is not None:
            directory = os.path.relpath(tree.task_dir(path, place, number, text, current), tree.prefix)
            self._top = tuple(directory.split("/"))
        # data/ itself is shared, a directory in superseded/ is not.
        self._shared = place == "" and current
        self._siblings = siblings
        self.name = task_name(number, text)

    @property
    def directory(self) -> str | None:
        """The task's directory relative to the prefix, for people; ``None`` if it never asked for one."""
        return None if self._top is None else "/".join(self._top)

    def entry(self, path: str) -> Entry:
        """Say what stands under a path, without opening it.

        Parameters
        ----------
        path
            Relative to the task's directory, as somebody typed it; ``""`` is the directory itself.

        Returns
        -------
        Entry

        Raises
        ------
        MissingProductError
            There is nothing, or it belongs to another task.
        RefusedProductError
            The path is none, or leads out of the prefix.
        StorageError
            It can't be read.
        """
        return self._walls.entry(self._parts(path))

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading. Links that stay below the prefix are followed.

        Parameters
        ----------
        path
            As for `entry`.

        Returns
        -------
        BinaryIO
            Of a regular file, always: pipes, sockets and devices are refused.

        Raises
        ------
        MissingProductError, RefusedProductError, StorageError
            As for `entry`.
        """
        return self._walls.open(self._parts(path))

    def folder(self, path: str = "", after: str = "", limit: int = PAGE) -> Folder:
        """List a directory by name.

        Parameters
        ----------
        path
            As for `entry`.
        after
            Begin after this name.
        limit
            At most so many.

        Returns
        -------
        Folder

        Raises
        ------
        MissingProductError, RefusedProductError, StorageError
            As for `entry`.
        """
        parts = self._parts(path)
        names, cut = self._names(parts, not path)
        later = [name for name in names if name > after]
        entries = [entry for name in later[:limit] if (entry := self._glance((*parts, name)))]
        return Folder(entries, len(later) > limit, cut)

    def names(self, path: str = "") -> list[str]:
        """Give the names in a directory, sorted; the errors are those of `folder`."""
        return self._names(self._parts(path), not path)[0]

    def walk(self, most: int) -> Iterator[tuple[str, Entry]]:
        """Go through all that the task left, folder by folder; links are told, never followed.

        Parameters
        ----------
        most
            End after so many.

        Yields
        ------
        tuple
            The path, and what is there. A folder that can't be read is a link-like entry with the reason.
        """
        if self._top is None:
            return
        todo = [""]
        count = 0
        while todo:
            path = todo.pop()
            parts = self._parts(path)
            try:
                names, _ = self._names(parts, not path)
            except (MissingProductError, RefusedProductError):
                continue
            inside = []
            for name in names:
                entry = self._glance((*parts, name))
                if entry is None:
                    continue
                below = f"{path}/{name}" if path else name
                if entry.kind is Kind.FOLDER and len(parts) < _DEEPEST:
                    inside.append(below)
                    continue
                if count >= most:
                    return
                count += 1
                yield below, entry
            todo.extend(reversed(inside))

    def log(self) -> Entry | None:
        """Say what is known of the task's log, ``None`` if it wrote none."""
        with contextlib.suppress(MissingProductError):
            return self._walls.entry(self._log)
        return None

    def open_log(self) -> BinaryIO:
        """Open the task's log; the errors are those of `open`."""
        return self._walls.open(self._log)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _parts(self, path: str) -> Sequence[str]:
        if self._top is None:
            raise MissingProductError(f"task {self.name} has no directory")
        inside = path.split("/") if path else []
        if self._shared and inside and self._siblings(inside[:1]):
            raise MissingProductError(f"there is no {printable(path)}: it belongs to another task")
        return (*self._top, *inside)

    def _names(self, parts: Sequence[str], at_top: bool) -> tuple[list[str], bool]:
        with self._walls.folder(parts) as handle:
            names, cut = names_in(handle, lambda name: True, MOST_NAMES)
        if self._shared and at_top:
            hidden = set(self._siblings(names))
            names = [name for name in names if name not in hidden]
        return names, cut

    def _glance(self, parts: Sequence[str]) -> Entry | None:
        try:
            return self._walls.entry(parts)
        except MissingProductError:
            return None
        except RefusedProductError as error:
            return Entry(parts[-1], Kind.LINK, 0, 0.0, None, None, str(error))
