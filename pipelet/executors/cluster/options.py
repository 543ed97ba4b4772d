"""What a user may say of batch jobs."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelet.errors import LauncherError, PipelineError
from pipelet.limits import read_size

#: The batch systems that jobs can be submitted to.
SYSTEMS = ("pbs", "torque", "slurm", "sge", "lsf", "htcondor", "oar", "local")
_WALLTIME = re.compile(r"(?:(?P<days>\d+)[-:](?=\d+:\d+:\d+$))?(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)")
#: What any batch system takes in a job's name, and how much of it the narrowest keeps.
_NOT_IN_NAMES, _NAME_LENGTH = re.compile(r"[^A-Za-z0-9_.-]+"), 15
_MARKS = re.compile(r"\s*#\s*(PBS|SBATCH|\$|BSUB|OAR)\s+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class JobOptions:
    """What a job asks for.

    Attributes
    ----------
    system
        One of `SYSTEMS`; ``"local"`` starts jobs as processes of this machine.
    cores
        Cores of a job; so many tasks run in it at once.
    memory
        Of a job, ``"2 GB"``.
    walltime
        How long a job may last: ``"hh:mm:ss"``, ``"days-hh:mm:ss"``, or a number of seconds. ``None``: what the system
        gives by itself; then workers do not know when their jobs will end.
    queue, project
        Names that the site gives.
    job_name
        Cut to what batch systems allow.
    job_header
        Lines of shell for the head of the job script, after the directives: ``module load ...``.
    directives
        More directives, such as ``"-l place=scatter"`` for ``#PBS -l place=scatter``.
    resource_spec
        What stands after ``#PBS -l`` or ``#$ -l`` in place of what is made of cores and memory.
    submit_options
        More words for the submit command.
    python
        The interpreter in the job; the one that submits it if not given.
    environment
        Variables to set in the job.
    scratch
        A directory for temporary files on the worker's host, those of ``get_tmp_fn()`` too; what ``$TMPDIR`` says there
        if not given.
    script_dir, log_dir
        Where job scripts and the output of jobs are kept; in the prefix if not given.
    tasks_per_worker
        A worker ends after so many tasks.
    idle_seconds
        A worker with nothing to do ends after so many seconds.

    Raises
    ------
    LauncherError
        A value makes no sense.
    """

    system: str
    cores: int = 1
    memory: str = "2 GB"
    walltime: str | float | None = "00:59:00"
    queue: str | None = None
    project: str | None = None
    job_name: str = "pipelet"
    job_header: str = ""
    directives: tuple[str, ...] = ()
    resource_spec: str | None = None
    submit_options: tuple[str, ...] = ()
    python: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    scratch: str | None = None
    script_dir: str | None = None
    log_dir: str | None = None
    tasks_per_worker: int | None = None
    idle_seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            near = difflib.get_close_matches(str(self.system).lower(), SYSTEMS, 1, 0.5)
            hint = f"did you mean {near[0]!r}? Otherwise " if near else ""
            raise LauncherError(f"system={self.system!r} is no batch system: {hint}there are {', '.join(SYSTEMS)}")
        for name in ("cores", "tasks_per_worker"):
            _check_count(name, getattr(self, name))
        if not _is_number(self.idle_seconds) or self.idle_seconds <= 0:
            raise LauncherError(f"idle_seconds={self.idle_seconds!r} is no number of seconds above 0")
        for name in ("queue", "project", "resource_spec", "python", "scratch", "script_dir", "log_dir"):
            _check_line(name, getattr(self, name))
        try:
            self.memory_bytes  # noqa: B018
        except PipelineError as error:
            raise LauncherError(str(error)) from None
        self.walltime_seconds  # noqa: B018
        for name in ("directives", "submit_options"):
            object.__setattr__(self, name, _lines(name, getattr(self, name)))
        object.__setattr__(self, "directives", tuple(_unmarked(line) for line in self.directives))
        object.__setattr__(self, "job_name", clean_name(self.job_name))
        if not isinstance(self.job_header, str) or "\0" in self.job_header:
            raise LauncherError(f"job_header={self.job_header!r} is no text; give lines of shell")
        if not isinstance(self.environment, Mapping):
            raise LauncherError(f"environment={self.environment!r} is no mapping; give for example {{'DATA': '/data'}}")
        for name, value in self.environment.items():
            if not isinstance(name, str) or not _VARIABLE.fullmatch(name) or not isinstance(value, str):
                raise LauncherError(f"environment: {name!r}: {value!r} is no variable with its value, both as text")

    @property
    def memory_bytes(self) -> int:
        """The memory of a job in bytes."""
        return read_size(self.memory)

    @property
    def walltime_seconds(self) -> float | None:
        """How long a job may last, or ``None``."""
        if self.walltime is None:
            return None
        if _is_number(self.walltime):
            seconds = float(self.walltime)
        else:
            match = _WALLTIME.fullmatch(str(self.walltime).strip())
            parts = {name: int(text or 0) for name, text in match.groupdict().items()} if match else None
            if parts is None or parts["minutes"] > 59 or parts["seconds"] > 59:
                raise LauncherError(
                    f"walltime={self.walltime!r}: give hh:mm:ss, such as '12:00:00', days-hh:mm:ss, or seconds"
                )
            seconds = ((parts["days"] * 24 + parts["hours"]) * 60 + parts["minutes"]) * 60.0 + parts["seconds"]
        if not seconds > 0:
            raise LauncherError(f"walltime={self.walltime!r}: a job needs some time")
        return seconds

    @property
    def walltime_text(self) -> str | None:
        """The same as ``hh:mm:ss``, which all systems read; the hours may be more than 24."""
        seconds = self.walltime_seconds
        if seconds is None:
            return None
        whole = math.ceil(seconds)
        return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"

    def as_dict(self) -> dict[str, Any]:
        """The options as what JSON knows."""
        return {**dataclasses.asdict(self), "environment": dict(self.environment)}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> JobOptions:
        """What `as_dict` gave, also after JSON."""
        return cls(**table)


def clean_name(name: object) -> str:
    """A job's name as all batch systems take it.

    Raises
    ------
    LauncherError
        Nothing is left of it.
    """
    text = _NOT_IN_NAMES.sub("_", str(name)).strip("_.-")[:_NAME_LENGTH]
    if text[:1].isdigit():
        text = f"j{text}"[:_NAME_LENGTH]
    if not text:
        raise LauncherError(f"job_name={name!r}: give a name with letters")
    return text


def _unmarked(line: str) -> str:
    """A directive without its mark, which the script gets by itself."""
    mark = _MARKS.match(line)
    return line if mark is None else line[mark.end() :]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_count(name: str, value: object) -> None:
    optional = name != "cores"
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise LauncherError(f"{name}={value!r}: give a whole number, 1 or more{', or None' if optional else ''}")


def _check_line(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not value.strip() or "\n" in value or "\0" in value:
        raise LauncherError(f"{name}={value!r} is not one line of text")


def _lines(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise LauncherError(f"{name}={value!r} is no list; give for example {name}=['-l place=scatter']")
    for line in value:
        _check_line(name, line)
    return tuple(value)
