"""The process that stands ready to look at hostile files: its libraries are loaded, and it forks for each request.

It is run by its path, with the places of modules in JSON. Its standard input is a socket; when the other end of that is
closed, it ends.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

#: Before each request: its length. The handles come with it: the file, where the answer goes, where the status goes
#: (see `limited`), and perhaps a second file.
HEAD = struct.Struct("!I")
#: The exit code of a process; negative: the signal that ended it. ``SIGALRM``: its time was over.
STATUS = struct.Struct("!i")
#: More than all requests at once need.
_HANDLES = 256
_MOST_HANDLES = 4

Work = Callable[[dict[str, Any]], int]


class Running(NamedTuple):
    """A process at work."""

    status: socket.socket
    end: float


class ForkServer:
    """Takes requests, and watches the processes that work on them.

    Parameters
    ----------
    control
        Where the requests come from.
    prepare
        Loads what a request needs; done before the fork, so that the next one has it.
    work
        Done in a process of its own, in which 0 is the file, 1 where the answer goes, and 3 the second file. Its
        result is the exit code.
    """

    def __init__(self, control: socket.socket, prepare: Callable[[dict[str, Any]], None], work: Work) -> None:
        self._control = control
        self._prepare = prepare
        self._work = work
        self._running: dict[int, Running] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Work until nobody is left to ask."""
        with self._selector, _ends_of_children() as ended:
            self._selector.register(self._control, selectors.EVENT_READ)
            self._selector.register(ended, selectors.EVENT_READ)
            try:
                while self._turn(ended):
                    pass
            finally:
                for pid in self._running:
                    os.killpg(pid, signal.SIGKILL)

    def _turn(self, ended: int) -> bool:
        ends = [running.end for running in self._running.values()]
        left = max(0.0, min(ends) - time.monotonic()) if ends else None
        ready = {key.fileobj for key, _ in self._selector.select(left)}
        if ended in ready:
            with suppress(BlockingIOError):
                os.read(ended, 4096)
        self._reap()
        now = time.monotonic()
        for pid, running in list(self._running.items()):
            if running.status in ready or running.end <= now:
                # Nobody waits for it any more, or its time is over.
                self._stop(pid, -signal.SIGALRM)
        return self._control not in ready or self._take()

    def _reap(self) -> None:
        while self._running:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            failed = found.si_code != os.CLD_EXITED
            self._stop(found.si_pid, -found.si_status if failed else found.si_status)

    def _stop(self, pid: int, code: int) -> None:
        """End a process with all that it began, and tell how it ended."""
        running = self._running.pop(pid)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self._selector.unregister(running.status)
        with running.status, suppress(OSError):
            running.status.send(STATUS.pack(code))

    def _take(self) -> bool:
        """Begin with a request; false when there will be no more."""
        head, handles, _, _ = socket.recv_fds(self._control, HEAD.size, _MOST_HANDLES)
        if len(head) < HEAD.size:
            return False
        request = json.loads(_exactly(self._control, HEAD.unpack(head)[0]))
        # A child that fails at this says why; here it would be the end of all.
        with suppress(Exception):
            self._prepare(request)
        pid = os.fork()
        if not pid:
            with _leaving():
                _become(handles)
                os._exit(self._work(request))
        # Both do it: whoever is first, the group is there before it is needed.
        with suppress(OSError):
            os.setpgid(pid, pid)
        status = socket.socket(fileno=handles[2])
        for handle in (*handles[:2], *handles[3:]):
            os.close(handle)
        self._running[pid] = Running(status, time.monotonic() + float(request["seconds"]))
        self._selector.register(status, selectors.EVENT_READ)
        return True


@contextmanager
def _leaving() -> Iterator[None]:
    """A child that fails must not go on as its parent."""
    try:
        yield
    finally:
        os._exit(1)


def _become(handles: Sequence[int]) -> None:
    """In the new process: have the files of the request, and nothing else of the parent."""
    with suppress(OSError):
        os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    file, answer, _, *others = handles
    os.dup2(file, 0)
    os.dup2(answer, 1)
    if others:
        os.dup2(others[0], 3)
    os.closerange(4 if others else 3, _HANDLES)


def _exactly(control: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = control.recv(size - len(data))
        if not piece:
            raise EOFError("a request broke off")
        data += piece
    return data


@contextmanager
def _ends_of_children() -> Iterator[int]:
    """A handle that can be read when a child has ended."""
    end, begin = os.pipe()
    os.set_blocking(end, False)
    os.set_blocking(begin, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(begin, warn_on_full_buffer=False)
    try:
        yield end
    finally:
        signal.set_wakeup_fd(-1)
        os.close(end)
        os.close(begin)


def main(path: list[str]) -> None:
    """Serve the socket that is the standard input, with modules from ``path``."""
    sys.path[:] = path
    child = importlib.import_module("pipelet.web.viewers.child")
    # All handles can be closed in a child only if their numbers are bounded.
    resource.setrlimit(resource.RLIMIT_NOFILE, (_HANDLES, _HANDLES))
    with socket.socket(fileno=0) as control:
        ForkServer(control, child.prepare, child.main).serve()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    # No farewells of libraries.
    os._exit(0)
