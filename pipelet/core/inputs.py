"""The inputs that an expansion gives, each made where somebody looks at it."""

from __future__ import annotations

import pickle
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, overload

from pipelet.core.fingerprint import combine
from pipelet.core.model import Digests, Element, Group, Wanted
from pipelet.core.parents import Parents, encode_parents
from pipelet.core.sources import Source
from pipelet.core.text import join_texts, value_text

Combination = tuple["int | None", ...]
#: An input as it is put on record: digest, text, and the pickled element of each parent, or the pickled class.
Row = tuple[bytes, str, "list[bytes | None]"]


class Inputs(Sequence[Wanted]):
    """The inputs of a segment, in order.

    Attributes
    ----------
    plain
        Each input is made of elements that tasks gave: none stands for a class, for a push, or for the ``None`` of a
        parent without output.
    """

    plain = False
    #: Each input stands for a class.
    grouped = False

    @abstractmethod
    def _one(self, index: int) -> Wanted:
        """The input at an index."""

    def keys(self, start: int, stop: int) -> Iterator[tuple[bytes, Parents]]:
        """Go through some inputs by what they are compared by: the digest, and the tasks that gave them."""
        for index in range(start, min(stop, len(self))):
            wanted = self._one(index)
            yield wanted.digest, wanted.parents

    def digest_column(self, start: int, stop: int) -> bytes:
        """The digests of some inputs, one after the other."""
        return b"".join([digest for digest, _ in self.keys(start, stop)])

    def parent_texts(self, start: int, stop: int, task_sets: dict[str, Parents]) -> list[str]:
        """The texts of the parents of some inputs, which may refer to task sets; these are added to the given ones."""
        named: dict[int, tuple[tuple[int, ...], str]] = {}
        return [encode_parents(parents, task_sets, named) for _, parents in self.keys(start, stop)]

    def rows(self, indices: Sequence[int]) -> Iterator[Row]:
        """Go through some inputs as they are put on record."""
        for index in indices:
            wanted = self._one(index)
            if wanted.group is not None:
                yield wanted.digest, wanted.text, [pickle.dumps(wanted.group.value, protocol=4)]
            else:
                blobs = [None if element is None else element.blob for element in wanted.elements]
                yield wanted.digest, wanted.text, blobs

    @overload
    def __getitem__(self, index: int) -> Wanted: ...

    @overload
    def __getitem__(self, index: slice) -> list[Wanted]: ...

    def __getitem__(self, index: int | slice) -> Wanted | list[Wanted]:
        if isinstance(index, slice):
            return [self._one(at) for at in range(*index.indices(len(self)))]
        return self._one(range(len(self))[index])


class Listed(Inputs):
    """Inputs that are there already, such as those that were pushed."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted

    def __len__(self) -> int:
        return len(self._wanted)

    def _one(self, index: int) -> Wanted:
        return self._wanted[index]


class Unseen(Inputs):
    """Inputs of which only the number is known, since nobody needs to look at them."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __len__(self) -> int:
        return self._number

    def _one(self, index: int) -> Wanted:
        raise LookupError(f"input {index} was not made")


class Combined(Inputs):
    """Inputs that are combinations of elements.

    Parameters
    ----------
    sources
        The outputs of the parents.
    combinations
        One index for each source; ``None`` where ``one_of``.
    one_of
        Each input comes from one of the parents.
    """

    def __init__(self, sources: Sequence[Source], combinations: Sequence[Combination], one_of: bool) -> None:
        self._sources = sources
        self._combinations = combinations
        self._one_of = one_of
        self.plain = not any(source.silent for source in sources)

    def __len__(self) -> int:
        return len(self._combinations)

    def _one(self, index: int) -> Wanted:
        combination = self._combinations[index]
        elements: list[Element | None] = [
            None if at is None else source.elements[at]
            for source, at in zip(self._sources, combination, strict=True)
        ]
        texts = [element.text for element in elements if element is not None]
        text = texts[0] if len(texts) == 1 else join_texts(texts)
        digest, parents = self._key(combination)
        return Wanted(digest, text, tuple(elements), parents)

    def _key(self, combination: Combination) -> tuple[bytes, Parents]:
        sources = self._sources
        if self._one_of:
            at, index = next((at, index) for at, index in enumerate(combination) if index is not None)
            parents = tuple([sources[at].tasks(index) if place == at else () for place in range(len(sources))])
            return combine([sources[at].digests[index]], salt=sources[at].name.encode()), parents
        pairs = [(source, at) for source, at in zip(sources, combination, strict=True) if at is not None]
        parents = tuple([source.tasks(at) for source, at in pairs])
        if len(pairs) == 1:
            return pairs[0][0].digests[pairs[0][1]], parents
        return combine([source.digests[at] for source, at in pairs]), parents

    def keys(self, start: int, stop: int) -> Iterator[tuple[bytes, Parents]]:
        """Go through some inputs by what they are compared by."""
        combinations = self._combinations
        return (self._key(combinations[index]) for index in range(start, min(stop, len(combinations))))


