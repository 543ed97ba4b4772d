"""The words of the engine as types: what the floors hand to each other."""

from __future__ import annotations

import enum
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from struct import iter_unpack
from typing import NamedTuple, overload


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


class Mark(enum.IntEnum):
    """What somebody has asked of the next runs for a task; the numbers are what the database and the journals hold."""

    #: Nothing.
    NONE = 0
    #: It failed, and is not to be tried again until it is released.
    ASIDE = 1
    #: It is done, and the next run runs it again.
    AGAIN = 2


#: The phantom parent's task id: what was pushed comes from no task.
PHANTOM = 0


class Element(NamedTuple):
    """One element of an output, without the object itself: that is loaded from ``blob`` only where needed."""

    task: int  #: id of the task that gave it, `PHANTOM` for a pushed one
    position: int  #: its place in that task's output
    digest: bytes  #: 16 bytes: equal for equal objects (`pipelet.core.fingerprint.value_digest`)
    text: str  #: the object as part of a directory's name (`pipelet.core.text.value_text`)
    blob: bytes  #: the pickled object


#: Length of a digest.
DIGEST = 16
_ONE_DIGEST = f"{DIGEST}s"
#: So many elements are fetched at once, and so many such pieces are kept.
_PIECE, _PIECES = 1024, 32


class Digests(Sequence[bytes]):
    """Digests one after the other in one column."""

    def __init__(self, column: bytes) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column) // DIGEST

    @overload
    def __getitem__(self, place: int) -> bytes: ...

    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...

    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        column = self._column
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step == 1:
                return list(Digests(self.column(start, max(start, stop))))
            return [column[DIGEST * at : DIGEST * (at + 1)] for at in range(start, stop, step)]
        if not 0 <= place < len(self):
            place = range(len(self))[place]
        return column[DIGEST * place : DIGEST * (place + 1)]

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(iter_unpack(_ONE_DIGEST, self._column))

    def column(self, start: int, stop: int) -> bytes:
        """Some of the digests, one after the other."""
        return self._column[DIGEST * start : DIGEST * stop]


class Elements(Sequence[Element]):
    """An output as columns: 24 bytes for each element, and the rest of it only where somebody looks.

    Parameters
    ----------
    tasks
        For each element the task that gave it.
    digests
        The digests one after the other.
    fetch
        Gives the elements from one place to another.
    """

    def __init__(self, tasks: array[int], digests: bytes, fetch: Callable[[int, int], Sequence[Element]]) -> None:
        self.tasks = tasks
        self.digests = Digests(digests)
        self._fetch = fetch
        self._pieces: dict[int, Sequence[Element]] = {}

    def __len__(self) -> int:
        return len(self.tasks)

    @overload
    def __getitem__(self, place: int) -> Element: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Element]: ...

    def __getitem__(self, place: int | slice) -> Element | Sequence[Element]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step < 0:
                return [self[at] for at in range(start, stop, step)]
            first = start // _PIECE
            pieces = [self._piece(number) for number in range(first, -(-stop // _PIECE))]
            # Whoever takes one slice after the other does not come back.
            for number in range(first, stop // _PIECE):
                self._pieces.pop(number, None)
            joined = pieces[0] if len(pieces) == 1 else list(chain.from_iterable(pieces))
            return joined[start - first * _PIECE : stop - first * _PIECE : step]
        if not 0 <= place < len(self.tasks):
            place = range(len(self.tasks))[place]
        number, within = divmod(place, _PIECE)
        return self._piece(number)[within]

    def __iter__(self) -> Iterator[Element]:
        for start in range(0, len(self), _PIECE):
            yield from self._piece(start // _PIECE)

    def _piece(self, number: int) -> Sequence[Element]:
        piece = self._pieces.get(number)
        if piece is None:
            start = number * _PIECE
            piece = self._fetch(start, min(start + _PIECE, len(self)))
            while len(self._pieces) >= _PIECES:
                del self._pieces[next(iter(self._pieces))]
            self._pieces[number] = piece
        return piece


class Picked(Sequence[Element]):
    """Some elements of a longer sequence, by their places in it."""

    def __init__(self, elements: Sequence[Element], places: Sequence[int]) -> None:
        self._elements = elements
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Element: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Element]: ...

    def __getitem__(self, place: int | slice) -> Element | Sequence[Element]:
        if isinstance(place, slice):
            return Picked(self._elements, self._places[place])
        return self._elements[self._places[place]]

    def __iter__(self) -> Iterator[Element]:
        return map(self._elements.__getitem__, self._places)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Picked, list, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it compares as a list does, and is no key


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
    members: tuple[Sequence[Element], ...]


class Wanted(NamedTuple):
    """One task that the outputs of the parents ask for."""

    digest: bytes  #: of the whole input; unique in an expansion
    text: str  #: the input as part of a directory's name
    #: One for each parent, in order; ``None`` where a ``union`` takes the input from another parent; empty for a group.
    elements: tuple[Element | None, ...]
    #: For each parent in order: the sorted ids of its tasks that gave the input, each once.
    parents: tuple[tuple[int, ...], ...]
    group: Group | None = None
