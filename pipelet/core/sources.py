"""The outputs of parents in the form in which they are combined: equal elements taken together."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipelet.core.fingerprint import value_digest
from pipelet.core.model import PHANTOM, Element, ParentOutput
from pipelet.errors import ExpansionError

#: What a child sees of a parent whose tasks set no particular output.
NONE_ELEMENT = Element(PHANTOM, 0, value_digest(None), "None", pickle.dumps(None, protocol=4))


@dataclass
class Source:
    """A parent's output in which each index stands for equal elements."""

    name: str
    silent: bool
    #: The output as it is.
    raw: Sequence[Element]
    #: For each index the element that stands for it.
    elements: Sequence[Element]
    #: For each index the place of its element in `raw`, and the places of further ones.
    places: Sequence[int]
    further: dict[int, list[int]]
    #: The tasks of a silent parent.
    all_tasks: tuple[int, ...] = ()

    @cached_property
    def tasks(self) -> list[tuple[int, ...]]:
        """For each index the tasks that gave its elements."""
        if self.silent:
            return [self.all_tasks] * len(self.elements)
        tasks: list[tuple[int, ...]] = [(element.task,) for element in self.elements]
        for index, places in self.further.items():
            tasks[index] = tuple(sorted({*tasks[index], *(self.raw[place].task for place in places)}))
        return tasks

    def members(self, indices: Iterable[int]) -> tuple[tuple[Element, ...], tuple[int, ...]]:
        """Return the elements of the output that these indices stand for, equal ones kept, and their tasks."""
        indices = set(indices)
        if len(indices) == 1 and not self.further and not self.silent:
            # By far the most frequent case when nearly each element is a class of its own.
            (index,) = indices
            return (self.elements[index],), self.tasks[index]
        places = {self.places[index] for index in indices}
        for index in indices & self.further.keys():
            places.update(self.further[index])
        found = tuple([self.raw[place] for place in sorted(places)])
        if self.silent:
            return found, self.all_tasks if found else ()
        return found, tuple(sorted({element.task for element in found}))


def _silent(parent: ParentOutput, length: int) -> Source:
    tasks = tuple(sorted(set(parent.tasks)))
    return Source(parent.name, True, [NONE_ELEMENT], [NONE_ELEMENT] * length, [0] * length, {}, tasks)


def distinct(parent: ParentOutput) -> Source:
    """Take equal elements of an output together.

    Parameters
    ----------
    parent
        The output; that of a silent parent is one `NONE_ELEMENT`.

    Returns
    -------
    Source
        Its indices follow the first ones of equal elements.
    """
    if parent.silent:
        return _silent(parent, 1)
    index_of: dict[bytes, int] = {}
    places: list[int] = []
    further: dict[int, list[int]] = {}
    for place, element in enumerate(parent.elements):
        index = index_of.setdefault(element.digest, len(places))
        if index == len(places):
            places.append(place)
        else:
            further.setdefault(index, []).append(place)
    elements = [parent.elements[place] for place in places] if further else parent.elements
    return Source(parent.name, False, parent.elements, elements, places, further)


def zipped_rows(segment: str, parents: Sequence[ParentOutput]) -> list[Source]:
    """Take the i-th elements of all outputs together, and equal rows of such elements too.

    Parameters
    ----------
    segment
        The segment's name, for the error.
    parents
        The outputs; a silent one repeats its `NONE_ELEMENT`.

    Returns
    -------
    list of Source
        One for each parent, equally long: an index stands for a row.

    Raises
    ------
    ExpansionError
        The outputs are not equally long.
    """
    lengths = {parent.name: len(parent.elements) for parent in parents if not parent.silent}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ExpansionError(
            f"segment {segment!r}: `zip` takes the i-th elements of all outputs together, "
            f"so they must be equally long, but {listed}. Mend the outputs, or use cross_prod with a `where`."
        )
    loud = [parent for parent in parents if not parent.silent]
    rows: dict[tuple[bytes, ...], int] = {}
    places: list[int] = []
    further: dict[int, list[int]] = {}
    for place in range(next(iter(lengths.values()), 0)):
        row = tuple([parent.elements[place].digest for parent in loud])
        index = rows.setdefault(row, len(places))
        if index == len(places):
            places.append(place)
        else:
            further.setdefault(index, []).append(place)
    if not loud:
        return [_silent(parent, 1) for parent in parents]
    return [
        _silent(parent, len(places))
        if parent.silent
        else Source(parent.name, False, parent.elements, [parent.elements[at] for at in places], places, further)
        for parent in parents
    ]
