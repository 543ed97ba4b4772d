"""Processes of this machine: whether one that was recorded still lives, and its end with all of its group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

from pipelet.errors import StorageError

#: Two readings of one start time differ by less; two processes with one id differ by more.
_SAME_START = 0.005
#: How long killed processes may take to go (they may hang in a file system).
_PATIENCE = 30.0


class Process(NamedTuple):
    """A live process."""

    pid: int
    group: int
    start: float  #: seconds on the scale of `clock`; comparable on one boot of one machine only


def process_start(pid: int) -> float | None:
    """Give the start time of a process, ``None`` if it is gone or a zombie.

    With the id it tells a process from a later one of the same id. It is a number to compare, on one boot of one
    machine, not a date.

    Parameters
    ----------
    pid
        The process.

    Returns
    -------
    float or None
        Seconds.
    """
    if os.path.exists("/proc/self/stat"):
        found = _from_proc(pid)
    else:
        found = next((process for process in _from_ps() if process.pid == pid), None)
    return found.start if found else None


def boot() -> str:
    """Give what tells one boot of this machine from the next; empty where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def clock() -> float:
    """Give the present on the scale of `Process.start`."""
    try:
        with open("/proc/uptime", encoding="ascii") as file:
            return float(file.read().split()[0])
    except FileNotFoundError:
        return time.time()


def process_age() -> float:
    """Give for how many seconds this process has been there, also as another program before ``exec``; 0 if unknown."""
    start = process_start(os.getpid())
    return 0.0 if start is None else max(0.0, clock() - start)


def processes() -> list[Process]:
    """Give all the live processes that this one can see."""
    if not os.path.exists("/proc/self/stat"):
        return _from_ps()
    found = (_from_proc(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process]


def _from_proc(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name comes second, in brackets, and may hold anything.
    fields = text.rpartition(b")")[2].split()
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[2]), int(fields[19]) / os.sysconf("SC_CLK_TCK"))


def _from_ps() -> list[Process]:
    command = ["ps", "-A", "-o", "pid=,pgid=,stat=,lstart="]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise StorageError(f"can't list the processes of this machine: {error} (is ps installed?)") from error
    found = []
    for line in text.splitlines():
        pid, group, state, *start = line.split()
        if not state.startswith("Z"):
            began = time.mktime(time.strptime(" ".join(start), "%a %b %d %H:%M:%S %Y"))
            found.append(Process(int(pid), int(group), began))
    return found


def is_running(pid: int, start: float | None) -> bool | None:
    """Tell whether the process that began at `start` still runs.

    Parameters
    ----------
    pid
        Its id.
    start
        What `process_start` gave for it; ``None`` if that is not known.

    Returns
    -------
    bool or None
        ``None`` if it can't be told: some systems hide the processes of other users.
    """
    now = process_start(pid)
    if now is not None:
        return start is None or abs(now - start) < _SAME_START
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return None
    # It exists and is ours, but has ended: a zombie.
    return False


def end_groups(workers: Sequence[tuple[int, float]], silent: float) -> None:
    """Kill what is left of the process groups of a dead run, and wait until it is gone.

    Parameters
    ----------
    workers
        Process id and start time of each group's leader. A process that leads no group is killed alone.
    silent
        Seconds since the run gave its last sign of life. A group whose leader has gone is taken for the worker's
        only if something in it is older than that: the id may have been given to another.

    Raises
    ------
    StorageError
        A process can't be killed, or does not go.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        left = _survivors(workers, silent)
        if not left:
            return
        for target in left:
            _kill(target)
        if time.monotonic() > deadline:
            names = ", ".join(str(abs(target)) for target in sorted(left, key=abs))
            raise StorageError(f"processes of the run that died don't end: {names} (end them, then run again)")
        time.sleep(0.01)


def _survivors(workers: Sequence[tuple[int, float]], silent: float) -> set[int]:
    """Give what `os.kill` takes: ids of processes, and of groups with a minus."""
    if not workers:
        return set()
    table = {process.pid: process for process in processes()}
    # A minute more than the silence: what began while the run was last heard of is its own.
    born_before = clock() - silent + 60
    found = set()
    for pid, start in workers:
        leader = table.get(pid)
        members = [process for process in table.values() if process.group == pid]
        if leader is None:
            if any(member.start < born_before for member in members):
                found.add(-pid)
        elif abs(leader.start - start) < _SAME_START:
            found.add(-pid if leader.group == pid else pid)
    return found


def _kill(target: int) -> None:
    if target in (-os.getpgrp(), os.getpid()):
        raise StorageError("this process belongs to the run that died, and can't take its place: start it elsewhere")
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
    except PermissionError as error:
        raise StorageError(f"process {abs(target)} of the run that died is another user's: ask to end it") from error
