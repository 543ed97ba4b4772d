"""The rows of the status database, and the packed form of lists of task ids."""

from __future__ import annotations

import json
import operator
import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

from pipelet.errors import DamagedDatabaseError


class TaskRow(NamedTuple):
    """One task. A task event of a journal has the same fields in the same order, but ``instance``."""

    id: int
    instance: int
    digest: bytes  #: fingerprint of the input, 16 bytes
    status: int  #: a `pipelet.core.model.Status`
    current: int  #: 1: wanted by the last run; 2: not wanted by it; 0: superseded by a newer version
    place: str | None  #: name of its directory; "" is data/ itself, None says that it has none
    text: str  #: the input as part of a directory's name
    input: bytes | None  #: container of pickled objects
    output: bytes | None  #: container of pickled elements; None: no particular output
    digests: bytes | None  #: of the elements, 16 bytes each
    texts: bytes | None  #: container of the elements as texts
    parents: str  #: which tasks gave the input
    asked: str | None  #: what it asked of its ancestors
    begun: float | None
    ended: float | None
    host: str | None
    pid: int | None
    error: str | None
    aside: int  #: what somebody has asked for: a `pipelet.core.model.Mark`
    job: str | None = None  #: the batch system's id of the job in which it ran


#: Of a "task" event of a journal: the kind, the fields, the parameters. Journals from before jobs were on record have
#: one field less.
_EVENT_LENGTH = len(TaskRow._fields) + 1


def whole_task_event(event: Sequence[Any]) -> Sequence[Any]:
    """Give a "task" event of a journal with all the fields that there are today.

    Raises
    ------
    ValueError
        It has more of them, or others.
    """
    if len(event) == _EVENT_LENGTH - 1:
        return [*event[:-1], None, event[-1]]
    if len(event) != _EVENT_LENGTH:
        raise ValueError(f"{len(event)} fields")
    return event


class QueuedTask(NamedTuple):
    """A task that waits for a worker, or that a worker has: what its row says, but for what they all have alike."""

    id: int
    digest: bytes
    current: int
    text: str
    input: bytes | None
    parents: str
    position: int  #: the place of its input among the wanted, which is not on record


class PlanRow(NamedTuple):
    """What planning needs to know of a task: no large value."""

    id: int
    digest: bytes
    status: int
    current: int
    place: str | None
    text: str
    parents: str
    asked: str | None
    aside: int
    silent: int  #: 1: no particular output


class OutputRow(NamedTuple):
    """What a done task gives to its children."""

    id: int
    output: bytes | None
    digests: bytes | None
    texts: bytes | None


class ParamRow(NamedTuple):
    """A parameter that a task saved or exposed."""

    task: int
    name: str
    value: bytes | None  #: pickled
    text: str | None
    exposed: int


class InstanceRow(NamedTuple):
    """One segment instance."""

    id: int
    segment: str
    key: str
    path: str  #: relative to the prefix, with slashes
    parents: tuple[int, ...]  #: ids of the parent instances, in the order of the graph
    created: float
    whole_task: int | None  #: the task whose directory is data/ itself
    wanted: bytes | None  #: ids of the tasks that the last run wanted, in order (`unpack_ids`); None: never said
    journal_end: int  #: how much of the journal is in the database
    waiting: str | None  #: why the last run could not know its tasks


def instance_row(values: Sequence[object]) -> InstanceRow:
    """Make an `InstanceRow` of what the table holds."""
    row = InstanceRow._make(values)
    return row._replace(parents=read_id_list(str(row.parents)))


#: First byte of a packed list: zlib over the little-endian 64-bit differences of neighbours.
_DELTAS = b"\x01"


def pack_ids(ids: Sequence[int]) -> bytes:
    """Pack task ids: a few bytes a thousand where they run on, in any order, with repetitions.

    Parameters
    ----------
    ids
        Whole numbers from 0 to 2**63 - 1.

    Returns
    -------
    bytes
        What `unpack_ids` reads.
    """
    deltas = array("q", map(operator.sub, ids, chain((0,), ids)))
    if sys.byteorder == "big":
        deltas.byteswap()
    return _DELTAS + zlib.compress(deltas.tobytes(), 6)


def unpack_ids(blob: bytes) -> list[int]:
    """Read what `pack_ids` made.

    Parameters
    ----------
    blob
        The packed list.

    Returns
    -------
    list of int
        The ids in their order.

    Raises
    ------
    DamagedDatabaseError
        These bytes were not made by `pack_ids`.
    """
    deltas = array("q")
    try:
        if blob[:1] != _DELTAS:
            raise ValueError(f"first byte {blob[:1]!r}")
        deltas.frombytes(zlib.decompress(blob[1:]))
    except (ValueError, zlib.error) as error:
        raise DamagedDatabaseError(
            f"a packed list of task ids can't be read ({error}): `pipeutils -r PREFIX SQLFILE` makes the database anew"
        ) from error
    if sys.byteorder == "big":
        deltas.byteswap()
    return list(accumulate(deltas))


def read_id_list(text: str) -> tuple[int, ...]:
    """Read a list of ids that `id_list` wrote."""
    try:
        return tuple(map(int, json.loads(text)))
    except (ValueError, TypeError) as error:
        raise DamagedDatabaseError(
            f"the status database has {text[:40]!r} where a list of ids should be:"
            " `pipeutils -r PREFIX SQLFILE` makes it anew from the tree"
        ) from error


def id_list(ids: Sequence[int]) -> str:
    """Write ids as the text that the tables and SQLite's ``json_each`` take."""
    return f"[{','.join(map(str, ids))}]"


def id_ranges(ids: Sequence[int]) -> list[int]:
    """Write ids, each there once, as the first and the last of each range in which all numbers are among them."""
    ordered = sorted(ids)
    if not ordered:
        return []
    ends = [at for at, step in enumerate(map(operator.sub, ordered[1:], ordered), 1) if step != 1]
    firsts, lasts = [0, *ends], [*ends, len(ordered)]
    return [ordered[at] for pair in zip(firsts, (last - 1 for last in lasts), strict=True) for at in pair]


def in_pieces(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Cut a sequence into pieces of at most ``size``."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
