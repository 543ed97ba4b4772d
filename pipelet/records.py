"""What a person gets to see of tasks and segment instances: plain objects, read from the database."""

from __future__ import annotations

import html
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgpack


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


class TaskList(list[Task]):
    """A list of tasks that shows itself as a table in a notebook."""

    _SHOWN = 50

    def _repr_html_(self) -> str:
        rows = [(task.id, task.text, task.status, _seconds(task.seconds), task.path or "") for task in self]
        return _table(("id", "input", "status", "seconds", "path"), rows, self._SHOWN)


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


class InstanceList(list[Instance]):
    """A list of instances that shows itself as a table in a notebook."""

    _SHOWN = 50

    def _repr_html_(self) -> str:
        rows = [
            (
                item.key[:6],
                f"{item.created:%Y-%m-%d %H:%M:%S}",
                item.tag or "",
                ", ".join(f"{name}={value}" for name, value in item.params.items()),
                ", ".join(f"{number} {status}" for status, number in item.counts.items()),
                item.path,
            )
            for item in self
        ]
        return _table(("key", "created", "tag", "params", "tasks", "path"), rows, self._SHOWN)


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
    return "" if value is None else f"{value:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], shown: int) -> str:
    def cells(tag: str, row: Sequence[object]) -> Iterator[str]:
        for cell in row:
            yield f"<{tag} style='text-align:left'>{html.escape(str(cell))}</{tag}>"

    lines = ["<table>", f"<thead><tr>{''.join(cells('th', head))}</tr></thead>", "<tbody>"]
    lines += [f"<tr>{''.join(cells('td', row))}</tr>" for row in rows[:shown]]
    lines += ["</tbody>", "</table>"]
    if len(rows) > shown:
        lines.append(f"<p>and {len(rows) - shown} more</p>")
    return "\n".join(lines)
