"""Writing the status database, and reading back what was written."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelet import filesystem
from pipelet.core.model import Status
from pipelet.errors import DamagedDatabaseError, DatabaseError
from pipelet.schema import newest_version
from pipelet.statusdb import (
    Reader,
    SingleOutputs,
    TaskRow,
    Writer,
    id_list,
    id_ranges,
    pack_ids,
    read_id_list,
    reader,
    rows,
    unpack_ids,
    writer,
)
from pipelet.statusdb.statements import SHORT

ROOT = Path(__file__).parents[2]


def task_row(task: int, instance: int = 1, **fields: Any) -> TaskRow:
    """A done task with something in each field."""
    values: dict[str, Any] = {
        "id": task,
        "instance": instance,
        "digest": task.to_bytes(16, "big"),
        "status": int(Status.DONE),
        "current": 1,
        "place": f"{task}_Lancelot",
        "text": "Lancelot",
        "input": b"\x91in",
        "output": b"\x91out",
        "digests": b"d" * 16,
        "texts": b"\x91text",
        "parents": "[[1]]",
        "asked": "melt",
        "begun": 1.5,
        "ended": 2.5,
        "host": "camelot",
        "pid": 42,
        "error": None,
        "aside": 0,
    }
    return TaskRow(**(values | fields))


def task_event(row: TaskRow, *params: list[Any]) -> list[Any]:
    return ["task", row.id, *row[2:], list(params)]


def dump(sqlfile: Path) -> dict[str, list[Any]]:
    """All rows of all tables, read without Pipelet."""
    with closing(sqlite3.connect(sqlfile)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        # It counts the changes that led to the other rows.
        names.remove("settled")
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


def counted(sqlfile: Path) -> dict[tuple[int, int], int]:
    with closing(sqlite3.connect(sqlfile)) as connection:
        query = "SELECT instance, status, count(*) FROM task WHERE current = 1 GROUP BY instance, status"
        return {(instance, status): n for instance, status, n in connection.execute(query)}


def tallied(sqlfile: Path) -> dict[tuple[int, int], int]:
    with closing(sqlite3.connect(sqlfile)) as connection:
        return {(instance, status): n for instance, status, n in connection.execute("SELECT * FROM tally")}


@pytest.fixture
def sqlfile(tmp_path: Path) -> Path:
    return tmp_path / ".sqlstatus"


@pytest.fixture
def two(sqlfile: Path) -> Any:
    """A writer with the instances 1 and 2."""
    with Writer.open(sqlfile) as opened:
        assert opened.add_instance("melt", "M" * 52, "melt_MMMMMM", [], 1.0) == 1
        assert opened.add_instance("stir", "S" * 52, "melt_MMMMMM/stir_SSSSSS", [1], 2.0) == 2
        yield opened


def test_a_new_database_carries_our_mark(sqlfile: Path) -> None:
    with Writer.open(sqlfile) as first:
        assert first.created
    head = sqlfile.read_bytes()[:100]
    assert head[68:72] == b"Pipl"
    assert int.from_bytes(head[60:64], "big") == newest_version()
    with Writer.open(sqlfile) as second:
        assert not second.created


def test_an_empty_file_is_made_a_database(sqlfile: Path) -> None:
    sqlfile.touch()
    with Writer.open(sqlfile) as opened:
        assert opened.created


def test_odd_names_of_files(tmp_path: Path) -> None:
    for name in ("a b?mode=memory#x%41", "é\udcff"):
        sqlfile = tmp_path / name
        with Writer.open(sqlfile) as opened:
            opened.set_tag(1, "x")
        assert sqlfile.exists()
        with Reader.open(f"/{sqlfile}") as seen:
            assert seen.tags() == {1: "x"}


def test_instances(two: Writer) -> None:
    assert two.add_instance("melt", "N" * 52, "melt_NNNNNN", [2, 1], 3.0, id=9) == 9
    assert [row.id for row in two.instances()] == [9, 2, 1]
    assert [row.id for row in two.instances("melt")] == [9, 1]
    row = two.instance("N" * 52)
    assert row == two.instance_by_id(9)
    assert row is not None
    assert row == (9, "melt", "N" * 52, "melt_NNNNNN", (2, 1), 3.0, None, None, 0, None)
    assert two.instance("no such key") is None
    assert two.instance_by_id(77) is None
    with pytest.raises(DatabaseError, match=r"\.sqlstatus.*UNIQUE"):
        two.add_instance("melt", "N" * 52, "melt_OTHER", [], 3.0)


def test_a_task_comes_back_as_it_was(two: Writer, sqlfile: Path) -> None:
    full = task_row(1, text="a\0b\n\u00e9", error="Boom", aside=1)
    bare = task_row(2, place=None, output=None, digests=None, texts=None, asked=None, begun=None, host=None, pid=None)
    two.apply(1, [task_event(full, ["x", b"\x80x", "12", 1], ["y", None, None, 0]), task_event(bare)], 123)
    with Reader.open(sqlfile) as seen:
        assert list(seen.tasks(1)) == [full, bare]
        assert seen.task(1) == full
        assert seen.task(3) is None
        assert seen.params([1, 2]) == {1: [(1, "x", b"\x80x", "12", 1), (1, "y", None, None, 0)]}
        instance = seen.instance_by_id(1)
        assert instance is not None
        assert instance.journal_end == 123
        assert seen.tally() == {1: {Status.DONE: 2}}
        assert [row.silent for row in seen.plan_rows(1)] == [0, 1]
        assert next(seen.plan_rows(1)) == (1, full.digest, 2, 1, full.place, full.text, "[[1]]", "melt", 1, 0)


def test_many_tasks_are_read_in_pages(two: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PAGE", 7)
    everything = [task_row(n, status=int(Status(n % 4)), current=n % 3) for n in range(1, 100)]
    two.add_queued(iter(everything))
    two.add_queued([task_row(100, instance=2)])
    for status in (None, *Status):
        for current in (None, True, False):
            for after in (0, 50):
                wanted = [
                    row
                    for row in everything
                    if status in (None, row.status) and current in (None, bool(row.current)) and row.id > after
                ]
                assert list(two.tasks(1, status, current, after)) == wanted
    assert [row.id for row in two.plan_rows(1)] == list(range(1, 100))
    done = [row.id for row in everything if row.status == Status.DONE]
    assert [row.id for row in two.outputs(1)] == [task for task in done if task % 3 == 1]
    shuffled = [*range(1, 101), 1000]
    random.Random(1).shuffle(shuffled)
    assert [row.id for row in two.outputs(1, shuffled)] == [task for task in shuffled if task in done]


def test_a_reader_of_nothing() -> None:
    with Reader.empty() as seen:
        assert seen.instances() == []
        assert seen.tally() == {}
        assert list(seen.tasks(1)) == list(seen.plan_rows(1)) == list(seen.outputs(1)) == []


def test_a_copy_of_all_rows(two: Writer, sqlfile: Path, tmp_path: Path) -> None:
    two.add_queued([task_row(1)])
    two.set_tag(1, "x")
    with Reader.open(sqlfile) as seen:
        seen.copy_to(str(tmp_path / "copy"))
    assert dump(tmp_path / "copy") == dump(sqlfile)
    assert dump(sqlfile)["tag"] == [(1, "x")]


def test_large_values_end_a_page_early(two: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PAGE_BYTES", 100)
    everything = [task_row(n, output=bytes(60 * (n % 3))) for n in range(1, 20)]
    two.add_queued(everything)
    assert list(two.tasks(1)) == everything
    assert [(row.id, row.output) for row in two.outputs(1)] == [(row.id, row.output) for row in everything]
    backwards = list(range(19, 0, -1))
    assert [row.id for row in two.outputs(1, backwards)] == backwards


def test_each_kind_of_event(two: Writer, sqlfile: Path) -> None:
    two.apply(1, [task_event(task_row(n), ["p", b"1", "1", 0]) for n in (1, 2, 3)], 10)
    packed = pack_ids([3, 1])
    events = [
        ["parents", 1, "[[7]]"],
        ["asked", 1, "glob"],
        ["aside", 1, 1],
        ["place", 1, ""],
        ["current", 2, 0],
        ["delete", 3],
        ["whole", 1],
        ["wanted", packed],
        ["task_set", "abc", id_list([5, 4])],
        ["follow", "[[8]]", 1, 2],
    ]
    two.apply(1, events, 99)
    assert two.task(1) == task_row(1, parents="[[8]]", asked="glob", aside=1, place="")
    assert two.task(2) == task_row(2, parents="[[8]]", current=0)
    assert two.task(3) is None
    assert set(two.params([1, 2, 3])) == {1, 2}
    row = two.instance_by_id(1)
    assert row is not None
    assert (row.whole_task, row.wanted, row.journal_end) == (1, packed, 99)
    assert two.task_set("abc") == (5, 4)
    assert two.task_set("xyz") is None
    assert two.tally([1, 2]) == {1: {Status.DONE: 1}, 2: {}}
    two.apply(1, [["current", 2, 1], ["whole", None]], None)
    row = two.instance_by_id(1)
    assert row is not None
    assert (row.whole_task, row.journal_end) == (None, 99)
    assert two.tally() == {1: {Status.DONE: 2}}


def test_tasks_of_another_instance_do_not_follow(two: Writer) -> None:
    two.apply(1, [task_event(task_row(1)), task_event(task_row(3))])
    two.apply(2, [task_event(task_row(2))])
    two.apply(1, [["follow", "[[8]]", 1, 3]])
    assert [two.task(task).parents for task in (1, 2, 3)] == ["[[8]]", task_row(2).parents, "[[8]]"]


@given(st.sets(st.integers(1, 30)))
def test_ranges_hold_their_ids_and_no_others(ids: set[int]) -> None:
    ends = id_ranges(list(ids))
    pairs = list(zip(ends[::2], ends[1::2], strict=True))
    assert [task for first, last in pairs for task in range(first, last + 1)] == sorted(ids)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(pairs))


_STANDING = {"status": 2, "current": 1, "asked": None, "place": None}
_FALLEN = [{"status": 3}, {"status": 0}, {"current": 0}, {"asked": "{}"}, {"place": ""}]
_TASKS = st.lists(
    st.builds(
        lambda changes, parents, digest, place: {**_STANDING, "place": place, **changes, "parents": parents,
                                                 "digest": digest},
        st.one_of(st.just({}), st.just({}), st.just({"current": 2}), st.sampled_from(_FALLEN)),
        st.sampled_from(["[[1]]", '[[1,2],"ab"]', "[]"]),
        st.binary(min_size=16, max_size=16),
        st.sampled_from([None, "1_x", "é x"]),
    ),
    min_size=1, max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(tasks=_TASKS, data=st.data())
def test_columns_are_what_the_rows_are(tasks: list[dict[str, Any]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory, Writer.open(Path(directory, "db")) as opened:
        opened.add_instance("melt", "M", "melt_M", [], 1.0)
        opened.add_queued([task_row(number, **fields) for number, fields in enumerate(tasks, 1)])
        everything = list(range(1, len(tasks) + 1))
        assert opened.all_ids(1) == everything
        assert opened.all_ids(2) == []
        ids = data.draw(st.permutations(everything))[: data.draw(st.integers(1, len(tasks)))]
        rows = [tasks[task - 1] for task in ids]
        assert opened.digests_listed(ids) == [(row["digest"], task) for row, task in zip(rows, ids, strict=True)]
        fallen = [
            row["status"] != 2 or not row["current"] or row["asked"] is not None or row["place"] == "" for row in rows
        ]
        assert opened.first_fallen(1, ids) == (fallen.index(True) if any(fallen) else None)
        found = opened.standing(1, ids)
        assert (found is None) == any(fallen)
        if found is not None:
            assert found.digests == b"".join(row["digest"] for row in rows)
            assert found.parents == [row["parents"] for row in rows]
            assert found.places == [row["place"] or "" for row in rows]
        assert opened.standing(2, ids) is None
        assert opened.standing(1, [*ids, 99]) is None
        assert opened.first_fallen(1, [ids[0], 99]) == (0 if fallen[0] else 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([None, (), (1,), (2,), ("é\0",), (1, 2)]), min_size=1, max_size=5), st.booleans())
def test_single_outputs_are_what_the_rows_are(values: list[Any], done: bool) -> None:
    def fields(value: Any) -> dict[str, Any]:
        if value is None:
            return {"output": None, "digests": None, "texts": None}
        texts = msgpack.packb([str(item) for item in value])
        blobs = msgpack.packb([repr(item).encode() for item in value])
        return {"output": blobs, "digests": b"\0x\xff%13d" % len(value) * len(value), "texts": texts}

    with tempfile.TemporaryDirectory() as directory, Writer.open(Path(directory, "db")) as opened:
        opened.add_instance("melt", "M", "melt_M", [], 1.0)
        rows = [task_row(number, **fields(value)) for number, value in enumerate(values, 1)]
        rows[-1] = rows[-1]._replace(status=2 if done else 3)
        opened.add_queued(rows)
        rows = rows[::-1]
        ids = [row.id for row in rows]
        single = done and all(value is not None and len(value) == 1 for value in values)
        columns = zip(*[(row.digests or b"", row.output or b"", row.texts or b"") for row in rows], strict=True)
        expected = SingleOutputs(*map(b"".join, columns)) if single else None
        assert opened.single_digests(ids) == (expected.digests if expected else None)
        assert opened.single_outputs(ids) == expected


class OldGroupConcat:
    """``group_concat`` as it was up to SQLite 3.36: the value ends where the first zero byte is."""

    def __init__(self) -> None:
        self.parts: list[tuple[bytes, bytes]] = []

    def step(self, value: object, separator: str = ",") -> None:
        if value is not None:
            self.parts.append((separator.encode(), value if isinstance(value, bytes) else str(value).encode()))

    def finalize(self) -> str | None:
        joined = b"".join((separator if at else b"") + part for at, (separator, part) in enumerate(self.parts))
        return joined.partition(b"\0")[0].decode() if self.parts else None


def test_columns_are_whole_with_an_old_sqlite(two: Writer) -> None:
    two._connection.create_aggregate("group_concat", 1, OldGroupConcat)
    two._connection.create_aggregate("group_concat", 2, OldGroupConcat)
    blobs = msgpack.packb([b"a\0b"])
    zeros = {"digests": b"\0" * 16, "digest": b"\0" * 16}
    two.add_queued([task_row(number, output=blobs, asked=None, **zeros) for number in (1, 2)])
    columns = two.single_outputs([1, 2])
    assert columns is not None
    assert (columns.outputs, columns.digests) == (2 * blobs, b"\0" * 32)
    assert two.single_digests([1, 2]) == b"\0" * 32
    standing = two.standing(1, [1, 2])
    assert standing is not None
    assert standing.digests == b"\0" * 32


def test_long_outputs_are_not_put_together(two: Writer) -> None:
    long = [task_row(number, output=b"x" * size) for number, size in ((1, SHORT), (2, SHORT + 1))]
    two.add_queued(long)
    assert two.single_outputs([1]) == SingleOutputs(b"d" * 16, b"x" * SHORT, b"\x91text")
    assert two.single_outputs([1, 2]) is None


def test_a_new_row_replaces_the_old_one_and_its_parameters(two: Writer) -> None:
    two.add_queued([task_row(1, status=0, output=None)])
    two.apply(1, [task_event(task_row(1, status=3), ["a", b"1", "1", 1], ["b", b"2", "2", 1])])
    two.apply(1, [task_event(task_row(1), ["b", b"3", "3", 0])])
    assert two.task(1) == task_row(1)
    assert two.params([1]) == {1: [(1, "b", b"3", "3", 0)]}
    assert two.tally() == {1: {Status.DONE: 1}}


def test_of_two_rows_of_one_task_in_a_batch_the_last_stands(two: Writer) -> None:
    two.apply(1, [task_event(task_row(1, status=3), ["a", b"1", "1", 1]), task_event(task_row(1, text="late"))])
    assert two.task(1) == task_row(1, text="late")
    assert two.params([1]) == {}
    assert two.tally() == {1: {Status.DONE: 1}}


@pytest.mark.parametrize(
    "bad", [["teleport", 1], ["task", 1, b""], ["parents", 1], ["whole"], [], [["list"]], ["follow", "x", 1]]
)
def test_an_event_that_cannot_be_applied_takes_nothing_over(two: Writer, sqlfile: Path, bad: list[Any]) -> None:
    with pytest.raises(DatabaseError, match=r"the journal of instance 1 has an event.*newer"):
        two.apply(1, [task_event(task_row(1)), bad], 50)
    assert two.task(1) is None
    assert two.tally() == {}
    row = two.instance_by_id(1)
    assert row is not None
    assert row.journal_end == 0


# Ids are few, so that events meet; rows differ in the fields that count.
_IDS = st.integers(1, 6)
_ROWS = st.builds(
    task_row,
    _IDS,
    status=st.sampled_from([int(status) for status in Status]),
    current=st.integers(0, 2),
    text=st.sampled_from(["a", "b"]),
)
_PARAMS = st.lists(
    st.sampled_from([["a", b"1", "1", 1], ["b", None, None, 0]]), max_size=2, unique_by=lambda one: one[0]
)
_EVENTS = st.lists(
    st.one_of(
        st.builds(lambda row, params: task_event(row, *params), _ROWS, _PARAMS),
        st.builds(lambda task, flag: ["current", task, flag], _IDS, st.integers(0, 2)),
        st.builds(lambda task, flag: ["aside", task, flag], _IDS, st.integers(0, 1)),
        st.builds(lambda task, text: ["parents", task, text], _IDS, st.sampled_from(["[[1]]", "[[2]]"])),
        st.builds(lambda text, ids: ["follow", text, *id_ranges(sorted(ids))], st.just("[[3]]"), st.sets(_IDS)),
        st.builds(lambda task, text: ["asked", task, text], _IDS, st.sampled_from([None, "x"])),
        st.builds(lambda task, text: ["place", task, text], _IDS, st.sampled_from([None, "", "1_x"])),
        st.builds(lambda task: ["delete", task], _IDS),
        st.builds(lambda task: ["whole", task], st.none() | _IDS),
        st.builds(lambda ids: ["wanted", pack_ids(ids)], st.lists(_IDS, max_size=3)),
        st.builds(lambda task: ["task_set", "abc", id_list([task])], _IDS),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(events=_EVENTS, cut=st.integers(0, 25), queued=st.lists(_ROWS, max_size=4), size=st.integers(1, 30))
def test_events_give_the_same_rows_however_often_and_in_what_pieces(
    events: list[Any], cut: int, queued: list[TaskRow], size: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        once, again = Path(directory, "once"), Path(directory, "again")
        for path in (once, again):
            with Writer.open(path) as opened:
                opened.add_instance("melt", "M", "melt_M", [], 1.0)
                for row in queued:
                    opened.add_queued([row])
                if path == again:
                    opened.apply(1, events[:cut], 1)
                    opened.apply(1, events, 2)
                    for start in range(0, len(events), size):
                        opened.apply(1, events[start : start + size], 3)
                else:
                    opened.apply(1, events, 3)
                opened.apply(1, [], 4)
        assert dump(once) == dump(again)
        assert tallied(once) == counted(once)


_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("queue"), st.lists(_ROWS, max_size=3, unique_by=lambda row: row.id), st.integers(1, 2)),
        st.tuples(st.just("status"), st.lists(st.tuples(_IDS, st.sampled_from(list(Status))), max_size=4), st.just(0)),
        st.tuples(st.just("apply"), _EVENTS, st.integers(1, 2)),
        st.tuples(st.just("delete"), st.lists(_IDS, max_size=3), st.just(0)),
        st.tuples(st.just("instance"), st.just([]), st.integers(1, 2)),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(actions=_ACTIONS)
def test_the_tally_is_exact_after_anything(actions: list[tuple[str, Any, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        sqlfile = Path(directory, "db")
        with Writer.open(sqlfile) as opened:
            for name, argument, instance in actions:
                match name:
                    case "queue":
                        opened.add_queued([row._replace(instance=instance) for row in argument])
                    case "status":
                        opened.set_status(argument)
                    case "apply":
                        opened.apply(instance, argument)
                    case "delete":
                        opened.delete_tasks(argument)
                    case _:
                        opened.delete_instance(instance)
                assert tallied(sqlfile) == counted(sqlfile)


def test_set_status_and_deletion(two: Writer, sqlfile: Path) -> None:
    two.apply(1, [task_event(task_row(n), ["p", b"", "", 0]) for n in (1, 2, 3)])
    two.apply(2, [task_event(task_row(4, 2), ["p", b"", "", 0])])
    two.set_tag(1, "good")
    two.set_status([(1, Status.RUNNING), (1, Status.FAILED), (2, Status.QUEUED), (99, Status.DONE)])
    assert two.tally() == {1: {Status.QUEUED: 1, Status.DONE: 1, Status.FAILED: 1}, 2: {Status.DONE: 1}}
    assert [row.id for row in two.tasks(1, Status.FAILED)] == [1]
    two.delete_tasks([1, 99])
    assert [row.id for row in two.tasks(1)] == [2, 3]
    assert set(two.params([1, 2, 3, 4])) == {2, 3, 4}
    two.delete_instance(1)
    assert [row.id for row in two.instances()] == [2]
    assert two.tally() == {2: {Status.DONE: 1}}
    assert two.tags() == {}
    tables = dump(sqlfile)
    assert [row[0] for row in tables["task"]] == [4]
    assert [row[0] for row in tables["param"]] == [4]


def test_ids_are_never_given_twice(two: Writer) -> None:
    assert two.next_task_id() == 1
    two.add_queued([task_row(7)])
    assert two.next_task_id() == 8
    two.delete_tasks([7])
    two.delete_instance(2)
    assert two.next_task_id() == 8
    assert two.add_instance("stir", "T" * 52, "stir_TTTTTT", [], 3.0) == 3


def test_tags_waiting_and_users(two: Writer) -> None:
    two.set_tag(1, "first")
    two.set_tag(1, "second")
    two.set_tag(2, "other")
    two.set_tag(2, None)
    assert two.tags() == {1: "second"}
    two.apply(2, [["waiting", "melt failed"]])
    row = two.instance_by_id(2)
    assert row is not None
    assert row.waiting == "melt failed"
    two.apply(2, [["waiting", None]])
    row = two.instance_by_id(2)
    assert row is not None
    assert row.waiting is None
    two.put_user("Zoot", "h1", 1)
    two.put_user("Zoot", "h2", 2)
    two.put_user("Dingo", "h3", 1)
    assert two.users() == {"Dingo": 1, "Zoot": 2}
    assert two.user("Zoot") == ("h2", 2)
    assert two.delete_user("Zoot")
    assert not two.delete_user("Zoot")
    assert two.user("Zoot") is None


@given(ids=st.lists(st.integers(0, 2**63 - 1)))
def test_packed_ids_come_back(ids: list[int]) -> None:
    assert unpack_ids(pack_ids(ids)) == ids


def test_packed_ids_are_small_and_checked() -> None:
    assert len(pack_ids(range(1, 1_000_001))) < 20_000
    for garbage in (b"", b"\x02abc", b"\x01abc", pack_ids([1])[:-3]):
        with pytest.raises(DamagedDatabaseError, match="pipeutils -r"):
            unpack_ids(garbage)


def test_lists_of_ids_are_checked() -> None:
    assert read_id_list(id_list([3, 1, 2])) == (3, 1, 2)
    for garbage in ("", "[1", "7", '["x"]'):
        with pytest.raises(DamagedDatabaseError, match="pipeutils -r"):
            read_id_list(garbage)


def test_packed_ids_are_the_same_on_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    native = pack_ids([5, 3, 2**40])
    swapped = "little" if sys.byteorder == "big" else "big"
    monkeypatch.setattr(rows.sys, "byteorder", swapped)
    assert pack_ids([5, 3, 2**40]) != native
    assert unpack_ids(pack_ids([5, 3, 2**40])) == [5, 3, 2**40]


def test_a_transaction_is_taken_whole_or_not_at_all(two: Writer, sqlfile: Path) -> None:
    before = dump(sqlfile)

    def stop_half_way() -> None:
        with two.transaction():
            two.set_tag(1, "x")
            with two.transaction():
                two.add_queued([task_row(1)])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_half_way()
    assert dump(sqlfile) == before
    with two.transaction():
        two.set_tag(1, "x")
        assert dump(sqlfile) == before
        two.set_tag(2, "y")
    assert two.tags() == {1: "x", 2: "y"}


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""
HOLD_A_WHILE = HOLD.replace("sys.stdin.readline()", "import time; time.sleep(0.5); connection.execute('COMMIT')")


def hold(sqlfile: Path, code: str) -> subprocess.Popen[str]:
    """Another process that has a transaction open."""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(sqlfile)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_that_stays_locked_names_who_may_hold_it(sqlfile: Path, mode: Any) -> None:
    with Writer.open(sqlfile, mode, busy_timeout=0.05) as opened, hold(sqlfile, HOLD) as other:
        with pytest.raises(DatabaseError, match="locked") as caught:
            opened.set_tag(1, "x")
        other.communicate("\n")
        opened.set_tag(1, "y")
    assert ".pipelet/lock" in str(caught.value)
    if Path("/proc/locks").exists():
        assert f"process {other.pid} " in str(caught.value)


def test_a_locked_database_is_waited_for(sqlfile: Path) -> None:
    with Writer.open(sqlfile) as opened, hold(sqlfile, HOLD_A_WHILE):
        opened.set_tag(1, "x")
        assert opened.tags() == {1: "x"}


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_full_disk_leaves_what_was_there(sqlfile: Path, mode: Any) -> None:
    with Writer.open(sqlfile, mode) as opened:
        opened.add_instance("melt", "M", "melt_M", [], 1.0)
        opened.apply(1, [task_event(task_row(1))], 10)
        opened._connection.execute("PRAGMA max_page_count = 30")
        with pytest.raises(DatabaseError, match="disk or the quota is full"):
            opened.apply(1, [task_event(task_row(n, output=bytes(5000))) for n in range(2, 50)], 20)
        assert [row.id for row in opened.tasks(1)] == [1]
        assert opened.tally() == {1: {Status.DONE: 1}}
        opened._connection.execute("PRAGMA max_page_count = 100000")
        opened.apply(1, [task_event(task_row(2))], 20)
        assert [row.id for row in opened.tasks(1)] == [1, 2]
    assert tallied(sqlfile) == counted(sqlfile)


LIMITED = """
import resource, sys
from pipelet.errors import DatabaseError
from pipelet.statusdb import Writer
with Writer.open(sys.argv[1]) as writer:
    writer.set_tag(1, "kept")
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        writer.set_tag(2, "x" * 1_000_000)
    except DatabaseError as error:
        print(error)
