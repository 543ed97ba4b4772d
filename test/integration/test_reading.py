"""Reading what runs have left: beside a run, with the right to read alone, without a database, without good code."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from support import Project, run_to_end, until, values

from pipelet import Pipeline
from pipelet.errors import CodeError, DatabaseError, PipelineError
from pipelet.records import Instance, InstanceList, Task, TaskList
from pipelet.utils import tag_instances

NOBODY = 65534

TREE = {
    "a": "x = get_input()\nif x == 'bad':\n    raise ValueError('no good')\nunit = 'm'\nexpose(['unit'])\n"
    "print('hello')\nset_output([(x, 1), (x, 2)])",
    "b": "open(get_data_fn('b.txt'), 'w').close()\nset_output([get_input()[1]])",
    "c": "#multiplex cross_prod group_by a[0]\nset_output([get_input('a')])",
    "d": "pass",
}
GRAPH = "a -> b; b -> d"


@pytest.fixture
def made(project: Project) -> Pipeline:
    """A pipeline that ran: three tasks of a, one of which failed, then four of b and two of d."""
    project.write(**TREE)
    pipeline = project.pipeline(GRAPH, {"a": ["z", "bad", "k"]})
    run_to_end(pipeline)
    return pipeline


# --- the records


def test_tasks_have_what_one_wants_to_know(made: Pipeline) -> None:
    tasks = made.tasks("a")
    assert isinstance(tasks, TaskList)
    assert all(isinstance(task, Task) for task in tasks)
    # the order in which they were pushed, whichever ended first
    assert values(tasks, "input") == [{"aphantom": "z"}, {"aphantom": "bad"}, {"aphantom": "k"}]
    assert values(tasks, "status") == ["done", "failed", "done"]
    assert values(tasks, "output") == [[("z", 1), ("z", 2)], None, [("k", 1), ("k", 2)]]
    assert values(tasks, "parents") == [(), (), ()]
    assert values(tasks, "path") == [None, None, None]
    good, bad, _ = tasks
    assert isinstance(good.id, int)
    assert len(set(values(tasks, "id"))) == 3
    assert isinstance(good.begun, datetime)
    assert isinstance(good.ended, datetime)
    assert good.begun.tzinfo is not None
    assert good.begun <= good.ended
    assert good.seconds == (good.ended - good.begun).total_seconds()
    assert good.error is None
    assert bad.error is not None
    assert "ValueError: no good" in bad.error
    assert "a.py" in bad.error
    assert good.log is not None
    assert Path(good.log).read_text() == "hello\n"
    assert bad.log is None
    assert (good.segment, good.text, good.params) == ("a", "z", {"unit": "m"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        good.status = "queued"  # type: ignore[misc]


def test_tasks_of_a_child_name_their_parents_and_their_place(made: Pipeline) -> None:
    parents = {task.input["aphantom"]: task.id for task in made.tasks("a")}
    tasks = made.tasks("b")
    assert values(tasks, "input") == [{"a": ("z", 1)}, {"a": ("z", 2)}, {"a": ("k", 1)}, {"a": ("k", 2)}]
    assert values(tasks, "parents") == [(parents["z"],)] * 2 + [(parents["k"],)] * 2
    for task in tasks:
        assert task.path is not None
        assert os.listdir(task.path) == ["b.txt"]
        assert Path(task.path).name == f"{task.id}_{task.text}"


def test_tasks_can_be_chosen_by_status(made: Pipeline) -> None:
    assert values(made.tasks("a", status="failed"), "text") == ["bad"]
    assert values(made.tasks("a", "done"), "text") == ["z", "k"]
    assert made.tasks("a", "queued") == made.tasks("a", "running") == []
    with pytest.raises(PipelineError, match=r"no status 'Failed'.*queued, running, done, failed"):
        made.tasks("a", "Failed")


def test_outputs_are_concatenated_in_the_order_of_the_tasks(made: Pipeline) -> None:
    assert made.outputs("a") == [("z", 1), ("z", 2), ("k", 1), ("k", 2)]
    assert made.outputs("b") == [1, 2, 1, 2]
    assert made.outputs("d") == []


def test_a_group_shows_its_class_and_all_its_parents(project: Project) -> None:
    project.write(**TREE)
    pipeline = project.pipeline("a -> c", {"a": ["z", "k"]})
    project.run(pipeline)
    ids = values(pipeline.tasks("a"), "id")
    assert values(pipeline.tasks("c"), "input") == ["z", "k"]
    assert values(pipeline.tasks("c"), "parents") == [(ids[0],), (ids[1],)]
    assert pipeline.outputs("c") == [[("z", 1), ("z", 2)], [("k", 1), ("k", 2)]]


def test_what_is_no_longer_pushed_keeps_its_records_and_leaves_the_outputs(project: Project) -> None:
    project.write(a="set_output([get_input()])", b="set_output([get_input()])")
    project.run(project.pipeline("a -> b", {"a": [1, 2, 3]}))
    later = project.pipeline("a -> b", {"a": [3, 1]})
    project.run(later)
    assert later.outputs("b") == [3, 1]
    assert values(later.tasks("b"), "output") == [[3], [1], [2]]


def test_counts_by_status(made: Pipeline) -> None:
    assert made.status() == {"a": {"done": 2, "failed": 1}, "b": {"done": 4}, "d": {"done": 2}}


def test_instances_are_listed_the_newest_first(project: Project) -> None:
    project.write(a="unit = 'm'\nexpose(['unit'])\nset_output([1])")
    pipeline = project.pipeline("a", {"a": ["x"]})
    project.run(pipeline)
    project.write(a="unit = 'km'\nexpose(['unit'])\nset_output([1])")
    pipeline.push(a=["y"])
    project.run(pipeline)
    found = pipeline.instances("a")
    assert isinstance(found, InstanceList)
    newest, oldest = found
    assert isinstance(newest, Instance)
    tag_instances(project.prefix, [oldest.key[:10]], "the first")
    newest, oldest = pipeline.instances("a")
    assert (newest.params, oldest.params) == ({"unit": "km"}, {"unit": "m"})
    assert (newest.tag, oldest.tag) == (None, "the first")
    assert (newest.counts, oldest.counts) == ({"done": 2}, {"done": 1})
    assert isinstance(newest.created, datetime)
    assert newest.created > oldest.created
    for item in found:
        assert Path(item.path) == project.prefix / f"a_{item.key[:6]}"
        assert Path(item.path).is_dir()


def test_what_explain_says_needs_no_run(made: Pipeline, project: Project) -> None:
    before = everything_in(project.prefix)
    explanation = made.explain()
    assert (explanation["a"].to_run, explanation["a"].reused) == (1, 2)
    project.write(b="set_output([1])")
    explanation = made.explain()
    assert "b.py" in str(explanation["b"])
    assert "+set_output([1])" in explanation["b"].diff
    assert everything_in(project.prefix) == before


# --- where there is nothing, or not all


def everything_in(directory: Path) -> dict[str, object]:
    """All that is below a directory, content and time of change."""
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in directory.rglob("*")
    }


def test_reading_before_the_first_run_gives_nothing_and_makes_nothing(project: Project) -> None:
    project.write(**TREE)
    pipeline = project.pipeline(GRAPH, {"a": ["z"]})
    assert (pipeline.tasks("a"), pipeline.outputs("a"), pipeline.instances("a")) == ([], [], [])
    assert pipeline.status() == {"a": {}, "b": {}, "d": {}}
    assert pipeline.explain()["a"].to_run == 1
    assert "a" in pipeline._repr_mimebundle_()[0]["text/plain"]
    assert not project.prefix.exists()


def test_a_tree_without_its_database_is_read_as_it_is(made: Pipeline) -> None:
    def read() -> list[object]:
        return [
            *(look(name) for name in "abd" for look in (made.tasks, made.outputs, made.instances)),
            made.status(),
            str(made.explain()),
        ]

    before = read()
    os.remove(made.sqlfile)
    assert read() == before
    assert not os.path.exists(made.sqlfile)


def test_a_segment_whose_code_can_not_be_read_hides_only_itself_and_its_children(
    made: Pipeline, project: Project
) -> None:
    tasks, outputs, counts = made.tasks("a"), made.outputs("a"), made.status()
    instances = made.instances("b")
    for broken in ("set_output([1)", "#depend nowhere.txt\n", "#multiplex zap\n"):
        project.write(b=broken)
        assert made.tasks("a") == tasks
        assert made.outputs("a") == outputs
        assert made.status() == {"a": counts["a"], "b": {}, "d": {}}
        assert "2 done" in made._repr_mimebundle_()[0]["text/plain"]
        for name in ("b", "d"):
            with pytest.raises(PipelineError, match=r"b\.py"):
                made.tasks(name)
        assert made.instances("b") == instances
        with pytest.raises(PipelineError, match=r"b\.py"):
            made.explain()
    (project.root / "b.py").unlink()
    assert made.tasks("a") == tasks
    with pytest.raises(CodeError, match="no script"):
        made.outputs("b")


def test_a_module_of_the_code_directory_can_be_part_of_an_output(project: Project) -> None:
    project.write(
        shapes_of_reading="class Shape:\n    def __init__(self, n):\n        self.n = n\n",
        a="#depend shapes_of_reading.py\nfrom shapes_of_reading import Shape\nset_output([Shape(3)])",
        b="set_output([get_input('a').n])",
    )
    pipeline = project.pipeline("a -> b")
    project.run(pipeline, processes=1)
    (shape,) = pipeline.outputs("a")
    assert shape.n == 3
    assert pipeline.tasks("b")[0].input["a"].n == 3


def test_a_damaged_database_says_how_to_make_it_anew(made: Pipeline) -> None:
    Path(made.sqlfile).write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    for read in (made.status, made.explain, lambda: made.tasks("a"), lambda: made.instances("a")):
        with pytest.raises(DatabaseError, match="pipeutils -r"):
            read()
    # the picture shows what it can
    assert "a" in made._repr_mimebundle_()[0]["text/plain"]


# --- beside a run, and as somebody else


MAIN = """
from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline

