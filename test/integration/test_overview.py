"""How a pipeline stands, from its database: which versions, in which order, what runs, who holds it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from support import Project, run_to_end

from pipelet.core.model import Status
from pipelet.errors import MissingDatabaseError
from pipelet.overview import look
from pipelet.statusdb import Reader, Writer
from pipelet.storage import PrefixLock, Tree

DOT = "make -> {zeta alpha} -> middle; alone"


@pytest.fixture
def ran(project: Project) -> Project:
    project.write(
        make="set_output([1, 2, 3])", zeta="set_output(1 / (get_input() - 2))", alpha="set_output(get_input())",
        middle="", alone="",
    )
    run_to_end(project.pipeline(DOT))
    return project


def sqlfile(project: Project) -> str:
    return str(project.prefix / ".sqlstatus")


def test_counts_of_the_last_run_in_the_order_of_the_graph(ran: Project) -> None:
    overview = look(sqlfile(ran))
    assert [item.segment for item in overview.segments] == list(ran.pipeline(DOT).graph.order)
    counts = {item.segment: item.counts for item in overview.segments}
    assert counts["zeta"] == {Status.DONE: 2, Status.FAILED: 1}
    assert {name: {str(status): n for status, n in item.items()} for name, item in counts.items()} == (
        ran.pipeline(DOT).status()
    )
    assert (overview.last_run, overview.holder, overview.running) == (True, None, [])
    assert overview.prefix == str(ran.prefix)
    assert overview.count(Status.FAILED) == 1


def test_the_version_of_the_last_run_is_shown_not_the_newest(ran: Project) -> None:
    before = [item.path for item in look(sqlfile(ran)).segments]
    text = (ran.root / "alpha.py").read_text()
    ran.write(alpha="set_output(get_input() + 1)")
    run_to_end(ran.pipeline(DOT))
    assert [item.path for item in look(sqlfile(ran)).segments] != before
    ran.write(alpha=text)
    run_to_end(ran.pipeline(DOT))
    assert [item.path for item in look(sqlfile(ran)).segments] == before
    # A smaller graph: what it has not is not shown.
    run_to_end(ran.pipeline("make -> alpha"))
    assert [item.segment for item in look(sqlfile(ran)).segments] == ["make", "alpha"]


def test_a_waiting_segment_says_why(ran: Project) -> None:
    ran.write(middle="#multiplex group_by '1'")
    run_to_end(ran.pipeline(DOT))
    waiting = {item.segment: item.waiting for item in look(sqlfile(ran)).segments}
    assert "zeta" in (waiting["middle"] or "")
    assert waiting["alpha"] is None


def test_a_database_elsewhere_has_the_newest_versions_and_no_prefix(ran: Project, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(sqlfile(ran), tmp_path / "elsewhere" / "status")
    ran.write(alpha="set_output(get_input() + 1)")
    run_to_end(ran.pipeline(DOT))
    overview = look(copy)
    assert (overview.prefix, overview.holder, overview.last_run) == (None, None, False)
    segments = [item.segment for item in overview.segments]
    assert sorted(segments) == ["alone", "alpha", "make", "middle", "zeta"]
    assert segments.index("make") < segments.index("zeta") < segments.index("middle")
    assert segments.index("alpha") < segments.index("middle")
    # Nor is the prefix of another pipeline taken for its own.
    os.makedirs(tmp_path / "elsewhere" / ".pipelet")
    assert look(copy).prefix is None


def test_who_holds_the_prefix_and_what_runs(ran: Project) -> None:
    with Reader.open(sqlfile(ran)) as reader:
        (row,) = reader.instances("alpha")
        tasks = [task.id for task in reader.tasks(row.id)]
    with PrefixLock(Tree(str(ran.prefix)).lock_path), Writer.open(sqlfile(ran)) as writer:
        before = time.time()
        writer.set_status([(task, int(Status.QUEUED)) for task in tasks])
        writer.set_status([(task, int(Status.RUNNING)) for task in tasks[1:]])
        overview = look(sqlfile(ran))
    assert overview.holder is not None
    assert (overview.holder.pid, overview.holder.alive) == (os.getpid(), True)
    assert [(task.segment, task.id, task.input) for task in overview.running] == [
        ("alpha", tasks[1], "2"), ("alpha", tasks[2], "3"),
    ]
    assert overview.count(Status.RUNNING) == 2
    assert all(before <= (task.since or 0.0) <= time.time() for task in overview.running)
    with Writer.open(sqlfile(ran)) as writer:
        writer.set_status([(tasks[1], int(Status.RUNNING)), (tasks[2], int(Status.QUEUED))])
        rows = {row.id: row for row in writer.tasks(row.id)}
    # Said twice it has not begun anew; one that waits again has not begun.
    assert [rows[task].begun for task in tasks[1:]] == [overview.running[0].since, None]


def test_looking_writes_nothing(ran: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in ran.prefix.rglob("*")}
    look(sqlfile(ran))
    assert {path: path.stat().st_mtime_ns for path in ran.prefix.rglob("*")} == before


def test_a_damaged_word_on_the_last_run_is_passed_over(ran: Project) -> None:
    for text in ("", "[]", '{"segments": 3}', '{"segments": {"make": "NOWHERE"}}'):
        (ran.prefix / ".pipelet" / "log" / "last_run").write_text(text)
        overview = look(sqlfile(ran))
        assert (len(overview.segments), overview.last_run) == (5, False)


def test_without_a_database_there_is_nothing_to_see(tmp_path: Path) -> None:
    with pytest.raises(MissingDatabaseError):
        look(str(tmp_path / "none"))
