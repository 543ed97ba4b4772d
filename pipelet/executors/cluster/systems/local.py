"""Jobs as processes of this machine: for a workstation, and to try how the batch mode is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.systems.base import State, System, import_dask_jobqueue
from pipelet.storage import process_start


class Local(System):
    """Processes of this machine, which do not end with whoever started them. An id is ``pid:start``."""

    name = "local"
    job_variables = ("PIPELET_LOCAL_JOB",)

    def job_class(self) -> Any:
        """`dask_jobqueue.local.LocalJob`."""
        import_dask_jobqueue()
        from dask_jobqueue.local import LocalJob

        return LocalJob

    def job_options(self, options: JobOptions) -> dict[str, Any]:
        """None: nobody sees to walltime or memory here."""
        return {}

    def submit(self, options: JobOptions, script: str, name: str, script_dir: str, log_dir: str) -> tuple[str, str]:
        """Start the script, in a session of its own."""
        path, log = os.path.join(script_dir, f"{name}.sh"), self.log_path(log_dir, name)
        with open(path, "w", opener=lambda file, flags: os.open(file, flags, 0o700)) as file:
            file.write(script)
        with open(log, "ab") as output:
            process = subprocess.Popen(
                ["bash", "-c", _BEGIN, path], stdin=subprocess.PIPE, stdout=output, stderr=output,
                start_new_session=True,
            )
        _CHILDREN.append(process)
        job = f"{process.pid}:{process_start(process.pid)}"
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as told:
            told.write(f"{job}\n".encode())
        return job, log

    def status(
        self, jobs: Sequence[str], stop: threading.Event | None = None, seconds: float | None = None
    ) -> dict[str, State]:
        """Look at the processes."""
        _CHILDREN[:] = [process for process in _CHILDREN if process.poll() is None]
        return {job: State.RUNNING if _lives(job) else State.ENDED for job in jobs}

    def cancel(self, jobs: Sequence[str]) -> dict[str, str]:
        """End the processes."""
        for job in jobs:
            if _lives(job):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(int(job.partition(":")[0]), signal.SIGTERM)
        return {}


#: A job hears its id, which is known when it has begun.
_BEGIN = 'read -r PIPELET_LOCAL_JOB; export PIPELET_LOCAL_JOB; exec bash "$0"'
#: Those that were started from here: whoever has started a process is asked what became of it.
_CHILDREN: list[subprocess.Popen[bytes]] = []


def _lives(job: str) -> bool:
    pid, _, start = job.partition(":")
    return str(process_start(int(pid))) == start
