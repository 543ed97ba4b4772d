"""What a segment finds in its namespace: files, globs, parameters, products, programs, temporary files, hooks."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from pipelet.errors import (
    InputNameError,
    OutputError,
    ParameterError,
    SeveralTasksError,
    SubprocessFailed,
    TaskError,
)


def run(project, dot, push=None, **options):
    """Run interactively; gives the pipeline."""
    pipeline = project.pipeline(dot, push, **options)
    project.run(pipeline)
    return pipeline


def output(project, script, push=None, **hooks):
    """Run one segment `a`; gives its only output."""
    project.write(a=script, **hooks)
    (found,) = run(project, "a;", push).outputs("a")
    return found


def logs(pipeline, segment):
    return [Path(task.log).read_text() if task.log else None for task in pipeline.tasks(segment)]


# --- get_data_fn -----------------------------------------------------------------------------------------------------


def test_a_path_is_absolute_and_its_directory_exists(project):
    path, existed = output(project, """
        import os
        path = get_data_fn("x.txt")
        set_output([(path, os.path.isdir(os.path.dirname(path)))])
    """)
    assert os.path.isabs(path)
    assert existed
    assert path.endswith("/data/x.txt")
    assert not os.path.exists(path)


def test_the_directory_itself_is_asked_for_in_several_ways(project):
    dot, above, sub, empty = output(project, """
        import os
        dot = get_data_fn(".")
        above = os.path.dirname(get_data_fn("x"))
        os.makedirs(get_data_fn("deep/er"))
        with open(get_data_fn("deep/er/f"), "w") as file:
            file.write("kept")
        with open(os.path.join(dot, "beside"), "w") as file:
            file.write("kept")
        set_output([(dot, above, get_data_fn("deep/er/f"), get_data_fn(""))])
    """)
    assert os.path.samefile(dot, above)
    assert os.path.samefile(dot, empty)
    assert Path(sub).read_text() == "kept"
    assert Path(above, "beside").read_text() == "kept"


def test_a_task_that_asks_for_no_directory_has_none(project):
    project.write(a="set_output([get_input()])")
    pipeline = run(project, "a;", {"a": [1, 2]})
    assert [task.path for task in pipeline.tasks("a")] == [None, None]
    (instance,) = pipeline.instances("a")
    assert not os.path.exists(os.path.join(instance.path, "data"))


def test_a_second_call_does_not_empty_the_directory(project):
    assert output(project, """
        import os
        open(get_data_fn("one"), "w").close()
        open(get_data_fn("two"), "w").close()
        set_output([sorted(os.listdir(get_data_fn(".")))])
    """) == ["one", "two"]


def family(project, **scripts):
    defaults = {
        "far": """
            with open(get_data_fn("far.txt"), "w") as file:
                file.write(str(get_input()))
            set_output([get_input()])
        """,
        "mid": """
            with open(get_data_fn("mid.txt"), "w") as file:
                file.write(str(get_input()))
            set_output([get_input()])
        """,
    }
    project.write(**{**defaults, **scripts})


def test_the_directory_of_a_parent_and_of_a_far_ancestor(project):
    family(project, low="""
        from pathlib import Path
        texts = [Path(get_data_fn(name + ".txt", name)).read_text() for name in ("far", "mid")]
        set_output([(get_input(), *texts, get_data_fn("mid.txt", seg="mid"))])
    """)
    pipeline = run(project, "far -> mid -> low;", {"far": [1, 2]})
    found = pipeline.outputs("low")
    assert [item[:3] for item in found] == [(1, "1", "1"), (2, "2", "2")]
    assert [item[3] for item in found] == [os.path.join(task.path, "mid.txt") for task in pipeline.tasks("mid")]


def test_one_s_own_name_is_one_s_own_directory(project):
    assert output(project, 'set_output([get_data_fn("x", "a") == get_data_fn("x")])')


def test_several_ancestor_tasks_are_an_error_that_names_glob_parent(project):
    family(project, low="""
        #multiplex cross_prod group_by 'all'
        get_data_fn("mid.txt", "mid")
    """)
    with pytest.raises(SeveralTasksError, match=r"2 tasks of 'mid'.*glob_parent\('mid.txt', 'mid'\)"):
        run(project, "far -> mid -> low;", {"far": [1, 2]})


def test_an_unknown_ancestor_lists_the_known_ones(project):
    family(project, low='get_data_fn("x", "fra")')
    with pytest.raises(InputNameError, match=r"'fra'; known are: mid, far"):
        run(project, "far -> mid -> low;", {"far": [1]})


def test_the_directory_of_an_ancestor_that_asked_for_none_can_be_named(project):
    project.write(a="set_output([1])", b='set_output([get_data_fn("x", "a")])')
    (path,) = run(project, "a -> b;").outputs("b")
    assert path.endswith("/data/x")


# --- glob_parent -----------------------------------------------------------------------------------------------------

MAKER = """
    import os
    os.makedirs(get_data_fn("sub"))
    for name in ("one.txt", "two.dat", "sub/in.txt", ".hidden.txt"):
        open(get_data_fn(name), "w").close()
    set_output([get_input()])
