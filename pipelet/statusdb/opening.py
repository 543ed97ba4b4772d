"""Opening a status database for reading or for writing, and SQLite's errors in words.

The file is never opened but through SQLite while it may be in use: closing any other handle on it would drop the
locks that this process holds through SQLite.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

from pipelet import schema
from pipelet.errors import (
    DamagedDatabaseError,
    DatabaseError,
    ForeignDatabaseError,
    LockedDatabaseError,
    MissingDatabaseError,
)
from pipelet.filesystem import lock_holders

#: How long a locked database is waited for, in seconds.
BUSY_TIMEOUT = 30.0

#: Up to this size a file is looked through before it is written to (some milliseconds); in larger ones damage shows
#: when it is met.
CHECKED_SIZE = 8 << 20

CHECK_ALL = "PRAGMA quick_check(1)"
ROLLBACK_JOURNAL = "PRAGMA journal_mode = DELETE"
QUERY_ONLY = "PRAGMA query_only = 1"

_DAMAGED = ("malformed", "not a database", "Could not decode", "no such table", "no such column")
_MAGIC = b"SQLite format 3\0"
_SIDE_FILES = ("-wal", "-journal")
_COPY_TRIALS = 20
#: Seconds after each attempt to open a file beside which a writer may be at work; two of them, if there is none.
_PAUSES = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 0.5)
_REBUILD = "`pipeutils -r PREFIX SQLFILE`"


@contextmanager
def translated(sqlfile: str) -> Iterator[None]:
    """Turn what SQLite raises inside into a `DatabaseError` with words.

    Parameters
    ----------
    sqlfile
        The name for messages.

    Raises
    ------
    DatabaseError
        Or one of its kinds.
    """
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        # A mistake of ours, not something that happened to the file.
        raise
    except sqlite3.Error as error:
        raise explained(error, sqlfile) from error


def explained(error: sqlite3.Error, sqlfile: str) -> DatabaseError:
    """Return SQLite's error as one of ours, which says what to do."""
    text = str(error)
    if "not a database" in text and not _begins_like_a_database(sqlfile):
        return ForeignDatabaseError(
            f"{sqlfile} is no SQLite database. It is left as it is: give another file (sqlfile=... of Pipeline). If"
            f" it once was the status database, move it away and make it anew from the tree with {_REBUILD}."
        )
    if any(words in text for words in _DAMAGED):
        return DamagedDatabaseError(
            f"the status database {sqlfile} is damaged ({text}). It is left as it is: move it away, and make it anew"
            f" from the tree with {_REBUILD}; nothing is computed again for that."
        )
    if "disk is full" in text:
        return DatabaseError(
            f"the disk or the quota is full: {sqlfile} could not be written. What was recorded before is safe: make"
            " room and run again."
        )
    if "disk I/O error" in text:
        return DatabaseError(
            f"{sqlfile} could not be read or written ({text}): the disk or the quota may be full, a limit on file"
            " sizes reached, or the disk failing. What was recorded before is safe."
        )
    if "locked" in text:
        return LockedDatabaseError(_locked(sqlfile))
    if "readonly" in text:
        return DatabaseError(
            f"{sqlfile} can't be written: you need write permission for the file and for its directory"
            f" {os.path.dirname(sqlfile)}, where SQLite keeps its journal."
        )
    if "unable to open" in text:
        return DatabaseError(_unopenable(sqlfile))
    return DatabaseError(f"the status database {sqlfile}: {text}")


