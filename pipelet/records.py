"""What a person gets to see of tasks and segment instances: plain objects, read from the database."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

import msgpack

from pipelet.core.model import Status
from pipelet.environment.values import short
from pipelet.tables import html_table, short_path, shortened, text_table

if TYPE_CHECKING:
    from typing_extensions import Self

_T = TypeVar("_T")
#: What is longer is cut in a table.
_INPUT, _OUTPUT, _ERROR = 40, 40, 60
#: Of an output so many elements are looked at.
_ELEMENTS = 10
_READING_ORDER = (Status.DONE, Status.FAILED, Status.RUNNING, Status.QUEUED)


@dataclass(frozen=True)
class Task:
    """The record of one task.

    Attributes
    ----------
    id
        Its number.
    input
        What the segment sees as ``seg_input``.
    output
        The list that it returned; ``None`` for no particular output.
    status
        ``queued``, ``running``, ``done`` or ``failed``.
    path
        Its data directory, absolute; ``None`` if it asked for none.
    begun, ended
        When it ran.
    error
        The traceback, if it failed.
    parents
        Ids of the tasks that gave its input.
    segment, text, log, params
        Its segment; the input as in the directory's name; its log file, if it wrote one; saved parameters by name.
    host, job
        Where it ran; the batch system's id of the job, if it ran in one.
    mark
        ``aside``: it failed and is set aside; ``again``: it is done, and the next run runs it again; else ``None``.
    """

    id: int
    input: Any
    output: list[Any] | None
    status: str
    path: str | None
    begun: datetime | None
    ended: datetime | None
    error: str | None
    parents: tuple[int, ...]
    segment: str = ""
    text: str = ""
    log: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    mark: str | None = None
    host: str | None = None
    job: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        if self.begun is None or self.ended is None:
            return None
        return (self.ended - self.begun).total_seconds()


class Table(list[_T]):
    """A list that shows itself as a table, in a notebook and as text."""

    _NONE = "nothing"

    def _shown(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        """The titles of the columns, and the rows."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: SupportsIndex) -> _T: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: SupportsIndex | slice) -> _T | Self:
        # A part of a table is a table.
        return type(self)(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    def __str__(self) -> str:
        return text_table(*self._shown()) if self else self._NONE

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._shown()) if self else f"<p>{self._NONE}</p>"


class TaskList(Table[Task]):
    """A list of tasks that shows itself as a table, in a notebook and as text.

    Directories below the current one are told from there.
    """

    _NONE = "no tasks"

    def _shown(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        head = ["task", "input", "output", "status", "seconds", "path"]
        rows: list[list[object]] = [
            [task.id, shortened(task.text, _INPUT), _output(task), task.status, _seconds(task.seconds),
             short_path(task.path)]
            for task in self
        ]
        if any(task.error for task in self):
            head.insert(4, "error")
            for task, row in zip(self, rows, strict=True):
                row.insert(4, shortened((task.error or "").rstrip().rpartition("\n")[2], _ERROR))
        return head, list(rows)


@dataclass(frozen=True)
class Instance:
    """One version of a segment on disk.

    Attributes
    ----------
    key
        The hash of all that decides what it computes.
    path
        Its directory, absolute.
    created
        When it was made.
    tag
        A word that somebody gave to it, or ``None``.
    params
        Parameters that its tasks exposed, by name, as text; several values are joined.
    counts
        Numbers of its tasks by status.
    """

    key: str
    path: str
    created: datetime
    tag: str | None
    params: Mapping[str, str]
    counts: Mapping[str, int]
    segment: str = ""


class InstanceList(Table[Instance]):
    """A list of instances that shows itself as a table, in a notebook and as text.

    Directories below the current one are told from there.
    """

    _NONE = "no versions"

    def _shown(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        rows = [
            (
                item.key[:6],
                f"{item.created:%Y-%m-%d %H:%M:%S}",
                item.tag or "",
                ", ".join(f"{name}={value}" for name, value in item.params.items()),
                ", ".join(f"{number} {status}" for status, number in item.counts.items()),
                short_path(item.path),
            )
            for item in self
        ]
        return ("key", "created", "tag", "params", "tasks", "path"), list(rows)


class StatusCounts(dict[str, dict[str, int]]):
    """Numbers of tasks by status for each segment; it shows itself as a table, in a notebook and as text."""

    def _shown(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        columns = [str(status) for status in _READING_ORDER]
        rows = [(segment, *(counts.get(name) or "-" for name in columns)) for segment, counts in self.items()]
        return ("segment", *columns), list(rows)

    def __str__(self) -> str:
        return text_table(*self._shown(), shown=len(self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._shown(), shown=len(self))


def seg_input(segment: str, parents: Sequence[str], grouped: bool, container: bytes | None) -> Any:
    """The input of a task as its segment sees it.

    Parameters
    ----------
    segment, parents
        Names.
    grouped
        Whether it is a class of ``group_by``.
    container
        The ``input`` column.
    """
    blobs: list[bytes | None] = msgpack.unpackb(container) if container else []
    if not blobs:
        return {}
    if grouped:
        return _load(blobs[0])
    if not parents:
        return {f"{segment}phantom": _load(blobs[0])}
    return {name: _load(blob) for name, blob in zip(parents, blobs, strict=False) if blob is not None}


def output_list(container: bytes | None) -> list[Any] | None:
    """The objects of an ``output`` column."""
    return None if container is None else [_load(blob) for blob in msgpack.unpackb(container)]


def moment(seconds: float) -> datetime:
    """A moment in local time, with its offset."""
    return datetime.fromtimestamp(seconds).astimezone()


def _load(blob: bytes | None) -> Any:
    return None if blob is None else pickle.loads(blob)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _output(task: Task) -> str:
    if task.output is None:
        return ""
    return shortened(", ".join(short(value) for value in task.output[:_ELEMENTS]), _OUTPUT)