"""


def relative(pipeline, paths):
    return [os.path.relpath(path, pipeline.prefix).partition("/data")[2].lstrip("/") for path in paths]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["one.txt"]),
        ("*.*", ["one.txt", "two.dat"]),
        ("*/*.txt", ["sub/in.txt"]),
        ("**/*.txt", ["one.txt", "sub/in.txt"]),
        ("two.dat", ["two.dat"]),
        ("", [""]),
        ("nothing*", []),
    ],
)
def test_patterns_are_relative_to_the_parent_task_s_directory(project, pattern, expected):
    project.write(a=MAKER, b=f"set_output([glob_parent({pattern!r})])")
    pipeline = run(project, "a -> b;", {"a": [7]})
    (found,) = pipeline.outputs("b")
    assert relative(pipeline, found) == expected
    assert all(os.path.isabs(path) for path in found)
    assert found == sorted(found)


def test_only_the_direct_parent_tasks_are_looked_at(project):
    project.write(a=MAKER, b="set_output([glob_parent('*.txt')])")
    pipeline = run(project, "a -> b;", {"a": [7, 8]})
    for task, found in zip(pipeline.tasks("a"), pipeline.outputs("b"), strict=True):
        assert found == [os.path.join(task.path, "one.txt")]


def test_under_group_by_each_parent_task_is_looked_at_once(project):
    project.write(
        a=MAKER.replace("set_output([get_input()])", "set_output([get_input()] * 3)"),
        b="""
            #multiplex cross_prod group_by 'all'
            set_output([(glob_parent("*.txt"), glob_parent(""))])
        """,
    )
    pipeline = run(project, "a -> b;", {"a": [7, 8]})
    ((files, folders),) = pipeline.outputs("b")
    paths = [task.path for task in pipeline.tasks("a")]
    assert folders == sorted(paths)
    assert files == sorted(os.path.join(path, "one.txt") for path in paths)


def test_segs_is_one_name_or_several(project):
    project.write(
        a=MAKER,
        b=MAKER,
        c="""
            set_output([[len(glob_parent("*.txt", *args)) for args in
                         ((), ("a",), (["a"],), (["a", "b"],), (("b", "a"),), ([],))]])
        """,
    )
    assert run(project, "a -> c; b -> c;").outputs("c") == [[2, 1, 1, 2, 2, 0]]


def test_an_unknown_parent_lists_the_known_ones_and_an_ancestor_is_none(project):
    project.write(a="set_output([1])", b="set_output([1])", c='glob_parent("*", "a")')
    with pytest.raises(InputNameError, match=r"no parent named 'a'; known are: b"):
        run(project, "a -> b -> c;")


def test_a_segment_without_parents_finds_nothing(project):
    assert output(project, 'set_output([glob_parent("*")])') == []


def test_parents_without_a_directory_give_nothing(project):
    project.write(a="set_output([1])", b='set_output([(glob_parent("*"), glob_parent(""))])')
    assert run(project, "a -> b;").outputs("b") == [([], [])]


SILENT = """
    with open(get_data_fn("x.txt"), "w") as file:
        file.write("x")
