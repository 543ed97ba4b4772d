"""Work on a hostile file in a process of its own: so much time, so much memory, and nothing written but the answer."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from pipelet.errors import BusyError, ViewError
from pipelet.web.viewers import forkserver

#: So many of these processes at once. Some pages wait for their turn; were there no end to them, all threads of the
#: server would, and nobody else would be served.
_TURNS = threading.BoundedSemaphore(max(2, min(os.cpu_count() or 2, 4)))
_LINE = threading.BoundedSemaphore(6)
#: How long a page waits for its turn, and one that finds the line full.
_PATIENCE, _SHORT_PATIENCE = 30.0, 2.0
#: How long the process that keeps the time may take to say so, and to start.
_GRACE = 20.0
#: From then on, in seconds, the other side has loaded all it needs, and only hangs if it says nothing.
_GROWN = 60.0
#: How long it may take to go when nobody needs it any more.
_FAREWELL = 2.0
_PROGRAM = os.path.abspath(forkserver.__file__)
#: Where this package is; the server may have it from a place that is no part of its own path.
_HOME = os.path.abspath(os.path.join(os.path.dirname(_PROGRAM), "..", "..", ".."))
#: Libraries must not start threads for which there is no room, nor look for files of the user.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "LC_ALL": "C.UTF-8",
    "PATH": "/nonexistent", "HOME": "/nonexistent",
}


class Limits(NamedTuple):
    """What a process may use."""

    seconds: float = 10.0
    memory: int = 1 << 30
    answer: int = 8 << 20


def ask(
    job: str,
    file: BinaryIO,
    options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    other: BinaryIO | None = None,
) -> bytes:
    """Have a file looked at.

    Parameters
    ----------
    job
        One of `pipelet.web.viewers.child.JOBS`.
    file
        Open for reading; nothing else of the system is given to the process. Its place in the file changes.
    options
        For the job.
    limits
        What it may use.
    other
        A second file, for jobs that compare: its handle is ``options["other"]``.

    Returns
    -------
    bytes
        The answer.

    Raises
    ------
    ViewError
        The file is not what it claims to be, or it takes too much; in words for the page.
    BusyError
        It was not looked at, since too many others are.
    """
    limits = limits or Limits()
    if not _turn():
        raise BusyError("the server is busy with other files: load the page again in a moment")
    try:
        return _run(job, file, dict(options or {}), limits, other)
    finally:
        _TURNS.release()


def _turn() -> bool:
    """Wait for a turn; false if it took too long."""
    if not _LINE.acquire(blocking=False):
        return _TURNS.acquire(timeout=_SHORT_PATIENCE)
    try:
        return _TURNS.acquire(timeout=_PATIENCE)
    finally:
        _LINE.release()


def ask_json(
    job: str,
    file: BinaryIO,
    options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    other: BinaryIO | None = None,
) -> Any:
    """Have a file looked at, and read the answer as JSON; otherwise as `ask`."""
    return json.loads(ask(job, file, options, limits, other))


def _run(job: str, file: BinaryIO, options: dict[str, Any], limits: Limits, other: BinaryIO | None) -> bytes:
    file.seek(0)
    others: tuple[int, ...] = ()
    if other is not None:
        other.seek(0)
        others = (other.fileno(),)
        options["other"] = 3
    request = {"job": job, "options": options, "seconds": limits.seconds, "memory": limits.memory}
    status, its_status = socket.socketpair()
    answer, its_answer = os.pipe()
    with status, os.fdopen(answer, "rb", buffering=0) as pipe:
        with its_status:
            try:
                begun = _forks.begin(request, (file.fileno(), its_answer, its_status.fileno(), *others))
            finally:
                os.close(its_answer)
        # The other side keeps the time; here it is for the case that it does not.
        end = time.monotonic() + limits.seconds + _GRACE
        try:
            data = _collect(pipe, end, limits)
            status.settimeout(max(0.001, end - time.monotonic()))
            code = _code(status)
        except TimeoutError:
            _forks.give_up(begun)
            raise BusyError(f"it takes longer than {limits.seconds:.0f} seconds to show") from None
    if code == 0:
        return data
    if code == 3:
        raise ViewError(data.decode("utf-8", "replace"))
    if code == -signal.SIGALRM:
        raise ViewError(f"it takes longer than {limits.seconds:.0f} seconds to show")
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise ViewError("it takes too long or too much memory to show")
    # Without a code, the other side has gone.
    kind = BusyError if code is None else ViewError
    raise kind("it can't be read: the process that tried to ended without an answer")


def _code(status: socket.socket) -> int | None:
    try:
        told = status.recv(forkserver.STATUS.size)
    except TimeoutError:
        raise
    except OSError:
        told = b""
    return int(forkserver.STATUS.unpack(told)[0]) if len(told) == forkserver.STATUS.size else None


class _Forks:
    """The other side: a fork server, begun when there is something to do, and again if it has gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._since = 0.0

    def begin(self, request: Mapping[str, Any], handles: Sequence[int]) -> object:
        """Have a request worked on; gives what `give_up` wants to know."""
        body = json.dumps(request).encode()
        with self._lock:
            reason: OSError | None = None
            for _ in range(2):
                try:
                    control = self._ready()
                    # Not in one piece with what follows: the other side reads the handles with the head alone.
                    socket.send_fds(control, [forkserver.HEAD.pack(len(body))], handles)
                    control.sendall(body)
                    return control
                except OSError as error:
                    reason = error
                    self._end()
            raise BusyError("no process to look at it could be begun") from reason

    def _ready(self) -> socket.socket:
        if self._owner != os.getpid():
            # After a fork this belongs to the parent.
            self._owner, self._control, self._process = os.getpid(), None, None
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        self._end()
        # Isolated, Python looks only at its own places, and the packages may be elsewhere.
        path = [*(place for place in sys.path if os.path.isabs(place)), _HOME]
        mine, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-B", _PROGRAM, json.dumps(path)], stdin=its.fileno(), stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env=_ENVIRONMENT, cwd="/", start_new_session=True,
            )
        # One that hangs must not keep everybody waiting for the lock.
        mine.settimeout(_GRACE)
        self._control, self._since = mine, time.monotonic()
        return mine

    def give_up(self, begun: object) -> None:
        """Have another one next time, since this one does not keep the time."""
        with self._lock:
            hangs = time.monotonic() - self._since > _GROWN
            if self._control is begun and self._process is not None and hangs:
                self._process.kill()
                self._end()

    def end(self) -> None:
        """Have the other side go."""
        with self._lock:
            if self._owner == os.getpid():
                self._end()

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(_FAREWELL)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None


_forks = _Forks()
atexit.register(_forks.end)


def _collect(pipe: Any, end: float, limits: Limits) -> bytes:
    """Read all that comes, within the limits; raises a `TimeoutError` at the end."""
    pieces: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            left = end - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise TimeoutError
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                return b"".join(pieces)
            size += len(piece)
            if size > limits.answer:
                raise ViewError("there is too much in it to show")
            pieces.append(piece)
