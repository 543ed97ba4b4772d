"""What the journal of an instance says about its tasks, without a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from pipelet.errors import JournalError, StorageError
from pipelet.statusdb import ParamRow, TaskRow, whole_task_event
from pipelet.storage import Journal

#: What is told apart of a task. The last four stand for large values, by their hashes.
PARTS = ("status", "current", "place", "parents", "asked", "aside", "input", "output", "times or error", "parameters")
STATUS, CURRENT, PLACE, ASIDE = 0, 1, 2, 5
_COLUMNS = {name: PARTS.index(name) for name in ("current", "place", "parents", "asked", "aside")}

State = list[Any]


def _picked(*names: str) -> Callable[[Sequence[Any]], Any]:
    return itemgetter(*(TaskRow._fields.index(name) for name in names))


_plain = _picked("status", "current", "place", "parents", "asked", "aside")
_input = _picked("digest", "text", "input")
_output = _picked("output", "digests", "texts")
_circumstances = _picked("begun", "ended", "host", "pid", "error", "job")


def state_of(row: Sequence[Any], params: Iterable[Sequence[Any]]) -> State:
    """What is compared of a task.

    Parameters
    ----------
    row
        A `TaskRow`, or the event of a task: in both the fields stand at the same places, from the third on.
    params
        Name, value, text and exposed of each parameter.
    """
    table = {param[0]: tuple(param[1:]) for param in params}
    hashes = [hash(_input(row)), hash(_output(row)), hash(_circumstances(row))]
    return [*_plain(row), *hashes, hash(tuple(sorted(table.items()))) if table else 0]


def params_of(rows: Iterable[ParamRow]) -> list[tuple[Any, ...]]:
    """The parameters of a task as the database has them, for `state_of`."""
    return [row[1:] for row in rows]


@dataclass
class Replay:
    """What a journal says.

    Attributes
    ----------
    tasks
        From the id.
    whole, wanted, waiting
        The columns of the instance.
    task_sets
        From the name to the ids as text.
    end
        Behind the last good frame.
    size
        Of the file.
    bounded
        Whether a frame ends where the database says that it has read to.
    damage
        What is wrong with the file, in words.
    """

    tasks: dict[int, State] = field(default_factory=dict)
    whole: int | None = None
    wanted: bytes | None = None
    waiting: str | None = None
    task_sets: dict[str, str] = field(default_factory=dict)
    end: int = 0
    size: int = 0
    bounded: bool = False
    damage: str = ""

    def apply(self, event: Sequence[Any]) -> bool:
        """Take over one event; ``False`` if it is none that is known."""
        kind = event[0]
        if kind == "task":
            try:
                whole = whole_task_event(event)
            except ValueError:
                return False
            self.tasks[event[1]] = state_of(whole, event[-1] or ())
        elif kind in _COLUMNS:
            state = self.tasks.get(event[1])
            if state is not None:
                state[_COLUMNS[kind]] = event[2]
        elif kind == "follow":
            for first, last in zip(event[2::2], event[3::2], strict=True):
                for state in map(self.tasks.get, range(first, last + 1)):
                    if state is not None:
                        state[_COLUMNS["parents"]] = event[1]
        elif kind == "delete":
            self.tasks.pop(event[1], None)
        elif kind in ("whole", "wanted", "waiting"):
            setattr(self, kind, event[1])
        elif kind == "task_set":
            self.task_sets[event[1]] = event[2]
        else:
            return False
        return True


def replay(journal: Journal, limit: int | None = None) -> Replay:
    """Read a journal.

    Parameters
    ----------
    journal
        The journal of an instance.
    limit
        What stands behind this offset is looked through, and not taken over.
    """
    told = Replay(size=journal.size(), bounded=limit == 0)
    try:
        for events, end in journal.read():
            if limit is not None and end > limit:
                continue
            told.bounded = told.bounded or end == limit
            for event in events:
                if not told.apply(event):
                    told.damage = f"an event {event[0]!r} that this version of Pipelet does not know"
                    return told
    except JournalError:
        told.damage = "damaged"
    except (IndexError, TypeError, ValueError):
        told.damage = "an event of another shape than this version of Pipelet writes"
    except StorageError as error:
        told.damage = str(error)
    told.end = journal.end
    return told
