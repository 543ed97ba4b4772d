"""A pipeline that runs in processes of its own, and what can be done to it meanwhile."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: How long a run may take before it counts as hanging.
PATIENCE = 120.0


class Process(NamedTuple):
    """A process of the run."""

    pid: int
    kind: str  #: main, scheduler, worker, other


class Ended(NamedTuple):
    """How a run ended."""

    status: int
    out: str
    err: str
    seconds: float


class Run:
    """One start of ``main.py``: itself, and all that came of it.

    Parameters
    ----------
    root
        Where ``main.py`` is.
    temporary
        What the run has for temporary files.
    file_limit
        No file may become larger; for a machine on which no small disk can be made.
    """

    def __init__(self, root: Path, temporary: Path, file_limit: int | None = None) -> None:
        self.root = root
        self.begun = time.monotonic()
        self.token = uuid.uuid4().hex
        temporary.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(Path(__file__).parent / "clock"), *sys.path[1:]])
        environment = {
            **os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary), "TORTURE_RUN": self.token,
            "TORTURE_CLOCK": str(root / "clock"), "PYTHONDONTWRITEBYTECODE": "1",
        }

        def limit() -> None:
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))

        self._out, self._err = root / "out", root / "err"
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            command = [*without_privilege(), sys.executable, "main.py"]
            self.process = subprocess.Popen(
                command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True, preexec_fn=limit,
            )

    @property
    def running(self) -> bool:
        """Whether ``main.py`` has not ended."""
        return self.process.poll() is None

    def processes(self) -> list[Process]:
        """All the live processes of this run, also those whose parents are gone."""
        return list(processes(f"TORTURE_RUN={self.token}", self.process.pid))

    def signal(self, number: int, *kinds: str) -> list[int]:
        """Send a signal to the processes of some kinds; to all without a kind."""
        hit = []
        for pid, kind in self.processes():
            if not kinds or kind in kinds:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                    hit.append(pid)
        return hit

    def wait(self, seconds: float) -> None:
        """Wait for a while, or until it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def end(self) -> Ended:
        """Wait until ``main.py`` has ended.

        Raises
        ------
        TimeoutError
            It hangs; everything was killed.
        """
        self.wait(PATIENCE)
        if self.running:
            table = [f"{pid} {kind} {_stat(pid)}" for pid, kind in self.processes()]
            self.kill()
            raise TimeoutError(f"the run hangs: {'; '.join(table)}")
        return Ended(
            self.process.returncode, self._out.read_text(), self._err.read_text(), time.monotonic() - self.begun
        )

    def kill(self) -> None:
        """Kill all, until nothing is left."""
        end = time.monotonic() + 10
        while (self.signal(signal.SIGKILL) or self.running) and time.monotonic() < end:
            self.process.poll()
            time.sleep(0.01)

    def left(self, seconds: float = 10.0) -> list[str]:
        """The processes that are still there some time after the end, and should not."""
        end = time.monotonic() + seconds
        while (there := self.processes()) and time.monotonic() < end:
            time.sleep(0.02)
        return [f"{kind} {pid} {_command(pid)}" for pid, kind in there]


def processes(mark: str, main: int) -> Iterator[Process]:
    """The live processes that carry a mark in their environment."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                marked = mark.encode() in file.read().split(b"\0")
        except OSError:
            continue
        if marked and _stat(int(name)) not in ("", "Z", "X"):
            yield Process(int(name), "main" if int(name) == main else _kind(int(name)))


def _kind(pid: int) -> str:
    command = _command(pid)
    if "pipelet.background" in command:
        return "scheduler"
    if "loky.backend.popen" in command:
        return "worker"
    return "other"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def without_privilege() -> list[str]:
    """What makes a program of root respect permission bits; nothing for other users."""
    if os.geteuid() or not shutil.which("setpriv"):
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


class Disk:
    """A small file system of its own where that is possible, else a directory.

    Attributes
    ----------
    own
        Whether it is one.
    """

    def __init__(self, path: Path, size: str = "24m") -> None:
        path.mkdir(parents=True)
        self.path = path
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "pipelet-torture", str(path)]
        self.own = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0

    def fill(self) -> None:
        """Leave no room."""
        block = 1 << 20
        with open(self.path / "filler", "ab", buffering=0) as file:
            while block >= 512:
                try:
                    file.write(b"\0" * block)
                except OSError:
                    block //= 2

    def empty(self) -> None:
        """Give the room back."""
        (self.path / "filler").unlink(missing_ok=True)

    def read_only(self, on: bool) -> bool:
        """Mount it read-only or writable again; whether that could be done."""
        mount = ["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.path)]
        return self.own and subprocess.run(mount, capture_output=True, check=False).returncode == 0

    def close(self, keep: Path | None) -> None:
        """Unmount it; what is on it goes to a directory if asked for."""
        if keep is not None:
            shutil.copytree(self.path, keep, symlinks=True)
        if self.own:
            subprocess.run(["umount", "-l", str(self.path)], check=True)


def write_protect(prefix: Path, on: bool) -> None:
    """Take the right to write in all the directories of a prefix, or give it back."""
    folders = [prefix, *(path for path in prefix.rglob("*") if path.is_dir() and not path.is_symlink())]
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            mode = folder.stat().st_mode
            folder.chmod(mode & ~0o222 if on else mode | 0o200)
