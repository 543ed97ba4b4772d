"""The words of the engine as types: what the floors hand to each other."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Status(enum.IntEnum):
    """The state of a task; the numbers are what the database and the journals hold."""

    #: It will run as soon as a worker is free.
    QUEUED = 0
    #: A worker has it.
    RUNNING = 1
    #: It ended well, and its record is in the journal.
    DONE = 2
    #: It raised, or its worker died; the next run tries it again.
    FAILED = 3

    def __str__(self) -> str:
        return self.name.lower()


#: The phantom parent's task id: what was pushed comes from no task.
PHANTOM = 0


class Element(NamedTuple):
    """One element of an output, without the object itself: that is loaded from ``blob`` only where needed."""

    task: int  #: id of the task that gave it, `PHANTOM` for a pushed one
    position: int  #: its place in that task's output
    digest: bytes  #: 16 bytes: equal for equal objects (`pipelet.core.fingerprint.value_digest`)
    text: str  #: the object as part of a directory's name (`pipelet.core.text.value_text`)
    blob: bytes  #: the pickled object


@dataclass(frozen=True)
class ParentOutput:
    """What one parent gives to the expansion of a child."""

    name: str
    #: In the order of the parent's own inputs, then of the position; empty for a silent parent.
    elements: Sequence[Element]
    #: Ids of all the parent's tasks that are wanted and done, in order.
    tasks: Sequence[int]
    #: Its tasks set no particular output: the child sees ``None`` once, from all of them.
    silent: bool = False


class Group(NamedTuple):
    """A class of ``group_by``."""

    value: object
    #: For each parent in order: its elements in the class, one for each producing task and position.
    members: tuple[tuple[Element, ...], ...]


class Wanted(NamedTuple):
    """One task that the outputs of the parents ask for."""

    digest: bytes  #: of the whole input; unique in an expansion
    text: str  #: the input as part of a directory's name
    #: One for each parent, in order; ``None`` where a ``union`` takes the input from another parent; empty for a group.
    elements: tuple[Element | None, ...]
    #: For each parent in order: the sorted ids of its tasks that gave the input, each once.
    parents: tuple[tuple[int, ...], ...]
    group: Group | None = None
