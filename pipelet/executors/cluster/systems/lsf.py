"""LSF. Tested against fakes of its replies only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.systems.base import Answer, State, System, import_dask_jobqueue, table_states

_UNKNOWN_ID = re.compile(r"Job <(?P<id>\d+)> is not found")


class LSF(System):
    """LSF."""

    name = "lsf"
    job_variables = ("LSB_JOBID",)
    log_marks = "%"
    id_pattern = re.compile(r"Job <(?P<id>\d+)> is submitted")
    states: Mapping[str, State] = {
        "PEND": State.PENDING, "WAIT": State.PENDING, "PROV": State.PENDING, "RUN": State.RUNNING,
        "USUSP": State.RUNNING, "SSUSP": State.RUNNING, "UNKWN": State.UNKNOWN, "PSUSP": State.HELD,
        "DONE": State.ENDED, "EXIT": State.ENDED, "ZOMBI": State.ENDED,
    }

    def job_class(self) -> Any:
        """`dask_jobqueue.lsf.LSFJob`."""
        import_dask_jobqueue()
        from dask_jobqueue.lsf import LSFJob

        return LSFJob

    def job_options(self, options: JobOptions) -> dict[str, Any]:
        """LSF counts walltime in minutes, and no part of one may be lost."""
        seconds = options.walltime_seconds
        minutes = 0 if seconds is None else math.ceil(seconds / 60)
        walltime = None if seconds is None else f"{minutes // 60:02d}:{minutes % 60:02d}"
        return {
            "queue": options.queue, "project": options.project, "walltime": walltime, "mem": options.memory_bytes,
            "ncpus": options.cores,
        }

    def directives(self, options: JobOptions) -> list[str]:
        """A job that lost its host is not begun again by LSF: the server does that."""
        return ["-rn", *options.directives]

    def submit_words(self, name: str, log: str) -> list[str]:
        """Both streams into one file."""
        return ["-o", log]

    def submit_command(self, job: Any, name: str, log: str, options: JobOptions, path: str) -> list[str]:
        """Without the script: LSF looks for directives in what comes from the standard input, and not in files."""
        return super().submit_command(job, name, log, options, path)[:-1]

    def submit_input(self, script: str) -> str:
        """The script."""
        return script

    def status_command(self, jobs: Sequence[str]) -> list[str]:
        """Two columns, also for jobs that have just ended."""
        return ["bjobs", "-a", "-noheader", "-o", "jobid stat", *jobs]

    def read_states(self, jobs: Sequence[str], answer: Answer) -> dict[str, State]:
        """Jobs that LSF knows nothing of have ended."""
        rows = {words[0]: words[1] for words in map(str.split, answer.out.splitlines()) if len(words) == 2}
        gone = {found["id"] for found in _UNKNOWN_ID.finditer(answer.err + answer.out)}
        return table_states(jobs, rows, self.states, lambda job: job in gone)
