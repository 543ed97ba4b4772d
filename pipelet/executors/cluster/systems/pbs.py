"""PBS: PBS Pro and OpenPBS, and Torque with its other words for resources."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.systems.base import Answer, State, System, import_dask_jobqueue, table_states

_JOB = re.compile(r"^(?:Job Id|Job):\s*(?P<id>\S+)\s*$")
_STATE = re.compile(r"^\s*job_state\s*=\s*(?P<state>\S+)\s*$")
#: What is said of a job that the server has forgotten, or keeps in its history only.
_GONE = re.compile(
    r"Unknown Job(?: Id)?(?: Error)? (?P<unknown>\d\S*)|(?P<finished>\d\S*) Job has finished", re.IGNORECASE
)
#: The exit status for a job that is not known. Torque commands on top of Slurm say nothing beside.
_UNKNOWN_STATUS = 153


class PBS(System):
    """PBS Pro and OpenPBS."""

    name = "pbs"
    job_variables = ("PBS_JOBID",)
    log_marks = ":"
    #: The whole of it, ``12.host``: other commands may ask for that.
    id_pattern = re.compile(r"^\s*(?P<id>\d+(?:\[\])?(?:\.\S+)?)\s*$", re.MULTILINE)
    #: Q queued, W waits for its time, T moved, R running, B begun (an array), E exiting, S U suspended, H held,
    #: C F X M over or elsewhere.
    states: Mapping[str, State] = {
        "Q": State.PENDING, "W": State.PENDING, "T": State.PENDING, "R": State.RUNNING, "B": State.RUNNING,
        "E": State.ENDING, "S": State.RUNNING, "U": State.RUNNING, "H": State.HELD, "C": State.ENDED, "F": State.ENDED,
        "X": State.ENDED, "M": State.ENDED,
    }

    def job_class(self) -> Any:
        """`dask_jobqueue.pbs.PBSJob`."""
        import_dask_jobqueue()
        from dask_jobqueue.pbs import PBSJob

        return PBSJob

    def job_options(self, options: JobOptions) -> dict[str, Any]:
        """With ``-l select=...``, unless the user says otherwise."""
        return {**super().job_options(options), "resource_spec": options.resource_spec or self._resources(options)}

    def directives(self, options: JobOptions) -> list[str]:
        """A job that lost its host is not begun again by PBS: the server does that."""
        return ["-r n", *options.directives]

    @staticmethod
    def _resources(options: JobOptions) -> str:
        return f"select=1:ncpus={options.cores}:mem={_megabytes(options)}mb"

    def submit_words(self, name: str, log: str) -> list[str]:
        """On the command line, since Torque commands on top of Slurm heed the directives not always."""
        return ["-j", "oe", "-o", log]

    def status_command(self, jobs: Sequence[str]) -> list[str]:
        """``qstat -f``, whose form is the same wherever columns differ."""
        return ["qstat", "-f", *jobs]

    def read_states(self, jobs: Sequence[str], answer: Answer) -> dict[str, State]:
        """Jobs that are not named have ended, if the server was there to say so."""
        rows: dict[str, str] = {}
        current = None
        for line in answer.out.splitlines():
            if found := _JOB.match(line):
                current = found["id"]
            elif (found := _STATE.match(line)) and current is not None:
                rows[current] = found["state"]
        short = {_number(job): state for job, state in rows.items()}
        said = f"{answer.err}\n{answer.out}"
        gone = {_number(found["unknown"] or found["finished"]) for found in _GONE.finditer(said)}
        all_gone = answer.code == _UNKNOWN_STATUS and not said.strip()

        def ended(job: str) -> bool:
            return answer.code == 0 or all_gone or _number(job) in gone

        return table_states(
            jobs, {job: short[_number(job)] for job in jobs if _number(job) in short}, self.states, ended
        )


class Torque(PBS):
    """Torque, and the Torque commands on top of Slurm."""

    name = "torque"

    @staticmethod
    def _resources(options: JobOptions) -> str:
        return f"nodes=1:ppn={options.cores},mem={_megabytes(options)}mb"


def _megabytes(options: JobOptions) -> int:
    return math.ceil(options.memory_bytes / 1024**2)


def _number(job: str) -> str:
    """An id without its server, which some answers leave out or write otherwise."""
    return job.partition(".")[0]