"""


def test_a_limit_on_the_size_of_files_is_explained(sqlfile: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(sqlfile)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "limit on file sizes" in done.stdout
    with Reader.open(sqlfile) as seen:
        assert seen.tags() == {1: "kept"}


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
scratch /home/lancelot/fast\\040disk lustre rw 0 0
/dev/vdb /data xfs rw 0 0
bigfs /data gpfs rw 0 0
nonsense
"""


@pytest.mark.parametrize(
    ("path", "kind", "local"),
    [
        ("/srv/x", "ext4", True),
        ("/", "ext4", True),
        ("/home", "nfs4", False),
        ("/home/arthur/x", "nfs4", False),
        ("/homestead/x", "ext4", True),
        ("/home/lancelot/fast disk/x", "lustre", False),
        ("/data/x", "gpfs", False),
    ],
)
def test_types_of_file_systems(path: str, kind: str, local: bool) -> None:
    assert filesystem.file_system_type(path, MOUNTS) == kind
    assert filesystem.is_local(path, MOUNTS) is local


def test_a_machine_without_a_mount_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(filesystem, "_MOUNTS", tmp_path / "none")
    monkeypatch.setattr(filesystem, "_LOCKS", tmp_path / "none")
    assert filesystem.file_system_type("/") is None
    assert not filesystem.is_local("/")
    assert filesystem.lock_holders([tmp_path]) == []


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="no mount table here")
def test_the_type_of_a_real_file_system() -> None:
    assert filesystem.file_system_type("/proc/self/mounts") == "proc"