"""


def test_for_a_silent_parent_the_pattern_is_relative_to_the_segment_s_data(project):
    project.write(
        a=SILENT,
        b='set_output([(glob_parent("*/*.txt"), glob_parent("*.txt"), glob_parent("*_8/x.txt"), glob_parent("*"))])',
    )
    pipeline = run(project, "a -> b;", {"a": [7, 8]})
    ((below, beside, one, folders),) = pipeline.outputs("b")
    paths = [task.path for task in pipeline.tasks("a")]
    assert below == [os.path.join(path, "x.txt") for path in paths]
    assert beside == []
    assert one == below[1:]
    assert folders == paths


def test_for_a_silent_parent_in_data_itself_it_is_as_if_it_had_its_own_directory(project):
    project.write(a=SILENT, b='set_output([(glob_parent("*/*.txt"), glob_parent("*.txt"), glob_parent("*_8/*"))])')
    pipeline = run(project, "a -> b;", {"a": [8]})
    ((below, beside, named),) = pipeline.outputs("b")
    (task,) = pipeline.tasks("a")
    assert task.path.endswith("/data")
    assert below == named == [os.path.join(task.path, "x.txt")]
    assert beside == []


def test_the_neighbours_of_a_task_in_data_itself_are_never_shown(project):
    project.write(
        a="""
            open(get_data_fn("x.txt"), "w").close()
            set_output([get_input()])
        """,
        b='set_output([(get_input(), glob_parent("*"), glob_parent("**"), glob_parent("*/*"))])',
        c="""
            #multiplex cross_prod group_by 'all'
            set_output([[glob_seg("a", ""), glob_seg("a", "*.txt")]])
        """,
    )
    run(project, "a;", {"a": [7]})
    pipeline = run(project, "a -> b -> c;", {"a": [7, 8]})
    first, second = pipeline.tasks("a")
    assert first.path.endswith("/data")
    assert second.path == f"{first.path}/{second.id}_8"
    found = {key: rest for key, *rest in pipeline.outputs("b")}
    own = os.path.join(first.path, "x.txt")
    assert found[7] == [[own], [first.path, own], []]
    assert found[8][0] == [os.path.join(second.path, "x.txt")]
    (everything,) = pipeline.outputs("c")
    assert everything == [[first.path, second.path], sorted([own, os.path.join(second.path, "x.txt")])]


# --- glob_seg --------------------------------------------------------------------------------------------------------


def test_all_the_tasks_of_an_ancestor_are_looked_at(project):
    family(project, low='set_output([[p.rpartition("/")[2] for p in glob_seg("far", "*.txt")]])')
    pipeline = run(project, "far -> mid -> low;", {"far": [1, 2, 3]})
    assert pipeline.outputs("low") == [["far.txt"] * 3] * 3


def test_glob_seg_needs_an_ancestor_and_lists_them(project):
    family(project, low='glob_seg("other", "*")', other="set_output([1])")
    with pytest.raises(InputNameError, match=r"no ancestor named 'other'; known are: mid, far"):
        run(project, "far -> mid -> low; other;", {"far": [1]})


def test_glob_seg_with_a_computed_name(project):
    family(project, low='name = "fa" + "r"\nset_output([len(glob_seg(name, "*.txt"))])')
    assert run(project, "far -> mid -> low;", {"far": [1, 2]}).outputs("low") == [2, 2]


def test_glob_seg_in_a_hook(project):
    family(project, low='hook("h", globals())', low_h='set_output([len(glob_seg("far", "*.txt"))])')
    assert run(project, "far -> mid -> low;", {"far": [1, 2]}).outputs("low") == [2, 2]


def test_the_ancestor_of_glob_seg_is_waited_for(project):
    """With one of its tasks failed, not all is known: the segment waits."""
    family(
        project,
        far="""
            if get_input() == 2:
                raise ValueError("no")
            open(get_data_fn("far.txt"), "w").close()
            set_output([get_input()])
        """,
        low='set_output([len(glob_seg("far", "*.txt"))])',
    )
    pipeline = project.pipeline("far -> mid -> low;", {"far": [1, 2, 3]})
    summary = project.run(pipeline, processes=1)
    assert summary.failed == 1
    assert summary.waiting == ["low"]
    assert pipeline.status()["mid"] == {"done": 2}


# --- parameters ------------------------------------------------------------------------------------------------------


def test_parameters_keep_their_types_and_are_readable(project):
    project.write(
        a="""
            import numpy as np
            number, pair, text, scalar, array = 1.0, (1, 2), "x", np.int64(3), np.arange(3)
            save_param(["number", "pair", "text"])
            expose(["scalar", "array"])
            set_output([0])
        """,
        b="""
            load_param("a", globals(), ["number", "pair", "text", "scalar", "array"])
            set_output([(number, pair, text, scalar, array)])
        """,
    )
    pipeline = run(project, "a -> b;")
    ((number, pair, text, scalar, array),) = pipeline.outputs("b")
    assert [type(item).__name__ for item in (number, pair, text, scalar, array)] == [
        "float", "tuple", "str", "int64", "ndarray",
    ]
    assert (number, pair, text, scalar, array.tolist()) == (1.0, (1, 2), "x", 3, [0, 1, 2])
    (instance,) = pipeline.instances("a")
    assert set(instance.params) == {"scalar", "array"}
    lines = Path(instance.path, "a.args").read_text().splitlines()
    assert [line.partition(" = ")[0] for line in lines] == ["array", "number", "pair", "scalar", "text"]
    assert {"number = 1.0", "pair = (1, 2)", "text = x"} <= set(lines)
    (task,) = pipeline.tasks("a")
    assert task.params["pair"] == (1, 2)


def test_a_parameter_may_be_saved_again_and_by_its_bare_name(project):
    project.write(
        a="""
            x = 1
            save_param("x")
            x = 2
            expose("x")
            x = 3
            set_output([0])
        """,
        b='load_param("a", globals())\nset_output([x])',
    )
    assert run(project, "a -> b;").outputs("b") == [2]


def test_a_missing_variable_can_not_be_saved(project):
    project.write(a="save_param(['nothing'])")
    with pytest.raises(ParameterError, match="no variable named 'nothing'"):
        run(project, "a;")


@pytest.mark.parametrize("given", ["x", "3", "None"])
def test_a_value_in_place_of_its_name_is_explained(project, given):
    project.write(a=f"x = [1.5]\nsave_param([{given}])")
    with pytest.raises(ParameterError, match="name"):
        run(project, "a;")


def test_a_value_that_can_not_be_pickled_is_no_parameter(project):
    project.write(a="x = lambda: 1\nexpose(['x'])")
    with pytest.raises(ParameterError, match="'x' can't be pickled"):
        run(project, "a;")


PARAMETER = "x = get_input()\nsave_param(['x'])\nset_output([get_input()])"


def test_the_args_file_tells_what_is_shared_and_what_differs(project):
    project.write(a="shared = 'all'\n" + PARAMETER + "\nsave_param(['shared'])")
    pipeline = run(project, "a;", {"a": ["one", "two\nlines"]})
    (instance,) = pipeline.instances("a")
    first, second = pipeline.tasks("a")
    assert Path(instance.path, "a.args").read_text() == (
        f"shared = all\n\n[{first.id}_one]\nx = one\n\n[{second.id}_two_lines]\nx = two\\nlines\n"
    )


def test_there_is_no_args_file_without_parameters(project):
    project.write(a="set_output([1])")
    (instance,) = run(project, "a;").instances("a")
    assert not os.path.exists(os.path.join(instance.path, "a.args"))


def test_ancestors_that_disagree_are_an_error(project):
    project.write(a=PARAMETER, b="#multiplex cross_prod group_by 'all'\nload_param('a', globals(), ['x'])")
    with pytest.raises(ParameterError, match=r"'a' disagree on the parameter 'x': 1, 2"):
        run(project, "a -> b;", {"a": [1, 2]})


def test_ancestors_that_agree_are_none(project):
    """Equal values have different pickles here: the order of a set, and what is shared inside."""
    project.write(
        a="""
            one = "".join(["o", "ne"])
            x = (one, one) if get_input() else ("one", "".join(["on", "e"]))
            y = {"c": 1, "d": 2} if get_input() else {"d": 2, "c": 1}
            save_param(["x", "y"])
            set_output([get_input()])
        """,
        b="#multiplex cross_prod group_by 'all'\nload_param('a', globals(), ['x', 'y'])\nset_output([(x, y)])",
    )
    pipeline = run(project, "a -> b;", {"a": [0, 1]})
    assert pipeline.outputs("b") == [(("one", "one"), {"c": 1, "d": 2})]


def test_types_that_differ_disagree(project):
    project.write(a=PARAMETER, b="#multiplex cross_prod group_by 'all'\nload_param('a', globals(), ['x'])")
    with pytest.raises(ParameterError, match="disagree"):
        run(project, "a -> b;", {"a": [1, 1.0]})


def test_a_parameter_that_nobody_saved_lists_the_known_ones(project):
    project.write(a=PARAMETER, b="load_param('a', globals(), ['y'])")
    with pytest.raises(ParameterError, match="no parameter named 'y'; known are: x"):
        run(project, "a -> b;", {"a": [1]})


def test_parameters_come_from_ancestors_only(project):
    project.write(a=PARAMETER, b="load_param('c', globals(), ['y'])", c="set_output([1])")
    with pytest.raises(InputNameError, match="known are: a"):
        run(project, "a -> b; c;", {"a": [1]})


def test_a_parameter_of_a_far_ancestor_s_task_in_the_line(project):
    project.write(a=PARAMETER, b="set_output([get_input()])", c="load_param('a', globals())\nset_output([x])")
    assert run(project, "a -> b -> c;", {"a": [1, 2]}).outputs("c") == [1, 2]


# --- products --------------------------------------------------------------------------------------------------------


def test_products_with_a_list(project):
    project.write(
        a="""
            x, y, z = 1.5, [1], "no"
            save_products("kept.pkl", globals(), ["x", "y"])
            del x, y
            z = "still here"
            load_products("kept.pkl", globals(), ["x"])
            assert "y" not in globals()
            set_output([(x, z)])
        """,
        b="""
            load_products(get_data_fn("kept.pkl", "a"), globals())
            set_output([(x, y)])
        """,
    )
    pipeline = run(project, "a -> b;")
    assert pipeline.outputs("a") == [(1.5, "still here")]
    assert pipeline.outputs("b") == [(1.5, [1])]
    (task,) = pipeline.tasks("a")
    with open(os.path.join(task.path, "kept.pkl"), "rb") as file:
        assert pickle.load(file) == {"x": 1.5, "y": [1]}
    assert os.listdir(task.path) == ["kept.pkl"]


def test_products_without_a_list_are_all_that_is_public_and_can_be_pickled(project):
    project.write(a="""
        import os
        import pickle
        x, _private, unpicklable, expose = 1, 2, lambda: 3, 4
        path = None
        def function():
            pass
        class Thing:
            pass
        thing = Thing()
        numbers = [1, 2]
        save_products("all.pkl", globals())
        with open(get_data_fn("all.pkl"), "rb") as file:
            set_output([sorted(pickle.load(file))])
    """)
    assert run(project, "a;").outputs("a") == [["expose", "numbers", "path", "x"]]


def test_products_at_an_absolute_path(project, tmp_path):
    path = str(tmp_path / "elsewhere.pkl")
    project.write(a=f"""
        x = 1
        save_products({path!r}, globals(), ['x'])
        x = 2
        load_products({path!r}, globals())
        set_output([x])
    """)
    pipeline = run(project, "a;")
    assert pipeline.outputs("a") == [1]
    assert pipeline.tasks("a")[0].path is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("save_products('p', globals(), ['x', 'nothing'])", "no variable named nothing"),
        ("save_products('p', globals(), ['x', 'f'])", "can't be pickled: f"),
        ("save_products('p', globals(), ['x'])\nload_products('p', globals(), ['y'])", "no variable named y; it has x"),
    ],
)
def test_products_that_can_not_be_had(project, call, words):
    project.write(a=f"x, f = 1, lambda: 1\n{call}")
    with pytest.raises(ParameterError, match=words):
        run(project, "a;")


# --- programs --------------------------------------------------------------------------------------------------------


def test_a_program_runs_in_the_task_s_directory_and_its_output_is_appended(project):
    project.write(a="""
        logged_subprocess(["sh", "-c", "pwd; echo wrong >&2; echo product > made.txt"])
        logged_subprocess(["sh", "-c", "echo again"])
        logged_subprocess(("echo", 1, 2.5))
        set_output([1])
    """)
    pipeline = run(project, "a;")
    (task,) = pipeline.tasks("a")
    folder = Path(task.path)
    assert sorted(os.listdir(folder)) == ["echo.err", "echo.log", "made.txt", "sh.err", "sh.log"]
    assert (folder / "sh.log").read_text() == f"{folder.resolve()}\nagain\n"
    assert (folder / "sh.err").read_text() == "wrong\n"
    assert (folder / "echo.log").read_text() == "1 2.5\n"


def test_the_log_is_named_after_the_program_not_its_path(project):
    project.write(a="logged_subprocess(['/bin/echo', 'x'])\nset_output([1])")
    (task,) = run(project, "a;").tasks("a")
    assert Path(task.path, "echo.log").read_text() == "x\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sh", "-c", "echo one >&2; echo reason >&2; exit 3"], r"exit status 3; end of .*sh\.err:\none\nreason"),
        (["sh", "-c", "kill -9 $$"], "signal 9"),
        (["no-such-program-at-all"], "'no-such-program-at-all' can't be run: No such file"),
        (["echo", "a\0b"], "'echo' can't be run: embedded null byte"),
        ([], "empty"),
    ],
)
def test_a_program_that_fails_raises(project, arguments, words):
    project.write(a=f"logged_subprocess({arguments!r})")
    with pytest.raises(SubprocessFailed, match=words):
        run(project, "a;")


def test_the_error_shows_the_end_of_this_call_s_error_output(project):
    project.write(a="""
        logged_subprocess(["sh", "-c", "echo earlier >&2"])
        logged_subprocess(["sh", "-c", "yes line | head -n 2000 >&2; echo last >&2; exit 1"])
    """)
    with pytest.raises(SubprocessFailed) as caught:
        run(project, "a;")
    text = str(caught.value)
    assert text.endswith("line\nlast")
    assert "earlier" not in text
    assert len(text) < 4000


# --- temporary files -------------------------------------------------------------------------------------------------


def test_temporary_names_are_unique_outside_the_tree_and_gone_afterwards(project):
    names = output(project, """
        import os
        names = [get_tmp_fn() for _ in range(3)]
        for name in names:
            with open(name, "w") as file:
                file.write("x")
        os.remove(names[1])
        os.makedirs(names[1] + ".d/below")
        set_output([names])
    """)
    assert len(set(names)) == 3
    assert not any(Path(name).is_relative_to(project.prefix) for name in names)
    assert not any(os.path.exists(name) or os.path.exists(name + ".d") for name in names)


def test_temporary_files_are_gone_when_the_task_ends_not_only_the_run(project):
    """Of three tasks in one process each looks for what the one before has left; the second fails."""
    seen = project.root / "seen"
    project.write(a=f"""
        import os
        with open({str(seen)!r}, "a+") as file:
            file.seek(0)
            names = file.read().split()
            left = [name for name in names if os.path.exists(name)]
            file.write(get_tmp_fn() + "\\n")
        assert get_input() != 2
        set_output([(len(names), left)])
    """)
    pipeline = project.pipeline("a;", {"a": [1, 2, 3]})
    project.run(pipeline, processes=1)
    assert pipeline.outputs("a") == [(0, []), (2, [])]


@pytest.mark.parametrize("end", ["raise ValueError('no')", "import sys; sys.exit(3)", "set_output([lambda: 1])"])
def test_temporary_files_are_gone_when_the_task_fails(project, end):
    project.write(a=f"name = get_tmp_fn()\n\nwith open('name', 'w') as file:\n    file.write(name)\n{end}")
    here = os.getcwd()
    os.chdir(project.root)
    try:
        with pytest.raises((ValueError, TaskError)):
            run(project, "a;")
    finally:
        os.chdir(here)
    name = (project.root / "name").read_text()
    assert name
    assert not os.path.exists(name)
    assert not os.path.exists(os.path.dirname(name))


# --- hooks -----------------------------------------------------------------------------------------------------------


def test_a_hook_runs_in_the_segment_s_namespace(project):
    assert output(
        project,
        """
            x = 1
            def double(value):
                return 2 * value
            hook("more", globals())
            set_output([(x, y)])
        """,
        a_more="""
            x += 1
            y = double(x)
            logger.info("in the hook %s", get_data_fn("f") is not None)
        """,
    ) == (2, 4)


def test_hooks_are_found_by_the_shortened_name_of_the_segment(project):
    project.write(plots="hook('end', globals())\nset_output([x])", plot_end="x = 'shared'")
    assert run(project, "plots;").outputs("plots") == ["shared"]


def test_a_hook_that_exists_nowhere_does_nothing_and_the_log_says_so(project):
    project.write(a="hook('nowhere', globals())\nset_output([1])")
    pipeline = run(project, "a;")
    (log,) = logs(pipeline, "a")
    assert " INFO " in log
    assert "nowhere" in log
    run_log = (project.prefix / ".pipelet" / "log" / "pipelet.log").read_text()
    assert "nowhere" in run_log


def test_the_namespace_that_was_given_is_the_one_that_is_updated(project):
    assert output(project, "own = {}\nhook('h', own)\nset_output([(own['x'], 'x' in globals())])", a_h="x = 1") == (
        1,
        False,
    )


def test_a_hook_called_from_a_hook(project):
    assert output(
        project, "hook('one', globals())\nset_output([x])", a_one="hook('two', globals())", a_two="x = 3"
    ) == 3


def test_a_hook_that_raises_names_its_own_file_and_line(project):
    project.write(a="def f():\n    hook('bad', globals())\nf()", a_bad="# a comment\n\nraise ValueError('in the hook')")
    pipeline = project.pipeline("a;")
    with pytest.raises(ValueError, match="in the hook"):
        project.run(pipeline)
    (task,) = pipeline.tasks("a")
    assert f'File "{project.root}/a_bad.py", line 3' in task.error
    assert "raise ValueError('in the hook')" in task.error
    assert f'File "{project.root}/a.py", line 3, in <module>' in task.error
    assert f'File "{project.root}/a.py", line 2, in f' in task.error
    assert "worker.py" not in task.error


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_user_s_own_names_never_collide(project):
    names = [
        "a", "r", "data", "html", "call", "context", "P", "s", "t", "self", "env", "namespace", "hooks", "place",
        "tree", "directory", "task", "input", "output",
    ]
    body = "\n".join(f"{name} = {index}" for index, name in enumerate(names))
    assert output(
        project,
        f"""{body}
