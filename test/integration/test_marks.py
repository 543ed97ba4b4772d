"""What people ask of the next runs: failed tasks that are set aside, done ones that run again."""

from __future__ import annotations

import os
import signal
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import Lab, Project, run_to_end

from pipelet import utils
from pipelet.core.model import Mark
from pipelet.errors import MarkError, MissingDatabaseError, PrefixError, PrefixLocked, UnknownSegmentError
from pipelet.overview import look
from pipelet.statusdb import Reader, Writer
from pipelet.storage import Journal, PrefixLock, Tree
from pipelet.utils import Marked, check_prefix, rebuild_db_from_disk, release, run_again, set_aside

DOT = "a -> b; a -> c"
PUSH = {"a": (1, 2, 3, 4)}


@pytest.fixture
def lab(project: Project) -> Lab:
    """Task 2 of four of ``a`` fails with a ValueError, 3 with a KeyError, as long as there is a file ``bad``."""
    (project.root / "bad").touch()
    return Lab(project, DOT).write(
        a=f"""
        import os
        number = get_input()
        with open(get_data_fn("x"), "w") as file:
            file.write(str(number))
        if os.path.exists({str(project.root / "bad")!r}):
            if number == 2:
                raise ValueError(number)
            if number == 3:
                raise KeyError(number)
        offset = {str(project.root / "offset")!r}
        set_output(number + (os.path.getsize(offset) if os.path.exists(offset) else 0))
        """,
        b="set_output(get_input())",
        c="#multiplex cross_prod group_by 'all'\nset_output(sum(get_input('a')))",
    )


def ids(lab: Lab, segment: str = "a", status: str | None = "failed", **options: Any) -> list[int]:
    return [task.id for task in lab.project.pipeline(DOT, PUSH, **options).tasks(segment, status)]


def key(lab: Lab, segment: str) -> str:
    return lab.pipeline(**PUSH).instances(segment)[0].key


def in_order(lab: Lab) -> None:
    report = check_prefix(lab.project.prefix)
    assert report.clean, str(report)


def rows(lab: Lab) -> list[Any]:
    with Reader.open(lab.project.prefix / ".sqlstatus") as reader:
        return [task for row in reader.instances() for task in reader.tasks(row.id, current=None)]


def rebuilt(lab: Lab) -> None:
    """Make the database anew, row for row."""
    before = rows(lab)
    rebuild_db_from_disk(lab.project.prefix)
    assert rows(lab) == before


# ---- set aside


def test_what_is_set_aside_is_not_tried_until_it_is_released(lab: Lab) -> None:
    assert lab.ran(**PUSH) == ["a 1", "a 2", "a 3", "a 4", "b 1", "b 4"]
    assert lab.ran(**PUSH) == ["a 2", "a 3"]
    assert set_aside(lab.project.prefix, ids(lab)) == Marked(2, 0)
    assert set_aside(lab.project.prefix, ids(lab)) == Marked(0, 0)
    in_order(lab)
    rebuilt(lab)
    for _ in range(2):
        assert lab.ran(**PUSH) == []
        assert (lab.summary.failed, lab.summary.aside, lab.summary.waiting) == (2, 2, ["c"])
        assert not lab.summary.ok
        assert "2 failed, of which 2 set aside" in str(lab.summary)
        assert "more" not in str(lab.summary)
        assert "2 failed, of which 2 set aside" in repr(lab.summary)
    assert [task.mark for task in lab.pipeline(**PUSH).tasks("a")] == [None, "aside", "aside", None]
    assert lab.pipeline(**PUSH).explain()["a"].aside == 2
    in_order(lab)
    (lab.project.root / "bad").unlink()
    assert lab.ran(**PUSH) == []
    assert release(lab.project.prefix, ids(lab)[:1]) == Marked(1, 0)
    assert lab.ran(**PUSH) == ["a 2", "b 2"]
    assert (lab.summary.failed, lab.summary.aside) == (1, 1)
    assert release(lab.project.prefix, [key(lab, "a")]) == Marked(1, 0)
    assert lab.ran(**PUSH) == ["a 3", "b 3", "c 1_2_3_4"] or lab.summary.ok
    assert (lab.summary.failed, lab.summary.aside) == (0, 0)
    in_order(lab)
    rebuilt(lab)
    assert lab.ran(**PUSH) == []


