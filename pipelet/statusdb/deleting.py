"""What a deletion asks the database, and the numbers that are never given again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelet.statusdb.reader import PAGE, Reader
from pipelet.statusdb.rows import id_list
from pipelet.statusdb.writer import Writer

COUNT_TASKS = "SELECT count(*) FROM task WHERE instance = ?"
SELECT_PARENTS_PAGE = "SELECT id, parents FROM task WHERE instance = ? AND id > ? ORDER BY id LIMIT ?"
SELECT_OWNERS = "SELECT id, instance FROM task WHERE id IN (SELECT value FROM json_each(?))"
#: What lies in directories, and is younger than some moment.
COUNT_ENDED_SINCE = "SELECT count(*) FROM task WHERE instance = ? AND place IS NOT NULL AND ended > ?"
SELECT_SEQUENCE = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?"
SELECT_REVISIONS = "SELECT instance, revision FROM settled"
UPDATE_SEQUENCE = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?"
INSERT_SEQUENCE = """
INSERT INTO sqlite_sequence (name, seq) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?)"""


class LastIds(NamedTuple):
    """The last ids that were given."""

    instance: int
    task: int


def count_tasks(reader: Reader, instance_id: int) -> int:
    """Count all tasks of an instance, older versions too."""
    row = reader._one(COUNT_TASKS, instance_id)
    return int(row[0]) if row else 0


def parents_of_tasks(reader: Reader, instance_id: int) -> Iterator[tuple[int, str]]:
    """Go through the tasks of an instance by id: id, and text of the parents."""
    after = 0
    while True:
        page = reader._all(SELECT_PARENTS_PAGE, instance_id, after, 10 * PAGE)
        yield from ((task, parents) for task, parents in page)
        if len(page) < 10 * PAGE:
            return
        after = page[-1][0]


def owners(reader: Reader, ids: Sequence[int]) -> dict[int, int]:
    """Give the instance of each of some tasks; unknown ids are passed over."""
    return dict(reader._all(SELECT_OWNERS, id_list(ids)))


def count_ended_since(reader: Reader, instance_id: int, moment: float) -> int:
    """Count the tasks of an instance that have a directory and ended after some moment."""
    row = reader._one(COUNT_ENDED_SINCE, instance_id, moment)
    return int(row[0]) if row else 0


def last_ids(reader: Reader) -> LastIds:
    """Give the last ids that were ever given, to what is deleted by now too."""
    found = [reader._one(SELECT_SEQUENCE, name) for name in LastIds._fields]
    return LastIds(*(int(row[0]) if row else 0 for row in found))


def reserve_ids(writer: Writer, last: LastIds) -> None:
    """Give no id again up to these: something in the trash has them."""
    with writer.transaction():
        for name, number in zip(LastIds._fields, last, strict=True):
            writer._do(INSERT_SEQUENCE, name, number, name)
            writer._do(UPDATE_SEQUENCE, number, name)


def revisions(reader: Reader) -> dict[int, int]:
    """Give how often the tasks of each instance were changed."""
    return dict(reader._all(SELECT_REVISIONS))
