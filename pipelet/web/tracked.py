"""The list of the pipelines that the web pages show: one small file of each user."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pipelet.errors import WebError
from pipelet.statusdb import Reader
from pipelet.storage.files import write_atomic
from pipelet.web.settings import make_private

#: The version of the file's format.
_FORMAT = 1
_LONGEST_NAME = 64
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class Tracked(NamedTuple):
    """A pipeline that is shown."""

    name: str
    sqlfile: str  #: absolute
    prefix: str  #: absolute; the root of its data


class Tracking(Protocol):
    """Gives the tracked pipelines."""

    def load(self) -> list[Tracked]:
        """List them by name, as they are now."""
        ...


class Registry:
    """The list of tracked pipelines, in a file.

    Parameters
    ----------
    directory
        Where the file is; made when something is tracked first.
    """

    def __init__(self, directory: str) -> None:
        self.file = os.path.join(directory, "pipelines.json")
        self._directory = directory
        # One process holds a lock of files only once, whatever its threads do.
        self._threads = threading.Lock()

    def load(self) -> list[Tracked]:
        """List what is tracked, in the order of names.

        Raises
        ------
        WebError
            The file can't be read, or is damaged.
        """
        try:
            with open(self.file, "rb") as file:
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise WebError(f"the list of pipelines {self.file} can't be read: {error.strerror or error}") from error
        return self._parsed(content)

    def _parsed(self, content: bytes) -> list[Tracked]:
        try:
            found = json.loads(content.decode("utf-8"))
            if isinstance(found, dict) and isinstance(found["format"], int) and found["format"] > _FORMAT:
                raise WebError(
                    f"the list of pipelines {self.file} was written by a newer version of Pipelet: update this one"
                )
            pipelines = [Tracked(entry["name"], entry["sqlfile"], entry["prefix"]) for entry in found["pipelines"]]
            for tracked in pipelines:
                _check_name(tracked.name)
                if not os.path.isabs(tracked.sqlfile) or not os.path.isabs(tracked.prefix):
                    raise ValueError("a path that is not absolute")
        except (ValueError, TypeError, KeyError, _BadName) as error:
            raise WebError(
                f"the list of pipelines {self.file} is damaged. It is left as it is: mend it, or move it away and"
                " track the pipelines again"
            ) from error
        return sorted(pipelines)

    def track(self, name: str, sqlfile: str, prefix: str | None = None) -> Tracked:
        """Add a pipeline; one that is there already with this database may get another prefix.

        Parameters
        ----------
        name
            Under which it is shown.
        sqlfile
            Its status database, which must be there.
        prefix
            The root of its data; unless given, the directory of the database.

        Returns
        -------
        Tracked
            As it is stored.

        Raises
        ------
        WebError
            The name can't be one or is taken, there is no such prefix, or the list can't be read or written.
        DatabaseError
            There is no database of ours at that place.
        """
        try:
            _check_name(name)
        except _BadName as error:
            raise WebError(str(error)) from None
        path = os.path.abspath(sqlfile)
        # Raises, with words, where there is nothing that could be shown.
        Reader.open(path).close()
        root = os.path.abspath(prefix) if prefix is not None else os.path.dirname(path)
        if not os.path.isdir(root):
            raise WebError(f"there is no directory {root}, the prefix of {path}")
        new = Tracked(name, path, root)
        with self._locked():
            pipelines = {known.name: known for known in self.load()}
            old = pipelines.get(name)
            if old is not None and not _same_file(old.sqlfile, path):
                raise WebError(
                    f"{name} is the name of {old.sqlfile} already: give another name, or first"
                    f" `pipeweb untrack {name}`"
                )
            self._store({**pipelines, name: new})
        return new

    def untrack(self, name: str) -> Tracked:
        """Take a pipeline off the list; its database and its data stay.

        Parameters
        ----------
        name
            Under which it is shown.

        Returns
        -------
        Tracked
            What it was.

        Raises
        ------
        WebError
            There is none of this name, or the list can't be read or written.
        """
        with self._locked():
            pipelines = {known.name: known for known in self.load()}
            gone = pipelines.pop(name, None)
            if gone is None:
                known = f"tracked: {', '.join(pipelines)}" if pipelines else "none is tracked"
                raise WebError(f"there is no tracked pipeline {name!r}; {known}")
            self._store(pipelines)
        return gone

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        make_private(self._directory)
        lock = os.path.join(self._directory, "pipelines.lock")
        with self._threads:
            try:
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise WebError(f"can't write in {self._directory}: {error.strerror or error}") from error
            try:
                # Some network file systems have no locks; two commands in one instant are then at their own risk.
                with contextlib.suppress(OSError):
                    fcntl.lockf(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _store(self, pipelines: dict[str, Tracked]) -> None:
        entries = [tracked._asdict() for tracked in sorted(pipelines.values())]
        text = json.dumps({"format": _FORMAT, "pipelines": entries}, indent=2)
        old = os.umask(0o077)
        try:
            write_atomic(self.file, text.encode("ascii") + b"\n")
        finally:
            os.umask(old)


class _BadName(Exception):
    """A name that is not allowed."""


def _check_name(name: str) -> None:
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise _BadName(
            f"{name!r} can't be the name of a pipeline: at most {_LONGEST_NAME} letters (without accents), digits and"
            " _ - . and no dot at the beginning"
        )


def _same_file(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
