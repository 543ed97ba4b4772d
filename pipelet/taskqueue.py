"""The tasks of a segment that wait for a worker: in memory are their numbers, and the records of the next few."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from pipelet.statusdb import Reader, TaskRow

#: So many records are held at most; those of further tasks wait in the database.
_HELD = 4096


class Waiting(NamedTuple):
    """A task that waits for a worker, or that a worker has."""

    row: TaskRow
    position: int  #: the place of its input among the wanted


class TaskQueue:
    """First in, first out.

    Parameters
    ----------
    reader
        Where the records of the tasks are.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._held: deque[Waiting] = deque()
        self._ids = array("q")
        self._positions = array("q")

    def __len__(self) -> int:
        return len(self._held) + len(self._ids)

    def extend(self, tasks: Iterable[tuple[TaskRow, int]]) -> None:
        """Add tasks, whose records are in the database."""
        for row, position in tasks:
            if self._ids or len(self._held) >= _HELD:
                self._ids.append(row.id)
                self._positions.append(position)
            else:
                self._held.append(Waiting(row, position))

    def take(self, number: int) -> list[Waiting]:
        """Remove the first tasks, as many as there are."""
        if len(self._held) < number and self._ids:
            count = max(number - len(self._held), _HELD)
            positions = dict(zip(self._ids[:count], self._positions[:count], strict=True))
            del self._ids[:count], self._positions[:count]
            self._held.extend(Waiting(row, positions[row.id]) for row in self._reader.tasks_listed(list(positions)))
        return [self._held.popleft() for _ in range(min(number, len(self._held)))]

    def put_back(self, tasks: Sequence[Waiting]) -> None:
        """Put tasks at the head again."""
        self._held.extendleft(reversed(tasks))

    def set_parents(self, parents: Mapping[int, str]) -> None:
        """Change the recorded parents of waiting tasks, as the database has been changed."""
        if parents:
            self._held = deque(
                waiting._replace(row=waiting.row._replace(parents=parents[waiting.row.id]))
                if waiting.row.id in parents
                else waiting
                for waiting in self._held
            )

    def ids(self) -> list[int]:
        """The ids of all, in order."""
        return [waiting.row.id for waiting in self._held] + list(self._ids)

    def remove(self, tasks: Collection[int]) -> list[int]:
        """Remove those of some tasks that are here; gives their ids."""
        removed = [task for task in self.ids() if task in tasks]
        if removed:
            self._held = deque(waiting for waiting in self._held if waiting.row.id not in tasks)
            kept = [(task, at) for task, at in zip(self._ids, self._positions, strict=True) if task not in tasks]
            self._ids, self._positions = array("q", [task for task, _ in kept]), array("q", [at for _, at in kept])
        return removed
