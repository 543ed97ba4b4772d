"""What `explain` says: for each segment what would be computed, and why."""

from __future__ import annotations

import os
import re
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
    assert ">nothing to run" in said._repr_html_()
    assert all(item.up_to_date for item in said.values())


def test_in_a_notebook_what_a_diff_adds_and_takes_away_has_a_colour(project):
    one = lab(project, "a", a="x = '<b>'\nset_output([x])")
    one.ran()
    project.write(a="x = '<i>'\nset_output([x])")
    page = one.pipeline().explain()._repr_html_()
    shown = re.findall(r'<span style="color:(#\w+)">    \| ([-+]x.*?)</span>', page)
    assert [line for _, line in shown] == ["-x = &#x27;&lt;b&gt;&#x27;", "+x = &#x27;&lt;i&gt;&#x27;"]
    assert shown[0][0] != shown[1][0]
    assert "color" not in page[page.index(" set_output") - 40 :]


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
    assert said["c"].reasons[0] == "parent changed: b (code b.py)"
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


def differing(lab: Lab, **push) -> str:
    """What is said of the one segment, or of the last: its first reason, and the differences."""
    *_, said = lab.pipeline(**push).explain().values()
    assert said.to_run >= 0
    assert not said.up_to_date
    return "\n".join([said.reasons[0], said.diff])


def test_the_directive_is_shown_as_it_was_and_as_it_is(project):
    two = lab(project, "a -> b", a=COPY, b="set_output(1)")
    two.ran(a=[1])
    two.write(b="#multiplex union\nset_output(1)")
    assert "multiplex\n#multiplex cross_prod before, #multiplex union now" in differing(two, a=[1])
    two.ran(a=[1])
    two.write(b="#multiplex cross_prod group_by 'a' where 'a > 0'\nset_output(1)")
    assert differing(two, a=[1]).endswith("#multiplex union before, #multiplex cross_prod where a > 0 group_by a now")


def test_dependencies_that_came_and_went_and_binary_ones(project):
    one = lab(project, "a", a="#depend x.bin lib.py\n")
    project.write(lib="one = 1\n")
    binary = project.root / "x.bin"
    binary.write_bytes(b"\0\1")
    one.ran()
    binary.write_bytes(b"\0\2")
    assert differing(one).endswith("depend x.bin\nx.bin: 2 bytes before and now, with another content\n")
    one.ran()
    project.write(more="two = 2\n")
    one.write(a="#depend x.bin more.py\n")
    (said,) = one.pipeline().explain().values()
    assert [reason.partition(": ")[2] for reason in said.reasons] == ["depend lib.py", "depend more.py"]
    assert "+++ lib.py (no longer there)" in said.diffs["depend lib.py"]
    assert "-one = 1" in said.diffs["depend lib.py"]
    assert "--- more.py (not there before)" in said.diffs["depend more.py"]
    assert "+two = 2" in said.diffs["depend more.py"]


def test_a_hook_that_came_and_one_that_went(project):
    one = lab(project, "a", a='hook("x", globals())\nhook("y", globals())')
    project.write(a_x="x = 1\n")
    one.ran()
    (project.root / "a_x.py").rename(project.root / "a_y.py")
    (said,) = one.pipeline().explain().values()
    assert list(said.diffs) == ["hook a_x.py", "hook a_y.py"]
    (project.root / "a_y.py").unlink()
    assert differing(one).startswith("changed since a_")


def test_the_order_of_the_parents(project):
    three = lab(project, "a -> c; b -> c", a=COPY, b=COPY, c=COPY)
    three.ran()
    three.dot = "b -> c; a -> c"
    assert differing(three).startswith("other order of the parents: a, b before, b, a now")


def test_a_parent_that_changed_names_what_is_furthest_up(project):
    four = lab(project, "a -> b -> c -> d; x -> d", a=COPY, b=COPY, c=COPY, d=COPY, x=COPY)
    four.ran()
    four.write(a="y = 1\n" + COPY)
    said = four.pipeline().explain()
    assert said["b"].reasons[0] == "parent changed: a (code a.py)"
    assert said["c"].reasons[0] == "parent changed: b, because of a (code a.py)"
    assert said["d"].reasons[0] == "parent changed: c, because of a (code a.py)"
    assert said["x"].up_to_date
    four.write(c="y = 2\n" + COPY, x="y = 3\n" + COPY)
    reasons = four.pipeline().explain()["d"].reasons
    assert reasons[0] == "parent changed: c, because of a (code a.py) and c (code c.py)"
    assert reasons[1] == "parent changed: x (code x.py)"
    four.dot = "b -> c -> d; x -> d"
    assert four.pipeline().explain()["c"].reasons[1] == "parent changed: b (parent gone: a)"


