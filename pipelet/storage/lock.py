"""The lock of a prefix: one run at a time, on every file system, and no dead run holds it for good.

The lock is a small file that is made in one step with its content (a hard link to a file that was written before, or
``O_EXCL``), so it needs no ``flock``. Each tenure has a token of its own, never used again. To take over from a dead
holder a contender makes the *claim* on the holder's token, a file of which there can be only one; then it ends what is
left of the dead run, and replaces the lock. A claimant that dies is itself taken over by a claim on its token, and so
on: whoever is last in this chain is the holder. A claim counts only if the lock still shows the token at which the
chain began, which is looked at after the claim was made; so a contender that read an old lock can't break a new one.

A holder shows that it lives by touching its file. Ages are differences of times that the file system itself gave.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
import uuid
from dataclasses import asdict, dataclass
from types import TracebackType

from pipelet.errors import PrefixLocked, StorageError
from pipelet.storage.files import is_directory, remove, scan, storage_errors, write_atomic
from pipelet.storage.processes import boot, end_groups, is_running, process_start

#: A holder on another machine that has not been heard of for so many seconds is dead.
STALE = 60.0
#: What the name of a scratch directory begins with; nothing else is deleted for a dead run.
SCRATCH_START = "pipelet-"
_ATTEMPTS = 100


@dataclass(frozen=True)
class Record:
    """Who holds the lock."""

    token: str
    host: str
    pid: int
    start: float | None
    boot: str  #: with the host and the namespace of process ids: where `pid` means something
    namespace: str
    since: float
    scratch: str | None


@dataclass(frozen=True)
class Holder:
    """Who holds a prefix, as somebody sees it who only reads."""

    host: str  #: empty where the file can't be read as a record
    pid: int
    since: float
    alive: bool
    words: str  #: the same as a sentence without its end


@dataclass(frozen=True)
class _Tenure:
    """A record as found: in which file, and how long ago that was touched."""

    path: str
    token: str
    record: Record | None  #: None: the file can't be read as a record
    silent: float


class PrefixLock:
    """The lock of one prefix.

    Parameters
    ----------
    path
        The lock file; its directory exists.
    scratch
        A directory for temporary files of this run, whose name begins with ``pipelet-``: a run that takes over from
        this one, should it die, deletes it.

    Attributes
    ----------
    path
        The lock file.
    held
        Whether this object holds it.
    took_over
        Whether it was taken from a holder that had died.
    """

    def __init__(self, path: str, scratch: str | None = None) -> None:
        self.path = path
        self.scratch = scratch
        self.took_over = False
        self._unfinished = os.path.join(os.path.dirname(path), "discard")
        self._record: Record | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, in this process."""
        return self._record is not None and self._record.pid == os.getpid()

    def __enter__(self) -> PrefixLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, from a dead holder too: what is left of its workers is killed first.

        Raises
        ------
        PrefixLocked
            A living run holds it.
        StorageError
            The lock can't be written, or processes of the dead run can't be ended.
        """
        if self.held:
            raise PrefixLocked(f"the lock {self.path} is held by this object already: release it first")
        record = _own_record(self.scratch)
        with storage_errors("take the lock", self.path):
            try:
                self._compete(record)
            except BaseException:
                # An interrupt may come when the lock is ours already.
                self._record = record
                with contextlib.suppress(StorageError):
                    self.release()
                raise
        self._record = record
        # What can't be swept away now does no harm, and waits for the next run.
        with contextlib.suppress(OSError):
            self._sweep(record)

    def release(self) -> None:
        """Give the lock up; nothing happens if this process does not hold it.

        Raises
        ------
        StorageError
            The lock can't be removed.
        """
        record, self._record = self._record, None
        if record is None or record.pid != os.getpid():
            return
        with storage_errors("remove the lock", self.path):
            # The claim on our own token keeps others from taking over while the lock goes.
            claim = self._claim(record.token)
            try:
                ours = self._put(claim, _own_record(None))
            except OSError:
                # No room: the lock goes all the same, or it would last as long as this process.
                ours = not os.path.lexists(claim)
            if not ours:
                return
            if self._token(self.path) == record.token:
                _unlink(self.path)
            _unlink(self._workers(record.token))
            _unlink(claim)

    def heartbeat(self) -> None:
        """Show that the holder lives; to be called every few seconds.

        Raises
        ------
        PrefixLocked
            Another run holds the lock now: it took this one for dead.
        StorageError
            The lock can't be touched.
        """
        record = self._mine()
        with storage_errors("touch the lock", self.path):
            token = self._token(self.path)
            if token is None and self._put(self.path, record):
                # Somebody had deleted the file by hand.
                return
            if token != record.token or os.path.lexists(self._claim(record.token)):
                self._record = None
                chain = self._chain()
                raise PrefixLocked(f"this run has lost its lock: {self._refusal(chain[-1]) if chain else self.path}")
            # Without times given, the file system's own clock is used.
            os.utime(self.path)

    def holder(self) -> Holder | None:
        """Tell who holds the lock, without writing anything.

        Returns
        -------
        Holder or None
            ``None`` where there is no lock file. A holder that is not alive has died, and left it.

        Raises
        ------
        StorageError
            The lock can't be read.
        """
        with storage_errors("read the lock", self.path):
            chain = self._chain(time.time())
        if not chain:
            return None
        last = chain[-1]
        record, alive = last.record, self._alive(last)
        if record is None:
            return Holder("", 0, time.time() - last.silent, alive, self._refusal(last))
        return Holder(record.host, record.pid, record.since, alive, self._refusal(last))

    def set_workers(self, workers: list[tuple[int, float]]) -> None:
        """Record the worker processes of this run, each the leader of its process group.

        Parameters
        ----------
        workers
            Process id and start time (`process_start`) of each; replaces the last list.

        Raises
        ------
        StorageError
            It can't be written.
        """
        record = self._mine()
        # A file of its own: rewriting the lock could undo the take-over of another run.
        write_atomic(self._workers(record.token), json.dumps(workers).encode(), False, self._unfinished)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _compete(self, record: Record) -> None:
        """Become the holder, or raise."""
        for _ in range(_ATTEMPTS):
            chain = self._chain()
            if not chain:
                if self._put(self.path, record):
                    return
            elif self._alive(chain[-1]):
                raise PrefixLocked(self._refusal(chain[-1]))
            elif self._take_over(chain, record):
                self.took_over = True
                return
        raise StorageError(f"the lock {self.path} changes all the time: too many runs want it at once, try again")

    def _mine(self) -> Record:
        if self._record is None or not self.held:
            raise StorageError(f"the lock {self.path} is not held by this process")
        return self._record

    def _claim(self, token: str) -> str:
        return f"{self.path}.{token}.claim"

    def _workers(self, token: str) -> str:
        return f"{self.path}.{token}.workers"

    def _chain(self, now: float | None = None) -> list[_Tenure]:
        """Give the lock, the claim on it, the claim on that, ..."""
        chain: list[_Tenure] = []
        now = self._now() if now is None else now
        path = self.path
        while (tenure := self._look(path, now)) is not None:
            chain.append(tenure)
            path = self._claim(tenure.token)
        return chain

    def _now(self) -> float:
        """Give the time as the file system has it; another machine's clock may be minutes away from ours."""
        probe = f"{self.path}.{uuid.uuid4().hex}.new"
        with open(probe, "xb") as file:
            os.utime(probe)
            now = os.fstat(file.fileno()).st_mtime
        _unlink(probe)
        return now

    def _look(self, path: str, now: float) -> _Tenure | None:
        try:
            with open(path, "rb") as file:
                data = file.read()
                touched = os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        record = _read_record(data)
        # A file without a record was cut short, by a full disk or a crash: its content and number stand for a token.
        token = record.token if record else hashlib.sha256(b"%d:%b" % (touched.st_ino, data)).hexdigest()[:32]
        return _Tenure(path, token, record, now - touched.st_mtime)

    def _token(self, path: str) -> str | None:
        tenure = self._look(path, 0.0)
        return tenure.token if tenure else None

    def _alive(self, tenure: _Tenure) -> bool:
        record = tenure.record
        running = is_running(record.pid, record.start) if record is not None and _here(record) else None
        return tenure.silent < STALE if running is None else running

    def _put(self, path: str, record: Record) -> bool:
        """Make a file with the record, in one step; ``False`` if there is one already."""
        data = json.dumps(asdict(record), indent=1).encode()
        temporary = f"{self.path}.{uuid.uuid4().hex}.new"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            os.link(temporary, path)
            return True
        except FileExistsError:
            # Over NFS the answer to a link that was made may be lost; the number of links tells.
            return os.stat(temporary).st_nlink == 2
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            return _put_without_link(path, data)
        finally:
            _unlink(temporary)

    def _take_over(self, chain: list[_Tenure], record: Record) -> bool:
        """Try to become the holder after a chain of dead ones; ``False`` if another was faster."""
        claim = self._claim(chain[-1].token)
        if not self._put(claim, record):
            return False
        try:
            if self._token(self.path) != chain[0].token:
                _unlink(claim)
                return False
            for tenure in chain:
                self._end(tenure)
            if self._token(self.path) != chain[0].token or os.path.lexists(self._claim(record.token)):
                # That took so long that a contender on another machine thought us dead.
                return False
            write_atomic(self.path, json.dumps(asdict(record), indent=1).encode(), False, self._unfinished)
        except BaseException:
            _unlink(claim)
            raise
        return True

    def _end(self, tenure: _Tenure) -> None:
        """End what a dead holder left on this machine."""
        record = tenure.record
        if record is None or not _here(record):
            return
        workers: list[tuple[int, float]] = []
        # A list that can't be read was cut by a crash of the machine, which no worker outlived.
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError), open(self._workers(record.token)) as file:
            workers = [(int(pid), float(start)) for pid, start in json.load(file)]
        end_groups(workers, tenure.silent)
        scratch = record.scratch or ""
        if os.path.basename(scratch).startswith(SCRATCH_START) and os.path.isabs(scratch) and is_directory(scratch):
            remove(scratch)

    def _sweep(self, record: Record) -> None:
        """Delete what contenders left: claims on tokens that are past, and temporary files of the dead."""
        now = self._now()
        start = os.path.basename(self.path) + "."
        for entry in scan(os.path.dirname(self.path)):
            if not entry.name.startswith(start) or record.token in entry.name:
                continue
            with contextlib.suppress(FileNotFoundError):
                if not entry.name.endswith(".new") or now - entry.stat(follow_symlinks=False).st_mtime > STALE:
                    os.unlink(entry.path)

    def _refusal(self, tenure: _Tenure) -> str:
        prefix = os.path.dirname(os.path.dirname(os.path.abspath(self.path)))
        record = tenure.record
        if record is None:
            return f"the lock of {prefix} is being made by another run: try again in a minute ({tenure.path})"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.since))
        who = f"the prefix {prefix} is held by host {record.host}, pid {record.pid}, since {since}"
        if record.pid == os.getpid() and _here(record):
            return f"{who}, which is this very process: wait for its other run to end"
        if _here(record):
            return f"{who}: wait for that run to end, or stop it"
        return (
            f"{who}, last heard of {max(tenure.silent, 0):.0f} s ago: wait for that run to end, or stop it "
            f"(a run that has died is taken over after {STALE:.0f} s)"
        )


def _own_record(scratch: str | None) -> Record:
    return Record(
        token=uuid.uuid4().hex,
        host=os.uname().nodename,
        pid=os.getpid(),
        start=process_start(os.getpid()),
        boot=boot(),
        namespace=_namespace(),
        since=time.time(),
        scratch=scratch,
    )


def _here(record: Record) -> bool:
    """Tell whether the record's process id can be looked up here."""
    return (record.host, record.boot, record.namespace) == (os.uname().nodename, boot(), _namespace())


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read_record(data: bytes) -> Record | None:
    try:
        table = json.loads(data)
        record = Record(**{name: table[name] for name in Record.__dataclass_fields__})
    except (ValueError, KeyError, TypeError):
        return None
    sound = isinstance(record.token, str) and record.token.isalnum() and isinstance(record.pid, int)
    return record if sound and isinstance(record.since, (int, float)) else None


def _put_without_link(path: str, data: bytes) -> bool:
    """Make a file with some content where the file system knows no hard links."""
    try:
        with open(path, "xb") as file:
            try:
                file.write(data)
                file.flush()
            except OSError:
                os.unlink(path)
                raise
    except FileExistsError:
        return False
    return True


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
