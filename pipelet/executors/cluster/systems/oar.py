"""OAR. Tested against fakes of its replies only."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pipelet.errors import LauncherError
from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.systems.base import Answer, State, System, import_dask_jobqueue, table_states

_ROW = re.compile(r"^\s*(?P<id>\d+):\s*(?P<state>\w+)\s*$", re.MULTILINE)


class OAR(System):
    """OAR."""

    name = "oar"
    job_variables = ("OAR_JOB_ID", "OAR_JOBID")
    log_marks = "%"
    id_pattern = re.compile(r"^OAR_JOB_ID=(?P<id>\d+)", re.MULTILINE)
    states: Mapping[str, State] = {
        "Waiting": State.PENDING, "toLaunch": State.PENDING, "toAckReservation": State.PENDING,
        "Launching": State.PENDING, "Hold": State.HELD, "Running": State.RUNNING, "Resuming": State.RUNNING,
        "Suspended": State.RUNNING, "Finishing": State.ENDING, "Terminated": State.ENDED, "Error": State.ENDED,
        "toError": State.ENDED,
    }

    def job_class(self) -> Any:
        """`dask_jobqueue.oar.OARJob`."""
        import_dask_jobqueue()
        from dask_jobqueue.oar import OARJob

        # What a site calls memory is said by the user, with a directive; not to say it is no mistake.
        warnings.filterwarnings("ignore", message="OAR Job memory", category=UserWarning)
        return OARJob

    def job_options(self, options: JobOptions) -> dict[str, Any]:
        """As everywhere, under its own names."""
        return {
            "queue": options.queue, "project": options.project, "walltime": options.walltime_text,
            "resource_spec": options.resource_spec,
        }

    def submit_words(self, name: str, log: str) -> list[str]:
        """The directives in the script count, and both streams go into one file."""
        return ["-S", "-O", log, "-E", log]

    def submit_command(self, job: Any, name: str, log: str, options: JobOptions, path: str) -> list[str]:
        """The script is a line of shell to OAR, and so its path must be one word."""
        if shlex.quote(path) != path:
            raise LauncherError(f"OAR can't run {path}: give script_dir=, a directory without blanks and quotes")
        return super().submit_command(job, name, log, options, path)

    def status_command(self, jobs: Sequence[str]) -> list[str]:
        """One line a job."""
        words = ["oarstat", "-s"]
        for job in jobs:
            words += ["-j", job]
        return words

    def read_states(self, jobs: Sequence[str], answer: Answer) -> dict[str, State]:
        """OAR remembers its jobs; those that it does not name are unknown to it."""
        rows = {found["id"]: found["state"] for found in _ROW.finditer(answer.out)}
        return table_states(jobs, rows, self.states, lambda job: answer.code == 0)
