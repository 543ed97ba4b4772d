"""Grid Engine: SGE and its descendants."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.systems.base import Answer, State, System, import_dask_jobqueue, table_states


class SGE(System):
    """Grid Engine."""

    name = "sge"
    job_variables = ("JOB_ID",)
    log_marks = ":,$"
    id_pattern = re.compile(r"^(?:Your job )?(?P<id>\d+)(?:\s*$| \(\")", re.MULTILINE)

    def job_class(self) -> Any:
        """`dask_jobqueue.sge.SGEJob`."""
        import_dask_jobqueue()
        from dask_jobqueue.sge import SGEJob

        return SGEJob

    def job_options(self, options: JobOptions) -> dict[str, Any]:
        """Walltime goes by ``h_rt``; what stands for memory differs from site to site, so the user says it."""
        return {
            "queue": options.queue, "project": options.project, "resource_spec": options.resource_spec,
            "walltime": options.walltime_text,
        }

    def directives(self, options: JobOptions) -> list[str]:
        """Several cores are slots of a parallel environment, ``smp`` unless the user names another one."""
        own = list(options.directives)
        if options.cores > 1 and not any(line.split()[0] == "-pe" for line in own):
            own.insert(0, f"-pe smp {options.cores}")
        return ["-r n", *own]

    def submit_words(self, name: str, log: str) -> list[str]:
        """The id alone as answer, and both streams into one file."""
        return ["-terse", "-j", "y", "-o", log]

    def status_command(self, jobs: Sequence[str]) -> list[str]:
        """All jobs of the user: ``qstat -j`` asks for each by itself, and fails as a whole."""
        return ["qstat", "-u", getpass.getuser()]

    def read_states(self, jobs: Sequence[str], answer: Answer) -> dict[str, State]:
        """Jobs that are not in the table have ended."""
        rows: dict[str, str] = {}
        for line in answer.out.splitlines():
            words = line.split()
            if len(words) > 4 and words[0].isdigit():
                rows[words[0]] = words[4]
        states = _Letters()
        return table_states(jobs, rows, states, lambda job: answer.code == 0)


class _Letters(Mapping[str, State]):
    """What Grid Engine's letters mean, which come together: ``hqw``, ``Rr``, ``Eqw``."""

    def __getitem__(self, word: str) -> State:
        if "d" in word:
            return State.ENDING
        if "E" in word:
            return State.HELD
        # A job that runs may have an ``h`` as well, for the time after it is begun again.
        if "q" in word or "w" in word:
            return State.HELD if "h" in word else State.PENDING
        if set(word) & set("rtRsSTNP"):
            return State.RUNNING
        if "z" in word:
            return State.ENDED
        raise KeyError(word)

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0
