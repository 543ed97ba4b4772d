"""The tasks of a segment that wait for a worker: in memory are their numbers, and the records of the next few."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Collection, Mapping, Sequence

from pipelet.statusdb import QueuedTask, Reader

#: So many records are held at most; those of further tasks wait in the database.
_HELD = 4096


class TaskQueue:
    """First in, first out.

    Parameters
    ----------
    reader
        Where the records of the tasks are.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._held: deque[QueuedTask] = deque()
        self._ids = array("q")
        self._positions = array("q")

    def __len__(self) -> int:
        return len(self._held) + len(self._ids)

    def extend(self, tasks: Sequence[QueuedTask]) -> None:
        """Add tasks, whose records are in the database."""
        room = 0 if self._ids else max(0, _HELD - len(self._held))
        self._held.extend(tasks[:room])
        self._ids.extend([task.id for task in tasks[room:]])
        self._positions.extend([task.position for task in tasks[room:]])

    def take(self, number: int) -> list[QueuedTask]:
        """Remove the first tasks, as many as there are."""
        if len(self._held) < number and self._ids:
            count = max(number - len(self._held), _HELD)
            positions = dict(zip(self._ids[:count], self._positions[:count], strict=True))
            del self._ids[:count], self._positions[:count]
            self._held.extend(self._reader.queued_listed(positions))
        return [self._held.popleft() for _ in range(min(number, len(self._held)))]

    def put_back(self, tasks: Sequence[QueuedTask]) -> None:
        """Put tasks at the head again."""
        self._held.extendleft(reversed(tasks))

    def set_parents(self, parents: Mapping[int, str]) -> None:
        """Change the recorded parents of waiting tasks, as the database has been changed."""
        if parents:
            self._held = deque(
                task._replace(parents=parents[task.id]) if task.id in parents else task for task in self._held
            )

    def ids(self) -> list[int]:
        """The ids of all, in order."""
        return [task.id for task in self._held] + list(self._ids)

    def remove(self, tasks: Collection[int]) -> list[int]:
        """Remove those of some tasks that are here; gives their ids."""
        removed = [task for task in self.ids() if task in tasks]
        if removed:
            self._held = deque(task for task in self._held if task.id not in tasks)
            kept = [(task, at) for task, at in zip(self._ids, self._positions, strict=True) if task not in tasks]
            self._ids, self._positions = array("q", [task for task, _ in kept]), array("q", [at for _, at in kept])
        return removed