def test_holders_of_locks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    found = path.stat()
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    text = (
        f"1: POSIX  ADVISORY  READ 11 {place} 0 EOF\n"
        f"2: POSIX  ADVISORY  WRITE 22 {place} 0 EOF\n"
        f"2: -> POSIX  ADVISORY  WRITE 33 {place} 0 EOF\n"
        f"3: POSIX  ADVISORY  WRITE {os.getpid()} {place} 0 EOF\n"
        "4: POSIX  ADVISORY  WRITE 44 00:00:1 0 EOF\n"
    )
    assert filesystem.lock_holders([path, tmp_path / "none"], text) == [22, 11]


def journal_mode(opened: Writer) -> tuple[str, int]:
    connection = opened._connection
    return *connection.execute("PRAGMA journal_mode").fetchone(), *connection.execute("PRAGMA synchronous").fetchone()


def test_the_log_is_used_on_a_local_disk_only(sqlfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "is_local", lambda path: True)
    with Writer.open(sqlfile) as opened:
        assert journal_mode(opened) == ("wal", 1)
        with Writer.open(sqlfile, "keep") as other:
            assert journal_mode(other) == ("wal", 1)
    monkeypatch.setattr(writer, "is_local", lambda path: False)
    with Writer.open(sqlfile) as opened:
        assert journal_mode(opened) == ("delete", 2)
    with Writer.open(sqlfile, "keep") as opened:
        assert journal_mode(opened) == ("delete", 2)


