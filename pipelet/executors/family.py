"""A worker and all that it has started: who that is, how much memory it takes, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable

#: In the environment of a worker and, unless they clear it, of all that it starts.
MARK = "PIPELET_WORKER"
#: How long a process may take to obey a SIGSTOP; one that hangs in a file system can't.
_STOP_SECONDS = 0.5
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Family:
    """A worker with its descendants, also those that left its process group or lost their parent.

    Parameters
    ----------
    worker
        Process id of the worker, which leads a group of its own.
    mark
        What it has as `MARK` in its environment.
    """

    def __init__(self, worker: int, mark: str) -> None:
        self._worker = worker
        self._mark = f"{MARK}={mark}".encode()
        self._stopped: set[int] = set()

    def stop(self) -> None:
        """Stop all of it: what is stopped starts nothing more, so that nobody can get away afterwards."""
        while new := self._members() - self._stopped:
            for pid in new:
                _signal(pid, signal.SIGSTOP)
            self._stopped |= new
            end = time.monotonic() + _STOP_SECONDS
            while time.monotonic() < end and not all(map(_stands, new)):
                time.sleep(0.002)

    def resume(self) -> None:
        """Let it go on."""
        for pid in self._stopped:
            _signal(pid, signal.SIGCONT)
        self._stopped.clear()

    def kill(self) -> None:
        """Kill what was stopped."""
        for pid in self._stopped:
            _signal(pid, signal.SIGKILL)

    def _members(self) -> set[int]:
        table = _table()
        found = {pid for pid, (_, group) in table.items() if group == self._worker or self._is_marked(pid)}
        if self._worker in table:
            found.add(self._worker)
        children: dict[int, list[int]] = {}
        for pid, (parent, _) in table.items():
            children.setdefault(parent, []).append(pid)
        todo = list(found)
        while todo:
            new = [pid for pid in children.get(todo.pop(), ()) if pid not in found]
            found.update(new)
            todo += new
        return found - {os.getpid()}

    def _is_marked(self, pid: int) -> bool:
        return self._mark in _read(f"/proc/{pid}/environ").split(b"\0")


def memory(worker: int, exact: bool = False) -> int:
    """Measure what a process and its descendants keep in memory. Files that are mapped don't count.

    Parameters
    ----------
    worker
        Process id.
    exact
        Count once what several processes share, as they do after a fork; this takes the system a while.

    Returns
    -------
    int
        Bytes.
    """
    total, todo = 0, [worker]
    while todo:
        pid = todo.pop()
        total += _shared_out(pid) if exact else own_memory(_read(f"/proc/{pid}/statm"))
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return total


def own_memory(statm: bytes) -> int:
    """Bytes of a process that no other has, by its ``/proc/<pid>/statm``; 0 where there is none."""
    fields = statm.split(None, 3)
    return (int(fields[1]) - int(fields[2])) * _PAGE if len(fields) > 2 else 0


def _shared_out(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss_Anon:"):
            return int(line.split()[1]) * 1024
    return own_memory(_read(f"/proc/{pid}/statm"))


def _table() -> dict[int, tuple[int, int]]:
    """For each live process its parent and its group."""
    found = {}
    if os.path.exists("/proc/self/stat"):
        for name in os.listdir("/proc"):
            if name.isdigit():
                fields = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()
                if fields and fields[0] not in (b"Z", b"X"):
                    found[int(name)] = (int(fields[1]), int(fields[2]))
        return found
    for line in _ps("-A", "-o", "pid=,ppid=,pgid=,stat="):
        pid, parent, group, state = line.split()
        if not state.startswith("Z"):
            found[int(pid)] = (int(parent), int(group))
    return found


def _stands(pid: int) -> bool:
    """Whether a process is stopped, or gone."""
    if os.path.exists("/proc/self/stat"):
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return not fields or fields[0] in (b"T", b"t", b"Z", b"X")
    return all(line[0] in "TZ" for line in _ps("-o", "stat=", "-p", str(pid)))


def _ps(*words: str) -> Iterable[str]:
    try:
        return subprocess.run(["ps", *words], capture_output=True, text=True, check=False).stdout.splitlines()
    except OSError:
        return ()


def _read(path: str) -> bytes:
    """The content of a file of the system; nothing if its process has gone or is another user's."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall() or b""
    except OSError:
        return b""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
