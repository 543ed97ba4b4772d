"""Many task rows in one statement: the same rows as one by one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelet.core.model import Status
from pipelet.statusdb import Event, QueuedTask, TaskRow, Writer, bulk

_QUEUED, _RUNNING, _DONE, _FAILED = (
    int(status) for status in (Status.QUEUED, Status.RUNNING, Status.DONE, Status.FAILED)
)


def queued(task: int, **fields: Any) -> QueuedTask:
    """A task of instance 1 that waits."""
    values: dict[str, Any] = {
        "id": task, "digest": task.to_bytes(16, "big"), "current": 1, "text": f"no {task}", "input": b"\x91in",
        "parents": "[[1]]", "position": 0,
    }
    return QueuedTask(**(values | fields))


def written(task: QueuedTask) -> TaskRow:
    """Its row before it runs."""
    return TaskRow(
        task.id, 1, task.digest, _QUEUED, task.current, None, task.text, task.input, None, None, None, task.parents,
        None, None, None, None, None, None, 0,
    )


def event(row: TaskRow) -> Event:
    return ("task", row.id, *row[2:], ())


def ended(task: QueuedTask, **fields: Any) -> TaskRow:
    """Its row with a result."""
    row = written(task)
    values: dict[str, Any] = {
        "status": _DONE, "output": b"\x91out", "digests": b"d" * 16, "texts": b"\x91text", "begun": row.id + 0.5,
        "ended": row.id + 0.75, "host": "camelot", "pid": row.id,
    }
    return row._replace(**(values | fields))


#: The forms that a result may have, by what is different from most.
_FORMS: list[dict[str, Any]] = [
    {}, {}, {}, {}, {}, {},
    {"output": None, "digests": None, "texts": None},
    {"texts": None},
    {"output": b"x" * 10_000},
    {"place": "1_x"},
    {"place": ""},
    {"asked": "{}"},
    {"status": _FAILED, "error": "Traceback", "output": None, "digests": None, "texts": None},
]  # fmt: skip


def stored(sqlfile: Path) -> list[TaskRow]:
    with closing(sqlite3.connect(sqlfile)) as connection:
        rows = connection.execute(f"SELECT {', '.join(TaskRow._fields)} FROM task ORDER BY id").fetchall()
    return [TaskRow._make(row) for row in rows]


@pytest.mark.parametrize("newer", [True, False])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.sampled_from([0, 1, 49, 50, 51, 100, 173]),
    forms=st.lists(st.sampled_from(_FORMS), min_size=1, max_size=20),
    large=st.integers(1, 60),
    running=st.integers(1, 60),
)
def test_rows_are_what_was_given(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    newer: bool,
    number: int,
    forms: list[dict[str, Any]],
    large: int,
    running: int,
) -> None:
    """Whatever SQLite can do, and wherever rows stand that need other statements."""
    monkeypatch.setattr(bulk, "_CAN_UPDATE_FROM", newer and bulk._CAN_UPDATE_FROM)
    sqlfile = tmp_path_factory.mktemp("db") / "db"
    with Writer.open(sqlfile) as writer:
        writer.add_instance("melt", "M", "melt_M", [], 1.0)
        tasks = [queued(task, position=task - 1) for task in range(1, number + 1)]
        tasks = [task._replace(input=b"y" * 5000) if task.id % large == 0 else task for task in tasks]
        bystander = queued(number + 1, input=None, parents="[[7]]", position=number)
        tasks.append(bystander)
        writer.add_new(1, tasks)
        assert stored(sqlfile) == [written(task) for task in tasks]
        assert writer.queued_listed({task.id: task.position for task in tasks[::-1]}) == tasks[::-1]
        before = {task.id: _RUNNING for task in tasks[:-1] if task.id % running == 0}
        writer.set_status(before.items())
        results = [ended(task, **forms[task.id % len(forms)]) for task in tasks[:-1]]
        writer.record_results(1, [event(row) for row in results], before, [])
        assert stored(sqlfile) == [*results, written(bystander)]
        for status in Status:
            stand = sum(row.status == status for row in [*results, written(bystander)])
            assert writer.tally()[1].get(status, 0) == stand


def test_a_second_result_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    with Writer.open(tmp_path / "db") as writer:
        writer.add_instance("melt", "M", "melt_M", [], 1.0)
        tasks = [queued(task) for task in range(1, 61)]
        writer.add_new(1, tasks)
        failed = [ended(task, status=_FAILED, error="Traceback", place="1_x", asked="{}") for task in tasks]
        writer.record_results(1, [event(row) for row in failed], {}, [])
        done = [ended(task) for task in tasks]
        before = {task.id: _FAILED for task in tasks}
        writer.record_results(1, [event(row) for row in done], before, list(before))
        assert stored(tmp_path / "db") == done
        assert writer.tally() == {1: {Status.DONE: 60}}


def test_the_result_of_a_task_that_is_gone_makes_no_row(tmp_path: Path) -> None:
    with Writer.open(tmp_path / "db") as writer:
        writer.add_instance("melt", "M", "melt_M", [], 1.0)
        writer.add_new(1, [queued(task) for task in range(1, 61)])
        writer.delete_tasks([7])
        writer.record_results(1, [event(ended(queued(task))) for task in range(1, 61)], {}, [])
        assert [row.id for row in stored(tmp_path / "db")] == [task for task in range(1, 61) if task != 7]