def test_with_worker_processes_too(lab: Lab) -> None:
    lab.ran(processes=2, **PUSH)
    set_aside(lab.project.prefix, None, kind="KeyError")
    assert lab.ran(processes=2, **PUSH) == ["a 2"]
    assert "more" not in str(lab.summary)
    assert (lab.summary.failed, lab.summary.aside) == (2, 1)
    run_again(lab.project.prefix, [key(lab, "b")])
    assert lab.ran(processes=2, **PUSH) == ["a 2", "b 1", "b 4"]


def test_partial_pipelines_take_what_there_is(lab: Lab) -> None:
    partial = {"partial": True}
    lab.ran(options=partial, **PUSH)
    set_aside(lab.project.prefix, [key(lab, "a")])
    assert lab.ran(options=partial, **PUSH) == []
    assert (lab.summary.failed, lab.summary.waiting) == (2, [])
    said = str(lab.project.pipeline(DOT, PUSH, **partial).explain())
    assert said == "nothing to run: 5 tasks are on disk, 2 failed before and set aside"


@pytest.mark.parametrize("kind", ["ValueError", "id"])
def test_by_kind_of_failure(lab: Lab, kind: str) -> None:
    lab.ran(**PUSH)
    if kind == "id":
        from pipelet.failurekinds import kind_of_error

        (error,) = (task.error for task in lab.pipeline(**PUSH).tasks("a", "failed") if "ValueError" in task.error)
        kind = kind_of_error(error).id
    assert set_aside(lab.project.prefix, None, kind="TypeError") == Marked(0, 0)
    assert set_aside(lab.project.prefix, [key(lab, "b")], kind=kind) == Marked(0, 0)
    assert set_aside(lab.project.prefix, None, kind=kind) == Marked(1, 0)
    assert lab.ran(**PUSH) == ["a 3"]
    assert release(lab.project.prefix, None, kind="KeyError") == Marked(0, 0)
    assert release(lab.project.prefix, None, kind=kind) == Marked(1, 0)
    assert lab.ran(**PUSH) == ["a 2", "a 3"]


