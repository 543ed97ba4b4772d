"""What `explain` says: for each segment what would be computed, and why."""

from __future__ import annotations

import os
import shutil

import pytest
from support import Lab, Project

from pipelet.errors import PipelineError

COPY = "set_output(get_input())\n"
KEEP = 'open(get_data_fn("x"), "w").close()\n' + COPY


def lab(project: Project, dot: str, **scripts: str) -> Lab:
    return Lab(project, dot).write(**scripts)


def everything(lab: Lab) -> dict[str, tuple[int, int]]:
    """Size and time of each file."""
    found = {}
    for folder, _, names in os.walk(lab.project.root):
        for name in names:
            path = os.path.join(folder, name)
            state = os.stat(path)
            found[path] = (state.st_size, state.st_mtime_ns)
    return found


def test_before_the_first_run_all_is_new(project):
    two = lab(project, "a -> b", a=KEEP, b=KEEP)
    before = everything(two)
    said = two.pipeline(a=[1, 2]).explain()
    assert everything(two) == before
    assert list(said) == ["a", "b"]
    assert (said["a"].to_run, said["a"].reused, said["a"].certain) == (2, 0, True)
    assert said["a"].inputs == ("1", "2")
    assert said["a"].counts == {"new input": 2}
    assert "new: there is no version" in said["a"].reasons[0]
    assert (said["b"].to_run, said["b"].certain) == (0, False)
    assert any("when a has run" in reason for reason in said["b"].reasons)
    assert not said.up_to_date
    text = str(said)
    assert "a: 2 to run, 0 taken from disk" in text
    assert "b: depends on what its parents will give" in text


def test_when_there_is_nothing_to_run_it_is_one_line(project):
    two = lab(project, "a -> b", a=KEEP, b=KEEP)
    two.ran(a=[1, 2])
    before = everything(two)
    said = two.pipeline(a=[1, 2]).explain()
    assert everything(two) == before
    assert said.up_to_date
    assert str(said) == "nothing to run: all 4 tasks are on disk"
    assert "<pre>nothing to run" in said._repr_html_()
    assert all(item.up_to_date for item in said.values())


def test_changed_code_shows_as_a_diff_and_its_children_name_their_parent(project):
    three = lab(project, "a -> b -> c", a=KEEP, b="x = 1\n" + KEEP, c=KEEP)
    three.ran(a=[1])
    three.write(b="x = 2\n" + KEEP)
    said = three.pipeline(a=[1]).explain()
    assert (said["a"].to_run, said["a"].reused) == (0, 1)
    assert (said["b"].to_run, said["b"].certain) == (1, True)
    assert any("code b.py" in reason for reason in said["b"].reasons)
    assert "-x = 1\n" in said["b"].diff
    assert "+x = 2\n" in said["b"].diff
    assert "parent changed: b" in said["c"].reasons
    assert said["c"].diff == ""
    assert "| +x = 2" in str(said)


@pytest.mark.parametrize("folder", ["tables", "data"])
def test_a_changed_hook_and_a_changed_dependency_are_named_with_their_diffs(project, folder):
    one = lab(project, "a", a=f'#depend {folder}/t.txt\nhook("plot", globals())')
    (project.root / folder).mkdir()
    (project.root / folder / "t.txt").write_text("old\n")
    project.write(a_plot="x = 1")
    one.ran()
    (project.root / folder / "t.txt").write_text("new\n")
    project.write(a_plot="x = 2")
    (said,) = one.pipeline().explain().values()
    assert any(f"depend {folder}/t.txt" in reason for reason in said.reasons)
    assert any("hook a_plot.py" in reason for reason in said.reasons)
    for line in ("-old\n", "+new\n", "-x = 1", "+x = 2"):
        assert line in said.diff


def test_a_parent_that_came_or_went(project):
    three = lab(project, "a -> c", a=COPY, b=COPY, c=COPY)
    three.ran()
    three.dot = "a -> c; b -> c"
    assert "new parent: b" in three.pipeline().explain()["c"].reasons
    three.ran()
    three.dot = "b -> c"
    said = three.pipeline().explain()
    assert "parent gone: a" in said["c"].reasons


def test_the_reasons_of_tasks_are_counted(project):
    bad = project.root / "bad"
    bad.touch()
    check = 'import os\nassert get_input() != 2 or not os.path.exists(__file__.rpartition("/")[0] + "/bad")\n'
    two = lab(project, "a -> g", a=check + KEEP, g="#multiplex group_by 'a > 2'\n" + KEEP)
    two.ran(a=[1, 2, 3])
    shutil.rmtree(two.path("a", "3"))
    said = two.pipeline(a=[1, 2, 3, 4]).explain()
    assert said["a"].counts == {"failed before": 1, "data missing on disk": 1, "new input": 1}
    assert said["a"].inputs == ("2", "3", "4")
    assert said["a"].reused == 1
    for reason in ("failed before: 1", "data missing on disk: 1", "new input: 1"):
        assert reason in said["a"].reasons
    assert not said["g"].certain
    bad.unlink()
    two.ran(a=[1, 2, 3])
    said = two.pipeline(a=[1, 2]).explain()
    assert said["a"].counts == {}
    assert said["g"].to_run == 0
    two.ran(a=[1])
    said = two.pipeline(a=[1, 2, 3]).explain()
    assert said.up_to_date


