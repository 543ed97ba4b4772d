"""The outputs of parents in the form in which they are combined: equal elements taken together."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelet.core.fingerprint import value_digest
from pipelet.core.model import PHANTOM, Element, Elements, ParentOutput, Picked
from pipelet.errors import ExpansionError

#: What a child sees of a parent whose tasks set no particular output.
NONE_ELEMENT = Element(PHANTOM, 0, value_digest(None), "None", pickle.dumps(None, protocol=4))


@dataclass
class Source:
    """A parent's output in which each index stands for equal elements."""

    name: str
    silent: bool
    #: The output as it is; for each place in it the task that gave the element.
    raw: Sequence[Element]
    givers: Sequence[int]
    #: For each index the element that stands for it, and its digest.
    elements: Sequence[Element]
    digests: Sequence[bytes]
    #: For each index the place of its element in `raw`, and the places of further ones.
    places: Sequence[int]
    further: dict[int, list[int]]
    #: The tasks of a silent parent.
    all_tasks: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    def tasks(self, index: int) -> tuple[int, ...]:
        """Return the tasks that gave the elements of an index, sorted."""
        if self.silent:
            return self.all_tasks
        further = self.further.get(index) if self.further else None
        if further is None:
            return (self.givers[self.places[index]],)
        return tuple(sorted({self.givers[place] for place in (self.places[index], *further)}))

    def members(self, indices: Iterable[int]) -> tuple[Sequence[Element], tuple[int, ...]]:
        """Return the elements of the output that these indices stand for, equal ones kept, and their tasks."""
        if self.silent:
            found = (NONE_ELEMENT,) if any(True for _ in indices) else ()
            return found, self.all_tasks if found else ()
        if isinstance(indices, range) and not self.further and indices == range(len(self.raw)):
            # Its own list: a class that holds everything must not hold it twice.
            return self.raw, tuple(sorted(set(self.givers)))
        indices = set(indices)
        if len(indices) == 1 and not self.further:
            # By far the most frequent case when nearly each element is a class of its own.
            (index,) = indices
            return (self.elements[index],), self.tasks(index)
        places = {self.places[index] for index in indices}
        for index in indices & self.further.keys():
            places.update(self.further[index])
        ordered = sorted(places)
        return Picked(self.raw, ordered), tuple(sorted({self.givers[place] for place in ordered}))


def _silent(parent: ParentOutput, length: int) -> Source:
    tasks = tuple(sorted(set(parent.tasks)))
    elements = [NONE_ELEMENT] * length
    digests = [NONE_ELEMENT.digest] * length
    return Source(parent.name, True, [NONE_ELEMENT], [PHANTOM], elements, digests, [0] * length, {}, tasks)


def _columns(elements: Sequence[Element]) -> tuple[Sequence[bytes], Sequence[int]]:
    """The digest of each element, and the task that gave it."""
    if isinstance(elements, Elements):
        return elements.digests, elements.tasks
    return [element.digest for element in elements], [element.task for element in elements]


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
    raw = parent.elements
    digests, givers = _columns(raw)
    if len(set(digests)) == len(digests):
        return Source(parent.name, False, raw, givers, raw, digests, range(len(digests)), {})
    index_of: dict[bytes, int] = {}
    places: list[int] = []
    further: dict[int, list[int]] = {}
    for place, digest in enumerate(digests):
        index = index_of.setdefault(digest, len(places))
        if index == len(places):
            places.append(place)
        else:
            further.setdefault(index, []).append(place)
    return Source(parent.name, False, raw, givers, Picked(raw, places), list(index_of), places, further)


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
    columns = {parent.name: _columns(parent.elements) for parent in parents if not parent.silent}
    rows: dict[tuple[bytes, ...], int] = {}
    places: list[int] = []
    further: dict[int, list[int]] = {}
    for place, row in enumerate(zip(*[digests for digests, _ in columns.values()], strict=True)):
        index = rows.setdefault(row, len(places))
        if index == len(places):
            places.append(place)
        else:
            further.setdefault(index, []).append(place)
    if not columns:
        return [_silent(parent, 1) for parent in parents]
    sources = []
    for parent in parents:
        if parent.silent:
            sources.append(_silent(parent, len(places)))
            continue
        digests, givers = columns[parent.name]
        own = [digests[at] for at in places]
        picked = Picked(parent.elements, places)
        sources.append(Source(parent.name, False, parent.elements, givers, picked, own, places, further))
    return sources
