"""The tree below a prefix: the name of every file in it, and the operations on segment instances."""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping

from pipelet.core.text import task_name
from pipelet.errors import PrefixError, StorageError
from pipelet.storage import moves
from pipelet.storage.durability import DEFAULT, PROCESS, Products, sync_file_system
from pipelet.storage.files import (
    directories,
    discard,
    encode,
    is_directory,
    keep,
    make_directories,
    read_text,
    scan,
    storage_errors,
    sync_directory,
)
from pipelet.storage.journal import Journal
from pipelet.storage.names import check_instance, check_kept, check_place, instance_names, segment_of, steps

_DISCARDED = re.compile(r"[0-9a-f]{32}")


class Tree:
    """Everything below one prefix.

    Instances are named by their path relative to the prefix, ``"a_YFLJ65/b_PLMBH9"``; each method checks it.

    Parameters
    ----------
    prefix
        The root; made absolute, not touched.
    durability
        One of `pipelet.storage.durability.LEVELS`.

    Attributes
    ----------
    prefix
        Absolute path of the root.
    engine_dir, log_dir, lock_path
        The engine's own files.
    discard_dir
        What is being deleted for good, and files that are being written.
    trash_dir
        What users have deleted and may have back.
    default_sqlfile
        Where the status database is unless the user says otherwise.
    """

    def __init__(self, prefix: str, durability: str = DEFAULT) -> None:
        # abspath keeps a second slash at the start.
        self.prefix = "/" + os.path.abspath(prefix).lstrip("/")
        self.engine_dir = os.path.join(self.prefix, ".pipelet")
        self.log_dir = os.path.join(self.engine_dir, "log")
        self._moving_mark = os.path.join(self.engine_dir, "moving")
        self.lock_path = os.path.join(self.engine_dir, "lock")
        self.discard_dir = os.path.join(self.engine_dir, "discard")
        self.trash_dir = os.path.join(self.engine_dir, "trash")
        self.default_sqlfile = os.path.join(self.prefix, ".sqlstatus")
        self._synced = durability != PROCESS
        mark = os.path.join(self.engine_dir, "unsynced")
        #: What the disk may not have yet of the tasks' files.
        self.products = Products(
            self.prefix, mark, durability, lambda path: self.journal(path).size(), self.discard_dir
        )

    def __repr__(self) -> str:
        return f"Tree({self.prefix!r})"

    @property
    def synced(self) -> bool:
        """Whether the disk is waited for."""
        return self._synced

    def below(self, path: str) -> str:
        """Give the absolute path of something below the prefix."""
        return os.path.join(self.prefix, path)

    def create(self) -> None:
        """Make the prefix and the engine's directory.

        Raises
        ------
        PrefixError
            They can't be made, or nothing can be written there.
        """
        with storage_errors("use the prefix", self.prefix, PrefixError):
            make_directories(self.log_dir, self._synced)
            os.makedirs(self.discard_dir, exist_ok=True)
            # Permission bits don't tell: the system may be read-only, the user squashed, the disk full.
            # With a name that the lock sweeps away, should this process be killed just here.
            probe = f"{self.lock_path}.{uuid.uuid4().hex}.new"
            with open(probe, "xb"):
                os.unlink(probe)

    # -- instances ---------------------------------------------------------------------------------------------------

    def instance_path(self, parent: str, segment: str, key: str) -> str:
        """Give the path at which an instance is, or will be.

        Parameters
        ----------
        parent
            Path of the instance below which it lives, ``""`` for the prefix itself.
        segment
            Its segment.
        key
            Its full key.

        Returns
        -------
        str
            Relative to the prefix. The name ends with the first six characters of the key, or with more where a
            shorter name is taken by another key.

        Raises
        ------
        StorageError
            A name is wrong, a ``.meta`` is damaged, or all names are taken.
        """
        names = instance_names(segment, key)
        above = self._instance(parent) if parent else self.prefix
        with storage_errors("read", above):
            taken = {entry.name for entry in scan(above) if entry.name.startswith(names[0])}
        paths = {name: f"{parent}/{name}" if parent else name for name in names}
        keys = {name: self._key_at(paths[name]) for name in names if name in taken}
        for name in names:
            if keys.get(name) == key:
                return paths[name]
        for name in names:
            # A directory without .meta was being made when its run was killed.
            if keys.get(name) is None:
                return paths[name]
        raise StorageError(f"no name is free for {names[-1]} below {above}: move the directory of that name away")

    def create_instance(self, path: str, files: Mapping[str, bytes], meta: Mapping[str, object]) -> None:
        """Make the directory of an instance; what is there already and equal is left as it is.

        Parameters
        ----------
        path
            The instance.
        files
            The code to keep: name (may have folders) and content.
        meta
            What `read_meta` gives later; written last, so that a directory with it is complete.

        Raises
        ------
        StorageError
            Something can't be written, or the directory is another instance's.
        """
        directory = self._instance(path)
        found = self._key_at(path)
        if found is not None and "key" in meta and found != meta["key"]:
            raise StorageError(f"{directory} belongs to the key {found}, not to {meta['key']}: move it away")
        for name in files:
            check_kept(path, name)
        folders = {os.path.dirname(os.path.join(directory, name)) for name in ("x", *files)}
        for folder in sorted(folders):
            with storage_errors("make the directory", folder):
                make_directories(folder, self._synced)
        for name, content in files.items():
            keep(os.path.join(directory, name), content, self._synced, self.discard_dir)
        if self._synced:
            # Also where it was there: who made it may have been killed before the disk had its name.
            with storage_errors("make the directory", directory):
                sync_directory(os.path.dirname(directory))
        self.write_meta(path, meta)

    def find_instances(self) -> Iterator[str]:
        """Walk the instances on disk, parents before children, without a look into ``data/`` or ``superseded/``.

        Yields
        ------
        str
            Paths relative to the prefix, of each directory that has its ``.meta``; one of Pipelet 1 is passed over.

        Raises
        ------
        StorageError
            A directory can't be read.
        """
        todo = [""]
        while todo:
            path = todo.pop()
            if path and _may_be_ours(self._file(path, ".meta")):
                yield path
            directory = os.path.join(self.prefix, path)
            with storage_errors("read", directory):
                inside = [e.name for e in scan(directory) if segment_of(e.name) and e.is_dir(follow_symlinks=False)]
            todo.extend(f"{path}/{name}" if path else name for name in reversed(inside))

    def remove_instance(self, path: str) -> None:
        """Delete an instance and all that lives below it; after the first rename it is gone as a whole.

        Raises
        ------
        StorageError
            It can't be deleted.
        """
        # Were its name to come back after a power cut, all must be there, not what was left just then.
        discard(self._real(path), self.discard_dir, self._synced)

    def discards(self) -> list[str]:
        """Give what a killed process had begun to delete or to write."""
        with storage_errors("read", self.engine_dir):
            # Earlier versions did both in the trash.
            old = [entry.path for entry in scan(self.trash_dir) if _DISCARDED.fullmatch(entry.name)]
            return [entry.path for entry in scan(self.discard_dir)] + old

    def empty_discards(self) -> None:
        """Delete what a killed process had begun to delete or to write; for the holder of the lock."""
        for leftover in self.discards():
            discard(leftover, self.discard_dir)

    # -- files of an instance ----------------------------------------------------------------------------------------

    def read_meta(self, path: str) -> dict[str, object]:
        """Read the ``.meta`` of an instance.

        Raises
        ------
        StorageError
            It is missing, can't be read, or is damaged.
        """
        file = self._file(path, ".meta")
        with storage_errors("read", file), open(file, "rb") as stream:
            data = stream.read()
        try:
            meta = json.loads(data)
        except ValueError as error:
            raise StorageError(f"{file} is damaged: {error} (restore it, or move its directory away)") from error
        if not isinstance(meta, dict):
            raise StorageError(f"{file} is damaged: no table of values (restore it, or move its directory away)")
        return meta

    def write_meta(self, path: str, meta: Mapping[str, object]) -> None:
        """Write the ``.meta`` of an instance, as indented JSON, unless it is there and equal."""
        text = json.dumps(dict(meta), indent=2, ensure_ascii=False) + "\n"
        keep(self._file(path, ".meta"), encode(text), self._synced, self.discard_dir)

    def read_args(self, path: str) -> str | None:
        """Read the ``.args`` of an instance, ``None`` if there is none."""
        return read_text(self._file(path, ".args"))

    def write_args(self, path: str, text: str) -> None:
        """Write the ``.args`` of an instance."""
        keep(self._file(path, ".args"), encode(text), self._synced, self.discard_dir)

    def read_tag(self, path: str) -> str | None:
        """Read the tag of an instance, ``None`` if it has none."""
        text = read_text(self._file(path, ".tag"))
        return None if text is None else text.removesuffix("\n")

    def write_tag(self, path: str, tag: str | None) -> None:
        """Write the tag of an instance; ``None`` removes it."""
        file = self._file(path, ".tag")
        if tag is not None:
            keep(file, encode(tag + "\n"), self._synced)
            return
        with storage_errors("delete", file), contextlib.suppress(FileNotFoundError):
            os.unlink(file)

    def journal(self, path: str) -> Journal:
        """Give the journal of an instance; the file is made by its first `~pipelet.storage.Journal.append`."""
        return Journal(self._file(path, ".journal"), self._synced, self.discard_dir)

    def log_path(self, path: str, number: int) -> str:
        """Give the absolute path of a task's log; its folder is made by whoever writes."""
        return os.path.join(self._instance(path), "log", f"{number}.log")

    def existing_log(self, path: str, number: int) -> str | None:
        """Give the absolute path of a task's log if it wrote one."""
        log = self.log_path(path, number)
        return log if os.path.exists(log) else None

    def absolute(self, path: str) -> str:
        """Give the absolute path of an instance."""
        return self._instance(path)

    def read_kept(self, path: str, name: str) -> bytes | None:
        """Give the content of a file that `create_instance` kept, or ``None`` if there is none of that name."""
        if not name:
            return None
        check_kept(path, name)
        try:
            with open(os.path.join(self._instance(path), name), "rb") as file:
                return file.read()
        except OSError:
            return None

    # -- directories of tasks ----------------------------------------------------------------------------------------

    def data_dir(self, path: str) -> str:
        """Give the absolute path of an instance's ``data/``."""
        return self._rooms(path).data

    def task_dir(self, path: str, place: str, number: int, text: str, current: bool) -> str:
        """Give the absolute path of a task's directory.

        Parameters
        ----------
        path
            The instance.
        place
            The directory's name in ``data/``; ``""`` is ``data/`` itself.
        number, text
            The task's id and its input as text; they name it in ``superseded/``.
        current
            Whether it stands in ``data/``.

        Returns
        -------
        str
            The path; nothing is made.

        Raises
        ------
        StorageError
            The place is no single name.
        """
        rooms = self._rooms(path)
        name = task_name(number, text)
        check_place(place, name)
        if not current:
            return os.path.join(rooms.superseded, name)
        return os.path.join(rooms.data, place) if place else rooms.data

    def present(self, path: str) -> set[str]:
        """Give the places that are on disk: the directories in ``data/``, and ``""`` if ``data/`` itself is there."""
        data = self._rooms(path).data
        return directories(data) | ({""} if is_directory(data) else set())

    def is_present(self, path: str, place: str) -> bool:
        """Tell whether one place in ``data/`` is on disk, now."""
        return os.path.isdir(os.path.join(self._rooms(path).data, place))

    def present_superseded(self, path: str) -> set[str]:
        """Give the names of the task directories in ``superseded/``."""
        # The names of tasks have no dot: those with one are moves that wait for `mend`.
        return {name for name in directories(self._rooms(path).superseded) if "." not in name}

    def supersede(self, path: str, place: str, number: int, text: str, siblings: Collection[str]) -> None:
        """Move a task's directory to ``superseded/``, before a new version takes its place.

        Calling it again changes nothing; a move that was cut is continued.

        Parameters
        ----------
        path, place, number, text
            As for `task_dir`. For place ``""`` everything in ``data/`` moves but the siblings.
        siblings
            Names in ``data/`` that belong to other tasks.

        Raises
        ------
        StorageError
            Something can't be moved.
        """
        self._real(path)
        moves.supersede(self._rooms(path), place, task_name(number, text), siblings)

    def revive(self, path: str, place: str, number: int, text: str, siblings: Collection[str]) -> None:
        """Move a task's directory back from ``superseded/``; the counterpart of `supersede`, with its arguments.

        The version that it replaces is superseded first; what else lies in its place belongs to no version on record,
        and is kept as ``superseded/<name>.displaced``.
        """
        self._real(path)
        moves.revive(self._rooms(path), place, task_name(number, text), siblings)

    def mend(self, path: str, tasks: Iterable[moves.Placed], siblings: Collection[str]) -> None:
        """Finish what `supersede` and `revive` had not finished when their process was killed.

        Parameters
        ----------
        path
            The instance.
        tasks
            Of all its tasks: place (``None``: no directory), number, text, and whether the records have it as
            current. That decides where its directory belongs.
        siblings
            Names in ``data/`` that belong to tasks with directories of their own.

        Raises
        ------
        StorageError
            Something can't be moved.
        """
        self._real(path)
        moves.mend(self._rooms(path), tasks, siblings)

    def remove_task(
        self, path: str, place: str | None, number: int, text: str, current: bool, siblings: Collection[str]
    ) -> None:
        """Delete the directory and the log of one task.

        Parameters
        ----------
        path, place, number, text, current
            As for `task_dir`; place ``None`` is a task without a directory.
        siblings
            Names in ``data/`` that belong to other tasks; they stay.

        Raises
        ------
        StorageError
            Something can't be deleted.
        """
        self._real(path)
        rooms = self._rooms(path)
        if place is not None:
            name = task_name(number, text)
            check_place(place, name)
            if current and place:
                discard(os.path.join(rooms.data, place), self.discard_dir)
            elif current:
                self._discard_whole(rooms, siblings)
            aside = os.path.join(rooms.superseded, name)
            for end in ("", moves.MOVING, moves.DISPLACED):
                discard(aside + end, self.discard_dir)
        discard(self.log_path(path, number), self.discard_dir)

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """While this lasts, directories move; should the process be killed, `moves_were_cut` tells."""
        with storage_errors("make the file", self._moving_mark):
            with open(self._moving_mark, "wb"):
                pass
            if self._synced:
                sync_directory(self.engine_dir)
        yield
        self.settle()

    @property
    def moves_were_cut(self) -> bool:
        """Whether a process was killed, or failed, while directories moved."""
        return os.path.exists(self._moving_mark)

    def settle(self) -> None:
        """Say that all directories are where they belong."""
        if self._synced:
            with storage_errors("write to the disk", self.prefix):
                sync_file_system(self.prefix)
        with storage_errors("delete", self._moving_mark), contextlib.suppress(FileNotFoundError):
            os.unlink(self._moving_mark)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _discard_whole(self, rooms: moves.Rooms, siblings: Collection[str]) -> None:
        for entry in moves.own_entries(rooms.data, siblings):
            discard(os.path.join(rooms.data, entry), self.discard_dir)
        if not siblings and is_directory(rooms.data):
            discard(rooms.data, self.discard_dir)

    def _instance(self, path: str) -> str:
        """Give the absolute path of an instance, if it is one."""
        check_instance(path)
        return os.path.join(self.prefix, path)

    def _real(self, path: str) -> str:
        """Give the absolute path of an instance whose files may be moved: no link leads to it."""
        directory = self._instance(path)
        for step in steps(f"{path}/data"):
            if os.path.islink(os.path.join(self.prefix, step)):
                raise StorageError(
                    f"{step} below {self.prefix} is a link, and nothing is moved or deleted through links: "
                    "put the directory itself in its place"
                )
        return directory

    def _rooms(self, path: str) -> moves.Rooms:
        directory = self._instance(path)
        return moves.Rooms(os.path.join(directory, "data"), os.path.join(directory, "superseded"))

    def _file(self, path: str, suffix: str) -> str:
        directory = self._instance(path)
        return os.path.join(directory, f"{segment_of(os.path.basename(directory))}{suffix}")

    def _key_at(self, path: str) -> object:
        file = self._file(path, ".meta")
        if not os.path.lexists(file):
            return None
        # A directory of Pipelet 1 is taken, by no key of ours.
        return self.read_meta(path).get("key") if _may_be_ours(file) else ""


def _may_be_ours(file: str) -> bool:
    """Tell a ``.meta`` of ours, damaged or not, from one of Pipelet 1: that is text, and no JSON at all."""
    try:
        with open(file, "rb") as stream:
            data = stream.read()
        if data[:1] in (b"{", b""):
            return True
        json.loads(data.decode("utf-8"))
        return True
    except json.JSONDecodeError:
        return False
    except UnicodeDecodeError:
        return True
    except FileNotFoundError:
        return False
