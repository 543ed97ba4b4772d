"""What is shown of each version of a segment, however many tasks it has: a few of them are looked at."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import NamedTuple

from pipelet.core.model import Status
from pipelet.errors import DatabaseError
from pipelet.statusdb.reader import Reader
from pipelet.statusdb.rows import InstanceRow, id_list, unpack_ids

#: So many characters of a value are read.
VALUE_SHOWN = 120

#: The inner bound keeps it short where most of the tasks are superseded.
SELECT_FIRST_CURRENT = """
SELECT id FROM (SELECT id, current FROM task WHERE instance = ? ORDER BY id LIMIT ?) WHERE current = 1 LIMIT ?"""
SELECT_EXPOSED = f"""
SELECT param.name, substr(param.text, 1, {VALUE_SHOWN}) FROM json_each(?) AS listed
CROSS JOIN param ON param.task = listed.value WHERE param.exposed = 1 LIMIT ?"""
# The newest of those that ended before the first one that runs.
SELECT_DURATIONS = f"""
SELECT begun, ended FROM (SELECT status, begun, ended FROM task WHERE instance = ? AND id < ? ORDER BY id DESC LIMIT ?)
WHERE status = {Status.DONE.value} AND begun IS NOT NULL AND ended >= begun"""
_WITH_PARAM = """
SELECT DISTINCT task.instance FROM param CROSS JOIN task ON task.id = param.task
WHERE param.exposed = 1 AND task.current = 1 AND """
SELECT_WITH_VALUE = _WITH_PARAM + "param.name = ? AND param.text IN (SELECT value FROM json_each(?))"
SELECT_WITH_WORD = _WITH_PARAM + r"(param.name LIKE ? ESCAPE '\' OR param.text LIKE ? ESCAPE '\')"

#: Opcodes of SQLite between two looks at the clock.
_STEPS = 20_000
_LAST = 2**63 - 1


class Exposed(NamedTuple):
    """A value that a task exposed, as text."""

    name: str
    text: str


class Sought(NamedTuple):
    """What a search found."""

    instances: set[int]
    whole: bool  #: false: the time was over before all was looked at


def first_tasks(reader: Reader, row: InstanceRow, number: int) -> list[int]:
    """The ids of the first tasks that the last run wanted of an instance.

    Parameters
    ----------
    reader
        The database.
    row
        The instance.
    number
        At most so many.
    """
    if row.wanted:
        return _first_ids(row.wanted, number)
    return [task for (task,) in reader._all(SELECT_FIRST_CURRENT, row.id, 4 * number, number)]


def exposed(reader: Reader, tasks: Sequence[int], limit: int) -> list[Exposed]:
    """The different values that some tasks exposed, in the order of the tasks, then by name.

    Parameters
    ----------
    reader
        The database.
    tasks
        Ids.
    limit
        So many rows are looked at.
    """
    rows = dict.fromkeys(reader._all(SELECT_EXPOSED, id_list(tasks), limit))
    return [Exposed(str(name), "" if text is None else str(text)) for name, text in rows]


def with_value(reader: Reader, name: str, texts: Sequence[str], seconds: float) -> Sought:
    """The instances of which a task exposed a parameter of this name with one of these texts.

    Parameters
    ----------
    reader
        The database.
    name, texts
        Which parameter, and its values.
    seconds
        It is looked for at most so long.
    """
    listed = json.dumps(list(texts))
    return _search(reader, SELECT_WITH_VALUE, (name, listed), seconds)


def with_word(reader: Reader, word: str, seconds: float) -> Sought:
    """The instances of which a task exposed a parameter with this in its name or value.

    Parameters
    ----------
    reader
        The database.
    word
        Part of a name or value.
    seconds
        It is looked for at most so long.
    """
    pattern = "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return _search(reader, SELECT_WITH_WORD, (pattern, pattern), seconds)


def durations(reader: Reader, instance_id: int, before: int | None, number: int) -> list[tuple[float, float]]:
    """When some done tasks of an instance began and ended.

    Parameters
    ----------
    reader
        The database.
    instance_id
        Which instance.
    before
        Those with smaller ids, the nearest of them; ``None``: the last.
    number
        So many rows are looked at.
    """
    return reader._all(SELECT_DURATIONS, instance_id, _LAST if before is None else before, number)


def _first_ids(blob: bytes, number: int) -> list[int]:
    """The first of the ids that `pack_ids` packed, without unpacking a million of them."""
    try:
        start = zlib.decompressobj().decompress(blob[1:], 8 * number)
        deltas = array("q", start[: len(start) // 8 * 8])
    except zlib.error:
        return unpack_ids(blob)[:number]
    if sys.byteorder == "big":
        deltas.byteswap()
    return list(accumulate(deltas))


def _search(reader: Reader, statement: str, arguments: Sequence[object], seconds: float) -> Sought:
    found: set[int] = set()
    try:
        with time_limit(reader, seconds):
            for (instance,) in reader._connection.execute(statement, arguments):
                found.add(instance)
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise DatabaseError(f"{reader.sqlfile}: {error}") from error
        return Sought(found, False)
    except sqlite3.DatabaseError as error:
        raise DatabaseError(f"{reader.sqlfile}: {error}") from error
    return Sought(found, True)


@contextmanager
def time_limit(reader: Reader, seconds: float) -> Iterator[None]:
    """End what SQLite does inside when it takes longer: it raises ``sqlite3.OperationalError``, interrupted."""
    deadline = time.monotonic() + seconds
    reader._connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    finally:
        reader._connection.set_progress_handler(None, 0)