def _begins_like_a_database(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _locked(sqlfile: str) -> str:
    holders = lock_holders([sqlfile, sqlfile + "-shm"])
    if holders:
        who = f"by process {', '.join(map(str, holders))} of this machine (`ps -fp {holders[0]}` says what it is)"
    else:
        who = "by another process, perhaps on another machine"
    return (
        f"the status database {sqlfile} is locked {who}, and stayed so. It may be another run on the prefix (its file"
        " .pipelet/lock says who holds it), a maintenance command, or an sqlite3 shell with an open transaction: end"
        " that, and try again."
    )


def _unopenable(sqlfile: str) -> str:
    directory = os.path.dirname(sqlfile)
    if not os.path.isdir(directory):
        return f"the directory {directory} of the status database {os.path.basename(sqlfile)} does not exist: make it."
    if os.path.exists(sqlfile) and not os.access(sqlfile, os.R_OK):
        return f"{sqlfile} can't be read: you have no read permission for the file."
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{sqlfile} can't be opened: you have no write permission for its directory {directory}."
    return f"{sqlfile} can't be opened: the limit on open files may be reached, or its file system be out of order."


def absolute(sqlfile: str | os.PathLike[str]) -> str:
    """Return the absolute path of a database, as text."""
    return os.path.abspath(os.fspath(sqlfile))


def _connect(path: str, options: str, timeout: float = BUSY_TIMEOUT) -> sqlite3.Connection:
    # The empty host keeps a path that begins with two slashes from being read as one.
    uri = f"file://{quote(os.fsencode(path))}?{options}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout)


def _connect_reader(path: str, timeout: float = BUSY_TIMEOUT) -> sqlite3.Connection:
    # readonly_shm: without it SQLite would make the -shm file of a write-ahead log that a killed writer left. But a
    # writer of this process that opens the file later would find the shared memory read-only as well: so only then.
    return _connect(path, "mode=ro" if os.path.exists(path + "-shm") else "mode=ro&readonly_shm=1", timeout)


def _needs_recovery(error: sqlite3.Error, path: str) -> bool:
    """Tell whether only a writer could open the file: a log or a journal of a killed writer stands beside it."""
    text = str(error)
    return ("unable to open" in text or "readonly" in text) and os.access(path, os.R_OK)


def _missing(path: str) -> MissingDatabaseError:
    return MissingDatabaseError(
        f"there is no status database at {path}: run the pipeline first; if there is a tree already,"
        f" {_REBUILD} makes it from that."
    )


def has_database(sqlfile: str | os.PathLike[str]) -> bool:
    """Tell whether there is something in a database file; an empty file counts as none.

    Parameters
    ----------
    sqlfile
        Path of the database.

    Returns
    -------
    bool
        False where a run would have to make it.

    Raises
    ------
    DatabaseError
        The place can't be looked at, or is a directory.
    """
    path = absolute(sqlfile)
    try:
        size = os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise DatabaseError(f"the status database {path!r} can't be looked at: {error}") from error
    if os.path.isdir(path):
        raise ForeignDatabaseError(f"{path} is a directory: give a file (sqlfile=... of Pipeline).")
    return size > 0


def _examine(connection: sqlite3.Connection, path: str) -> int:
    """Return the version of a database that may be written to; raise where it must be left alone."""
    version = schema.read_version(connection, path)
    if os.stat(path).st_size <= CHECKED_SIZE:
        (verdict,) = connection.execute(CHECK_ALL).fetchone()
        if verdict != "ok":
            raise explained(sqlite3.DatabaseError(f"malformed: {verdict}"), path)
    return version


def _inspect(path: str) -> None:
    """Look through a database without changing a byte, before a writer opens it."""
    try:
        with closing(_connect_reader(path)) as connection:
            _examine(connection, path)
    except sqlite3.Error as error:
        if not _needs_recovery(error, path):
            raise
        if os.stat(path).st_size > CHECKED_SIZE and _head_is_ours(path):
            return
        with closing(_private_copy(path)) as connection:
            _examine(connection, path)


def _head_is_ours(path: str) -> bool:
    """Read the mark in the head of the main file alone, without its log or journal."""
    try:
        with closing(_connect(path, "immutable=1")) as connection:
            (application,) = connection.execute(schema.READ_APPLICATION_ID).fetchone()
    except sqlite3.Error:
        return False
    return bool(application == schema.APPLICATION_ID)


def open_for_writing(path: str, create: bool, timeout: float) -> tuple[sqlite3.Connection, bool]:
    """Open a database for writing, and bring its tables up to date.

    Parameters
    ----------
    path
        Absolute path.
    create
        Make it if there is none.
    timeout
        How long to wait for locks, in seconds.

    Returns
    -------
    tuple
        The connection, and whether the database was made just now.

    Raises
    ------
    DatabaseError
        Or one of its kinds; what isn't ours or is damaged is left byte for byte as it was.
    """
    there = has_database(path)
    if not there and not create:
        raise _missing(path)
    with translated(path):
        if there:
            _inspect(path)
        connection = _connect(path, f"mode={'rwc' if create else 'rw'}", timeout)
        try:
            before, _ = schema.migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection, before == 0


def open_for_reading(path: str, timeout: float = BUSY_TIMEOUT) -> sqlite3.Connection:
    """Open a database for reading, without writing anything beside it.

    Parameters
    ----------
    path
        Absolute path.
    timeout
        How long to wait for locks, in seconds.

    Returns
    -------
    sqlite3.Connection
        To the file; where only a writer could open that, to a private copy that is gone when the connection closes.

    Raises
    ------
    DatabaseError
        Or one of its kinds.
    """
    if not has_database(path):
        raise _missing(path)
    with translated(path):
        opened = _opened(path, timeout)
        if opened is not None:
            connection, version = opened
            if version == schema.newest_version():
                return connection
            connection.close()
            if version == 0:
                raise _missing(path)
        connection = _private_copy(path)
        if schema.read_version(connection, path) == 0:
            connection.close()
            raise _missing(path)
        return connection


def _opened(path: str, timeout: float) -> tuple[sqlite3.Connection, int] | None:
    """Open the file itself, and read the version of its tables; ``None`` where only a writer could open it.

    While a writer opens or closes it, what stands beside it comes and goes, and for a moment it looks as if a writer
    had been killed. That passes, and a copy of a large file takes long.
    """
    for pause in _PAUSES:
        before = _fingerprint(path)
        connection = _connect_reader(path, timeout)
        try:
            return connection, schema.read_version(connection, path)
        except BaseException as error:
            connection.close()
            if not isinstance(error, sqlite3.Error) or not _needs_recovery(error, path):
                raise
        time.sleep(pause)
        # Always a second time; then as long as there is somebody who does something.
        lives = _fingerprint(path) != before or lock_holders([path, path + "-shm"])
        if pause > _PAUSES[0] and not lives:
            break
    return None


def _private_copy(path: str) -> sqlite3.Connection:
    """Copy a database with its log or journal, open that as a writer would, and bring its tables up to date.

    The copy has no name any more when this returns, so that nothing stays even if this process is killed.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="pipelet-") as directory:
            target = os.path.join(directory, "status")
            _copy_at_rest(path, target)
            connection = sqlite3.connect(target, isolation_level=None)
            try:
                # Not before the head has been read: a file of another program may not even be a database.
                before = schema.read_version(connection, path)
                connection.execute(ROLLBACK_JOURNAL).fetchone()
                if before:
                    schema.migrate(connection, path)
                connection.execute(QUERY_ONLY)
            except BaseException:
                connection.close()
                raise
            return connection
    except OSError as error:
        raise DatabaseError(
            f"{path} was left in the middle of a write. To be read it must be copied to the directory for temporary"
            f" files (TMPDIR), which failed ({error}). The next run on the prefix puts it right."
        ) from error


def _copy_at_rest(path: str, target: str) -> None:
    """Copy the file and those beside it at a moment when none of them changes."""
    for _ in range(_COPY_TRIALS):
        before = _fingerprint(path)
        for suffix in ("", *_SIDE_FILES):
            try:
                shutil.copyfile(path + suffix, target + suffix)
            except FileNotFoundError:
                if os.path.exists(target + suffix):
                    os.unlink(target + suffix)
        if _fingerprint(path) == before:
            return
        time.sleep(0.01)
    raise DatabaseError(f"{path} is being written without pause by another process: try again.")


def _fingerprint(path: str) -> list[tuple[int, int, int] | None]:
    """Tell apart states of the database file and those beside it."""
    states: list[tuple[int, int, int] | None] = []
    for suffix in ("", *_SIDE_FILES):
        try:
            found = os.stat(path + suffix)
        except FileNotFoundError:
            states.append(None)
        else:
            states.append((found.st_ino, found.st_size, found.st_mtime_ns))
    return states