def test_a_version_to_come_is_told_and_so_are_its_children(project):
    three = lab(project, "a -> g -> c", a=COPY, g="#multiplex group_by 'all'\nset_output(0)", c=COPY)
    three.ran(a=[1, 2])
    said = three.pipeline(a=[1]).explain()
    assert said["a"].to_run == 0
    assert said["g"].reasons == ("it looked at its parent tasks, and they are others now: 1",)
    assert (said["g"].to_run, said["g"].certain) == (1, True)
    assert not said["c"].certain


def test_what_may_change_with_further_parents_is_not_said_for_certain(project):
    """The tasks of b that looked at their parents: one is said to stay, and the new input may join its parents."""
    two = lab(project, "a -> b", a="set_output(get_input() % 2)", b='glob_parent("x")\n' + COPY)
    two.ran(a=[1, 2])
    said = two.pipeline(a=[1, 2, 3]).explain()
    assert (said["b"].to_run, said["b"].reused, said["b"].certain) == (0, 0, False)
    assert two.ran(a=[1, 2, 3]) == ["a 3", "b 1"]


def test_an_environment_that_changed(project):
    from pipelet.environment import EnvironmentBase

    one = lab(project, "a", a="x = 1")
    one.ran()
    (said,) = project.pipeline("a", env=EnvironmentBase).explain().values()
    assert said.to_run == 1
    assert "environment" in said.reasons[0]


def test_a_failure_set_aside_is_said_to_stay(project):
    from contextlib import closing

    from pipelet.statusdb import Writer

    two = lab(project, "a -> b; a -> g", a="assert get_input() > 1\n" + COPY, b=COPY, g="#multiplex group_by 'all'\n")
    two.ran(a=[1, 2])
    (failed,) = two.pipeline().tasks("a", "failed")
    with closing(Writer.open(two.pipeline().sqlfile)) as writer:
        row = writer.instance(two.pipeline().instances("a")[0].key)
        writer.apply(row.id, [["aside", failed.id, 1]])
    said = two.pipeline(a=[1, 2]).explain()
    assert (said["a"].to_run, said["a"].reused) == (0, 1)
    assert "failed before and set aside: 1" in said["a"].reasons
    assert (said["b"].to_run, said["b"].reused, said["b"].certain) == (0, 1, True)
    assert two.ran(a=[1, 2]) == []
    assert two.summary.waiting == ["g"]
    assert two.ran(a=[1, 2], options={"partial": True}) == ["g all"]
    assert two.ran(a=[1, 2], options={"partial": True}) == []


def test_a_last_version_whose_directory_was_removed(project):
    one = lab(project, "a", a="x = 1")
    one.ran()
    shutil.rmtree(one.pipeline().instances("a")[0].path)
    one.write(a="x = 2")
    (said,) = one.pipeline().explain().values()
    assert said.to_run == 1
    assert "can't be read" in said.reasons[0]


def test_a_database_that_lost_its_last_transactions(project, tmp_path):
    """What the tree has more is taken over by the next run, whole instances too, and `explain` knows it."""
    two = lab(project, "a -> b", a=KEEP, b=KEEP)
    two.ran(a=[1])
    database = project.prefix / ".sqlstatus"
    older = tmp_path / "older"
    shutil.copyfile(database, older)
    two.write(b="x = 1\n" + KEEP)
    two.ran(a=[1, 2])
    created = two.pipeline().instances("b")[0].created
    last = max(task.id for task in two.pipeline().tasks("b"))
    shutil.copyfile(older, database)
    state = database.read_bytes()
    assert two.pipeline(a=[1, 2]).explain().up_to_date
    assert database.read_bytes() == state
    # a run of other code gives no id away that the lost instance has
    two.write(b=KEEP)
    assert two.ran(a=[1, 3]) == ["a 3", "b 3"]
    assert min(task.id for task in two.pipeline().tasks("b") if task.text == "3") > last
    two.write(b="x = 1\n" + KEEP)
    assert two.ran(a=[1, 2]) == []
    assert two.pipeline().instances("b")[0].created == created


def test_code_that_can_not_be_read_is_an_error(project):
    one = lab(project, "a", a="x = 1")
    one.write(a="x = (")
    with pytest.raises(PipelineError, match=r"a\.py"):
        one.pipeline().explain()
