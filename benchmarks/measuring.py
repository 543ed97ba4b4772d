#!/usr/bin/env python3
"""What a command costs with all that it starts: wall, CPU of all its processes, peak memory.

    python benchmarks/measuring.py --limit 60 REPORT.json python something.py

The command runs below a small process of its own, which is the reaper of every process that loses its parent. So the
CPU that the system accounts for at the end of each process is complete, whoever started or killed it. As a check that
shares nothing with it, the processes are looked at in /proc, again and again, and what is seen there is added up too;
so is their memory. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICK = os.sysconf("SC_CLK_TCK")
#: Between two looks at the processes; longer when a look takes long, so that looking disturbs little.
INTERVAL = 0.05
#: Looking may take so much of the time.
SHARE = 0.04
#: So long may processes go on after the command has ended.
GRACE = 10.0
#: So many seconds may be accounted for in one way and not in the other: clock ticks, and what falls between two looks.
SLACK = 0.5


@dataclass
class Reading:
    """What one command cost."""

    wall: float = 0.0  #: seconds until the command ended
    cpu: float = 0.0  #: seconds of all its processes: the greater of the two ways to count
    cpu_reaped: float = 0.0  #: as the system accounts for it when processes end
    cpu_seen: float = 0.0  #: as seen in /proc while they lived
    cpu_main: float = 0.0  #: of the main process alone, as it was seen last
    memory: int = 0  #: bytes, most at one time of all processes together, shared pages counted once
    memory_main: int = 0  #: bytes, most of the main process: the command, or the one that was asked for
    processes: int = 0  #: how many were seen
    looks: int = 0
    status: int = 0  #: exit status of the command
    stopped: bool = False  #: it reached its limit
    tail: str = field(default="", repr=False)  #: the end of what it printed

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, and well."""
        return self.status == 0 and not self.stopped

    @property
    def lost(self) -> bool:
        """Whether the system accounts for less than was seen: then somebody left the dead unreaped."""
        return self.cpu_reaped < 0.95 * self.cpu_seen - SLACK


class MeasuringError(Exception):
    """A command that was to be measured went wrong."""


def measure(
    command: Sequence[str],
    limit: float | None = None,
    main: str | None = None,
    directory: str | os.PathLike[str] | None = None,
    environment: dict[str, str] | None = None,
) -> Reading:
    """Run a command and tell what it cost.

    Parameters
    ----------
    command
        Program and arguments.
    limit
        After so many seconds it is stopped, with all that it started.
    main
        A part of the command line by which the main process is known, whose memory and CPU are told apart.
    directory
        Where it runs.
    environment
        Variables that are set for it.
    """
    with tempfile.TemporaryDirectory(prefix="pipelet-bench-") as scratch:
        report = os.path.join(scratch, "report.json")
        options = [] if limit is None else ["--limit", str(limit)]
        options += [] if main is None else ["--main", main]
        helper = subprocess.Popen(
            [sys.executable, "-S", "-E", os.path.abspath(__file__), *options, report, *command],
            cwd=directory,
            env={**os.environ, **(environment or {})},
        )
        try:
            helper.wait()
        except BaseException:
            helper.terminate()
            helper.wait()
            raise
        if not os.path.exists(report):
            raise MeasuringError(f"the process that measures ended with {helper.returncode}: {' '.join(command)}")
        with open(report, encoding="utf-8") as file:
            return Reading(**json.load(file))


def checked(reading: Reading, what: str) -> Reading:
    """Give the reading back if the command ended well.

    Raises
    ------
    MeasuringError
        It did not; the message holds the end of what it printed.
    """
    if not reading.ok:
        why = "was stopped at its limit" if reading.stopped else f"ended with status {reading.status}"
        raise MeasuringError(f"{what} {why}; it printed last:\n{reading.tail}")
    return reading


# --- in the process that measures ------------------------------------------------------------------------------------


