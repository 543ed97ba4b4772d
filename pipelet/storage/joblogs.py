"""What jobs of batch systems print: a file each in the prefix, beside a note on whose it is."""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import Any, BinaryIO, NamedTuple

from pipelet.errors import PrefixError, StorageError
from pipelet.storage.tree import Tree
from pipelet.storage.walls import Walls, names_in

#: Of more jobs than that the newest are listed.
MOST_JOBS = 1000
_NOTE, _OUTPUT = ".json", ".out"
#: A note is some hundred bytes long.
_LONGEST_NOTE = 10_000
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class JobLog(NamedTuple):
    """A job that was submitted, and its output."""

    name: str  #: of its worker
    job: str  #: the batch system's id
    system: str
    host: str  #: from where it was submitted
    submitted: float
    size: int | None  #: of the output in bytes; None: there is none yet, or it is elsewhere
    elsewhere: str | None  #: the file of the output where that is not in the prefix


def job_log_dir(engine_dir: str) -> str:
    """The directory for scripts and output of jobs, in the engine's own."""
    return os.path.join(engine_dir, "log", "jobs")


def write_job_note(engine_dir: str, name: str, job: str, system: str, host: str, submitted: float, log: str) -> None:
    """Put down whose output a file is.

    Raises
    ------
    OSError
        That can't be done.
    """
    directory = job_log_dir(engine_dir)
    elsewhere = None if log == os.path.join(directory, f"{name}{_OUTPUT}") else log
    note = {"job": job, "system": system, "host": host, "submitted": submitted, "elsewhere": elsewhere}
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, f"{name}{_NOTE}"), "w", encoding="utf-8") as file:
        json.dump(note, file)


def has_jobs(tree: Tree) -> bool:
    """Whether jobs were ever submitted for a prefix."""
    return os.path.isdir(job_log_dir(tree.engine_dir))


def job_logs(tree: Tree) -> list[JobLog]:
    """The jobs of a prefix, the newest first; notes that can't be read are passed over."""
    walls = Walls(job_log_dir(tree.engine_dir))
    try:
        with walls.folder([]) as handle:
            names, _ = names_in(handle, lambda name: name.endswith(_NOTE), 100 * MOST_JOBS)
    except (PrefixError, StorageError):
        return []
    found = [note for name in names if (note := _read(walls, name.removesuffix(_NOTE))) is not None]
    return sorted(found, key=lambda note: note.submitted, reverse=True)[:MOST_JOBS]


def job_log(tree: Tree, name: str) -> JobLog | None:
    """The job of a worker, by the worker's name."""
    return _read(Walls(job_log_dir(tree.engine_dir)), name)


def job_named(tree: Tree, job: str) -> JobLog | None:
    """The newest job with an id."""
    return next((note for note in job_logs(tree) if note.job == job), None)


def open_job_log(tree: Tree, name: str) -> BinaryIO:
    """Open the output of a job for reading.

    Raises
    ------
    StorageError
        It is not there, or not to be read.
    """
    return Walls(job_log_dir(tree.engine_dir)).open([f"{name}{_OUTPUT}"])


def _read(walls: Walls, name: str) -> JobLog | None:
    if not _NAME.fullmatch(name):
        return None
    size = None
    with contextlib.suppress(StorageError):
        size = walls.entry([f"{name}{_OUTPUT}"]).size
    try:
        with walls.open([f"{name}{_NOTE}"]) as file:
            note: dict[str, Any] = json.loads(file.read(_LONGEST_NOTE))
        elsewhere = note["elsewhere"]
        return JobLog(
            name, str(note["job"]), str(note["system"]), str(note["host"]), float(note["submitted"]), size,
            None if elsewhere is None else str(elsewhere),
        )
    except (StorageError, ValueError, TypeError, KeyError):
        return None
