"""The trash of a prefix: what users have deleted, until it is final.

Each deletion has a directory in ``.pipelet/trash``, with what it took away and two files that say what that is. The end
of its name tells its state, so that every change of state is one rename, which needs no room on the disk and has one
winner:

=============== ==================================================================================================
``<id>.moving`` things are being taken away; whoever holds the prefix next finishes that, or undoes it
``<id>``        kept, and may be restored
``<id>.back``   being restored; whoever holds the prefix next finishes that
``<id>.gone``   being deleted for good, by anybody, and without the lock of the prefix
=============== ==================================================================================================
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pipelet.core.text import task_name
from pipelet.errors import StorageError, TrashError
from pipelet.storage.files import (
    encode,
    is_directory,
    make_directories,
    remove,
    rename,
    scan,
    storage_errors,
    sync_directory,
)
from pipelet.storage.moves import DISPLACED, Placed
from pipelet.storage.moves import MOVING as HALFWAY
from pipelet.storage.names import check_instance
from pipelet.storage.told import Move, check_manifest, check_moves
from pipelet.storage.tree import Tree

MOVING, KEPT, BACK, GONE = ".moving", "", ".back", ".gone"
_BAG = re.compile(r"(\d{8}-\d{6}-[0-9a-f]{6})(\.moving|\.back|\.gone)?")
_MANIFEST, _MOVES = "manifest.json", "moves.json"
#: Beside the things: events of journals, for who takes them back.
RECORDS = "records.journal"
#: So many files are deleted between two looks at whether to stop.
_AT_ONCE = 200

#: Told how many files are deleted.
Emptied = Callable[[int], None]


class Bag:
    """One deletion.

    Parameters
    ----------
    tree
        The prefix.
    id, state
        Its name and the end of that.

    Attributes
    ----------
    manifest
        What is told about it; empty where that can't be read.
    damage
        Why it can't be restored, in words.
    """

    def __init__(self, tree: Tree, id: str, state: str) -> None:
        self.id = id
        self.state = state
        self._tree = tree
        self.manifest: dict[str, Any] = {}
        self.damage: str | None = None
        try:
            self.manifest = check_manifest(self._read(_MANIFEST))
        except (StorageError, ValueError) as error:
            # Of one that is being deleted for good, it may be gone.
            self.damage = None if state == GONE else self._words(error)

    @property
    def path(self) -> str:
        """Absolute path of its directory."""
        return os.path.join(self._tree.trash_dir, self.id + self.state)

    def moves(self) -> list[Move]:
        """What it takes away, and where that is kept.

        Raises
        ------
        StorageError
            That can't be read, or can't be true.
        """
        if self.damage is not None:
            raise StorageError(self.damage)
        try:
            return check_moves(self._read(_MOVES))
        except (StorageError, ValueError) as error:
            raise StorageError(self._words(error)) from error

    def turn(self, state: str) -> None:
        """Go over to another state.

        Raises
        ------
        TrashError
            Somebody else was faster.
        StorageError
            It can't be renamed.
        """
        target = os.path.join(self._tree.trash_dir, self.id + state)
        with storage_errors("rename", self.path):
            try:
                os.rename(self.path, target)
            except FileNotFoundError:
                raise TrashError(f"the deletion {self.id} is not in the trash any more: somebody was faster") from None
            self.state = state
            self._sync(self._tree.trash_dir)

    def take(self) -> None:
        """Take everything away; what is away already is left there.

        Raises
        ------
        StorageError
            Something can't be moved.
        """
        self._carry([(self._tree.below(source), os.path.join(self.path, kept)) for source, kept in self.moves()])

    def give_back(self) -> None:
        """Bring everything back; what is back already is left there.

        Raises
        ------
        StorageError
            Something can't be moved, or something else has its place now.
        """
        self._carry([(os.path.join(self.path, kept), self._tree.below(source)) for source, kept in self.moves()])

    def retreat(self) -> None:
        """Take away again what `give_back` has brought back."""
        pairs = [(self._tree.below(source), os.path.join(self.path, kept)) for source, kept in self.moves()]
        self._carry([(source, target) for source, target in pairs if not os.path.lexists(target)])

    def obstacle(self) -> str | None:
        """Give what stands where something of it would be brought back to, if anything does."""
        for source, kept in self.moves():
            target = self._tree.below(source)
            if os.path.lexists(target) and not _is_empty(target) and os.path.lexists(os.path.join(self.path, kept)):
                return source
        return None

    def empty(self, progress: Emptied = lambda files: None) -> None:
        """Delete it for good, in steps: it may be stopped, and gone on with, at any moment.

        Parameters
        ----------
        progress
            Told the number of files so far; what it raises stops the deletion.

        Raises
        ------
        StorageError
            Something can't be deleted.
        """
        if self.state != GONE:
            self.turn(GONE)
        files = 0
        for folder, folders, names in os.walk(self.path, topdown=False):
            for name in (*names, *(inner for inner in folders if os.path.islink(os.path.join(folder, inner)))):
                _delete(folder, name)
                files += 1
                if files % _AT_ONCE == 0:
                    progress(files)
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        # What the walk could not enter.
        try:
            remove(self.path)
        except StorageError:
            # Somebody else may be deleting it, too.
            if os.path.lexists(self.path):
                raise
        progress(files)

    def _carry(self, pairs: Iterable[tuple[str, str]]) -> None:
        touched: set[str] = set()
        for source, target in pairs:
            with storage_errors("move", source):
                if not os.path.lexists(source):
                    continue
                if os.path.lexists(target):
                    if not _is_empty(target):
                        raise StorageError(f"{target} stands where {source} belongs: move one of them away")
                    os.rmdir(target)
                make_directories(os.path.dirname(target), self._tree.synced)
                try:
                    rename(source, target)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    raise StorageError(
                        f"{source} is on another disk than {self._tree.trash_dir}, and can't go through the trash:"
                        " delete it by hand, and run pipeutils --check with --repair"
                    ) from error
                touched.update((os.path.dirname(source), os.path.dirname(target)))
        for folder in touched:
            with storage_errors("write", folder):
                self._sync(folder)

    def _sync(self, folder: str) -> None:
        if self._tree.synced and os.path.isdir(folder):
            sync_directory(folder)

    def _words(self, error: Exception) -> str:
        return (
            f"{self.path}: what it says of itself is damaged ({error}), so it is neither restored nor finished. Take"
            " by hand what you need out of it, and move it away"
        )

    def _read(self, name: str) -> Any:
        file = os.path.join(self.path, name)
        with storage_errors("read", file), open(file, "rb") as stream:
            return json.loads(stream.read())


def pack(
    tree: Tree,
    manifest: Mapping[str, object],
    moves: Sequence[Move],
    write_records: Callable[[str], None] = lambda file: None,
) -> Bag:
    """Begin a deletion: from here on it is finished or undone, whatever happens.

    Parameters
    ----------
    tree
        The prefix; the caller holds its lock.
    manifest
        Told about it.
    moves
        What to take away.
    write_records
        Writes what else is to be kept to a file of this name.

    Raises
    ------
    StorageError
        It can't be written: nothing has happened then.
    """
    for source, _ in moves:
        check_source(tree, source)
    id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"
    unfinished = os.path.join(tree.discard_dir, uuid.uuid4().hex)
    with storage_errors("write", tree.trash_dir):
        make_directories(tree.trash_dir, tree.synced)
        os.mkdir(unfinished)
        _share(tree, unfinished)
        _share(tree, tree.trash_dir)
        for name, table in ((_MANIFEST, {**manifest, "id": id}), (_MOVES, {"moves": list(moves)})):
            with open(os.path.join(unfinished, name), "xb") as file:
                file.write(encode(json.dumps(table, indent=1)))
                if tree.synced:
                    file.flush()
                    os.fsync(file.fileno())
        write_records(os.path.join(unfinished, RECORDS))
        for name in os.listdir(unfinished):
            os.chmod(os.path.join(unfinished, name), stat.S_IMODE(os.stat(unfinished).st_mode) & 0o666)
        if tree.synced:
            sync_directory(unfinished)
        os.rename(unfinished, os.path.join(tree.trash_dir, id + MOVING))
        if tree.synced:
            sync_directory(tree.trash_dir)
    return Bag(tree, id, MOVING)


def _share(tree: Tree, directory: str) -> None:
    """Let those in who may look into the prefix, also where a server with a strict umask makes it."""
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(os.stat(tree.engine_dir).st_mode)
        if stat.S_IMODE(os.stat(directory).st_mode) != mode:
            os.chmod(directory, mode)


def bags(tree: Tree, *states: str) -> list[Bag]:
    """Give the deletions in the trash, the newest first; of these states or all."""
    found = []
    with storage_errors("read", tree.trash_dir):
        names = [entry.name for entry in scan(tree.trash_dir) if entry.is_dir(follow_symlinks=False)]
    for name in reversed(names):
        match = _BAG.fullmatch(name)
        if match is not None and (not states or (match[2] or KEPT) in states):
            bag = Bag(tree, match[1], match[2] or KEPT)
            # One that goes just now takes its files along: there is nothing more to tell of it.
            if bag.damage is None or os.path.lexists(bag.path):
                found.append(bag)
    return found


def were_cut(tree: Tree) -> list[Bag]:
    """Give the deletions and restorations that a process began and did not finish, the oldest first."""
    return bags(tree, MOVING, BACK)[::-1]


def check_source(tree: Tree, source: str) -> None:
    """Raise a `StorageError` if something can't be taken away: it is reached through a link, or outside an instance."""
    parts = source.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise StorageError(f"{source!r} is no place below the prefix")
    check_instance(parts[0])
    for count in range(1, len(parts)):
        _no_link(tree, "/".join(parts[:count]))
    if not os.path.islink(os.path.join(tree.prefix, source)):
        return
    if parts[-1] in ("data", "superseded") or len(parts) == 1:
        _no_link(tree, source)