def test_a_parent_whose_old_version_is_gone_is_still_named(project):
    from pipelet.utils import rebuild_db_from_disk

    three = lab(project, "a -> c; b -> c", a=COPY, b=COPY, c=COPY)
    three.ran()
    (gone,) = project.prefix.glob("b_*")
    shutil.rmtree(gone)
    rebuild_db_from_disk(project.prefix)
    three.write(b="y = 1\n" + COPY)
    assert three.pipeline().explain()["c"].reasons[0] == "parent changed: b"


def test_a_union_of_a_parent_and_its_own_parent_comes_to_rest(project):
    """What gave nothing to an input is an ancestor of it all the same, and `glob_parent` looks at nothing of it."""
    three = lab(
        project, "a -> b; a -> c; b -> c", a=KEEP, b=KEEP, c='#multiplex union\nset_output(glob_parent("x"))'
    )
    assert three.ran(a=[1]) == ["a 1", "b 1", "c 1", "c 1"]
    assert three.ran(a=[1]) == []
    assert three.pipeline(a=[1]).outputs("c") == [str(three.path(name, "1", a=[1]) / "x") for name in "ab"]


def test_long_differences_are_cut_and_shown_once(project):
    two = lab(project, "a; b", a="#depend t.txt\n", b="#depend t.txt\n")
    table = project.root / "t.txt"
    table.write_text("".join(f"{number}\n" for number in range(100)))
    two.ran()
    table.write_text("".join(f"{-number}\n" for number in range(100)))
    said = two.pipeline().explain()
    lines = said["a"].diff.splitlines()
    assert len(lines) == 61
    # three lines of heading, the 0 that stays, 99 lines less and 99 more
    assert lines[-1] == f"... and {4 + 99 + 99 - 60} more lines"
    text = str(said)
    assert text.count("-50\n") == 1
    assert "    | depend t.txt: as shown for a\n" in text + "\n"


def test_of_very_many_inputs_only_some_are_named(project):
    one = lab(project, "a", a="")
    said = one.pipeline(a=range(3000)).explain()["a"]
    assert (said.to_run, len(said.inputs), said.inputs[-1]) == (3000, 1000, "999")


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


def test_another_environment_class(project):
    from pipelet.environment import EnvironmentBase

    one = lab(project, "a", a="x = 1")
    one.ran()
    (said,) = project.pipeline("a", env=EnvironmentBase).explain().values()
    assert said.to_run == 1
    assert said.reasons[0].endswith("environment class, which was Environment and is EnvironmentBase")
    project.run(project.pipeline("a", env=EnvironmentBase))
    shutil.rmtree(one.pipeline().instances("a")[1].path)
    (said,) = project.pipeline("a", env=EnvironmentBase).explain().values()
    assert said.up_to_date


MAIN = """
from pipelet.environment import Environment
from pipelet.launchers import launch_interactive
from pipelet.pipeline import Pipeline
{base}
class Mine(Base):
    # a comment
    def number(self):
        return {number}

P = Pipeline("a -> b", prefix="prefix", env=Mine)
print(P.explain())
launch_interactive(P)[0].run()
"""


def test_the_source_of_a_changed_environment_class_is_shown(project):
    base = "class Base(Environment):\n    def two(self):\n        return 2\n"
    project.write(a="set_output(number())", b="set_output(number())", main=MAIN.format(number=1, base=base))
    assert "new: there is no version" in project.ran("main.py").stdout
    project.write(main=MAIN.format(number=2, base=base))
    said = project.ran("main.py").stdout
    assert "environment class Mine" in said
    assert "    |  class Mine(Base):\n    |      # a comment\n" in said
    assert said.count("    | -        return 1\n    | +        return 2\n") == 1
    assert "environment class Mine: as shown for a" in said
    project.write(main=MAIN.format(number=2, base=base.replace("2", "3")))
    assert "    | -        return 2\n    | +        return 3\n" in project.ran("main.py").stdout
    assert project.ran("main.py").stdout == "nothing to run: all 2 tasks are on disk\n"
    project.write(main=MAIN.format(number=2, base="Base = Environment\n"))
    assert "    | -class Base(Environment):\n" in project.ran("main.py").stdout
    project.write(main=MAIN.format(number=2, base="Base = Environment\n").replace("env=Mine", "env=Base"))
    assert "environment class, which was Mine and is Environment" in project.ran("main.py").stdout


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
