"""The outputs of tasks, read from the database as far as somebody looks at them."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any, cast, overload

import msgpack

from pipelet.core.model import DIGEST, Digests, Element, Elements, ParentOutput
from pipelet.statusdb import OutputRow, Reader, SingleOutputs, in_pieces

#: A container with more items than this is not unpacked whole.
_LARGE = 4096
#: What ``Element._make`` gives, in a third of the time.
_element: Callable[[tuple[object, ...]], Element] = partial(tuple.__new__, Element)
#: Unless it has few bytes: then that many times as many.
_MORE, _FEW_BYTES = 16, 4 << 20
#: So many bytes tell how many items there are.
_HEAD = 5
#: The outputs of so many tasks are read at once.
_AT_ONCE = 10_000


def read_output(
    segment: str, reader: Reader, instance_id: int | None, known: Sequence[int]
) -> tuple[ParentOutput, int]:
    """Read the concatenated outputs of some done tasks.

    Parameters
    ----------
    segment
        Whose tasks they are.
    reader, instance_id
        Where they are on record; ``None``: nowhere.
    known
        The tasks, in order.

    Returns
    -------
    tuple
        The output, and how many of the tasks set no particular one.
    """
    column = _Column(reader, instance_id or 0)
    silent = 0
    for piece in in_pieces(known, _AT_ONCE) if instance_id is not None else ():
        single = reader.single_digests(piece)
        if single is not None:
            column.add_singles(piece, single)
        else:
            silent += column.extend(reader.output_digests(piece))
    elements = Elements(column.givers, column.take_digests(), column.fetch)
    return ParentOutput(segment, elements, known, silent=bool(known) and silent == len(known)), silent


def elements_of(task: int, output: bytes, digests: bytes, texts: bytes | None) -> list[Element]:
    """Make the elements of one task's output from the columns of its record."""
    blobs, names = msgpack.unpackb(output), msgpack.unpackb(texts or b"\x90")
    if len(blobs) == 1:
        return [_element((task, 0, digests, names[0], blobs[0]))]
    return _elements(task, 0, len(blobs), blobs, names, digests)


def _elements(
    task: int, start: int, stop: int, blobs: Sequence[bytes], names: Sequence[str], digests: bytes
) -> list[Element]:
    return [
        _element((task, position, digests[DIGEST * position : DIGEST * (position + 1)], name, blob))
        for position, name, blob in zip(range(start, stop), names[start:stop], blobs[start:stop], strict=True)
    ]


def _single_elements(tasks: Sequence[int], columns: SingleOutputs) -> list[Element]:
    """The elements of tasks that gave one each."""
    blobs, texts = msgpack.Unpacker(), msgpack.Unpacker()
    blobs.feed(columns.outputs)
    texts.feed(columns.texts)
    zeros = repeat(0, len(tasks))
    fields = zip(tasks, zeros, Digests(columns.digests), map(_first, texts), map(_first, blobs), strict=True)
    return list(map(_element, fields))


_first = itemgetter(0)


class _Column:
    """Where each element of a long output is found."""

    def __init__(self, reader: Reader, instance_id: int) -> None:
        self._reader = reader
        self._instance_id = instance_id
        self.givers = array("q")
        self._digests = bytearray()
        #: The tasks that gave something, and the place of the first element of each.
        self._tasks = array("q")
        self._starts = array("q")
        self._large: tuple[int, Sequence[bytes], Sequence[str], bytes] | None = None

    def extend(self, rows: Iterable[tuple[int, bytes | None, bool]]) -> int:
        """Take over what tasks gave; gives how many of them set no particular output."""
        silent = 0
        givers, joined = self.givers, self._digests
        for task, digests, is_silent in rows:
            if is_silent:
                silent += 1
            elif digests:
                self._tasks.append(task)
                self._starts.append(len(givers))
                joined += digests
                if len(digests) == DIGEST:
                    givers.append(task)
                else:
                    givers.extend([task] * (len(digests) // DIGEST))
        return silent

    def add_singles(self, tasks: Sequence[int], digests: bytes) -> None:
        """Add tasks that gave one element each."""
        self._tasks.extend(tasks)
        self._starts.extend(range(len(self.givers), len(self.givers) + len(tasks)))
        self._digests += digests
        self.givers.extend(tasks)

    def take_digests(self) -> bytes:
        """Give away the digests of all elements."""
        digests, self._digests = bytes(self._digests), bytearray()
        return digests

    def fetch(self, start: int, stop: int) -> list[Element]:
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, stop - 1)
        found: list[Element] = []
        wanted = list(self._tasks[first:last])
        if len(wanted) == 1 and stop - start < self._length(first):
            origin = self._starts[first]
            return self._part(wanted[0], start - origin, stop - origin)
        if len(wanted) == stop - start:
            columns = self._reader.single_outputs(wanted)
            if columns is not None:
                return _single_elements(wanted, columns)
        for row in self._reader.outputs(self._instance_id, wanted):
            if row.output is not None:
                found += elements_of(row.id, row.output, row.digests or b"", row.texts)
        skip = start - self._starts[first]
        return found[skip : skip + stop - start]

    def _length(self, at: int) -> int:
        end = self._starts[at + 1] if at + 1 < len(self._starts) else len(self.givers)
        return end - self._starts[at]

    def _part(self, task: int, start: int, stop: int) -> list[Element]:
        """Some elements of a task that gave many."""
        if self._large is None or self._large[0] != task:
            (row,) = self._reader.outputs(self._instance_id, [task])
            self._large = (task, _items(row.output), _items(row.texts), _digests(row))
        _, blobs, names, digests = self._large
        return _elements(task, start, stop, blobs, names, digests)


def _digests(row: OutputRow) -> bytes:
    return row.digests or b""


def _items(container: bytes | None) -> Sequence[Any]:
    packed = container or b"\x90"
    head = msgpack.Unpacker()
    head.feed(packed[:_HEAD])
    number = head.read_array_header()
    if number <= _LARGE or (number <= _MORE * _LARGE and len(packed) <= _FEW_BYTES):
        return cast("list[Any]", msgpack.unpackb(packed))
    return _PackedList(packed)


class _PackedList(Sequence[Any]):
    """A packed list whose items are unpacked one by one."""

    def __init__(self, container: bytes) -> None:
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        unpacker.feed(container)
        length = unpacker.read_array_header()
        offsets = array("q", [unpacker.tell()])
        for _ in range(length):
            unpacker.skip()
            offsets.append(unpacker.tell())
        self._container = container
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, place: int) -> Any: ...

    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1 or start >= stop:
                return [self[at] for at in range(start, stop, step)]
            unpacker = msgpack.Unpacker(max_buffer_size=0)
            unpacker.feed(self._container[self._offsets[start] : self._offsets[stop]])
            return list(unpacker)
        at = range(len(self))[place]
        return msgpack.unpackb(self._container[self._offsets[at] : self._offsets[at + 1]])