class Alone(Inputs):
    """The distinct elements of one parent, as they are: nearly every segment has such inputs."""

    plain = True

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source.places)

    def _one(self, index: int) -> Wanted:
        element = self._source.elements[index]
        return Wanted(element.digest, element.text, (element,), (self._source.tasks(index),))

    def keys(self, start: int, stop: int) -> Iterator[tuple[bytes, Parents]]:
        """Go through some inputs by what they are compared by."""
        source = self._source
        if source.further:
            return ((source.digests[at], (source.tasks(at),)) for at in range(start, min(stop, len(self))))
        digests = source.digests[start:stop]
        return ((digest, ((task,),)) for digest, task in zip(digests, source.givers[start:stop], strict=True))

    def digest_column(self, start: int, stop: int) -> bytes:
        """The digests of some inputs, one after the other."""
        digests = self._source.digests
        return digests.column(start, stop) if isinstance(digests, Digests) else b"".join(digests[start:stop])

    def parent_texts(self, start: int, stop: int, task_sets: dict[str, Parents]) -> list[str]:
        """The texts of the parents of some inputs."""
        if self._source.further:
            return super().parent_texts(start, stop, task_sets)
        return [f"[[{task}]]" for task in self._source.givers[start:stop]]

    def rows(self, indices: Sequence[int]) -> Iterator[Row]:
        """Go through some inputs as they are put on record."""
        elements = self._source.elements
        if indices and indices[-1] - indices[0] + 1 == len(indices):
            return ((item.digest, item.text, [item.blob]) for item in elements[indices[0] : indices[-1] + 1])
        return ((item.digest, item.text, [item.blob]) for item in map(elements.__getitem__, indices))


class Classes(Inputs):
    """Inputs that stand for the classes of a ``group_by``.

    Parameters
    ----------
    sources
        The outputs of the parents.
    classes
        By digest the value of each class, and which elements it has: indices of the parent ``only``, or combinations.
    only
        The one parent that the expression looks at, where this is known.
    whole
        The elements of the other parents, which all classes share.
    """

    grouped = True

    def __init__(
        self,
        sources: Sequence[Source],
        classes: Mapping[bytes, tuple[object, list[Any]]],
        only: int | None,
        whole: Mapping[int, Sequence[int]],
    ) -> None:
        self._sources = sources
        self._classes = list(classes.items())
        self._only = only
        self._shared = {at: sources[at].members(indices) for at, indices in whole.items()}

    def __len__(self) -> int:
        return len(self._classes)

    def digest_column(self, start: int, stop: int) -> bytes:
        """The digests of some inputs, which are known without making the classes."""
        return b"".join([digest for digest, _ in self._classes[start:stop]])

    def _members(self, at: int, items: Sequence[Any]) -> tuple[Sequence[Element], tuple[int, ...]]:
        if at in self._shared:
            return self._shared[at]
        if at == self._only:
            return self._sources[at].members(items)
        return self._sources[at].members(item[at] for item in items if item[at] is not None)

    def _one(self, index: int) -> Wanted:
        digest, (value, items) = self._classes[index]
        parts = [self._members(at, items) for at in range(len(self._sources))]
        group = Group(value, tuple([members for members, _ in parts]))
        return Wanted(digest, value_text(value), (), tuple([tasks for _, tasks in parts]), group)


# ---- sequences of combinations that need not be listed


class _Regular(Sequence[Combination]):
    """Combinations that follow from their places."""

    @abstractmethod
    def _at(self, place: int) -> Combination:
        """The combination at a place."""

    @overload
    def __getitem__(self, place: int) -> Combination: ...

    @overload
    def __getitem__(self, place: slice) -> list[Combination]: ...

    def __getitem__(self, place: int | slice) -> Combination | list[Combination]:
        if isinstance(place, slice):
            return [self._at(at) for at in range(*place.indices(len(self)))]
        return self._at(range(len(self))[place])


class Diagonal(_Regular):
    """The i-th elements of all parents together; of one parent, each by itself."""

    def __init__(self, width: int, length: int) -> None:
        self.width = width
        self._length = length

    def __len__(self) -> int:
        return self._length

    def _at(self, place: int) -> Combination:
        return (place,) * self.width


class EachAlone(_Regular):
    """The elements of the first parent, then those of the second, and so on."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes

    def __len__(self) -> int:
        return sum(self._sizes)

    def _at(self, place: int) -> Combination:
        combination: list[int | None] = [None] * len(self._sizes)
        for at, size in enumerate(self._sizes):
            if place < size:
                combination[at] = place
                break
            place -= size
        return tuple(combination)


class Rectangle(_Regular):
    """The product of the elements of all parents, the first one slowest."""

    def __init__(self, sides: Sequence[Sequence[int]]) -> None:
        self._sides = sides

    def __len__(self) -> int:
        return prod(map(len, self._sides))

    def __iter__(self) -> Iterator[Combination]:
        return product(*self._sides)

    def _at(self, place: int) -> Combination:
        combination = []
        for side in reversed(self._sides):
            place, within = divmod(place, len(side))
            combination.append(side[within])
        return tuple(reversed(combination))