P = Pipeline("a -> b; b -> d", code_dir="./", prefix="./prefix")
P.push(a=["first", "gate"])
w, t = launch_process(P, 2, log_level=0)
summary = w.run()
assert summary.ok, summary
"""

GATE = """
import os, time
x = get_input()
while x == "gate" and not os.path.exists("open"):
    time.sleep(0.01)
set_output([x])
"""


def test_reading_while_another_process_runs(project: Project) -> None:
    project.write(main=MAIN, a=GATE, b="set_output([get_input()])", d="set_output([get_input()])")
    pipeline = project.pipeline(GRAPH)
    process = project.start("main.py")
    try:
        until(lambda: pipeline.status()["a"] == {"done": 1, "running": 1}, "one task done, one at work")
        first, gate = pipeline.tasks("a")
        assert (first.status, first.output, gate.status, gate.output) == ("done", ["first"], "running", None)
        assert gate.ended is None
        assert gate.seconds is None
        assert pipeline.outputs("a") == ["first"]
        assert pipeline.instances("a")[0].counts == {"done": 1, "running": 1}
        assert pipeline.status()["b"] == {}
        assert "1 running" in pipeline._repr_mimebundle_()[0]["text/plain"]
        pipeline.explain()
        (project.root / "open").touch()
        assert process.communicate(timeout=120)[1] == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
    assert pipeline.status() == {name: {"done": 2} for name in "abd"}
    assert pipeline.outputs("d") == ["first", "gate"]
    assert not os.path.exists(pipeline.sqlfile + "-shm")
    assert not os.path.exists(pipeline.sqlfile + "-wal")


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that other users can enter: the ones that pytest makes are private."""
    directory = Path(tempfile.mkdtemp(prefix="pipelet-test-"))
    directory.chmod(0o755)
    yield directory
    for path in [directory, *directory.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(directory)


def as_another_user(work: Callable[[], object]) -> None:
    """Do something in a child process that may read only; permissions see to that for who isn't root."""
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads; the child does its work and leaves.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_read_permission_is_enough(public: Path) -> None:
    project = Project(public).write(**TREE)
    pipeline = project.pipeline(GRAPH, {"a": ["z", "bad", "k"]})
    run_to_end(pipeline)

    def read() -> list[object]:
        return [
            *(look(name) for name in "abd" for look in (pipeline.tasks, pipeline.outputs, pipeline.instances)),
            pipeline.status(),
            str(pipeline.explain()),
            pipeline._repr_mimebundle_()[0]["text/plain"],
        ]

    expected = read()
    for path in [public, *public.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = everything_in(public)

    def reads_the_same() -> None:
        with pytest.raises(PermissionError):
            (public / "prefix" / "x").touch()
        assert read() == expected

    as_another_user(reads_the_same)
    assert everything_in(public) == before