class _Watch:
    """Looks at all processes below this one."""

    def __init__(self, main: str | None) -> None:
        self.main = main
        self.reading = Reading()
        self._ticks: dict[tuple[int, int], int] = {}
        self._ticks_main: dict[tuple[int, int], int] = {}
        self._is_main: dict[tuple[int, int], bool] = {}

    def look(self, child: int) -> list[int]:
        """Take one sample; gives the process ids."""
        living = _descendants(os.getpid())
        memory = 0
        for pid, (start, ticks) in living.items():
            self._ticks[pid, start] = ticks
            memory += _proportional(pid)
            if self._counts(pid, start, child):
                self._ticks_main[pid, start] = ticks
                self.reading.memory_main = max(self.reading.memory_main, _status(pid, b"VmHWM:"))
        self.reading.memory = max(self.reading.memory, memory)
        self.reading.looks += 1
        return list(living)

    def _counts(self, pid: int, start: int, child: int) -> bool:
        if self.main is None:
            return pid == child
        # A process that was just forked still has the words of its parent; so one that is not it is asked again.
        if not self._is_main.get((pid, start)):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                self._is_main[pid, start] = self.main.encode() in file.read() and pid != child
        return self._is_main.get((pid, start), False)

    def end(self, reaped: float) -> None:
        reading = self.reading
        reading.cpu_reaped = reaped
        reading.cpu_seen = sum(self._ticks.values()) / _TICK
        reading.cpu = max(reaped, reading.cpu_seen)
        reading.cpu_main = sum(self._ticks_main.values()) / _TICK
        reading.processes = len(self._ticks)


def _descendants(root: int) -> dict[int, tuple[int, int]]:
    """Start time and CPU (in ticks) of each process below one."""
    children: dict[int, list[int]] = {}
    facts = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                words = file.read().rpartition(b") ")[2].split()
        except OSError:  # it is gone
            continue
        children.setdefault(int(words[1]), []).append(int(name))
        facts[int(name)] = (int(words[19]), int(words[11]) + int(words[12]))
    found: dict[int, tuple[int, int]] = {}
    to_do = list(children.get(root, ()))
    while to_do:
        pid = to_do.pop()
        found[pid] = facts[pid]
        to_do += children.get(pid, ())
    return found


def _proportional(pid: int) -> int:
    """Memory of a process, where a page that n share counts 1/n."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # it is gone, or the system is an old one
        pass
    return _status(pid, b"VmRSS:")


def _status(pid: int, word: bytes) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(word):
                return int(line.split()[1]) * 1024
    return 0


def _reap(known: int) -> tuple[float, int | None]:
    """CPU of all that has ended, and the status of the command if it is among them."""
    used, status = 0.0, None
    while True:
        try:
            pid, code, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return used, status
        if pid == 0:
            return used, status
        used += usage.ru_utime + usage.ru_stime
        if pid == known:
            status = os.waitstatus_to_exitcode(code)


def _kill_all(watch: _Watch, child: int) -> float:
    """End all that is left; they may start others meanwhile."""
    used = 0.0
    for _ in range(200):
        living = watch.look(child)
        for pid in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        used += _reap(child)[0]
        if not living:
            break
        time.sleep(0.02)
    return used


def _run(command: Sequence[str], limit: float | None, main: str | None) -> Reading:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    watch = _Watch(main)
    reading = watch.reading
    used = 0.0
    with tempfile.TemporaryFile() as printed:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT)
        poller = select.poll()
        poller.register(os.pidfd_open(process.pid), select.POLLIN)
        status: int | None = None
        pause = INTERVAL
        try:
            while status is None:
                # Early on more often: a process that soon ends must be seen as well.
                if poller.poll(min(pause, 0.005 + (time.perf_counter() - begun) / 3) * 1000):
                    reading.wall = time.perf_counter() - begun
                looked = time.perf_counter()
                watch.look(process.pid)
                pause = max(INTERVAL, (time.perf_counter() - looked) / SHARE)
                more, status = _reap(process.pid)
                used += more
                if status is not None and not reading.wall:
                    reading.wall = time.perf_counter() - begun
                if status is None and limit is not None and looked - begun > limit:
                    reading.stopped = True
                    reading.wall = looked - begun
                    break
            ended = time.perf_counter()
            while not reading.stopped and time.perf_counter() - ended < GRACE and watch.look(process.pid):
                used += _reap(process.pid)[0]
                time.sleep(INTERVAL)
        finally:
            used += _kill_all(watch, process.pid)
        process.returncode = reading.status = status if status is not None else -signal.SIGKILL
        watch.end(used)
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - 4000))
        reading.tail = printed.read().decode(errors="replace").strip()
    return reading


def main() -> int:
    """Measure the command of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, help="stop it after so many seconds")
    parser.add_argument("--main", help="part of the command line of the process that is told apart")
    parser.add_argument("report", help="where the reading is written, as JSON")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    reading = _run(options.command, options.limit, options.main)
    path = Path(options.report)
    path.write_text(json.dumps(asdict(reading)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
