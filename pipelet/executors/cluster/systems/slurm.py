"""Slurm."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.systems.base import Answer, State, System, import_dask_jobqueue, table_states

_UNKNOWN_ID = "Invalid job id"


class Slurm(System):
    """Slurm."""

    name = "slurm"
    job_variables = ("SLURM_JOB_ID", "SLURM_JOBID")
    log_marks = "%\\"
    id_pattern = re.compile(r"^(?:Submitted batch job )?(?P<id>\d+)(?: on cluster \S+|;\S+)?\s*$", re.MULTILINE)
    states: Mapping[str, State] = {
        **dict.fromkeys(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "RESIZING"), State.PENDING),
        **dict.fromkeys(("REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"), State.HELD),
        **dict.fromkeys(("RUNNING", "SUSPENDED", "SIGNALING", "STAGE_OUT", "STOPPED"), State.RUNNING),
        "COMPLETING": State.ENDING,
        **dict.fromkeys(
            (
                "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
                "REVOKED", "TIMEOUT",
            ),
            State.ENDED,
        ),
    }

    def job_class(self) -> Any:
        """`dask_jobqueue.slurm.SLURMJob`."""
        import_dask_jobqueue()
        from dask_jobqueue.slurm import SLURMJob

        return SLURMJob

    def job_options(self, options: JobOptions) -> dict[str, Any]:
        """As everywhere; a specification of resources is one more directive here."""
        return super().job_options(options)

    def directives(self, options: JobOptions) -> list[str]:
        """A job that lost its node is not begun again by Slurm: the server does that."""
        more = [options.resource_spec] if options.resource_spec else []
        return ["--no-requeue", *more, *options.directives]

    def submit_words(self, name: str, log: str) -> list[str]:
        """Both streams into one file."""
        # A percent sign stands for something else in there.
        return [f"--output={log.replace('%', '%%')}", "--open-mode=append"]

    def status_command(self, jobs: Sequence[str]) -> list[str]:
        """``squeue`` with two columns, also for jobs that have just ended, and those held with their reason."""
        return ["squeue", "--noheader", "--states=all", "--format=%A %T %r", f"--jobs={','.join(jobs)}"]

    def read_states(self, jobs: Sequence[str], answer: Answer) -> dict[str, State]:
        """Of several jobs those that are unknown are left out; a single one is an error."""
        rows: dict[str, str] = {}
        held = set()
        for line in answer.out.splitlines():
            words = line.split()
            if len(words) >= 2:
                rows[words[0]] = words[1]
                if len(words) > 2 and words[1] == "PENDING" and words[2].startswith("JobHeld"):
                    held.add(words[0])
        known = answer.code == 0 or _UNKNOWN_ID in answer.err + answer.out
        states = table_states(jobs, rows, self.states, lambda job: known)
        return {job: State.HELD if job in held else state for job, state in states.items()}
