"""What runs leave on disk: the layout, the names, what moves where, and that the tree alone is enough."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from support import Project

from pipelet.errors import (
    DamagedDatabaseError,
    DatabaseError,
    ForeignDatabaseError,
    NewerDatabaseError,
    PipeletError,
    PrefixLocked,
    StorageError,
    UnknownSegmentError,
)
from pipelet.launchers import launch_interactive
from pipelet.pipeline import Pipeline
from pipelet.storage import PrefixLock
from pipelet.utils import delete_instances, rebuild_db_from_disk, tag_instances

FILE = """\
with open(get_data_fn("product.txt"), "w") as file:
    file.write(repr(get_input()))
set_output([get_input()])
"""
GROUP = """
    #multiplex cross_prod group_by 'all'
    with open(get_data_fn("product.txt"), "w") as file:
        file.write(str(len(glob_parent("product.txt"))))
    set_output([1])
"""


def run(project, dot, push=None, **options):
    pipeline = project.pipeline(dot, push, **options)
    summary = project.run(pipeline)
    return pipeline, summary


def run_failing(project, dot, push=None, **options):
    """Run where tasks may fail: by a worker, so that the others go on."""
    pipeline = project.pipeline(dot, push, **options)
    return pipeline, project.run(pipeline, processes=1)


def place(pipeline, task):
    """A task's directory as seen from its instance's ``data``."""
    (instance,) = pipeline.instances(task.segment)
    return os.path.relpath(task.path, os.path.join(instance.path, "data"))


def places(pipeline, segment):
    return [place(pipeline, task) for task in pipeline.tasks(segment)]


def walk(directory):
    return sorted(str(path.relative_to(directory)) for path in Path(directory).rglob("*"))


# --- layout ----------------------------------------------------------------------------------------------------------


def test_the_layout(project):
    project.write(
        melt="""
            #depend lib.py tables/*.txt
            import lib
            hook("plot", globals())
            x = get_input()
            save_param(["x"])
            print("to the log")
            with open(get_data_fn("product.txt"), "w") as file:
                file.write("x")
            set_output([x])
        """,
        melt_plot="y = 1",
        lib="z = 1",
        child=FILE,
    )
    (project.root / "tables").mkdir()
    (project.root / "tables" / "t.txt").write_text("table")
    pipeline, _ = run(project, "melt -> child;", {"melt": ["Lancelot", "Galahad"]})
    melt, child = (pipeline.instances(name)[0] for name in ("melt", "child"))
    assert re.fullmatch(r"melt_[A-Z2-7]{6}", os.path.relpath(melt.path, project.prefix))
    assert re.fullmatch(r"child_[A-Z2-7]{6}", os.path.relpath(child.path, melt.path))
    assert melt.path.endswith(melt.key[:6])
    assert len(melt.key) > 20
    one, two = (task.id for task in pipeline.tasks("melt"))
    three, four = (task.id for task in pipeline.tasks("child"))
    below = os.path.basename(child.path)
    assert walk(melt.path) == sorted([
        "melt.py", "melt_plot.py", "lib.py", "tables", "tables/t.txt", "melt.args", "melt.meta", "melt.journal",
        "log", f"log/{one}.log", f"log/{two}.log",
        "data", f"data/{one}_Lancelot", f"data/{one}_Lancelot/product.txt",
        f"data/{two}_Galahad", f"data/{two}_Galahad/product.txt",
        below, f"{below}/child.py", f"{below}/child.meta", f"{below}/child.journal", f"{below}/data",
        f"{below}/data/{three}_Lancelot", f"{below}/data/{three}_Lancelot/product.txt",
        f"{below}/data/{four}_Galahad", f"{below}/data/{four}_Galahad/product.txt",
    ])
    assert sorted(os.listdir(project.prefix)) == sorted([".pipelet", ".sqlstatus", os.path.basename(melt.path)])
    assert walk(project.prefix / ".pipelet") == ["discard", "log", "log/last_run", "log/pipelet.log"]
    assert Path(melt.path, "melt.py").read_bytes() == (project.root / "melt.py").read_bytes()
    assert Path(melt.path, "lib.py").read_bytes() == (project.root / "lib.py").read_bytes()


def test_a_child_lives_below_the_first_of_its_parents(project):
    project.write(a="set_output([1])", b="set_output([2])", c="set_output([3])")
    pipeline, _ = run(project, "b -> c; a -> c;")
    (parent,), (child,) = pipeline.instances("b"), pipeline.instances("c")
    assert os.path.dirname(child.path) == parent.path


def test_what_the_meta_file_tells(project):
    project.write(
        a="#multiplex cross_prod group_by 'all'\n#depend lib.py\nimport json, lib, numpy\nhook('h', globals())\n"
        "set_output([1])",
        a_h="h = 1",
        lib="x = 1",
        b="set_output([1])",
    )
    pipeline, _ = run(project, "b -> a;")
    (instance,), (parent,) = pipeline.instances("a"), pipeline.instances("b")
    text = Path(instance.path, "a.meta").read_text()
    meta = json.loads(text)
    assert text.count("\n") > 10
    assert meta["key"] == instance.key
    assert meta["parents"] == {"b": parent.key}
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", meta["created"])
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", meta["computed"])
    assert "#depend lib.py" in meta["directives"]
    assert any("group_by" in line for line in meta["directives"])
    import platform

    import numpy

    assert meta["python"] == platform.python_version()
    versions = {fact["name"]: fact["version"] for fact in meta["modules"]}
    assert versions["numpy"] == numpy.__version__
    assert versions["json"] == platform.python_version()
    assert "revision" in meta


def test_the_revision_of_the_code_is_kept(project):
    import subprocess

    project.write(a="set_output([1])")
    git = ["git", "-C", str(project.root), "-c", "user.name=n", "-c", "user.email=e@x"]
    for words in (["init", "-q"], ["add", "a.py"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "--short=7", "HEAD"], check=True, capture_output=True, text=True).stdout
    pipeline, _ = run(project, "a;")
    (instance,) = pipeline.instances("a")
    assert json.loads(Path(instance.path, "a.meta").read_text())["revision"] == f"git {head.strip()}"


def test_there_are_only_products_logs_and_task_directories_below_data(project):
    project.write(a="""
        save_param([])
        x = 1
        save_param("x")
        print("printed")
        name = get_tmp_fn()
        save_products("all.pkl", globals(), ["x"])
        logged_subprocess(["echo", "x"])
        set_output([get_input()])
    """)
    pipeline, _ = run(project, "a;", {"a": [1, 2]})
    (instance,) = pipeline.instances("a")
    names = [f"{task.id}_{task.input['aphantom']}" for task in pipeline.tasks("a")]
    files = ("all.pkl", "echo.err", "echo.log")
    assert walk(os.path.join(instance.path, "data")) == sorted([*names, *(f"{n}/{f}" for n in names for f in files)])


def test_an_instance_whose_six_characters_collide_gets_a_longer_name(project, monkeypatch):
    import pipelet.pipeline as module

    genuine = module.segment_keys

    def colliding(*arguments):
        return {name: f"AAAAAA{key[6:]}" for name, key in genuine(*arguments).items()}

    monkeypatch.setattr(module, "segment_keys", colliding)
    project.write(a=FILE)
    first, _ = run(project, "a;", {"a": [1]})
    before = walk(first.instances("a")[0].path)
    project.write(a=FILE + "y = 1\n")
    second, summary = run(project, "a;", {"a": [1]})
    assert summary.done == 1
    new, old = second.instances("a")
    assert os.path.basename(old.path) == "a_AAAAAA"
    assert os.path.basename(new.path) == f"a_{new.key[:7]}"
    assert walk(old.path) == before
    # And both are found again.
    assert run(project, "a;", {"a": [1]})[1].reused == 1
    project.write(a=FILE)
    assert run(project, "a;", {"a": [1]})[1].reused == 1


# --- names of task directories ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Lancelot", "Lancelot"),
        ("a/b", "a_b"),
        ("..", "__"),
        ("/etc/passwd", "_etc_passwd"),
        ("with space\nand line", "with_space_and_line"),
        ("nul\0inside", "nul_inside"),
        ("caf\u00e9 \u65e5\u672c", "caf\u00e9_\u65e5\u672c"),
        ("file.fits", "file_fits"),
        ("+=,-_", "+=,-_"),
        (("a", 1, 2.5), "a_1_2_5"),
        (["x", ("y", "z")], "x_y_z"),
        (1.5, "1_5"),
        (None, "None"),
        ("", ""),
        ("\udc80", "_"),
    ],
)
def test_the_input_as_text(project, value, text):
    project.write(a=FILE)
    pipeline, _ = run(project, "a;", {"a": [value, "another"]})
    first = pipeline.tasks("a")[0]
    assert place(pipeline, first) == (f"{first.id}_{text}" if text else str(first.id))
    assert ascii(first.output) == ascii([value])
    # Taken from disk, and found by a child.
    project.write(b="set_output([glob_parent('*.txt')])")
    pipeline, summary = run(project, "a -> b;", {"a": [value, "another"]})
    assert (summary.done, summary.reused) == (2, 2)
    assert sorted(pipeline.outputs("b")) == sorted([os.path.join(t.path, "product.txt")] for t in pipeline.tasks("a"))


def test_a_numpy_scalar_is_its_value(project):
    import numpy as np

    project.write(a=FILE)
    pipeline, _ = run(project, "a;", {"a": [np.int64(3), np.float64(0.5)]})
    assert [name.partition("_")[2] for name in places(pipeline, "a")] == ["3", "0_5"]


def test_the_parents_elements_stand_in_order(project):
    project.write(a="set_output(['x', 'y'])", b="set_output([1])", c=FILE)
    pipeline, _ = run(project, "b -> c; a -> c;")
    assert [name.partition("_")[2] for name in places(pipeline, "c")] == ["1_x", "1_y"]


@pytest.mark.parametrize("sign", ["n", "\u65e5", "/"])
def test_long_names_lose_their_middle(project, sign):
    value = "begin" + 300 * sign + "the_last_element"
    project.write(a=FILE)
    pipeline, _ = run(project, "a;", {"a": [value, value + "2"]})
    for task in pipeline.tasks("a"):
        text = place(pipeline, task).partition("_")[2]
        assert len(text) <= 120
        assert text.startswith("begin")
        assert text.rstrip("2").endswith("the_last_element")
        assert os.path.exists(os.path.join(task.path, "product.txt"))
    assert pipeline.outputs("a") == [value, value + "2"]


def test_a_segment_with_a_name_that_no_directory_can_have(project):
    project.write(s="set_output([1])")
    with pytest.raises(PipeletError, match="a shorter name"):
        run(project, f"{'s' * 300};")


def test_a_very_large_input(project):
    """100 megabytes: through the pickle, the database, the journal and back."""
    project.write(
        a="set_output([b'x' * 100_000_000])",
        b="set_output([(len(get_input()), get_input()[-1])])",
    )
    pipeline = project.pipeline("a -> b;")
    assert project.run(pipeline, processes=1).done == 2
    assert pipeline.outputs("b") == [(100_000_000, 120)]
    assert project.run(pipeline).reused == 2


# --- data/ itself ----------------------------------------------------------------------------------------------------

MANY = "set_output([1, 2])"
ONE = "set_output([1])"
NONE = "x = 1"
EMPTY = "set_output([])"
ZIP = "#multiplex zip\n" + FILE


@pytest.mark.parametrize(
    ("dot", "push", "scripts", "alone"),
    [
        ("x;", None, {}, True),
        ("x;", {"x": [5]}, {}, True),
        ("x;", {"x": [5, 6]}, {}, False),
        ("x;", {"x": [5, 5]}, {}, False),
        ("a -> x;", None, {"a": ONE}, True),
        ("a -> x;", None, {"a": MANY}, False),
        ("a -> x;", None, {"a": NONE}, True),
        ("a -> x;", {"a": [1, 2]}, {"a": ONE}, False),
        ("a -> x; b -> x;", None, {"a": ONE, "b": ONE}, True),
        ("a -> x; b -> x;", None, {"a": ONE, "b": MANY}, False),
        ("a -> x; b -> x;", None, {"a": ONE, "b": MANY, "x": "#multiplex cross_prod where b == 2\n" + FILE}, True),
        ("a -> x; b -> x;", None, {"a": ONE, "b": ONE, "x": "#multiplex union\n" + FILE}, False),
        ("a -> x; b -> x;", None, {"a": ONE, "b": EMPTY, "x": "#multiplex union\n" + FILE}, True),
        ("a -> x;", {"a": [1, 2]}, {"a": FILE, "x": GROUP}, True),
        ("a -> x;", None, {"a": MANY, "x": "#multiplex cross_prod group_by a\n" + FILE}, False),
        ("a -> x; b -> x;", None, {"a": ONE, "b": ONE, "x": ZIP}, True),
        ("a -> x; b -> x;", None, {"a": MANY, "b": MANY, "x": ZIP}, False),
        ("a -> x; b -> x;", {"a": [1, 0]}, {"a": "set_output([1] * get_input())", "b": ONE, "x": ZIP}, True),
    ],
)
def test_when_the_data_is_in_data_itself(project, dot, push, scripts, alone):
    project.write(**{"x": FILE, **scripts})
    pipeline, _ = run(project, dot, push)
    (found, *others) = places(pipeline, "x")
    assert (found == ".") is alone
    assert "." not in others


def test_later_runs_add_tasks_beside_the_first_which_stays(project):
    project.write(a=FILE, b=FILE)
    pipeline, _ = run(project, "a -> b;", {"a": [5]})
    assert places(pipeline, "a") == places(pipeline, "b") == ["."]
    first = pipeline.tasks("a")[0]
    pipeline, summary = run(project, "a -> b;", {"a": [4, 5]})
    assert (summary.done, summary.reused) == (2, 2)
    new = pipeline.tasks("a")[0]
    assert places(pipeline, "a") == [f"{new.id}_4", "."]
    assert Path(first.path, "product.txt").read_text() == "5"
    assert Path(new.path, "product.txt").read_text() == "4"
    assert sorted(os.listdir(first.path)) == sorted(["product.txt", f"{new.id}_4"])


SOMETIMES = """
import os
open(get_data_fn(f"half-{get_input()}-{os.path.exists(BROKEN)}"), "w").close()
print("printed", os.path.exists(BROKEN))
if os.path.exists(BROKEN) and get_input() in (1, 2):
    raise ValueError("broken")
