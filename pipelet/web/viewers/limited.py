"""Work on a hostile file in a process of its own: so much time, so much memory, and nothing written but the answer."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

from pipelet.errors import ViewError

#: So many of these processes at once; a page waits for its turn, but not for ever.
_TURNS = threading.BoundedSemaphore(max(2, min(os.cpu_count() or 2, 4)))
_PATIENCE = 30.0
_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
#: Where this package is; the server may have it from a place that is no part of its own path.
_HOME = os.path.abspath(os.path.join(os.path.dirname(_CHILD), "..", "..", ".."))
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
    """
    limits = limits or Limits()
    if not _TURNS.acquire(timeout=_PATIENCE):
        raise ViewError("the server is busy with other files: load the page again in a moment")
    try:
        return _run(job, file, dict(options or {}), limits, other)
    finally:
        _TURNS.release()


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
    handles: tuple[int, ...] = ()
    if other is not None:
        other.seek(0)
        handles = (other.fileno(),)
        options["other"] = handles[0]
    request = {
        "job": job,
        "options": options,
        "seconds": limits.seconds,
        "memory": limits.memory,
        # Isolated, Python looks only at its own places, and the packages may be elsewhere.
        "path": [*(place for place in sys.path if os.path.isabs(place)), _HOME],
    }
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", _CHILD, json.dumps(request)],
        stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_ENVIRONMENT, cwd="/",
        start_new_session=True, pass_fds=handles,
    )
    assert process.stdout is not None
    try:
        data = _collect(process.stdout, time.monotonic() + limits.seconds, limits)
        code = process.wait(limits.seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    if code == 0:
        return data
    if code == 3:
        raise ViewError(data.decode("utf-8", "replace"))
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise ViewError("it takes too long or too much memory to show")
    raise ViewError("it can't be read: the process that tried to ended without an answer")


def _collect(pipe: Any, end: float, limits: Limits) -> bytes:
    """Read all that comes, within the limits."""
    pieces: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            left = end - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise ViewError(f"it takes longer than {limits.seconds:.0f} seconds to show")
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                return b"".join(pieces)
            size += len(piece)
            if size > limits.answer:
                raise ViewError("there is too much in it to show")
            pieces.append(piece)
