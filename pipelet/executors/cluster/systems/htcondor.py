"""HTCondor. Tested against fakes of its replies only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.systems.base import Answer, State, System, import_dask_jobqueue, table_states


class HTCondor(System):
    """HTCondor."""

    name = "htcondor"
    #: 1 idle, 2 running, 3 removed, 4 completed, 5 held, 6 its output is being brought back, 7 suspended.
    states: Mapping[str, State] = {
        "1": State.PENDING, "2": State.RUNNING, "3": State.ENDED, "4": State.ENDED, "5": State.HELD, "6": State.RUNNING,
        "7": State.RUNNING,
    }

    def job_class(self) -> Any:
        """`dask_jobqueue.htcondor.HTCondorJob`."""
        import_dask_jobqueue()
        from dask_jobqueue.htcondor import HTCondorJob

        return HTCondorJob

    def job_options(self, options: JobOptions) -> dict[str, Any]:
        """It wants to know how much disk a job needs."""
        return {"disk": "1 GB"}

    def directives(self, options: JobOptions) -> Any:
        """They are ``name = value`` here."""
        pairs = (line.partition("=")[::2] for line in options.directives)
        found = {name.strip(): value.strip() for name, value in pairs}
        if options.walltime_seconds is not None:
            found.setdefault("+MaxRuntime", f"{options.walltime_seconds:.0f}")
        if options.queue is not None:
            found.setdefault("Requirements", options.queue)
        if options.project is not None:
            found.setdefault("accounting_group", options.project)
        return found

    def submit_words(self, name: str, log: str) -> list[str]:
        """Output while the job runs, not at its end."""
        return ["-append", f"output={log}", "-append", f"error={log}", "-append", "stream_output=True"]

    def status_command(self, jobs: Sequence[str]) -> list[str]:
        """Two columns."""
        return ["condor_q", *jobs, "-autoformat", "ClusterId", "ProcId", "JobStatus"]

    def read_states(self, jobs: Sequence[str], answer: Answer) -> dict[str, State]:
        """Jobs that are in the queue no more have ended."""
        lines = map(str.split, answer.out.splitlines())
        rows = {f"{words[0]}.{words[1]}": words[2] for words in lines if len(words) == 3}
        return table_states(jobs, rows, self.states, lambda job: answer.code == 0)