def test_what_is_set_aside_is_told_by_the_status_and_in_the_overview(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelet.cli.pipeutils import main

    lab.ran(**PUSH)
    sqlfile = str(lab.project.prefix / ".sqlstatus")
    set_aside(lab.project.prefix, ids(lab)[:1])
    assert {item.segment: item.aside for item in look(sqlfile).segments} == {"a": 1, "b": 0, "c": 0}
    assert main(["--status", sqlfile]) == 0
    assert "2 tasks failed, of which 1 set aside; P.tasks" in capsys.readouterr().out


def test_a_script_still_ends_with_1(lab: Lab) -> None:
    (lab.project.root / "main.py").write_text(
        "from pipelet.launchers import launch_process\nfrom pipelet.pipeline import Pipeline\nimport sys\n"
        f"P = Pipeline({DOT!r}, code_dir='.', prefix='prefix')\nP.push(a=[1, 2, 3, 4])\n"
        "w, t = launch_process(P, 1, log_level=0)\nsys.exit(0 if w.run().ok else 1)\n"
    )
    assert lab.project.ran("main.py").returncode == 1
    set_aside(lab.project.prefix, [key(lab, "a")])
    assert lab.project.ran("main.py").returncode == 1


def test_only_failed_tasks_that_are_not_superseded_are_set_aside(lab: Lab) -> None:
    lab.ran(**PUSH)
    done = ids(lab, status="done")
    assert set_aside(lab.project.prefix, done) == Marked(0, 2)
    assert set_aside(lab.project.prefix, [*done, *ids(lab)]) == Marked(2, 2)
    with Writer.open(lab.project.prefix / ".sqlstatus", "keep") as writer:
        writer.set_status([(task, 0) for task in done])
    assert run_again(lab.project.prefix, done) == Marked(0, 2)


def test_a_new_version_of_the_segment_knows_no_marks(lab: Lab) -> None:
    lab.ran(**PUSH)
    set_aside(lab.project.prefix, [key(lab, "a")])
    path = lab.project.root / "a.py"
    path.write_text(path.read_text() + "\nnothing = 1\n")
    assert [line for line in lab.ran(**PUSH) if line.startswith("a")] == ["a 1", "a 2", "a 3", "a 4"]
    path.write_text(path.read_text().replace("nothing = 1", ""))
    assert lab.ran(**PUSH) == []


# ---- run again


@pytest.fixture
def good(lab: Lab) -> Lab:
    (lab.project.root / "bad").unlink()
    lab.ran(**PUSH)
    assert lab.ran(**PUSH) == []
    return lab


def test_what_is_asked_for_runs_once_more_and_its_children_where_its_output_is_another(good: Lab) -> None:
    (task,) = (task for task in good.pipeline(**PUSH).tasks("a") if task.text == "2")
    assert task.path is not None
    assert run_again(good.project.prefix, [task.id]) == Marked(1, 0)
    assert (Path(task.path) / "x").read_text() == "2"
    assert [item.mark for item in good.pipeline(**PUSH).tasks("a")] == [None, "again", None, None]
    in_order(good)
    rebuilt(good)
    said = good.pipeline(**PUSH).explain()
    assert said["a"].reasons == ("asked for: 1",)
    assert (said["a"].inputs, said["b"].certain) == (("2",), False)
    assert good.ran(**PUSH) == ["a 2", "c all"]
    assert {item.mark for item in good.pipeline(**PUSH).tasks("a")} == {None}
    assert good.ran(**PUSH) == []
    in_order(good)
    rebuilt(good)
    (good.project.root / "offset").write_text("0123456789")
    run_again(good.project.prefix, [task.id])
    assert good.ran(**PUSH) == ["a 2", "b 12", "c all"]
    assert good.pipeline(**PUSH).outputs("b") == [1, 12, 3, 4]
    assert good.ran(**PUSH) == []


def test_the_mark_goes_when_the_task_fails(good: Lab) -> None:
    (good.project.root / "bad").touch()
    assert run_again(good.project.prefix, [key(good, "a")]) == Marked(4, 0)
    assert good.ran(**PUSH) == ["a 1", "a 2", "a 3", "a 4"]
    assert [task.mark for task in good.pipeline(**PUSH).tasks("a")] == [None] * 4
    assert good.ran(**PUSH) == ["a 2", "a 3"]
    in_order(good)


def test_release_takes_it_back_and_a_failed_one_is_released(good: Lab) -> None:
    tasks = ids(good, status="done")
    run_again(good.project.prefix, tasks)
    assert release(good.project.prefix, [key(good, "a")]) == Marked(4, 0)
    assert good.ran(**PUSH) == []
    (good.project.root / "bad").touch()
    run_again(good.project.prefix, tasks)
    good.ran(**PUSH)
    set_aside(good.project.prefix, tasks)
    assert run_again(good.project.prefix, ids(good)) == Marked(2, 0)
    assert good.ran(**PUSH) == ["a 2", "a 3"]


def test_a_task_that_is_not_wanted_keeps_its_mark_until_it_is(good: Lab) -> None:
    (task,) = (task.id for task in good.pipeline(**PUSH).tasks("a") if task.text == "2")
    good.ran(a=[1, 3, 4])
    assert run_again(good.project.prefix, [task]) == Marked(1, 0)
    assert good.ran(a=[1, 3, 4]) == []
    assert [line for line in good.ran(**PUSH) if line[0] == "a"] == ["a 2"]
    assert good.ran(**PUSH) == []


def test_an_older_version_that_was_asked_for_is_not_revived_as_it_is(project: Project) -> None:
    lab = Lab(project, "a -> b").write(
        a="set_output([1])", b="load_param('a', globals(), [])\nglob_parent('*')\nset_output(get_input())"
    )
    lab.ran(a=[1])
    (task,) = lab.pipeline(a=[1]).tasks("b")
    run_again(project.prefix, [task.id])
    # It has looked at its parents, and they are others: a new version is due anyway.
    assert [line for line in lab.ran(a=[1, 2]) if line[0] == "b"] == ["b 1"]
    with Reader.open(project.prefix / ".sqlstatus") as reader:
        old = reader.task(task.id)
        assert old is not None
        assert (old.current, old.aside) == (0, Mark.AGAIN)
    # The parents of the old one are back, but what was asked for has not been done with them.
    assert lab.ran(a=[1]) == ["b 1"]
    assert lab.ran(a=[1]) == []
    assert lab.ran(a=[1, 2]) == []
    in_order(lab)
    assert run_again(project.prefix, [task.id]) == Marked(0, 1)
    rebuilt(lab)


# ---- what can go wrong


def test_a_run_holds_the_prefix(lab: Lab) -> None:
    lab.ran(**PUSH)
    before = rows(lab)
    with PrefixLock(Tree(str(lab.project.prefix)).lock_path):
        for verb in (set_aside, release, run_again):
            with pytest.raises(PrefixLocked, match=str(os.getpid())):
                verb(lab.project.prefix, ids(lab))
    assert rows(lab) == before


def test_what_there_is_not(lab: Lab, tmp_path: Path) -> None:
    lab.ran(**PUSH)
    before = rows(lab)
    for tasks, error in (([*ids(lab), 999], MarkError), (["x"], UnknownSegmentError), ([""], UnknownSegmentError)):
        with pytest.raises(error):
            set_aside(lab.project.prefix, tasks)  # type: ignore[arg-type]
    assert rows(lab) == before
    with pytest.raises(PrefixError):
        set_aside(tmp_path / "nowhere", None)
    with pytest.raises(MissingDatabaseError):
        set_aside(tmp_path, None, tmp_path / "none")
    assert set_aside(lab.project.prefix, key(lab, "a")) == Marked(2)


def _killed_after(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any) -> Any:
        real(self, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    owner: Any = Journal if name == "append" else Writer
    real = getattr(owner, name)
    setattr(owner, name, method)
    return method


@pytest.mark.parametrize("step", ["append", "apply", "before"])
@pytest.mark.parametrize("verb", ["set_aside", "run_again"])
def test_killed_between_the_steps(lab: Lab, step: str, verb: str) -> None:
    lab.ran(**PUSH)
    tasks = ids(lab, status="failed" if verb == "set_aside" else "done")
    with warnings.catch_warnings():
        # that the runner of the tests has threads of its own does no harm to this child
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            if step == "before":
                Journal.append = lambda self, events: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore
            else:
                _killed_after(step)
            getattr(utils, verb)(lab.project.prefix, tasks)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    marked = step != "before"
    if step == "apply":
        # it was killed inside of the transaction, or the journal has it alone: `explain` and a run take it over
        assert {task.aside for task in rows(lab)} == {0}
    expected = [line for line in ("a 2", "a 3") if not (marked and verb == "set_aside")]
    expected += [line for line in ("a 1", "a 4") if marked and verb == "run_again"]
    assert lab.ran(**PUSH) == sorted(expected)
    in_order(lab)
    rebuilt(lab)


def test_a_journal_that_is_ahead_or_gone_is_heeded(lab: Lab) -> None:
    lab.ran(**PUSH)
    sqlfile, kept = lab.project.prefix / ".sqlstatus", lab.project.root / "kept"
    kept.write_bytes(sqlfile.read_bytes())
    (lab.project.root / "bad").unlink()
    lab.ran(**PUSH)
    sqlfile.write_bytes(kept.read_bytes())
    # By this database they have failed; the journal knows better.
    tasks = [task.id for task in rows(lab) if task.status == 3]
    assert set_aside(lab.project.prefix, tasks) == Marked(0, 2)
    assert not any(task.aside for task in rows(lab))
    (journal,) = lab.project.prefix.rglob("a.journal")
    journal.unlink()
    assert run_again(lab.project.prefix, tasks) == Marked(2, 0)
    assert [line for line in lab.ran(**PUSH) if line[0] == "a"] == ["a 2", "a 3"]
    rebuilt(lab)


def test_a_run_that_is_killed_before_it_begins_a_task_loses_nothing(good: Lab) -> None:
    run_again(good.project.prefix, [key(good, "b")])
    pipeline = good.pipeline(**PUSH)
    assert len(pipeline.outputs("b")) == 4
    with closing(sqlite3.connect(good.project.prefix / ".sqlstatus")) as connection:
        assert connection.execute("SELECT count(*) FROM task WHERE aside = 2 AND output IS NOT NULL").fetchone() == (4,)
    run_to_end(pipeline)
    assert len(pipeline.outputs("b")) == 4


# ---- those who looked


def test_a_class_of_what_runs_again_runs_again(good: Lab) -> None:
    (task,) = (task for task in good.pipeline(**PUSH).tasks("a") if task.text == "2")
    (good.project.root / "offset").write_text("0123456789")
    run_again(good.project.prefix, [task.id])
    assert good.ran(**PUSH) == ["a 2", "b 12", "c all"]
    assert good.pipeline(**PUSH).outputs("c") == [1 + 12 + 3 + 4]
    assert good.ran(**PUSH) == []
    in_order(good)
    rebuilt(good)


LOOKERS = {
    "parent": "with open(glob_parent('x')[0]) as file:\n    text = file.read()",
    "one parent": "with open(get_data_fn('x', 'a')) as file:\n    text = file.read()",
    "parameter": "load_param('a', globals(), ['number'])",
    "all": "glob_seg('a', 'x')",
    "nothing": "",
}


@pytest.mark.parametrize("how", LOOKERS)
@pytest.mark.parametrize("far", [False, True])
def test_who_looked_at_what_runs_again_runs_again(project: Project, how: str, far: bool) -> None:
    dot = "a -> b -> d -> e" if far else "a -> d -> e"
    lab = Lab(project, dot).write(
        a="number = get_input()\nsave_param(['number'])\n"
          "with open(get_data_fn('x'), 'w') as file:\n    file.write('x')\nset_output(number)",
        b="with open(get_data_fn('x'), 'w') as file:\n    file.write('x')\nset_output(get_input())",
        d=f"{LOOKERS[how]}\nset_output(get_input())",
        e="set_output(get_input())",
    )
    lab.ran(a=[1, 2])
    (task, _) = lab.pipeline(a=[1, 2]).tasks("a")
    run_again(project.prefix, [task.id])
    expected = ["a 1"]
    if how == "all":
        expected += ["d 1", "d 2"]
    elif how != "nothing" and not (far and how == "parent"):
        # far: it looked at b, which does not run
        expected += ["d 1"]
    assert lab.ran(a=[1, 2]) == expected
    assert lab.ran(a=[1, 2]) == []
    in_order(lab)


def test_who_got_none_from_what_runs_again_runs_again(project: Project) -> None:
    lab = Lab(project, "a -> d").write(a="", d="set_output(1)")
    lab.ran(a=[1, 2])
    run_again(project.prefix, [lab.pipeline(a=[1, 2]).tasks("a")[0].id])
    assert lab.ran(a=[1, 2]) == ["a 1", "d None"]
    assert lab.ran(a=[1, 2]) == []


def test_those_of_another_pipeline_run_again_in_their_own_run(good: Lab) -> None:
    prefix, a_alone = good.project.prefix, Lab(good.project, "a -> b")
    run_again(prefix, ids(good, status="done")[:1])
    assert a_alone.ran(**PUSH) == ["a 1"]
    in_order(good)
    rebuilt(good)
    assert good.ran(**PUSH) == ["c all"]
    assert good.ran(**PUSH) == []


def test_a_run_that_is_killed_when_it_has_queued_what_runs_again_forgets_nobody(good: Lab) -> None:
    run_again(good.project.prefix, ids(good, status="done")[:1])
    (good.project.root / "offset").write_text("0123456789")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            real = Writer.add_queued

            def add_queued(self: Writer, rows: Any) -> None:
                real(self, rows)
                os.kill(os.getpid(), signal.SIGKILL)

            Writer.add_queued = add_queued  # type: ignore[method-assign]
            run_to_end(good.pipeline(**PUSH))
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert good.ran(**PUSH) == ["a 1", "b 11", "c all"]
    assert good.pipeline(**PUSH).outputs("c") == [11 + 2 + 3 + 4]
    in_order(good)


def test_only_what_the_last_run_wanted_is_meant_by_a_key(lab: Lab) -> None:
    lab.ran(**PUSH)
    tasks = ids(lab)
    with Writer.open(lab.project.prefix / ".sqlstatus", "keep") as writer:
        writer.apply(writer.instances("a")[0].id, [["current", tasks[0], 2], ["current", tasks[1], 0]])
    assert set_aside(lab.project.prefix, [key(lab, "a")]) == Marked(0)
    assert set_aside(lab.project.prefix, tasks) == Marked(1, 1)


def test_an_older_version_that_looked_is_not_revived_as_it_is(good: Lab) -> None:
    fewer = {"a": (1, 2, 3)}
    assert good.ran(**fewer) == ["c all"]
    (good.project.root / "offset").write_text("0123456789")
    run_again(good.project.prefix, ids(good, status="done")[1:2])
    assert good.ran(**fewer) == ["a 2", "b 12", "c all"]
    # The first version has just these parents, but it saw what one of them gave before.
    assert good.ran(**PUSH) == ["c all"]
    assert good.pipeline(**PUSH).outputs("c") == [1 + 12 + 3 + 4]


def test_who_looked_at_one_of_several_in_its_line_runs_again(project: Project) -> None:
    lab = Lab(project, "a -> b -> d").write(
        a="number = 7\nsave_param(['number'])\nset_output(7)", b="set_output(get_input())",
        d="load_param('a', globals(), ['number'])\nset_output(number)",
    )
    assert lab.ran(a=[1, 2]) == ["a 1", "a 2", "b 7", "d 7"]
    run_again(project.prefix, [lab.pipeline(a=[1, 2]).tasks("a")[1].id])
    assert lab.ran(a=[1, 2]) == ["a 2", "d 7"]
    assert lab.ran(a=[1, 2]) == []
