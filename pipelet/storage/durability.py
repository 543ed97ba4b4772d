"""What is waited for before a task counts as done, so that it outlives the death of a process, or of the machine.

Records are written to the disk at once; products, which are many, when the system gets to it. In between stands the
*mark*, ``.pipelet/unsynced``: where in each journal the records begin whose products the disk may not have yet. It is
on the disk before any such record, and moves on after each synchronisation of the file system. If the machine dies,
the mark is found under another boot of it: then the tasks behind it run again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import threading
from collections.abc import Callable, Iterable

from pipelet.errors import PipelineError, StorageError
from pipelet.storage.files import storage_errors, sync_directory, write_atomic
from pipelet.storage.processes import boot

#: What is done outlives the death of any process; after that of the machine, nothing is promised.
PROCESS = "process"
#: After the death of the machine everything on record is right; of the tasks that wrote files, the last run again.
POWER = "power"
#: What is done outlives the machine.
ALWAYS = "always"

LEVELS = (PROCESS, POWER, ALWAYS)
DEFAULT = POWER

#: Seconds between two synchronisations; the system by itself leaves nothing unwritten for much longer.
SYNC_SECONDS = 30.0


def read_durability(level: object) -> str:
    """Check a level as a user gives it.

    Parameters
    ----------
    level
        One of `LEVELS`.

    Raises
    ------
    PipelineError
        It is something else.
    """
    for known in LEVELS:
        if level == known:
            return known
    names = ", ".join(map(repr, LEVELS))
    raise PipelineError(f"durability={level!r} is none of {names}; {DEFAULT!r} is taken if nothing is given")


class Products:
    """Keeps account of the products that the disk may not have yet; for the holder of the prefix.

    Parameters
    ----------
    prefix
        The root of the data.
    mark
        The file for the mark.
    level
        One of `LEVELS`.
    size
        Gives the size of an instance's journal.
    scratch
        A directory for unfinished files (`pipelet.storage.files.replacement`).
    """

    def __init__(self, prefix: str, mark: str, level: str, size: Callable[[str], int], scratch: str) -> None:
        self._prefix = prefix
        self._mark = mark
        self._level = level
        self._size = size
        self._scratch = scratch
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: StorageError | None = None
        self._more = False
        #: By instance: behind which byte of its journal products may be missing; ``None``: no word of this run yet.
        self._begin: dict[str, int] | None = None

    @property
    def mark(self) -> str:
        """The file for the mark."""
        return self._mark

    def doubtful(self) -> dict[str, int]:
        """Tell whose products the disk may have lost, since the machine died.

        Returns
        -------
        dict
            By instance the byte in its journal behind which the products of done tasks may be lost.

        Raises
        ------
        StorageError
            The mark can't be read.
        """
        found = self._read()
        return {} if found is None or found[0] == boot() else found[1]

    def settle(self) -> None:
        """Say that the tasks that `doubtful` told of are queued.

        A mark of this boot stays: what it tells of was written, and is still waited for.

        Raises
        ------
        StorageError
            The mark can't be read, or not removed.
        """
        found = self._read()
        if found is not None and found[0] != boot():
            self.trust()

    def trust(self) -> None:
        """Say that the disk has everything.

        Raises
        ------
        StorageError
            The mark can't be removed.
        """
        with storage_errors("delete", self._mark), contextlib.suppress(FileNotFoundError):
            os.unlink(self._mark)
            sync_directory(os.path.dirname(self._mark))

    def expect(self, instances: Iterable[str]) -> None:
        """To be called before records are written that name products.

        Parameters
        ----------
        instances
            Those whose journals may get such records.

        Raises
        ------
        StorageError
            The disk could not take what was written.
        """
        if self._level == PROCESS:
            return
        if self._level == ALWAYS:
            self._sync_all()
            if self._begin is None:
                self._begin = {}
                self.trust()
            return
        self._raise()
        with self._lock:
            if self._begin is None:
                found = self._read()
                self._begin = {} if found is None else found[1]
            new = {path: self._size(path) for path in instances if path not in self._begin}
            if new:
                self._begin.update(new)
                self._write()
            self._more = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._sync_later, daemon=True, name="pipelet-sync")
                self._thread.start()

    def close(self) -> None:
        """Wait until the disk has everything, and remove the mark.

        Raises
        ------
        StorageError
            The disk could not take what was written.
        """
        self._closing.set()
        thread = self._thread
        if thread is not None:
            thread.join()
        if self._level == PROCESS or (self._begin is None and self._read() is None):
            return
        self._raise()
        if self._level == POWER or self._begin is None:
            self._sync_all()
        self.trust()
        self._begin = None

    def _sync_all(self) -> None:
        with storage_errors("write the products to the disk", self._prefix):
            sync_file_system(self._prefix)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _sync_later(self) -> None:
        """Synchronise beside the run, which goes on: what it records meanwhile stays behind the mark."""
        try:
            while not self._closing.wait(SYNC_SECONDS):
                with self._lock:
                    self._more = False
                    ends = {path: self._size(path) for path in self._begin or ()}
                self._sync_all()
                with self._lock:
                    self._begin = {**(self._begin or {}), **ends}
                    self._write()
                    if not self._more and all(self._size(path) == end for path, end in ends.items()):
                        self._thread = None
                        return
        except StorageError as error:
            self._error = error

    def _read(self) -> tuple[str, dict[str, int]] | None:
        with storage_errors("read", self._mark):
            try:
                with open(self._mark, encoding="utf-8") as file:
                    text = file.read()
            except FileNotFoundError:
                return None
        try:
            table = json.loads(text)
            return str(table["boot"]), {str(path): int(end) for path, end in table["begin"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{self._mark} is damaged: it tells which products a power cut may have cost (delete it, and the "
                "directories of the last tasks if the machine went down just then)"
            ) from error

    def _write(self) -> None:
        write_atomic(self._mark, json.dumps({"boot": boot(), "begin": self._begin}).encode(), True, self._scratch)


def sync_file_system(path: str) -> None:
    """Wait until the disk has all that any process has written to the file system of a directory.

    One call costs about what the synchronisation of one file costs, and the writing that would be done anyway.

    Parameters
    ----------
    path
        A directory on it.

    Raises
    ------
    OSError
        The disk could not take something.
    """
    syncfs = _syncfs()
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(descriptor)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise
        os.sync()
    finally:
        os.close(descriptor)


@functools.cache
def _syncfs() -> Callable[[int], None] | None:
    """The system's own function, which Python does not offer; ``None`` where there is none."""
    # Here, since it takes some time to load.
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int,)

    def call(descriptor: int) -> None:
        if function(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    return call
