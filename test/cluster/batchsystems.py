"""The batch systems of this machine, and what the tests do to them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = os.environ.get("PIPELET_TEST_CLUSTER", "/tmp/pipelet-cluster")


def build() -> dict[str, str]:
    """Build them, if that was not done, and give the environment in which they are found."""
    done = subprocess.run([HERE / "up", ROOT], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"test/cluster/up {ROOT} failed:\n{done.stdout}{done.stderr}"
    # As a shell reads it.
    told = subprocess.run(
        ["bash", "-c", f". {shlex.quote(ROOT)}/env.sh && env -0"], capture_output=True, text=True, check=True, env={}
    ).stdout
    pairs = dict(item.split("=", 1) for item in told.split("\0") if "=" in item)
    return {name: value for name, value in pairs.items() if name.startswith(("SLURM_", "SGE_", "PIPELET_"))}


class BatchSystem:
    """One of them.

    Parameters
    ----------
    name
        ``"pbs"``, ``"slurm"`` or ``"sge"``.
    environment
        As `build` gave it.
    """

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.environment = dict(environment)
        path = os.environ["PATH"]
        if name == "pbs":
            self.environment["PATH"] = f"{environment['PIPELET_TORQUE']}:{path}"
        else:
            self.environment["PATH"] = path

    def ran(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the system."""
        return subprocess.run(
            words, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60, check=False
        )

    def jobs(self) -> set[str]:
        """The ids of the jobs that wait or run."""
        if self.name == "sge":
            lines = self.ran("qstat", "-u", "*").stdout.splitlines()
            return {words[0] for words in map(str.split, lines) if words and words[0].isdigit()}
        told = self.ran("squeue", "-h", "-o", "%A %T").stdout.splitlines()
        return {words[0] for words in map(str.split, told) if words[1] not in ("COMPLETING",)}

    def cancel(self, *jobs: str) -> None:
        """Cancel jobs, as the site may."""
        self.ran("scancel" if self.name == "slurm" else "qdel", *jobs)


def worker_pids(prefix: str | os.PathLike[str]) -> dict[str, int]:
    """The processes of jobs that work for a prefix, by the names of their workers."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "pipelet.executors.cluster.job" in words and any(word.startswith(str(prefix)) for word in words):
            found[words[words.index("--name") + 1]] = int(entry)
    return found


def kill(pids: Sequence[int]) -> None:
    """End processes as a crash does."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def log_of(prefix: str | os.PathLike[str]) -> str:
    """All that a prefix's log says."""
    return "".join(path.read_text() for path in sorted(Path(prefix).glob(".pipelet/log/pipelet.log*")))


def joined_jobs(prefix: str | os.PathLike[str]) -> list[str]:
    """The ids of the jobs that have joined, as the log of a prefix has them."""
    return re.findall(r"job (\S+) on \S+ has joined", log_of(prefix))
