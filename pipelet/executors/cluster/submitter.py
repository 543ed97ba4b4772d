"""Submits jobs that join the server of a prefix, and puts them down.

A job has a record in the prefix, written by whoever submitted it: the server itself, or somebody who added workers from
another host.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelet.errors import LauncherError
from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.systems import system
from pipelet.executors.wire import write_whole
from pipelet.storage import job_log_dir, write_job_note

#: This part of the walltime before its end no task begins any more; and by chance some earlier, so that not all workers
#: end at once.
_MARGIN, _STAGGER = 0.05, 0.05
_LEAST_MARGIN, _MOST_MARGIN = 5.0, 300.0


@dataclass
class JobRecord:
    """A job that was submitted."""

    name: str  #: of its worker; no other job has it
    job: str  #: the batch system's id
    log: str  #: the file with its output
    options: JobOptions
    run: str  #: of the server that it was submitted for
    host: str  #: where it was submitted
    submitted: float
    generation: int = 0  #: how many jobs in a row were lost before it
    joined: bool = field(default=False, compare=False)
    warned: bool = field(default=False, compare=False)
    is_known: bool = field(default=False, compare=False)  #: the batch system has said that it waits or runs

    def write(self, directory: str) -> None:
        """Put it down.

        Raises
        ------
        OSError
            That can't be done.
        """
        table = asdict(self)
        for name in ("joined", "warned", "is_known"):
            del table[name]
        table["options"] = self.options.as_dict()
        os.makedirs(directory, mode=0o700, exist_ok=True)
        write_whole(os.path.join(directory, f"{self.name}.json"), json.dumps(table, indent=1).encode())

    @classmethod
    def read(cls, path: str) -> JobRecord | None:
        """Read a record; ``None`` if it can't be read as one."""
        try:
            with open(path, "rb") as file:
                table: dict[str, Any] = json.load(file)
            return cls(**{**table, "options": JobOptions.from_dict(table["options"])})
        except (OSError, ValueError, TypeError, KeyError, LauncherError):
            return None


class Submitter:
    """Submits jobs that join the server of a prefix.

    Parameters
    ----------
    engine_dir
        The engine's directory in the prefix.
    run
        Of the server.
    """

    def __init__(self, engine_dir: str, run: str) -> None:
        self.jobs_dir = os.path.join(engine_dir, "server", "jobs")
        self._engine_dir = engine_dir
        self._log_dir = job_log_dir(engine_dir)
        self._server_file = os.path.join(engine_dir, "server", "server.json")
        self._run = run

    def submit(self, options: JobOptions, generation: int = 0) -> JobRecord:
        """Submit one job.

        Raises
        ------
        LauncherError
            The batch system refused it, and said why; or its record can't be written.
        """
        name = f"{options.job_name or 'pipelet'}-{uuid.uuid4().hex[:8]}"
        batch = system(options.system)
        script = self.script(options, name)
        try:
            script_dir, log_dir = options.script_dir or self._log_dir, options.log_dir or self._log_dir
            for directory in (script_dir, log_dir):
                os.makedirs(directory, exist_ok=True)
            job, log = batch.submit(options, script, name, script_dir, log_dir)
            record = JobRecord(name, job, log, options, self._run, socket.gethostname(), time.time(), generation)
        except OSError as error:
            raise LauncherError(f"a job can't be submitted: {error}") from error
        try:
            record.write(self.jobs_dir)
            write_job_note(self._engine_dir, name, job, options.system, record.host, record.submitted, log)
        except OSError as error:
            fate = "could not be cancelled"
            with contextlib.suppress(LauncherError):
                fate = fate if batch.cancel([job]) else "was cancelled"
            raise LauncherError(f"job {job} can't be put on record, and {fate}: {error}") from error
        return record

    def script(self, options: JobOptions, name: str) -> str:
        """The script of a job.

        Raises
        ------
        LauncherError
            The options don't fit together.
        """
        return system(options.system).make_script(options, self._server_file, name, worker_arguments(options))


def worker_arguments(options: JobOptions) -> list[str]:
    """What a job's script tells the worker beside its server and its size."""
    arguments = ["--idle", f"{options.idle_seconds:g}"]
    seconds = options.walltime_seconds
    if seconds is not None:
        margin = min(max(_MARGIN * seconds, _LEAST_MARGIN), _MOST_MARGIN)
        arguments += ["--lifetime", f"{max(seconds - margin, seconds / 2):.0f}"]
        arguments += ["--lifetime-stagger", f"{_STAGGER * seconds:.0f}"]
    if options.tasks_per_worker is not None:
        arguments += ["--tasks", str(options.tasks_per_worker)]
    if options.scratch is not None:
        arguments += ["--scratch", options.scratch]
    return arguments
