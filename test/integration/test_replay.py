"""One task again, as it ran: what it sees, what is compared, and that nothing on record changes."""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Lab, Project

from pipelet.environment import Environment, EnvironmentBase
from pipelet.errors import MissingDatabaseError, PipeletError, ReplayError
from pipelet.replayed import Replayed
from pipelet.utils import replay_task

#: Tells in the output all that a segment can see of its input and its ancestors, files by their content.
SEE = """
seen = {"seg_input": seg_input, "input": get_input()}
def read(paths):
    from pathlib import Path
    return [Path(path).read_text() for path in paths]
"""
FILE = """
def product():
    with open(get_data_fn("x.txt"), "w") as file:
        file.write(__file__.rpartition("/")[2] + repr(seg_input))
product()
"""
OUT = "set_output([seen])\n"
MEMBERS = 'seen["members"] = [get_input("a"), get_input("b")]\n'


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of temporary directories."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


def state(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and content of everything below a directory."""
    found = {}
    for folder, folders, names in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in (*folders, *names))):
            about = os.lstat(path)
            content = Path(path).read_bytes() if os.path.isfile(path) else b""
            found[path] = (about.st_mode, about.st_mtime_ns, content)
    return found


def numbers(project: Project) -> dict[int, str]:
    """Every task on record, superseded ones too: its segment."""
    from pipelet.statusdb import Reader

    with Reader.open(project.prefix / ".sqlstatus") as reader:
        return {
            row.id: instance.segment for instance in reader.instances() for row in reader.tasks(instance.id, None, None)
        }


def again(project: Project, task: int, **options: Any) -> Replayed:
    return replay_task(project.prefix / ".sqlstatus", task, **options)


def all_again(project: Project) -> Iterator[Replayed]:
    """Each task replayed; the code directory is put away meanwhile, and the prefix does not change."""
    before = state(project.prefix)
    away = project.root.parent / "away"
    away.mkdir()
    scripts = list(project.root.glob("*.py"))
    for script in scripts:
        script.rename(away / script.name)
    try:
        for task in sorted(numbers(project)):
            yield again(project, task)
    finally:
        for script in scripts:
            (away / script.name).rename(script)
        away.rmdir()
    assert state(project.prefix) == before


# --- what it sees ----------------------------------------------------------------------------------------------------

GRAPHS = {
    "alone": ("a", {"a": SEE + OUT}, {}),
    "pushed": ("a", {"a": SEE + OUT}, {"a": ["x", (1, 2.5), None]}),
    "cross_prod": (
        "a -> c; b -> c",
        {"a": "set_output(get_input())", "b": "set_output([1, 2])", "c": SEE + 'seen["b"] = get_input("b")\n' + OUT},
        {"a": ["x", "y"]},
    ),
    "where": (
        "a -> c; b -> c",
        {
            "a": "set_output([1, 2])",
            "b": "set_output([2, 3])",
            "c": "#multiplex cross_prod where 'a == b'\n" + SEE + OUT,
        },
        {},
    ),
    "union": (
        "a -> c; b -> c",
        {
            "a": FILE + "set_output([1, 2])",
            "b": FILE + "set_output([2, 3])",
            "c": "#multiplex union\n" + SEE + 'seen["each"] = [get_input("a"), get_input("b")]\n'
            'seen["files"] = read(glob_parent("*.txt"))\n' + OUT,
        },
        {},
    ),
    "union of a parent and its own parent": (
        "a -> b; a -> c; b -> c",
        {
            "a": FILE + "set_output([1])",
            "b": FILE + "set_output([2])",
            "c": "#multiplex union\n" + SEE + 'seen["files"] = read(glob_parent("*.txt"))\n' + OUT,
        },
        {},
    ),
    "zip": (
        "a -> c; b -> c",
        {"a": "set_output([3, 2, 1])", "b": "set_output(list('xyz'))", "c": "#multiplex zip\n" + SEE + OUT},
        {},
    ),
    "group_by": (
        "a -> c; b -> c",
        {
            "a": FILE + "set_output([get_input(), get_input() + 10])",
            "b": "set_output(['u', 'v'])",
            "c": "#multiplex cross_prod group_by 'a % 2'\n" + SEE
            + MEMBERS + 'seen["files"] = read(glob_parent("x.txt", "a"))\n' + OUT,
        },
        {"a": [4, 3, 2, 1]},
    ),
    "group_by with where": (
        "a -> c; b -> c",
        {
            "a": "set_output([1, 2, 3])",
            "b": "set_output([1, 2, 3])",
            "c": "#multiplex cross_prod group_by 'a % 2' where 'a <= b'\n" + SEE + MEMBERS + OUT,
        },
        {},
    ),
    "group_by of a zip": (
        "a -> c; b -> c",
        {
            "a": "set_output([get_input()])",
            "b": "set_output(list('xyz'))",
            "c": "#multiplex zip group_by 'b > \"x\"'\n" + SEE + MEMBERS + OUT,
        },
        {"a": [9, 8, 7]},
    ),
    "group_by of a union": (
        "a -> c; b -> c",
        {
            "a": "set_output([1, 2])",
            "b": "set_output([3])",
            "c": "#multiplex union group_by 'a is None'\n" + SEE + MEMBERS + OUT,
        },
        {},
    ),
    "silent parents": (
        "a -> c; b -> c",
        {"a": FILE, "b": "set_output([1])", "c": SEE + 'seen["files"] = read(glob_parent("*/x.txt", "a"))\n' + OUT},
        {"a": ["x", "y"]},
    ),
    "silent parents in a class": (
        "a -> c",
        {
            "a": FILE,
            "c": "#multiplex cross_prod group_by 'a'\n" + SEE + 'seen["members"] = get_input("a")\n'
            'seen["files"] = read(glob_parent("*/x.txt"))\n' + OUT,
        },
        {"a": ["x", "y"]},
    ),
    "ancestors": (
        "a -> b -> c; a -> c",
        {
            "a": "p = [get_input(), 5]\nsave_param('p')\n" + FILE + "set_output(get_input())",
            "b": "q = (get_input(),)\nexpose('q')\n" + FILE + "set_output(get_input())",
            "c": "#multiplex cross_prod where 'a == b'\n" + SEE
            + "load_param('a', globals())\nload_param('b', globals(), ['q'])\n"
            'seen["params"] = [p, q]\n'
            'seen["files"] = read([get_data_fn("x.txt", "a")] + glob_seg("a", "*.txt"))\n' + OUT,
        },
        {"a": ["x", "y"]},
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_task_sees_what_it_saw(project: Project, kept: Path, name: str) -> None:
    dot, scripts, push = GRAPHS[name]
    project.write(**scripts)
    assert project.run(project.pipeline(dot, push)).failed == 0
    found = list(all_again(project))
    assert len(found) >= len(scripts)
    for replayed in found:
        assert (replayed.same, replayed.notes) == (True, ()), str(replayed)


def test_versions_that_were_superseded_see_the_versions_of_their_time(project: Project, kept: Path) -> None:
    dot = "a -> g -> c"
    project.write(
        a=FILE + "set_output(get_input())",
        g="#multiplex cross_prod group_by 'a > 10'\n" + FILE.replace("seg_input", "get_input('a')")
        + 'set_output([get_input("a")])',
        c=SEE + 'seen["files"] = read(glob_parent("*")) + read(glob_seg("a", "*"))\n' + OUT,
    )
    for inputs in ([2, 1], [3, 2, 1], [1, 3]):
        assert project.run(project.pipeline(dot, {"a": inputs})).failed == 0
    found = list(all_again(project))
    assert len(found) == 3 + 3 + 3
    for replayed in found:
        assert (replayed.same, replayed.notes) == (True, ()), str(replayed)
    outputs = [item.output[0]["files"] for item in found if item.segment == "c" and item.output]
    assert sorted(map(len, outputs)) == [1 + 2, 1 + 2, 1 + 3]


def test_earlier_runs_that_are_no_longer_known_are_said(project: Project, kept: Path) -> None:
    dot = "a -> c"
    project.write(a=FILE + "set_output(0)", c='set_output(len(glob_seg("a", "*")))')
    for inputs in ([1, 2], [1, 2, 3]):
        project.run(project.pipeline(dot, {"a": inputs}))
    first, last = sorted(task for task, segment in numbers(project).items() if segment == "c")
    assert again(project, first).output == [2]
    (journal,) = project.prefix.glob("a_*/a.journal")
    journal.unlink()
    replayed = again(project, first)
    assert "no longer known" in replayed.notes[0]
    assert replayed.differences == ("element 0 differs: 3 now, 2 recorded",)
    assert again(project, last).same


def test_the_code_that_was_kept_is_what_runs(project: Project, kept: Path) -> None:
    (project.root / "tables").mkdir()
    (project.root / "data").mkdir()
    (project.root / "tables" / "t.txt").write_text("table")
    (project.root / "data" / "d.txt").write_text("data")
    (project.root / "pack").mkdir()
    (project.root / "pack" / "inner.py").write_text("def name(): return 'inner of then'\n")
    project.write(
        lib="from pack import inner\ndef f(x): return ('then', x)\nclass Thing:\n    def __init__(self): self.x = 1\n",
        a="""\
        #depend lib.py pack/*.py tables/t.txt data/d.txt
        import os, lib
        hook("plot", globals())
        here = os.path.dirname(__file__)
        from pathlib import Path
        tables = [Path(here, name).read_text() for name in ("tables/t.txt", "data/d.txt")]
        tables += [Path("tables/t.txt").read_text()]
        set_output([lib.f(get_input()), plotted, tables, lib.inner.name(), lib.Thing()])
        """,
        a_plot="plotted = 'then'",
    )
    os.chdir(project.root)
    project.run(project.pipeline("a", {"a": [1]}))
    for name in ("lib.py", "a_plot.py", "a.py", "pack/inner.py"):
        (project.root / name).write_text("raise SystemExit('of today')\n")
    (project.root / "tables" / "t.txt").write_text("of today")
    sys.path.insert(0, str(project.root))
    try:
        with pytest.raises(SystemExit):
            import lib  # noqa: F401
        for _ in range(2):
            replayed = again(project, 1)
            assert (replayed.same, replayed.notes) == (True, ()), str(replayed)
        assert os.getcwd() == str(project.root)
        assert "lib" not in sys.modules
    finally:
        sys.path.remove(str(project.root))


def test_modules_that_the_process_has_from_elsewhere_come_back(project: Project, kept: Path) -> None:
    project.write(lib="version = 1", a="#depend lib.py\nimport lib\nset_output(lib.version)")
    project.run(project.pipeline("a"))
    project.write(lib="version = 2")
    sys.path.insert(0, str(project.root))
    try:
        import lib

        assert again(project, 1).output == [1]
        assert sys.modules["lib"] is lib
        assert lib.version == 2
    finally:
        sys.path.remove(str(project.root))
        del sys.modules["lib"]


def test_kept_code_that_was_edited_is_said(project: Project, kept: Path) -> None:
    project.write(a="set_output(1)")
    project.run(project.pipeline("a"))
    (script,) = project.prefix.glob("a_*/a.py")
    script.write_text("set_output(2)")
    replayed = again(project, 1)
    assert "it was edited: code a.py" in replayed.notes[0]
    assert replayed.differences == ("element 0 differs: 2 now, 1 recorded",)
    script.unlink()
    with pytest.raises(ReplayError, match=r"a\.py, a part of the code that ran, is not there"):
        again(project, 1)


def test_modules_that_were_not_kept(project: Project, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    project.write(lib="version = 1", a="import lib\nset_output(lib.version)")
    project.run(project.pipeline("a"))
    replayed = again(project, 1)
    assert "ModuleNotFoundError: No module named 'lib'" in str(replayed)
    assert "--code-dir" in replayed.notes[0]
    replayed = again(project, 1, code_dir=project.root)
    assert (replayed.same, replayed.notes) == (True, ())
    project.write(lib="version = 2")
    replayed = again(project, 1, code_dir=project.root)
    assert replayed.differences == ("element 0 differs: 2 now, 1 recorded",)
    assert replayed.notes == (f"lib.py in {project.root} is not the one that it ran with",)
    assert not (project.root / "__pycache__").exists()
    with pytest.raises(ReplayError, match="does not exist"):
        again(project, 1, code_dir=project.root / "nowhere")


# --- the environment's class -----------------------------------------------------------------------------------------

MINE = """
import math
from pipelet.environment import Environment
TWO = 2
class Mine(Environment):
    def doubled(self, x):
        return TWO * math.floor(x)
"""


def test_the_environment_class_is_kept_with_the_instance(project: Project, kept: Path) -> None:
    project.write(mine=MINE, a="set_output(doubled(get_input()))")
    project.write(
        main="""
        from mine import Mine
        from pipelet.launchers import launch_process
        from pipelet.pipeline import Pipeline
        P = Pipeline("a", prefix="prefix", env=Mine)
        P.push(a=[1.5])
        launch_process(P, 1)[0].run()
        """
    )
    assert project.ran("main.py").returncode == 0
    for replayed in all_again(project):
        assert (replayed.output, replayed.same, replayed.notes) == ([2], True, ())


def test_a_class_of_the_main_script(project: Project, kept: Path) -> None:
    main = MINE + (
        "from pipelet.launchers import launch_interactive\nfrom pipelet.pipeline import Pipeline\n"
        'P = Pipeline("a", prefix="prefix", env=Mine)\nlaunch_interactive(P)[0].run()\n'
    )
    project.write(main=main, a="set_output(doubled(2.5))")
    assert project.ran("main.py").returncode == 0
    assert [item.output for item in all_again(project)] == [[4]]


def test_the_smaller_environment(project: Project, kept: Path) -> None:
    project.write(a="set_output('save_param' in globals())")
    project.run(project.pipeline("a", env=EnvironmentBase))
    assert [item.output for item in all_again(project)] == [[False]]


class Local(Environment):
    """A class of these tests."""

    def tripled(self, x: int) -> int:
        """Three times as much."""
        return 3 * x


def test_a_class_that_was_lost_or_kept_by_another_python(project: Project, kept: Path) -> None:
    project.write(a="set_output(tripled(1))")
    project.run(project.pipeline("a", env=Local))
    (meta,) = project.prefix.glob("a_*/a.meta")
    assert "return 3 * x" in meta.read_text()
    (pickled,) = project.prefix.glob("a_*/depend/environment.pickle")
    text = meta.read_text()
    meta.write_text(text.replace(f'"python": "{sys.version_info[0]}.{sys.version_info[1]}.', '"python": "3.7.'))
    with pytest.raises(ReplayError, match=r"environment class Local was kept as Python 3\.7"):
        again(project, 1)
    meta.write_text(text)
    assert again(project, 1).output == [3]
    pickled.unlink()
    with pytest.raises(ReplayError, match="which holds the environment class Local, is not there"):
        again(project, 1)


# --- what is compared ------------------------------------------------------------------------------------------------


def test_an_output_that_differs(project: Project, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(a='import os\nset_output(["same", *os.environ["TOLD"].split()])')
    monkeypatch.setenv("TOLD", "x y")
    project.run(project.pipeline("a"))
    assert str(again(project, 1)).splitlines()[1] == "output: equal to the recorded one, 3 elements"
    monkeypatch.setenv("TOLD", "x z w")
    replayed = again(project, 1)
    assert not replayed.same
    assert replayed.differences == (
        "4 elements now, 3 elements recorded", "element 2 differs: 'z' now, 'y' recorded",
    )
    assert "output: differs from the recorded one" in str(replayed)
    monkeypatch.setenv("TOLD", " ".join(map(str, range(30))))
    project.write(a='import os\nset_output([0] * 30)\nif "TOLD" in os.environ: set_output(list(range(30)))')
    monkeypatch.delenv("TOLD")
    project.run(project.pipeline("a"))
    monkeypatch.setenv("TOLD", "")
    assert again(project, 2).differences[-1] == "and 21 more elements differ"


@pytest.mark.parametrize(("then", "now"), [("1", ""), ("", "1")])
def test_no_particular_output_is_another_one(
    project: Project, kept: Path, monkeypatch: pytest.MonkeyPatch, then: str, now: str
) -> None:
    project.write(a='import os\nif os.environ["TOLD"]: set_output(1)')
    monkeypatch.setenv("TOLD", then)
    project.run(project.pipeline("a"))
    assert again(project, 1).same
    monkeypatch.setenv("TOLD", now)
    (words,) = again(project, 1).differences
    assert words in ("no particular output now, 1 element recorded", "1 element now, no particular output recorded")


def test_its_own_directory_in_the_output_is_no_difference(project: Project, kept: Path) -> None:
    project.write(a='set_output([(get_input(), {"path": [get_data_fn("x.fits")]})])')
    project.run(project.pipeline("a", {"a": [1, 2]}))
    for replayed in all_again(project):
        assert replayed.same
        assert replayed.output is not None
        assert replayed.output[0][1]["path"][0].startswith(str(kept))


def test_products_are_compared_by_size(project: Project, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(
        a="""
        import os, pathlib
        os.mkdir(get_data_fn("deep"))
        for name in os.environ["TOLD"].split():
            pathlib.Path(get_data_fn(name)).write_text(name)
        """
    )
    monkeypatch.setenv("TOLD", "same deep/gone grown")
    project.run(project.pipeline("a", {"a": [1]}))
    project.run(project.pipeline("a", {"a": [1, 2]}))
    (grown,) = project.prefix.glob("a_*/data/grown")
    grown.write_text("x")
    monkeypatch.setenv("TOLD", "same deep/new grown")
    replayed = again(project, 1)
    assert [(item.name, item.size, item.recorded) for item in replayed.products] == [
        ("deep/gone", None, 9), ("deep/new", 8, None), ("grown", 5, 1), ("same", 4, 4),
    ]
    assert "    deep/gone: not made, 9 bytes recorded\n" in str(replayed)
    assert "    deep/new: 8 bytes, not recorded\n" in str(replayed)
    assert "    grown: 5 bytes, 1 recorded\n" in str(replayed)
    assert Path(replayed.data, "same").read_text() == "same"
    assert replayed.same


def test_tasks_that_failed(project: Project, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = """
    import os
    open(get_data_fn("half"), "w").close()
    if os.environ["TOLD"]:
        int("no number")
    set_output(1)
    """
    two = Lab(project, "a -> b").write(a=bad, b="")
    monkeypatch.setenv("TOLD", "1")
    two.ran(a=[7])
    replayed = again(project, 1)
    assert (replayed.status, replayed.same, replayed.differences) == ("failed", False, ())
    assert "on record: failed: ValueError: invalid literal" in str(replayed)
    assert isinstance(replayed.error, ValueError)
    # with its frames, for a debugger
    assert traceback.extract_tb(replayed.error.__traceback__)[-1].filename.endswith("/code/a.py")
    monkeypatch.setenv("TOLD", "")
    replayed = again(project, 1)
    assert (replayed.status, replayed.differences) == ("done", ("it failed then, and is done now",))


def test_what_it_prints_and_logs_is_shown_and_kept(
    project: Project, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(
        a="""
        import os, subprocess, sys
        print("printed")
        print("to the error output", file=sys.stderr)
        logger.warning("logged")
        path = get_tmp_fn()
        open("made here", "w").close()
        set_output([os.path.dirname(os.path.dirname(path)) != ""])
        """
    )
    project.run(project.pipeline("a"))
    capsys.readouterr()
    replayed = again(project, 1, directory=project.root / "new" / "place")
    out, err = capsys.readouterr()
    assert out == "printed\n"
    assert "to the error output\n" in err
    assert "WARNING logged" in err
    place = project.root / "new" / "place"
    assert replayed.directory == str(place)
    assert sorted(path.name for path in place.iterdir()) == ["code", "log", "tmp"]
    log = (place / "log" / "1.log").read_text()
    assert all(words in log for words in ("printed", "to the error output", "WARNING logged"))
    assert (place / "code" / "made here").exists()
    assert list((place / "tmp").iterdir()) == []


# --- where it may not go ---------------------------------------------------------------------------------------------


def test_the_tree_is_read_only(project: Project, kept: Path) -> None:
    project.write(a=FILE + "set_output(get_input())", b="#depend lib.py\nimport lib\n" + SEE + FILE + OUT, lib="")
    project.run(project.pipeline("a -> b", {"a": [1]}))
    paths = [project.prefix, *project.prefix.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        before = state(project.prefix)
        assert all(again(project, task).same for task in (1, 2))
        assert state(project.prefix) == before
    finally:
        for path in paths:
            path.chmod(modes[path])


def test_directories_that_will_not_do(project: Project, kept: Path) -> None:
    project.write(a="set_output(1)")
    project.run(project.pipeline("a"))
    with pytest.raises(ReplayError, match="lies in the tree"):
        again(project, 1, directory=project.prefix / "inside")
    with pytest.raises(ReplayError, match="is not empty"):
        again(project, 1, directory=project.root)
    (project.root / "file").touch()
    with pytest.raises(ReplayError, match="can't be made"):
        again(project, 1, directory=project.root / "file")
    assert list(kept.iterdir()) == []


def test_what_can_not_be_found(project: Project, kept: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDatabaseError, match="there is no database"):
        again(project, 1)
    project.write(a="set_output(1)")
    project.run(project.pipeline("a", sqlfile=tmp_path / "elsewhere.sql"))
    with pytest.raises(ReplayError, match=r"there is no task 5"):
        replay_task(tmp_path / "elsewhere.sql", 5, prefix=project.prefix)
    with pytest.raises(ReplayError, match="give their root"):
        replay_task(tmp_path / "elsewhere.sql", 1)
    assert list(kept.iterdir()) == []
    assert replay_task(tmp_path / "elsewhere.sql", 1, prefix=project.prefix).same


def test_a_moved_prefix_and_a_database_that_is_behind(project: Project, kept: Path, tmp_path: Path) -> None:
    project.write(a=FILE + "set_output(get_input())", b=SEE + 'seen["f"] = read(glob_parent("*"))\n' + OUT)
    project.run(project.pipeline("a -> b", {"a": [1]}))
    shutil.copyfile(project.prefix / ".sqlstatus", tmp_path / "older")
    project.run(project.pipeline("a -> b", {"a": [1, 2]}))
    shutil.move(project.prefix, tmp_path / "moved")
    shutil.copyfile(tmp_path / "older", tmp_path / "moved" / ".sqlstatus")
    before = state(tmp_path / "moved")
    for task in (1, 2, 3, 4):
        assert replay_task(tmp_path / "moved" / ".sqlstatus", task).same
    assert state(tmp_path / "moved") == before


def test_a_parent_that_was_deleted_by_hand(project: Project, kept: Path) -> None:
    from pipelet.utils import rebuild_db_from_disk

    project.write(a="set_output([1, 2])", b="set_output(3)", c="#multiplex cross_prod group_by 'a'\nset_output(1)")
    project.run(project.pipeline("a -> c; b -> c"))
    (gone,) = project.prefix.glob("b_*")
    shutil.rmtree(gone)
    rebuild_db_from_disk(project.prefix)
    task = next(task for task, segment in numbers(project).items() if segment == "c")
    with pytest.raises(PipeletError, match="members of its class"):
        again(project, task)