def _no_link(tree: Tree, path: str) -> None:
    if os.path.islink(os.path.join(tree.prefix, path)):
        raise StorageError(
            f"{path} below {tree.prefix} is a link, and nothing is moved or deleted through links: put the directory"
            " itself in its place"
        )


def _is_empty(path: str) -> bool:
    return is_directory(path) and not os.listdir(path)


def _delete(folder: str, name: str) -> None:
    try:
        remove(os.path.join(folder, name))
    except StorageError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        # A task has write-protected its directory.
        with storage_errors("delete", folder):
            os.chmod(folder, stat.S_IRWXU)
        remove(os.path.join(folder, name))


def sources_of_tasks(tree: Tree, path: str, tasks: Iterable[Placed], siblings: Collection[str]) -> list[str]:
    """Find what some tasks have on the disk.

    Parameters
    ----------
    tree, path
        The prefix and the instance.
    tasks
        The tasks.
    siblings
        Names in ``data/`` that belong to tasks with directories of their own.

    Returns
    -------
    list of str
        Directories, files and logs, relative to the prefix.
    """
    data, log = tree.data_dir(path), os.path.dirname(tree.log_path(path, 0))
    with storage_errors("read", tree.below(path)):
        here, logs = ({entry.name for entry in scan(folder)} for folder in (data, log))
        aside = {entry.name for entry in scan(os.path.join(os.path.dirname(data), "superseded"))}
    found: list[str] = []
    for place, number, text, current in tasks:
        if f"{number}.log" in logs:
            found.append(f"{path}/log/{number}.log")
        if place is None:
            continue
        name = task_name(number, text)
        found += [f"{path}/superseded/{name}{end}" for end in ("", HALFWAY, DISPLACED) if name + end in aside]
        if current and place and place in here:
            found.append(f"{path}/data/{place}")
        elif current and not place:
            found += [f"{path}/data/{entry}" for entry in sorted(here.difference(siblings))]
    return list(dict.fromkeys(found))
