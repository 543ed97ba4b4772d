"""What triggers recomputation, seen through whole runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import Lab, Project

from pipelet.environment import Environment

COPY = "set_output(get_input())\n"
FILE = 'open(get_data_fn("x"), "w").close()\n'
KEEP = FILE + COPY
#: Leave the elements of a class in a file.
LIST = 'from pathlib import Path\nPath(get_data_fn("x")).write_text(str(get_input("a")))\n'


def lab(project: Project, dot: str, **scripts: str) -> Lab:
    return Lab(project, dot).write(**scripts)


# ---- code


def test_changed_code_recomputes_the_segment_and_what_descends_from_it(project):
    chain = lab(project, "a -> b -> c; a -> d", a=COPY, b=COPY, c=COPY, d=COPY)
    assert chain.ran(a=[1]) == ["a 1", "b 1", "c 1", "d 1"]
    assert chain.ran(a=[1]) == []
    chain.write(b="x = 1\n" + COPY)
    assert chain.ran(a=[1]) == ["b 1", "c 1"]


def test_comments_blank_lines_and_layout_recompute_nothing(project):
    two = lab(project, "a -> b", a="set_output([1, 2])", b="x = (1,\n     2)\n")
    assert two.ran() == ["a", "b 1", "b 2"]
    two.write(a="# says why\n\n\nset_output( [1,2] )   # so", b="x = 1, 2\n")
    assert two.ran() == []


def test_a_docstring_is_code(project):
    one = lab(project, "a", a='"""One."""\n')
    one.ran()
    one.write(a='"""Two."""\n')
    assert one.ran() == ["a"]


def test_going_back_to_older_code_runs_nothing(project):
    two = lab(project, "a -> b", a=KEEP, b=KEEP)
    two.ran(a=[1])
    two.write(a="x = 1\n" + KEEP)
    assert two.ran(a=[1]) == ["a 1", "b 1"]
    two.write(a=KEEP)
    assert two.ran(a=[1]) == []
    assert two.pipeline().outputs("b") == [1]


def test_hooks_are_in_the_key_through_hooks_too(project):
    one = lab(project, "a; other", a='hook("plot", globals())', other="")
    project.write(a_plot='hook("deep", globals())', a_deep="x = 1", a_unused="x = 1")
    assert one.ran() == ["a", "other"]
    project.write(a_unused="x = 2")
    assert one.ran() == []
    project.write(a_deep="# a comment\nx = 1")
    assert one.ran() == []
    project.write(a_deep="x = 2")
    assert one.ran() == ["a"]
    project.write(a_plot='hook("deep", globals())\nx = 3')
    assert one.ran() == ["a"]


def test_where_the_name_of_a_hook_is_computed_all_candidates_count(project):
    one = lab(project, "a", a='hook("p" + "lot", globals())')
    project.write(a_plot="x = 1", a_other="x = 1")
    one.ran()
    project.write(a_other="x = 2")
    assert one.ran() == ["a"]


def test_a_hook_that_comes_to_exist_recomputes(project):
    one = lab(project, "a", a='hook("plot", globals())')
    one.ran()
    project.write(a_plot="x = 1")
    assert one.ran() == ["a"]


def test_dependencies_are_in_the_key(project):
    one = lab(project, "a; other", a="#depend lib.py tables/*.txt\nimport lib", other="")
    tables = project.root / "tables"
    tables.mkdir()
    (tables / "one.txt").write_text("1")
    project.write(lib="x = 1")
    assert one.ran() == ["a", "other"]
    project.write(lib="# nothing new\nx = 1")
    assert one.ran() == []
    project.write(lib="x = 2")
    assert one.ran() == ["a"]
    (tables / "one.txt").write_text("2")
    assert one.ran() == ["a"]
    (tables / "two.txt").write_text("")
    assert one.ran() == ["a"]
    (tables / "two.txt").unlink()
    assert one.ran() == []


def test_directives_are_code_and_their_spelling_is_layout(project):
    two = lab(project, "a -> b", a="set_output([1, 2])", b='#multiplex cross_prod group_by "a % 1"\n')
    two.ran()
    two.write(b="#multiplex group_by 'a % 1'   \n")
    assert two.ran() == []
    two.write(b="#multiplex group_by 'a % 2'\n")
    assert two.ran() == ["b 0", "b 1"]


class First(Environment):
    def answer(self) -> int:
        return 1


class Second(Environment):
    def answer(self) -> int:
        return 2


def test_the_environment_class_is_in_the_key_if_it_is_the_user_s(project):
    one = lab(project, "a", a="x = 1")
    one.ran()
    assert one.ran(options={"env": First}) == ["a"]
    assert one.ran(options={"env": Second}) == ["a"]
    assert one.ran(options={"env": First}) == []
    assert one.ran(options={"env": Environment}) == []


def test_the_order_of_the_parents_is_in_the_key(project):
    three = lab(project, "a -> c; b -> c", a="set_output(1)", b="set_output(2)", c="set_output(get_input())")
    three.ran()
    three.dot = "b -> c; a -> c"
    assert three.ran() == ["c 2_1"]
    assert three.pipeline().outputs("c") == [2]


def test_editing_while_the_run_lasts_changes_nothing(project):
    two = lab(
        project, "a -> b",
        a='''
        here = __file__.rpartition("/")[0]
        for name in "a.py", "b.py", "b_hook.py", "lib.py":
            with open(here + "/" + name, "w") as file:
                file.write("raise RuntimeError('edited')")
        set_output(get_input())
        ''',
        b='#depend lib.py\nimport lib\nhook("hook", globals())\nset_output((lib.x, y))',
    )
    project.write(lib="x = 1", b_hook="y = 2")
    kept = {name: (project.root / name).read_bytes() for name in ("a.py", "b.py", "b_hook.py", "lib.py")}
    two.ran(a=[1, 2])
    assert two.summary.ok
    for name, data in kept.items():
        (copy,) = project.prefix.rglob(name)
        assert copy.read_bytes() == data
        (project.root / name).write_bytes(data)
    assert two.ran(a=[1, 2]) == []
    assert two.pipeline().outputs("b") == [(1, 2), (1, 2)]


# ---- inputs and the parents of a task


def test_only_new_inputs_run_and_what_is_no_longer_pushed_is_kept(project):
    three = lab(project, "a -> b; b -> c", a=KEEP, b=KEEP, c="#multiplex group_by 'all'\n" + COPY)
    assert three.ran(a=[1, 2]) == ["a 1", "a 2", "b 1", "b 2", "c all"]
    assert three.ran(a=[2, 3]) == ["a 3", "b 3", "c all"]
    pipeline = three.pipeline()
    assert pipeline.outputs("a") == [2, 3]
    assert pipeline.outputs("b") == [2, 3]
    assert sorted(task.input["aphantom"] for task in pipeline.tasks("a")) == [1, 2, 3]
    (first,) = (task for task in pipeline.tasks("a") if task.input == {"aphantom": 1})
    assert (first.status, first.output) == ("done", [1])
    assert Path(first.path, "x").exists()
    assert pipeline.status()["a"] == {"done": 2}
    assert three.ran(a=[1, 2, 3]) == ["c all"]
    assert three.pipeline().outputs("b") == [1, 2, 3]


def test_nothing_pushed_and_an_empty_input_are_two_tasks(project):
    one = lab(project, "a", a="set_output([repr(seg_input)])")
    assert one.ran() == ["a"]
    assert one.ran(a=[{}]) == ["a {}"]
    assert one.pipeline().outputs("a") == ["{'aphantom': {}}"]
    assert one.ran() == []


def test_a_class_runs_again_as_a_new_version_when_its_parents_change_and_its_children_follow(project):
    """Its output stays the same: a child that matched on its input alone would keep an old result."""
    three = lab(
        project, "a -> g -> c", a=KEEP,
        g="#multiplex group_by 'all'\n" + LIST + "set_output(0)",
        c=FILE + "set_output(0)",
    )
    assert three.ran(a=[1]) == ["a 1", "c 0", "g all"]
    first = {name: three.pipeline().tasks(name)[0] for name in "gc"}
    assert three.ran(a=[1, 2]) == ["a 2", "c 0", "g all"]
    second = {name: three.pipeline().tasks(name)[0] for name in "gc"}
    instance = project.prefix / three.pipeline().instances("g")[0].path
    for name in "gc":
        assert second[name].id > first[name].id
        assert len(three.pipeline().tasks(name)) == 1
    # the new version has taken the place of the older one, which was the only task of its segment
    assert (instance / "data" / "x").read_text() == "[1, 2]"
    assert (instance / "superseded" / f"{first['g'].id}_all" / "x").read_text() == "[1]"
    assert three.ran(a=[1]) == []
    assert [three.pipeline().tasks(name)[0].id for name in "gc"] == [first["g"].id, first["c"].id]
    assert (instance / "data" / "x").read_text() == "[1]"
    assert (instance / "superseded" / f"{second['g'].id}_all" / "x").read_text() == "[1, 2]"
    assert three.ran(a=[1, 2]) == []
    assert (instance / "data" / "x").read_text() == "[1, 2]"
    assert three.ran(a=[2, 1]) == []


def test_versions_among_several_classes(project):
    two = lab(project, "a -> g", a=KEEP, g="#multiplex group_by 'a % 2'\n" + LIST)
    assert two.ran(a=[0, 1]) == ["a 0", "a 1", "g 0", "g 1"]
    even = two.path("g", "0")
    assert two.ran(a=[0, 1, 2]) == ["a 2", "g 0"]
    assert two.path("g", "0") != even
    assert not even.exists()
    assert (even.parents[1] / "superseded" / even.name / "x").read_text() == "[0]"
    assert two.ran(a=[0, 1]) == []
    assert two.path("g", "0") == even
    assert (even / "x").read_text() == "[0]"
    # the class itself is not wanted any more, and wanted again
    assert two.ran(a=[1]) == []
    assert two.ran(a=[1, 0]) == []


def test_an_older_version_whose_directory_is_gone_does_not_come_back(project):
    two = lab(project, "a -> g", a=KEEP, g="#multiplex group_by 'all'\n" + KEEP)
    two.ran(a=[1])
    two.ran(a=[1, 2])
    (older,) = project.prefix.rglob("superseded/*")
    shutil.rmtree(older)
    assert two.ran(a=[1]) == ["g all"]


def test_an_ordinary_task_with_other_parents_is_reused_and_its_record_follows(project):
    two = lab(project, "a -> b -> c", a="set_output(0)", b=KEEP, c=KEEP)
    assert two.ran(a=[1]) == ["a 1", "b 0", "c 0"]
    assert two.ran(a=[1, 2]) == ["a 2"]
    pipeline = two.pipeline()
    assert pipeline.tasks("b")[0].parents == tuple(task.id for task in pipeline.tasks("a"))
    assert two.ran(a=[2]) == []
    assert pipeline.tasks("b")[0].parents == (pipeline.tasks("a")[0].id,)


ASKING = {
    "glob_parent": 'glob_parent("x")',
    "get_data_fn": 'get_data_fn("x", "a")',
    "load_param": 'load_param("a", globals(), ["p"])',
}


@pytest.mark.parametrize("how", ASKING)
def test_one_that_asked_for_them_runs_again(project, how):
    """The first run has one parent task, the second another one with the same output."""
    body = ASKING[how] + "\n" + KEEP
    two = lab(project, "a -> b -> c", a="p = 1\nsave_param(['p'])\n" + FILE + "set_output(0)", b=body, c=COPY)
    assert two.ran(a=[1]) == ["a 1", "b 0", "c 0"]
    assert two.ran(a=[2]) == ["a 2", "b 0", "c 0"]
    assert two.ran(a=[2]) == []
    assert two.ran(a=[1]) == []


def test_one_that_asked_for_a_further_ancestor_runs_again(project):
    body = 'get_data_fn("x", "a")\n' + COPY
    three = lab(project, "a -> b -> c", a=FILE + "set_output(0)", b=COPY, c=body)
    assert three.ran(a=[1]) == ["a 1", "b 0", "c 0"]
    # b is the same task, and c sees another one of a through it
    assert three.ran(a=[2]) == ["a 2", "c 0"]
    assert three.ran(a=[1]) == []


def test_a_direct_parent_is_asked_for_itself_where_it_is_an_ancestor_as_well(project):
    """In a product, b's element and a's element may come from different tasks of a."""
    three = lab(
        project, "a -> b; a -> c; b -> c", b=COPY,
        a='''
        from pathlib import Path
        Path(get_data_fn("x")).write_text(str(get_input()))
        set_output(get_input())
        ''',
        c='''
        from pathlib import Path
        (path,) = glob_parent("x", "a")
        assert path == get_data_fn("x", "a")
        set_output((get_input("a"), get_input("b"), Path(path).read_text()))
        ''',
    )
    three.ran(a=[1, 2])
    assert three.pipeline().outputs("c") == [(1, 1, "1"), (1, 2, "1"), (2, 1, "2"), (2, 2, "2")]


def test_in_a_union_a_parent_that_gave_nothing_is_an_ancestor_like_others(project):
    three = lab(
        project, "a -> b -> c; a -> c", a=FILE + "set_output(0)", b=COPY,
        c='''
        #multiplex union
        set_output((get_input("b"), len(glob_parent("", "a")), get_data_fn("x", "a").split("/")[-2]))
        ''',
    )
    three.ran(a=[1])
    assert three.pipeline().outputs("c") == [(0, 0, "data"), (None, 1, "data")]
    # b is the same task of other parents: whoever looked through it runs again
    assert three.ran(a=[1, 2]) == ["a 2", "c 0", "c 0"]


def test_the_child_of_silent_tasks_depends_on_all_of_them(project):
    two = lab(project, "a -> b -> c", a=FILE, b=KEEP, c=KEEP)
    assert two.ran(a=[1]) == ["a 1", "b None", "c None"]
    assert two.ran(a=[1, 2]) == ["a 2", "b None", "c None"]
    assert two.ran(a=[1]) == []


def test_who_used_glob_seg_depends_on_all_the_tasks_of_that_ancestor(project):
    three = lab(project, "a -> b -> c; z -> c", a=KEEP, b=COPY, c='glob_seg("a", "x")\n' + COPY, z="set_output(5)")
    assert three.ran(a=[1, 2]) == ["a 1", "a 2", "b 1", "b 2", "c 1_5", "c 2_5", "z"]
    assert three.ran(a=[1, 2, 3]) == ["a 3", "b 3", "c 1_5", "c 2_5", "c 3_5"]
    assert three.ran(a=[1]) == ["c 1_5"]
    assert three.ran(a=[1, 2]) == []


def test_a_task_superseded_while_its_child_was_not_wanted_is_remembered(project):
    three = lab(
        project, "a -> g; g -> c; z -> c", a=COPY, g="#multiplex group_by 'all'\nset_output(0)", c=KEEP, z=COPY
    )
    assert three.ran(a=[1], z=[1]) == ["a 1", "c 0_1", "g all", "z 1"]
    assert three.ran(a=[1, 2], z=[]) == ["a 2", "g all"]
    assert three.ran(a=[1, 2], z=[1]) == ["c 0_1"]


def test_versions_survive_the_loss_of_the_database(project):
    three = lab(project, "a -> g -> c", a=KEEP, g="#multiplex group_by 'all'\n" + FILE + "set_output(0)", c=KEEP)
    three.ran(a=[1])
    three.ran(a=[1, 2])
    for leftover in project.prefix.glob(".sqlstatus*"):
        leftover.unlink()
    assert three.ran(a=[1]) == []
    assert three.ran(a=[1, 2]) == []
    assert three.ran(a=[1, 2, 3]) == ["a 3", "c 0", "g all"]


def test_more_parents_than_stand_in_one_line(project):
    two = lab(project, "a -> g", a="set_output(get_input())", g="#multiplex group_by 'all'\n")
    two.ran(a=list(range(40)))
    assert two.ran(a=list(range(40))[::-1]) == []
    assert two.ran(a=list(range(39))) == ["g all"]
    assert two.ran(a=list(range(40))) == []


# ---- failures and lost data


def test_failed_tasks_run_again_and_what_waited_for_them(project):
    bad = project.root / "bad"
    bad.touch()
    check = '''
    import os
    if get_input() == 2 and os.path.exists(__file__.rpartition("/")[0] + "/bad"):
        raise ValueError("bad")
    set_output(get_input())
    '''
    three = lab(project, "a -> b -> c; b -> g", a=COPY, b=check, c=COPY, g="#multiplex group_by 'all'\n")
    assert three.ran(a=[1, 2]) == ["a 1", "a 2", "b 1", "b 2", "c 1"]
    assert (three.summary.failed, three.summary.waiting) == (1, ["g"])
    assert three.ran(a=[1, 2]) == ["b 2"]
    bad.unlink()
    assert three.ran(a=[1, 2]) == ["b 2", "c 2", "g all"]
    assert three.summary.ok


def test_partial_takes_what_there_is_and_runs_again_when_there_is_more(project):
    bad = project.root / "bad"
    bad.touch()
    check = '''
    import os
    if get_input() == 2 and os.path.exists(__file__.rpartition("/")[0] + "/bad"):
        raise ValueError("bad")
    set_output(get_input())
    '''
    two = lab(project, "b -> g", b=check, g="#multiplex group_by 'all'\nset_output(len(get_input('b')))")
    partial = {"partial": True}
    assert two.ran(b=[1, 2], options=partial) == ["b 1", "b 2", "g all"]
    assert two.ran(b=[1, 2], options=partial) == ["b 2"]
    assert two.pipeline().outputs("g") == [1]
    bad.unlink()
    assert two.ran(b=[1, 2], options=partial) == ["b 2", "g all"]
    assert two.pipeline().outputs("g") == [2]


def test_a_removed_directory_reruns_that_task_alone(project):
    two = lab(project, "a -> b", a=KEEP, b=KEEP)
    two.ran(a=[1, 2])
    shutil.rmtree(two.path("a", "2"))
    assert two.ran(a=[1, 2]) == ["a 2"]
    assert (two.path("a", "2") / "x").exists()
    shutil.rmtree(two.path("b", "1"))
    assert two.ran(a=[1, 2]) == ["b 1"]
    assert two.ran(a=[1, 2]) == []


def test_so_it_is_for_the_one_in_data_itself(project):
    two = lab(project, "a -> b", a=KEEP, b=KEEP)
    two.ran(a=[1])
    assert two.path("a", "1").name == "data"
    shutil.rmtree(two.path("a", "1"))
    assert two.ran(a=[1]) == ["a 1"]
    shutil.rmtree(two.path("b", "1"))
    assert two.ran(a=[1]) == ["b 1"]
    # with others beside it, all of them are gone
    two.ran(a=[1, 2])
    shutil.rmtree(two.path("a", "1"))
    assert two.ran(a=[1, 2]) == ["a 1", "a 2"]
    assert two.ran(a=[1, 2]) == []


def test_the_one_in_data_itself_is_missed_also_when_it_was_not_wanted_when_its_data_went(project):
    one = lab(project, "a", a=KEEP)
    one.ran(a=[1])
    one.ran(a=[1, 2])
    shutil.rmtree(one.path("a", "1"))
    assert one.ran(a=[2]) == ["a 2"]
    # there is data/ again, and nothing of the first task in it
    assert one.ran(a=[1, 2]) == ["a 1"]
    assert (one.path("a", "1") / "x").exists()
    assert one.ran(a=[1, 2]) == []


def test_a_task_without_a_directory_misses_none(project):
    one = lab(project, "a", a=COPY)
    one.ran(a=[1, 2])
    assert not any(project.prefix.rglob("data"))
    assert one.ran(a=[1, 2]) == []


def test_data_made_again_by_a_killed_run_is_not_taken_for_good(project, monkeypatch):
    """It is not in the database alone that the task is not done any longer."""
    two = lab(project, "a -> b", a=KEEP, b=COPY)
    two.ran(a=[1, 2])
    gone = two.path("a", "2")
    shutil.rmtree(gone)
    with monkeypatch.context() as patch:
        patch.setattr("pipelet.scheduler.Scheduler._dispatch", _killed)
        with pytest.raises(_Killed):
            two.ran(a=[1, 2])
    gone.mkdir()
    (gone / "x").write_text("half")
    for leftover in project.prefix.glob(".sqlstatus*"):
        leftover.unlink()
    assert two.ran(a=[1, 2]) == ["a 2"]
    assert (gone / "x").read_text() == ""


class _Killed(BaseException):
    pass


def _killed(scheduler: object) -> None:
    raise _Killed


# ---- imported modules


def test_a_module_that_changed_and_is_not_depended_on_gives_a_warning_that_cures(project):
    two = lab(project, "a -> b", a="import lib, json\n" + COPY, b=COPY)
    project.write(lib="import inner\nx = 1", inner="y = 1")
    two.ran(a=[1])
    assert two.warnings == []
    project.write(lib="import inner\nx = 2")
    # nothing runs, and it warns
    assert two.ran(a=[1]) == []
    (warning,) = two.warnings
    assert "lib.py has changed" in warning
    assert "'#depend lib.py' in a.py" in warning
    assert two.ran(a=[1, 2]) == ["a 2", "b 2"]
    assert any("#depend lib.py" in warning for warning in two.warnings)
    two.write(a="#depend lib.py\nimport lib, json\n" + COPY)
    two.ran(a=[1])
    assert not any("lib.py" in warning for warning in two.warnings)


def test_so_does_one_that_is_imported_by_another(project):
    one = lab(project, "a", a="import lib")
    project.write(lib="import inner\nx = 1", inner="y = 1")
    one.ran()
    project.write(inner="y = 2")
    one.ran()
    (warning,) = one.warnings
    assert "#depend inner.py" in warning
    (project.root / "inner.py").unlink()
    one.ran()
    assert len(one.warnings) == 1


def test_versions_of_imported_modules_are_recorded(project):
    one = lab(project, "a", a="import numpy, json")
    one.ran()
    (meta,) = project.prefix.rglob("a.meta")
    text = meta.read_text()
    import numpy

    assert '"numpy"' in text
    assert f'"{numpy.__version__}"' in text
