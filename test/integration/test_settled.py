"""Where nothing was changed, nothing is looked at; where anything was, everything is."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import Project

from pipelet.history import Before, History
from pipelet.pipeline import Pipeline
from pipelet.statusdb import Reader, Writer
from pipelet.utils import rebuild_db_from_disk

FILE = 'with open(get_data_fn("x"), "w") as file:\n    file.write(str(get_input()))\n'
COPY = "set_output(get_input())\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path).write(
        a=FILE + COPY, b=COPY, c="#multiplex cross_prod group_by 'all'\nset_output(sum(get_input('b')))\n"
    )


def made(project: Project, push: Any = (1, 2, 3), **options: Any) -> Pipeline:
    return project.pipeline("a -> b -> c", {"a": push}, **options)


def looked_at(project: Project, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], int]:
    """Run; gives the segments whose records were looked at, and how many tasks ran."""
    seen: set[str] = set()
    versions, ahead = History.versions, Before.ahead

    def noted(self: History, digests: Any) -> Any:
        assert self._row is not None
        seen.add(self._row.segment)
        return versions(self, digests)

    def noted_ahead(self: Before, number: int) -> Any:
        assert self._history._row is not None
        seen.add(self._history._row.segment)
        return ahead(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(History, "versions", noted)
        patch.setattr(Before, "ahead", noted_ahead)
        explained = pipeline.explain()
    by_explain = set(seen)
    with monkeypatch.context() as patch:
        patch.setattr(History, "versions", noted)
        patch.setattr(Before, "ahead", noted_ahead)
        summary = project.run(pipeline)
    assert sum(item.to_run for item in explained.values()) <= summary.done + summary.failed
    assert by_explain <= seen
    return seen, summary.done


def test_a_run_with_nothing_to_do_looks_at_no_record(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.run(made(project))
    assert looked_at(project, made(project), monkeypatch) == (set(), 0)
    again = made(project)
    assert project.run(again).reused == 7
    assert (again.outputs("b"), again.outputs("c")) == ([1, 2, 3], [6])
    assert [task.input for task in again.tasks("a")] == [{"aphantom": 1}, {"aphantom": 2}, {"aphantom": 3}]


@pytest.mark.parametrize(("push", "ran"), [((1, 2, 3, 4), 3), ((1, 2), 1), ((3, 2, 1), 0)])
def test_other_pushes_are_looked_at(
    project: Project, monkeypatch: pytest.MonkeyPatch, push: tuple[int, ...], ran: int
) -> None:
    project.run(made(project))
    pipeline = made(project, push)
    assert looked_at(project, pipeline, monkeypatch) == ({"a", "b", "c"}, ran)
    assert pipeline.outputs("b") == list(push)
    assert looked_at(project, made(project, push), monkeypatch) == (set(), 0)


def test_what_lost_its_directory_is_looked_at_and_its_children_once_it_has_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = made(project)
    project.run(pipeline)
    shutil.rmtree(pipeline.tasks("a")[1].path)
    seen, ran = looked_at(project, made(project), monkeypatch)
    assert "a" in seen
    assert ran == 1
    assert looked_at(project, made(project), monkeypatch) == (set(), 0)


def test_data_itself_counts_as_a_directory(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(project, [5])
    project.run(pipeline)
    assert looked_at(project, made(project, [5]), monkeypatch) == (set(), 0)
    shutil.rmtree(pipeline.tasks("a")[0].path)
    assert looked_at(project, made(project, [5]), monkeypatch)[1] == 1


def test_failures_are_tried_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    good = str(project.root / "good")
    project.write(a=f"import os\n{FILE}{COPY}assert get_input() != 2 or os.path.exists({good!r})\n")
    for _ in range(2):
        summary = project.run(made(project), processes=1)
        assert (summary.failed, summary.waiting) == (1, ["c"])
    (project.root / "good").touch()
    assert project.run(made(project), processes=1).done == 3
    assert looked_at(project, made(project), monkeypatch) == (set(), 0)


def test_warnings_about_silent_tasks_come_each_time(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.write(a="if get_input() > 1:\n    set_output(get_input())\n")
    for _ in range(3):
        project.run(made(project), log_level=30)
        assert "1 of 3 tasks of 'a' set no output" in capsys.readouterr().err


def test_each_change_of_a_record_is_counted(project: Project) -> None:
    pipeline = made(project)
    project.run(pipeline)
    (task, *_) = pipeline.tasks("b")
    changes: list[list[Any]] = [["aside", task.id, 1], ["parents", task.id, "[[1]]"], ["current", task.id, 2]]
    with closing(Writer.open(pipeline.sqlfile)) as writer:
        row = writer.instances("b")[0]
        for change in (*changes, ["delete", task.id]):
            before, _ = writer.settled(row.id)
            writer.set_mark(row.id, "mark")
            writer.apply(row.id, [change])
            revision, mark = writer.settled(row.id)
            assert (revision > before, mark) == (True, None)
        last = pipeline.tasks("b")[-1].id
        before, _ = writer.settled(row.id)
        writer.set_status([(last, 1)])
        assert writer.settled(row.id)[0] == before + 1
        writer.delete_tasks([last])
        assert writer.settled(row.id)[0] == before + 2


def test_a_database_made_anew_has_no_marks_and_gets_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(project)
    project.run(pipeline)
    rebuild_db_from_disk(pipeline.prefix, pipeline.sqlfile)
    with Reader.open(pipeline.sqlfile) as reader:
        assert all(reader.settled(row.id)[1] is None for row in reader.instances())
    assert looked_at(project, made(project), monkeypatch) == ({"a", "b", "c"}, 0)
    assert looked_at(project, made(project), monkeypatch) == (set(), 0)


def test_two_pipelines_in_turn_on_one_prefix(project: Project) -> None:
    project.write(d=COPY)
    other = {"dot": "a -> b -> d", "push": {"a": [7]}}
    for _ in range(2):
        first, second = made(project), project.pipeline(**other)
        project.run(first)
        assert (first.outputs("b"), first.outputs("c")) == ([1, 2, 3], [6])
        project.run(second)
        assert (second.outputs("b"), second.outputs("d")) == ([7], [7])


def test_partial_plans_leave_no_mark_for_whole_ones(project: Project) -> None:
    project.write(a=f"assert get_input() != 2\n{COPY}")
    partial = project.run(made(project, partial=True), processes=1)
    assert (partial.failed, partial.waiting) == (1, [])
    assert made(project, partial=True).outputs("c") == [4]
    assert project.run(made(project), processes=1).waiting == ["c"]


def test_the_parameters_are_written_where_a_run_died_before(project: Project) -> None:
    project.write(a="number = get_input()\nsave_param(['number'])\nset_output(number)\n")
    pipeline = made(project)
    project.run(pipeline)
    (args,) = Path(pipeline.prefix).rglob("a.args")
    text = args.read_text()
    args.unlink()
    project.run(made(project))
    assert not args.exists()
    with closing(Writer.open(pipeline.sqlfile)) as writer:
        # as if the run had been killed before it came to its end
        writer.set_status([(task.id, 2) for task in pipeline.tasks("a")])
    assert project.run(made(project)).done == 0
    assert args.read_text() == text


def test_files_of_tasks_whose_journal_is_gone_stay(project: Project) -> None:
    pipeline = made(project)
    project.run(pipeline)
    before = {task.path for task in pipeline.tasks("a")}
    (journal,) = Path(pipeline.prefix).rglob("a.journal")
    journal.unlink()
    Path(pipeline.sqlfile).unlink()
    again = made(project, [9])
    project.run(again)
    (task,) = again.tasks("a")
    assert (Path(task.path) / "x").read_text() == "9"
    assert all((Path(path) / "x").exists() for path in before)
