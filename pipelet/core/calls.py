"""What the scheduler and a worker hand to each other. All of it can be pickled and none of it is large by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelet.core.model import Status


class Parameter(NamedTuple):
    """A value that a task saved or exposed."""

    name: str
    blob: bytes  #: the pickled value
    text: str  #: the value for people
    exposed: bool


class TaskRef(NamedTuple):
    """An ancestor task, as a segment may ask for it."""

    id: int
    name: str  #: its directory's name, also where its place is ``data/`` itself
    directory: str  #: absolute
    whole: bool  #: its place is ``data/`` itself
    silent: bool  #: it set no particular output
    parameters: tuple[Parameter, ...] = ()
    made: bool = False  #: it has made its directory, so that must be there


#: For each ancestor segment the tasks in the line of one task, nearest first.
Line = Mapping[str, tuple[TaskRef, ...]]


class TaskCall(NamedTuple):
    """One task to run."""

    id: int
    text: str  #: the input as part of a directory's name
    directory: str  #: absolute; made when it is asked for
    place: str  #: what the record's ``place`` becomes when the directory is made
    #: The pickled element of each parent, ``None`` for one that a union takes nothing from. For a group: the class.
    blobs: tuple[bytes | None, ...]
    #: For a group: for each parent the pickled elements in the class.
    members: tuple[tuple[bytes, ...], ...] | None = None
    line: Line | None = None
    #: Parents that gave nothing to this input: those from which a union does not take it.
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SegmentContext:
    """What all tasks of a segment share in one run."""

    name: str  #: unique in a run: a worker keeps what it compiled under it
    segment: str
    parents: tuple[str, ...]
    kind: str  #: ``cross_prod``, ``union``, ``zip``, ``group_by``, ``pushed`` or ``alone``
    script: tuple[str, bytes]  #: the user's own file name, and the code as it was read
    hooks: Mapping[str, tuple[str, bytes]]
    instance_dir: str
    code_dir: str
    log_dir: str
    scratch_dir: str
    agg: bool  #: matplotlib draws without a screen
    ancestors: tuple[str, ...] = ()
    #: All the tasks of the ancestors that `glob_seg` may look at.
    everything: Mapping[str, tuple[TaskRef, ...]] = field(default_factory=dict)
    #: Names of the other task directories that lie in an instance's ``data/`` beside the files of its first task.
    siblings: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: The environment's class by value (cloudpickle), or ``None`` for Pipelet's own.
    environment: bytes | None = None
    imports: tuple[str, ...] = ()
    #: How many seconds the file system may take to show what was done on another host; 0 where all is on one.
    lateness: float = 0.0


class LogRecord(NamedTuple):
    """One message that a task sent to its ``logger``."""

    time: float
    level: int
    message: str


class TaskResult(NamedTuple):
    """What came of one task."""

    id: int
    status: Status
    begun: float
    ended: float
    host: str
    pid: int
    place: str | None = None
    output: bytes | None = None
    digests: bytes | None = None
    texts: bytes | None = None
    error: str | None = None
    asked: str | None = None
    parameters: tuple[Parameter, ...] = ()
    messages: tuple[LogRecord, ...] = ()
    #: Facts on the modules that were imported, as plain dicts; only with the first tasks of a segment in a process.
    modules: tuple[Mapping[str, str | None], ...] = ()
    #: The batch system's id of the job in which it ran.
    job: str | None = None


#: Seconds after which a worker hands back what it has not begun, where batches are short.
PATIENCE = 0.5


class Batch(NamedTuple):
    """Tasks of one segment that go to a worker together."""

    context: SegmentContext
    calls: tuple[TaskCall, ...]
    #: Seconds after which the worker hands back what it has not begun.
    patience: float = PATIENCE
    #: How many seconds the longest task of the segment took up to now, for a worker that has not for ever.
    longest: float = 0.0


class BatchResult(NamedTuple):
    """What came of a batch: results of those that ran, and ids of those that were not begun."""

    results: tuple[TaskResult, ...]
    left: tuple[int, ...] = ()