import os, sys, pickle
with open(get_data_fn("x"), "w") as file:
    file.write("x")
hook("more", globals())
logged_subprocess(["true"])
save_param(["data", "html"])
expose(["call"])
save_products("all", globals())
set_output([[{", ".join(names)}]])
""",
        a_more="r, html = r, html",
    ) == list(range(len(names)))


def test_only_what_is_promised_is_in_the_namespace(project):
    found = output(project, "set_output([sorted(globals())])")
    ours = {name for name in found if not name.startswith("__")}
    assert ours == {
        "expose", "get_data_fn", "get_input", "get_tmp_fn", "glob_parent", "glob_seg", "hook", "load_param",
        "load_products", "logged_subprocess", "logger", "save_param", "save_products", "seg_input", "seg_output",
        "set_output",
    }


def test_a_script_finds_what_scripts_expect(project):
    found = output(project, """
        '''The docstring.'''
        import sys
        guarded = False
        if __name__ == "__main__":
            guarded = True
        set_output([(__name__, __file__, guarded, vars(sys.modules["__main__"]) is globals(), __doc__)])
    """)
    assert found == ("__main__", str(project.root / "a.py"), True, True, "The docstring.")


def test_functions_classes_and_comprehensions_see_each_other(project):
    assert output(project, """
        from __future__ import annotations
        from dataclasses import dataclass
        scale = 2
        def twice(x):
            return scale * x
        def four_times(x):
            return twice(twice(x))
        @dataclass
        class Point:
            x: int
            def moved(self) -> Point:
                return Point(four_times(self.x))
        set_output([[Point(n).moved().x for n in range(3) if twice(n) < 5]])
    """) == [0, 4, 8]


def test_future_statements_of_the_engine_do_not_leak_into_scripts(project):
    assert output(project, "def f(x: 1 + 1): pass\nset_output([f.__annotations__['x']])") == 2


def test_an_object_of_a_segment_s_own_class_is_no_output_and_says_so(project):
    project.write(a="class Own: pass\nset_output([1, Own()])")
    with pytest.raises(OutputError, match=r"element 1 .*Own.* can't be pickled"):
        run(project, "a;")


def test_a_segment_s_own_objects_may_be_pickled_by_itself(project):
    assert output(project, """
        import copy, pickle
        class Own:
            def __init__(self, x):
                self.x = x
        again = pickle.loads(pickle.dumps(Own(3)))
        set_output([(again.x, copy.deepcopy(Own(4)).x, type(again) is Own)])
    """) == (3, 4, True)


def test_the_main_module_is_given_back(project):
    import sys

    before = sys.modules["__main__"]
    output(project, "set_output([1])")
    assert sys.modules["__main__"] is before
    project.write(a="raise ValueError")
    with pytest.raises(ValueError):  # noqa: PT011 (it has no text)
        run(project, "a;")
    assert sys.modules["__main__"] is before
