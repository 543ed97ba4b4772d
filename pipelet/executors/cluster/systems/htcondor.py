"""HTCondor. Tested against fakes of its replies only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelet.errors import LauncherError
from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.systems.base import Answer, State, System, import_dask_jobqueue, table_states

#: Shell that means the same with a semicolon behind it.
_SIMPLE = re.compile(r"[^\n#;&|()\\]*")


class HTCondor(System):
    """HTCondor."""

    name = "htcondor"
    log_marks = "$"
    id_pattern = re.compile(r"submitted to cluster (?P<id>\d+)")
    #: 1 idle, 2 running, 3 removed, 4 completed, 5 held, 6 its output is being brought back, 7 suspended.
    states: Mapping[str, State] = {
        "1": State.PENDING, "2": State.RUNNING, "3": State.ENDED, "4": State.ENDED, "5": State.HELD, "6": State.RUNNING,
        "7": State.RUNNING,
    }

    def job_class(self) -> Any:
        """A `dask_jobqueue.htcondor.HTCondorJob` that takes any lines of shell."""
        return _job_class()

    def job_options(self, options: JobOptions) -> dict[str, Any]:
        """It wants to know how much disk a job needs."""
        return {} if self._site("disk") else {"disk": "1 GB"}

    def directives(self, options: JobOptions) -> Any:
        """They are ``name = value`` here."""
        found = {}
        for line in options.directives:
            name, equals, value = line.partition("=")
            if not equals or not name.strip():
                raise LauncherError(f"directives: {line!r} says nothing to HTCondor; write it as 'RequestDisk = 4GB'")
            found[name.strip()] = value.strip()
        if options.walltime_seconds is not None:
            # The first is what HTCondor itself heeds, the other what several sites have made up before.
            found.setdefault("allowed_execute_duration", f"{options.walltime_seconds:.0f}")
            found.setdefault("+MaxRuntime", f"{options.walltime_seconds:.0f}")
        if options.queue is not None:
            found.setdefault("Requirements", options.queue)
        if options.project is not None:
            found.setdefault("accounting_group", options.project)
        # A job that lost its host is not begun again by HTCondor: the server does that.
        found.setdefault("periodic_remove", "JobStatus == 1 && NumJobStarts > 0")
        return found

    def submit_words(self, name: str, log: str) -> list[str]:
        """Output while the job runs, not at its end."""
        said = [f"output={log}", f"error={log}", "stream_output=True", "stream_error=True"]
        return [word for line in said for word in ("-append", line)]

    def job_id(self, answer: Answer) -> str:
        """The first and only process of the cluster."""
        return f"{super().job_id(answer)}.0"

    def status_command(self, jobs: Sequence[str]) -> list[str]:
        """Three columns."""
        return ["condor_q", *jobs, "-autoformat", "ClusterId", "ProcId", "JobStatus"]

    def read_states(self, jobs: Sequence[str], answer: Answer) -> dict[str, State]:
        """Jobs that are in the queue no more have ended."""
        lines = map(str.split, answer.out.splitlines())
        rows = {f"{words[0]}.{words[1]}": words[2] for words in lines if len(words) == 3}
        return table_states(jobs, rows, self.states, lambda job: answer.code == 0)


def _job_class() -> Any:
    import_dask_jobqueue()
    from dask_jobqueue.htcondor import HTCondorJob

    class Job(HTCondorJob):
        """What runs is one line here, in which a dollar means something to HTCondor as well."""

        executable = "/bin/bash"

        def __init__(self, job_script_prologue: Sequence[str], **options: Any) -> None:
            parts = [_one_line(part) for part in job_script_prologue]
            super().__init__(job_script_prologue=parts, **options)  # type: ignore[no-untyped-call]
            self._command_template = self._command_template.replace("$", "$(DOLLAR)")

    return Job


def _one_line(shell: str) -> str:
    """Lines of shell as one; whole, since a semicolon does not fit between any two of them."""
    if _SIMPLE.fullmatch(shell):
        return shell
    text = shell.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"eval $'{text}'"