set_output([get_input()])
"""


def breakable(project):
    """A segment some of whose tasks fail as long as a file is there."""
    broken = project.root / "broken"
    broken.write_text("")
    project.write(a=f"BROKEN = {str(broken)!r}\n{SOMETIMES}")
    return broken


def test_a_failed_task_s_directory_is_emptied_before_it_runs_again(project):
    broken = breakable(project)
    pipeline, summary = run_failing(project, "a;", {"a": [1, 3]})
    assert (summary.done, summary.failed) == (1, 1)
    failed, done = pipeline.tasks("a")
    assert os.listdir(failed.path) == ["half-1-True"]
    broken.unlink()
    pipeline, summary = run(project, "a;", {"a": [1, 3]})
    assert (summary.done, summary.reused) == (1, 1)
    again, other = pipeline.tasks("a")
    assert again.path == failed.path
    assert os.listdir(again.path) == ["half-1-False"]
    assert os.listdir(other.path) == os.listdir(done.path) == ["half-3-True"]


def test_a_failed_task_that_asks_for_no_directory_the_next_time_has_none(project):
    broken = project.root / "broken"
    broken.write_text("")
    project.write(a=f"""
        import os
        if os.path.exists({str(broken)!r}):
            open(get_data_fn("half"), "w").close()
            print("printed")
            raise ValueError
        set_output([get_input()])
    """)
    pipeline, summary = run_failing(project, "a;", {"a": [1, 2]})
    assert summary.failed == 2
    broken.unlink()
    pipeline, summary = run(project, "a;", {"a": [1, 2]})
    assert summary.done == 2
    (instance,) = pipeline.instances("a")
    assert [(task.path, task.log) for task in pipeline.tasks("a")] == [(None, None)] * 2
    assert os.listdir(os.path.join(instance.path, "data")) == []


def test_emptying_the_one_in_data_itself_leaves_the_others(project):
    broken = breakable(project)
    pipeline, _ = run_failing(project, "a;", {"a": [1]})
    assert places(pipeline, "a") == ["."]
    pipeline, summary = run_failing(project, "a;", {"a": [1, 3]})
    assert (summary.done, summary.failed) == (1, 1)
    first, second = pipeline.tasks("a")
    broken.unlink()
    pipeline, summary = run(project, "a;", {"a": [1, 3]})
    assert (summary.done, summary.reused) == (1, 1)
    assert places(pipeline, "a") == [".", f"{second.id}_3"]
    assert sorted(os.listdir(first.path)) == sorted(["half-1-False", f"{second.id}_3"])
    assert os.listdir(second.path) == ["half-3-True"]


def test_a_task_whose_directory_was_removed_runs_again_it_alone(project):
    project.write(a=FILE, b=FILE)
    pipeline, _ = run(project, "a -> b;", {"a": [1, 2, 3]})
    victim = pipeline.tasks("a")[1]
    shutil.rmtree(victim.path)
    pipeline, summary = run(project, "a -> b;", {"a": [1, 2, 3]})
    assert (summary.done, summary.reused) == (1, 5)
    assert pipeline.tasks("a")[1].path == victim.path
    assert os.path.exists(os.path.join(victim.path, "product.txt"))


# --- superseded ------------------------------------------------------------------------------------------------------


def test_a_newer_version_takes_the_name_and_the_older_moves_aside(project):
    project.write(a=FILE, b="#multiplex cross_prod group_by a % 2\n" + FILE)
    pipeline, _ = run(project, "a -> b;", {"a": [1, 2]})
    odd, even = pipeline.tasks("b")
    pipeline, summary = run(project, "a -> b;", {"a": [1, 2, 3]})
    assert (summary.done, summary.reused) == (2, 3)
    new, same = pipeline.tasks("b")
    assert same.id == even.id
    assert place(pipeline, new) == f"{new.id}_1"
    (instance,) = pipeline.instances("b")
    assert os.listdir(os.path.join(instance.path, "superseded")) == [f"{odd.id}_1"]
    assert not os.path.exists(odd.path)
    assert Path(new.path, "product.txt").exists()
    # What is wanted again comes back without running.
    pipeline, summary = run(project, "a -> b;", {"a": [1, 2]})
    assert (summary.done, summary.reused) == (0, 4)
    assert pipeline.tasks("b")[0].id == odd.id
    assert os.path.exists(odd.path)
    assert os.listdir(os.path.join(instance.path, "superseded")) == [f"{new.id}_1"]


def test_a_newer_version_of_the_one_in_data_itself_leaves_the_others(project):
    """The first class has data/ to itself, then a second one stands beside it, then the first is made anew."""
    project.write(a=FILE, b="#multiplex cross_prod group_by a % 2\n" + FILE)
    pipeline, _ = run(project, "a -> b;", {"a": [1]})
    assert places(pipeline, "b") == ["."]
    (first,) = pipeline.tasks("b")
    pipeline, _ = run(project, "a -> b;", {"a": [1, 2]})
    even = pipeline.tasks("b")[1]
    pipeline, summary = run(project, "a -> b;", {"a": [1, 2, 3]})
    new = pipeline.tasks("b")[0]
    assert place(pipeline, new) == "."
    assert sorted(os.listdir(new.path)) == sorted(["product.txt", f"{even.id}_0"])
    (instance,) = pipeline.instances("b")
    assert walk(os.path.join(instance.path, "superseded")) == [f"{first.id}_1", f"{first.id}_1/product.txt"]
    pipeline, summary = run(project, "a -> b;", {"a": [1, 2]})
    assert summary.done == 0
    assert pipeline.tasks("b")[0].id == first.id
    assert sorted(os.listdir(first.path)) == sorted(["product.txt", f"{even.id}_0"])


# --- a prefix that moves ---------------------------------------------------------------------------------------------


def rich(project, broken=True):
    """A tree with all that there may be: groups, dropped, superseded and failed tasks, parameters, tags, waiting."""
    project.write(
        a="""
            x, y = get_input(), (get_input(), 1.5)
            save_param("x")
            expose("y")
            print("printed")
            with open(get_data_fn("product.txt"), "w") as file:
                file.write("x")
            set_output([x, x + 100])
        """,
        b=FILE,
        g="""
            #multiplex cross_prod group_by a % 2
            glob_parent("*")
            with open(get_data_fn("product.txt"), "w") as file:
                file.write("x")
            set_output([get_input()])
        """,
        f="""
            open(get_data_fn("half"), "w").close()
            if get_input() == 1:
                raise ValueError("on purpose")
            set_output([get_input()])
        """,
        w=GROUP,
        lonely="hook('nothing', globals())",
    )
    dot = "a -> b; a -> g; a -> f; f -> w; lonely; g -> w;"
    run_failing(project, dot, {"a": [1, 2, 3]})
    run_failing(project, dot, {"a": [1, 2, 3, 4, *range(10, 32)]})
    pipeline, summary = run_failing(project, dot, {"a": [1, 2, *range(10, 32)]})
    assert summary.failed == 1
    assert summary.waiting == ["w"]
    tag_instances(project.prefix, [pipeline.instances("a")[0].key], "the good one")
    return dot, {"a": [1, 2, *range(10, 32)]}


def absolute_paths(project, prefix):
    """Files below a prefix that name it, or the code, but for messages to people."""
    found = []
    for path in prefix.rglob("*"):
        name = path.relative_to(prefix)
        if path.is_file() and "log" not in name.parts and str(project.root).encode() in path.read_bytes():
            found.append(str(name))
    return found


def test_no_key_and_no_record_holds_an_absolute_path(project):
    rich(project)
    connection = sqlite3.connect(project.prefix / ".sqlstatus")
    # The text of an error names the user's own file.
    connection.execute("UPDATE task SET error = NULL")
    connection.commit()
    connection.execute("VACUUM")
    connection.close()
    assert [name for name in absolute_paths(project, project.prefix) if not name.endswith("f.journal")] == []


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_prefix_goes_on_elsewhere_without_recomputing(project, move, tmp_path):
    dot, push = rich(project)
    reused = run_failing(project, dot, push)[1].reused
    assert reused > 30
    move(str(project.prefix), str(tmp_path / "else where"))
    code = tmp_path / "other code"
    code.mkdir()
    for script in project.root.glob("*.py"):
        shutil.move(str(script), code / script.name)
    there = Project(code)
    there.prefix = tmp_path / "else where"
    pipeline, summary = run_failing(there, dot, push)
    # Only what failed runs again.
    assert (summary.done, summary.reused, summary.failed) == (0, reused, 1)
    assert all(task.path.startswith(str(there.prefix)) for task in pipeline.tasks("b"))


# --- the tree alone --------------------------------------------------------------------------------------------------


def rows(sqlfile):
    """All tables but the accounts and what the next run may skip, row for row."""
    connection = sqlite3.connect(sqlfile)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for table in sorted(tables):
            if table not in ("user", "settled"):
                cursor = connection.execute(f"SELECT * FROM {table}")
                names = [column[0] for column in cursor.description]
                found[table] = sorted((dict(zip(names, row, strict=True)) for row in cursor), key=repr)
        return found
    finally:
        connection.close()


def assert_same_rows(found, expected):
    assert found.keys() == expected.keys()
    for table in expected:
        assert found[table] == expected[table], table


def test_a_database_made_anew_has_every_row_as_it_was(project):
    rich(project)
    sqlfile = project.prefix / ".sqlstatus"
    before = rows(sqlfile)
    assert {row["status"] for row in before["task"]} == {2, 3}
    assert {row["current"] for row in before["task"]} == {0, 1, 2}
    assert all(before[table] for table in ("instance", "param", "tag", "tally", "task", "task_set"))
    assert [row["waiting"] for row in before["instance"] if row["segment"] == "w"] != [None]
    rebuilt = rebuild_db_from_disk(project.prefix, project.root / "anew")
    assert rebuilt.tasks == len(before["task"])
    assert_same_rows(rows(project.root / "anew"), before)
    sqlfile.unlink()
    rebuild_db_from_disk(project.prefix)
    assert_same_rows(rows(sqlfile), before)
    rebuild_db_from_disk(project.prefix)
    assert_same_rows(rows(sqlfile), before)


def test_the_command_makes_the_database_anew_and_says_that_accounts_are_lost(project):
    project.write(a=FILE)
    run(project, "a;", {"a": [1, 2]})
    sqlfile = project.prefix / ".sqlstatus"
    before = rows(sqlfile)
    sqlfile.unlink()
    ran = project.ran("-m", "pipelet.cli.pipeutils", "-r", str(project.prefix), str(sqlfile))
    assert ran.returncode == 0, ran.stderr
    assert "Users of the web page are not kept" in ran.stdout
    assert_same_rows(rows(sqlfile), before)


def test_a_run_on_a_tree_without_a_database_makes_it_and_recomputes_nothing(project):
    dot, push = rich(project)
    reused = run_failing(project, dot, push)[1].reused
    before = rows(project.prefix / ".sqlstatus")
    (project.prefix / ".sqlstatus").unlink()
    summary = run_failing(project, dot, push)[1]
    assert (summary.done, summary.reused, summary.failed) == (0, reused, 1)
    after = rows(project.prefix / ".sqlstatus")
    # Only the failed task ran, at another moment.
    for table in ("instance", "param", "tag", "tally", "task_set"):
        kept = [{k: v for k, v in row.items() if k != "journal_end"} for row in after[table]]
        assert kept == [{k: v for k, v in row.items() if k != "journal_end"} for row in before[table]], table
    assert [row for row in after["task"] if row["status"] == 2] == [row for row in before["task"] if row["status"] == 2]


def test_without_a_database_the_run_after_an_interrupted_one_is_right(project):
    """What was queued is no record: the next run makes it again, beside what is there."""
    broken = breakable(project)
    with pytest.raises(ValueError, match="broken"):
        run(project, "a;", {"a": [3, 1, 4]})
    (project.prefix / ".sqlstatus").unlink()
    broken.unlink()
    pipeline, summary = run(project, "a;", {"a": [3, 1, 4]})
    assert (summary.done, summary.reused) == (2, 1)
    assert [sorted(os.listdir(task.path)) for task in pipeline.tasks("a")] == [
        ["half-3-True"], ["half-1-False"], ["half-4-False"],
    ]


def test_numbers_and_keys_that_stand_twice_do_not_stop_a_rebuild(project):
    project.write(a=FILE, b=FILE)
    pipeline, _ = run(project, "a -> b;", {"a": [1, 2]})
    before = rows(project.prefix / ".sqlstatus")
    (a,), (b,) = pipeline.instances("a"), pipeline.instances("b")
    # A run that was killed while it made a directory ...
    orphan = project.prefix / "a_ZZZZZZ"
    orphan.mkdir()
    meta = json.loads(Path(a.path, "a.meta").read_text())
    (orphan / "a.meta").write_text(json.dumps({**meta, "key": "Z" * 52}))
    # ... and a copy that somebody made.
    shutil.copytree(b.path, project.prefix / os.path.basename(b.path))
    rebuild_db_from_disk(project.prefix)
    after = rows(project.prefix / ".sqlstatus")
    assert after["task"] == before["task"]
    assert len(after["instance"]) == 3
    assert [row for row in after["instance"] if row["key"] != "Z" * 52] == before["instance"]
    assert run(project, "a -> b;", {"a": [1, 2]})[1].reused == 4


# --- deletion and tags -----------------------------------------------------------------------------------------------


def test_deleting_an_instance_deletes_what_descends_from_it_wherever_it_lives(project):
    project.write(a=ONE, b=ONE, c=FILE, d=FILE, e=FILE)
    pipeline, _ = run(project, "a -> c; b -> c; c -> d; b -> e;")
    path = {name: pipeline.instances(name)[0].path for name in "abcde"}
    key = {name: pipeline.instances(name)[0].key for name in "abcde"}
    # c lives below a, and descends from b too.
    assert os.path.dirname(path["c"]) == path["a"]
    gone = delete_instances(project.prefix, [key["b"]])
    assert sorted(gone) == sorted(os.path.relpath(path[name], project.prefix) for name in "bcde")
    assert os.path.isdir(path["a"])
    assert not any(os.path.exists(path[name]) for name in "bcde")
    left = rows(project.prefix / ".sqlstatus")
    assert [row["segment"] for row in left["instance"]] == ["a"]
    assert {row["instance"] for row in left["task"]} == {left["instance"][0]["id"]}
    assert run(project, "a -> c; b -> c; c -> d; b -> e;")[1].done == 4


def test_deleting_by_the_beginning_of_a_key(project):
    project.write(a=FILE)
    pipeline, _ = run(project, "a;")
    (instance,) = pipeline.instances("a")
    delete_instances(project.prefix, instance.key[:6])
    assert pipeline.instances("a") == []
    with pytest.raises(UnknownSegmentError, match="begins with"):
        delete_instances(project.prefix, [instance.key[:6]])


def test_deletion_takes_the_lock_of_the_runs(project):
    project.write(a=FILE)
    pipeline, _ = run(project, "a;")
    (instance,) = pipeline.instances("a")
    with PrefixLock(str(project.prefix / ".pipelet" / "lock")), pytest.raises(PrefixLocked, match="pid"):
        delete_instances(project.prefix, [instance.key])
    assert os.path.isdir(instance.path)


def test_rebuilding_takes_the_lock_of_the_runs(project):
    project.write(a=FILE)
    run(project, "a;")
    with PrefixLock(str(project.prefix / ".pipelet" / "lock")), pytest.raises(PrefixLocked, match="pid"):
        rebuild_db_from_disk(project.prefix)


def test_tags_come_and_go_and_survive_a_rebuild(project):
    project.write(a=FILE)
    pipeline, _ = run(project, "a;")
    (instance,) = pipeline.instances("a")
    assert instance.tag is None
    for given, kept in [("good", "good"), ("two words\u2192", "two words\u2192"), ("a half \udc80", "a half \\udc80")]:
        tag_instances(project.prefix, [instance.key], given)
        assert pipeline.instances("a")[0].tag == kept
        rebuild_db_from_disk(project.prefix)
        assert pipeline.instances("a")[0].tag == kept
    tag_instances(project.prefix, [instance.key], None)
    assert pipeline.instances("a")[0].tag is None
    tag_instances(project.prefix, [instance.key], "  ")
    assert pipeline.instances("a")[0].tag is None
    rebuild_db_from_disk(project.prefix)
    assert pipeline.instances("a")[0].tag is None


# --- databases of others ---------------------------------------------------------------------------------------------


def foreign_text(path):
    path.write_text("no database at all\n" * 100)


def pipelet_1(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE segments (seg_id TEXT, seg TEXT, curdir TEXT, param TEXT)")
    connection.execute("CREATE TABLE tasks (task_id INTEGER, seg_id TEXT, status TEXT)")
    connection.commit()
    connection.close()


def other_program(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE cookies (name TEXT)")
    connection.commit()
    connection.close()


def newer(path):
    project = Project(path.parent)
    project.prefix = path.parent / "scratch"
    project.write(a="x = 1")
    run(project, "a;", sqlfile=path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1000")
    connection.commit()
    connection.close()


def damaged(path):
    project = Project(path.parent)
    project.prefix = path.parent / "scratch"
    project.write(a="x = 1")
    run(project, "a;", sqlfile=path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (foreign_text, ForeignDatabaseError, "sqlfile"),
        (pipelet_1, ForeignDatabaseError, "Pipelet 1.*sqlfile"),
        (other_program, ForeignDatabaseError, "sqlfile"),
        (newer, NewerDatabaseError, "newer version.*sqlfile"),
        (damaged, DamagedDatabaseError, "pipeutils -r"),
    ],
)
def test_a_database_that_is_not_ours_is_left_untouched(project, make, kind, words, processes):
    sqlfile = project.root / "status.db"
    make(sqlfile)
    before = sqlfile.read_bytes()
    project.write(a=FILE)
    pipeline = project.pipeline("a;", {"a": [1]}, sqlfile=sqlfile)
    with pytest.raises(kind, match=words):
        project.run(pipeline, processes)
    for read in (pipeline.status, pipeline.explain, lambda: pipeline.tasks("a"), lambda: pipeline.instances("a")):
        with pytest.raises(DatabaseError):
            read()
    with pytest.raises(DatabaseError):
        tag_instances(project.prefix, ["A"], "x", sqlfile=sqlfile)
    assert sqlfile.read_bytes() == before
    # The prefix is free again, and another file does.
    assert project.run(project.pipeline("a;", {"a": [1]}, sqlfile=project.root / "other.db")).done == 1


def test_a_damaged_meta_is_named_and_nothing_is_lost(project):
    project.write(a=FILE)
    pipeline, _ = run(project, "a;", {"a": [1]})
    (instance,) = pipeline.instances("a")
    meta = Path(instance.path, "a.meta")
    kept = meta.read_text()
    meta.write_text("{")
    (project.prefix / ".sqlstatus").unlink()
    with pytest.raises(StorageError, match=r"a\.meta is damaged"):
        run(project, "a;", {"a": [1]})
    meta.write_text(kept)
    assert run(project, "a;", {"a": [1]})[1].reused == 1


def test_pickles_of_rows_are_plain(project):
    """What a record holds can be read with the standard library alone."""
    project.write(a="set_output([(1, 'x')])")
    run(project, "a;")
    import msgpack

    (row,) = rows(project.prefix / ".sqlstatus")["task"]
    assert [pickle.loads(blob) for blob in msgpack.unpackb(row["output"])] == [(1, "x")]


def test_tree_of_pipelet_1_in_the_same_prefix_is_passed_over(tmp_path: Path) -> None:
    """Its directories look like ours, but their .meta is no JSON: a run leaves them alone and goes on beside them."""
    old = tmp_path / "prefix" / "knights_YFLJ65"
    old.mkdir(parents=True)
    (old / "knights.meta").write_text("[tasks]\ndate = 2011-05-04\n")
    (tmp_path / "knights.py").write_text("set_output(['Lancelot'])\n")
    P = Pipeline("knights", code_dir=tmp_path, prefix=tmp_path / "prefix")
    w, _ = launch_interactive(P, log_level=0)
    assert w.run().done == 1
    (tmp_path / "prefix" / ".sqlstatus").unlink()
    w, _ = launch_interactive(P, log_level=0)
    assert w.run().reused == 1
    assert [path.name for path in old.iterdir()] == ["knights.meta"]
