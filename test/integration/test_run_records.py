"""What a run leaves on record and in the process when tasks are dropped, cut short, or leave things behind."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from pathlib import Path

import pytest
from support import Project

from pipelet.core.lookups import ancestors_named
from pipelet.utils import rebuild_db_from_disk


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def rows(project: Project, statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(project.prefix / ".sqlstatus") as connection:
        found = connection.execute(statement).fetchall()
    connection.close()
    return found


def test_a_dropped_version_that_is_superseded_is_not_current(project: Project) -> None:
    """One input has one current version, and its directory holds its own products, whatever was pushed before."""
    project.write(
        a="set_output([get_input()])",
        c="""\
        #multiplex cross_prod group_by a % 2
        members = sorted(get_input("a"))
        glob_parent("")
        with open(get_data_fn("out.txt"), "w") as file:
            file.write(str(members))
        set_output([members])
        """,
    )
    for pushed in ([0], [1], [0, 2], [1], [0], [1], [0, 2], [0, 2, 4], [1], [0]):
        pipeline = project.pipeline("a -> c", {"a": pushed})
        project.run(pipeline)
        assert pipeline.outputs("c") == [pushed]
        for task in pipeline.tasks("c"):
            assert task.path is not None
            assert [Path(task.path, "out.txt").read_text()] == [str(member) for member in task.output or ()]
        current = rows(
            project,
            "SELECT digest FROM task JOIN instance ON instance.id = task.instance WHERE segment = 'c' AND current != 0",
        )
        assert len(current) == len(set(current))


@pytest.mark.parametrize("processes", [0, 1])
def test_what_a_task_held_is_free_when_the_next_begins(project: Project, processes: int) -> None:
    project.write(
        a="""\
        import sys, weakref

        class Big:
            pass

        big = Big()
        before = getattr(sys, "_pipelet_test", None)
        sys._pipelet_test = weakref.ref(big)
        set_output([None if before is None else before() is None])
        """
    )
    pipeline = project.pipeline("a", {"a": [1, 2, 3]})
    project.run(pipeline, processes)
    sys.__dict__.pop("_pipelet_test", None)
    assert sorted(pipeline.outputs("a"), key=str) == [None, True, True]


def test_a_module_imported_by_a_later_task_is_watched(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.write(
        helper="V = 1",
        a="""\
        x = get_input()
        if x > 1:
            import helper
        set_output([x])
        """,
    )
    project.run(project.pipeline("a", {"a": [1, 2]}))
    (project.root / "helper.py").write_text("V = 22\n")
    project.run(project.pipeline("a", {"a": [1, 2]}), log_level=logging.WARNING)
    assert "#depend helper.py" in capsys.readouterr().err
    # A task that ran with the new version does not silence the warning about those that ran with the old one.
    project.run(project.pipeline("a", {"a": [1, 2, 3]}))
    capsys.readouterr()
    project.run(project.pipeline("a", {"a": [1, 2, 3]}), log_level=logging.WARNING)
    assert "#depend helper.py" in capsys.readouterr().err


def test_explain_knows_of_moves_that_were_cut(project: Project) -> None:
    project.write(a="set_output([get_input()])", b="open(get_data_fn('x'), 'w').close()\nset_output([get_input()])")
    pipeline = project.pipeline("a -> b", {"a": [1, 2]})
    project.run(pipeline)
    data = Path(pipeline.tasks("b")[0].path or "")
    aside = data.parent.parent / "superseded"
    aside.mkdir()
    data.rename(aside / data.name)
    (project.prefix / ".pipelet" / "moving").touch()
    assert pipeline.explain().up_to_date
    assert project.run(pipeline).done == 0
    assert data.is_dir()


def test_tasks_that_never_ended_are_queued_and_survive_a_rebuild(project: Project) -> None:
    """A killed run leaves `running` rows: the next run queues them, in the tree too, and clears what they left."""
    project.write(a="open(get_data_fn('x'), 'w').close()\nset_output([get_input()])")
    pipeline = project.pipeline("a", {"a": [1, 2]})
    project.run(pipeline)
    task = pipeline.tasks("a")[0]
    with sqlite3.connect(project.prefix / ".sqlstatus") as connection:
        connection.execute("UPDATE task SET status = 1, place = NULL, output = NULL WHERE id = ?", (task.id,))
        connection.execute("UPDATE tally SET n = 1 WHERE status = 2")
        connection.execute("INSERT INTO tally SELECT instance, 1, 1 FROM task WHERE id = ?", (task.id,))
    connection.close()
    later = project.pipeline("a", {"a": [2]})
    project.run(later)
    assert [(item.input["aphantom"], item.status) for item in later.tasks("a")] == [(2, "done"), (1, "queued")]
    assert not os.path.exists(task.path or "")
    before = rows(project, "SELECT id, status, current, place, text, input, parents FROM task ORDER BY id")
    rebuild_db_from_disk(project.prefix)
    assert rows(project, "SELECT id, status, current, place, text, input, parents FROM task ORDER BY id") == before


def test_a_failed_interactive_run_is_rebuilt_row_for_row(project: Project) -> None:
    """The tasks that it had queued are in the tree as well."""
    project.write(a="x = get_input()\nif x == 2:\n    raise ValueError(x)\nset_output([x])")
    pipeline = project.pipeline("a", {"a": [1, 2, 3, 4]})
    with pytest.raises(ValueError, match="2"):
        project.run(pipeline)
    before = rows(project, "SELECT * FROM task ORDER BY id")
    assert len(before) == 4
    rebuild_db_from_disk(project.prefix)
    assert rows(project, "SELECT * FROM task ORDER BY id") == before


def test_a_task_leaves_nothing_in_its_process(project: Project) -> None:
    project.write(
        a="""\
        import logging, os, sys
        set_output([(os.environ.get("PIPELET_TEST_LEAK"), len(sys.argv), os.getcwd(), logging.root.level)])
        os.environ["PIPELET_TEST_LEAK"] = "leak"
        os.environ.pop("HOME", None)
        sys.argv.append("zz")
        os.chdir("/")
        os.umask(0o777)
        logging.root.setLevel(1)
        """
    )
    mask = os.umask(0o022)
    os.umask(mask)
    arguments, here, level, home = list(sys.argv), os.getcwd(), logging.root.level, os.environ.get("HOME")
    pipeline = project.pipeline("a", {"a": [1, 2]})
    project.run(pipeline)
    assert pipeline.outputs("a") == [(None, len(arguments), here, level)] * 2
    assert (sys.argv, os.getcwd(), os.environ.get("HOME")) == (arguments, here, home)
    assert "PIPELET_TEST_LEAK" not in os.environ
    assert os.umask(mask) == mask


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("glob_parent('*')", set()),
        ("get_data_fn('x')", set()),
        ("get_data_fn('x', None)", set()),
        ("get_data_fn('x', 'b'); load_param('a', globals(), ['v'])", {"a", "b"}),
        ("get_data_fn('x', seg='b')", {"b"}),
        ("load_param(seg='a', glo=globals())", {"a"}),
        ("get_data_fn('x', name)", None),
        ("get_data_fn(*args)", None),
        ("load_param(**options)", None),
        ("f = get_data_fn", None),
        ("globals()['load_param']('a', globals())", None),
        ("def f(:", None),
    ],
)
def test_the_ancestors_that_a_script_names(source: str, names: set[str] | None) -> None:
    assert ancestors_named(source) == names