def test_at_rest_there_is_one_file(two: Writer, sqlfile: Path) -> None:
    two.set_tag(1, "x")
    two.close()
    two.close()
    assert os.listdir(sqlfile.parent) == [sqlfile.name]
    assert sqlfile.read_bytes()[18:20] == b"\x01\x01"


def test_readers_keep_a_writer_from_nothing(sqlfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_PATIENCE", 0.05)
    with Writer.open(sqlfile, "wal") as opened:
        opened.set_tag(1, "x")
        with Reader.open(sqlfile) as seen:
            assert seen.tags() == {1: "x"}
            opened.close()
            assert seen.tags() == {1: "x"}
            with Writer.open(sqlfile, "delete") as second:
                second.set_tag(1, "y")
            assert seen.tags() == {1: "y"}
    with Writer.open(sqlfile, "keep"):
        pass
    assert os.listdir(sqlfile.parent) == [sqlfile.name]


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_rows_may_be_looked_at_slowly(sqlfile: Path, mode: Any) -> None:
    with Writer.open(sqlfile, mode, busy_timeout=0.0) as opened:
        opened.add_queued(task_row(n) for n in range(1, 3000))
        with Reader.open(sqlfile) as seen:
            going = [seen.tasks(1), seen.plan_rows(1), seen.outputs(1), seen.outputs(1, range(1, 3000))]
            assert [next(one).id for one in going] == [1, 1, 1, 1]
            opened.set_status([(2999, Status.FAILED)])
            assert [sum(1 for _ in one) for one in going[:2]] == [2998, 2998]
            assert [sum(1 for _ in one) for one in going[2:]] == [2997, 2997]


def test_a_journal_speaks_of_its_own_instance_only(two: Writer) -> None:
    two.apply(1, [task_event(task_row(5))])
    before = (two.task(5), two.tally())
    changes: list[list[Any]] = [
        ["current", 5, 0], ["aside", 5, 1], ["place", 5, "x"], ["parents", 5, "[[1]]"], ["asked", 5, "{}"],
        ["delete", 5],
        *(["parents", task, "[[1]]"] for task in range(5, 40)),
    ]
    for change in changes:
        two.apply(2, [change])
    two.apply(2, [change for change in changes if change[0] == "parents"])
    assert (two.task(5), two.tally()) == before
    two.apply(1, [["aside", 5, 1]])
    assert two.task(5) != before[0]
