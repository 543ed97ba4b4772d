"""What a user can get wrong: told in a line or two, with exit status 1 and no traceback, and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import REPOSITORY, Project, run_to_end, values

from pipelet.errors import ExpansionError

#: How a main script runs: one task after the other here, or by processes.
MODES = [("-d",), ("-p", "2")]
SET = "set_output([get_input()])"


class Site(Project):
    """A project whose ``main.py`` is the one that `pipeutils -c` gives, with a graph and a push of its own."""

    def main(self, graph: str = "a -> b;", push: str = "a=[1, 2]", **places: str) -> Site:
        """Write ``main.py``; ``PREFIX`` and ``CODE_DIR`` can be given."""
        text = (REPOSITORY / "pipelet" / "static" / "main.py").read_text()
        changes = {"default1 -> default2;": graph, "default1=[1, 2, 3]": push, "PREFIX = HERE": 'PREFIX = "./prefix"'}
        changes |= {("PREFIX = HERE" if name == "PREFIX" else "CODE_DIR = HERE"): f"{name} = {value!r}"
                    for name, value in places.items()}
        for old, new in changes.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (self.root / "main.py").write_text(text)
        return self

    def fails(self, *words: str, lines: int = 2, options: tuple[str, ...] = ()) -> str:
        """Run ``main.py``, which must say what is wrong in so many lines; give these."""
        result = self.ran("main.py", *options)
        assert result.returncode == 1, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        assert 1 <= len(result.stderr.splitlines()) <= lines, result.stderr
        for word in words:
            assert re.search(word, result.stderr), f"{word!r} is not in:\n{result.stderr}"
        return result.stderr

    def works(self, *options: str) -> tuple[int, int]:
        """Run ``main.py``, which must work; give the numbers of tasks done and taken from disk."""
        result = self.ran("main.py", *options)
        assert result.returncode == 0, result.stdout + result.stderr
        found = re.search(r"(\d+) tasks? done, (\d+) taken from disk, 0 failed", result.stdout)
        assert found, result.stdout
        return int(found[1]), int(found[2])

    def products(self) -> dict[str, tuple[bytes, int]]:
        """Each product below the prefix: content and time of change."""
        found = self.prefix.glob("**/data/**/*")
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found if path.is_file()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two segments that have run, with a product each."""
    made = Site(tmp_path)
    text = "open(get_data_fn('product.txt'), 'w').write(str(get_input()))\n" + SET
    made.write(a=text, b=text)
    return made.main()


def test_the_site_itself_works(site: Site) -> None:
    assert site.works("-d") == (4, 0)
    assert site.works("-p", "2") == (0, 4)
    assert len(site.products()) == 4


# --- what is known before anything runs


@pytest.mark.parametrize(
    ("graph", "push", "words"),
    [
        ("knights -> melt;", "knigths=[1]", ["no segment named 'knigths'", "did you mean 'knights'"]),
        ("a -> b;", "b=[1]", [r"'b' has parents \(a\)", "push to a segment without parents: a"]),
        ("a -> b;", "a=3", [r"push\(a=\[3\]\)"]),
        ("a -> b;", "a=[lambda: 1]", [r"input 0 of push\(a=\.\.\.\)"]),
        ("a -> b;", "a=[1, open(os.devnull)]", [r"input 1 of push\(a=\.\.\.\)"]),
    ],
)
def test_a_wrong_push(site: Site, graph: str, push: str, words: list[str]) -> None:
    site.works("-d")
    before = site.products()
    site.main(graph, push).fails(*words)
    assert site.products() == before


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ("a -- b;", ["line 2, column 3", "write `a -> b`"]),
        ("a -> b; b -> a;", ["`a -> b -> a` is a cycle"]),
        ("a -> my-segment;", ["my-segment"]),
        ("a -> ;", ["line 2"]),
        ("", ["names no segment"]),
    ],
)
def test_a_graph_that_is_none(site: Site, graph: str, words: list[str]) -> None:
    # the line of the graph and a mark below it come on top
    site.main(graph, "a=[1]").fails(*words, lines=4)


@pytest.mark.parametrize("mode", MODES)
def test_a_code_directory_that_does_not_exist(site: Site, mode: tuple[str, ...]) -> None:
    site.main(CODE_DIR="/nowhere/code").fails("/nowhere/code does not exist", options=mode)
    assert not site.prefix.exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_prefix_that_can_not_be_made(site: Site, mode: tuple[str, ...]) -> None:
    (site.root / "file").write_text("mine")
    site.main(PREFIX="./file/below").fails("file/below", options=mode)
    site.main(PREFIX="./file").fails("file", options=mode)
    assert (site.root / "file").read_text() == "mine"


@pytest.mark.parametrize("mode", MODES)
def test_a_prefix_that_can_not_be_written(site: Site, mode: tuple[str, ...]) -> None:
    if os.getuid() == 0:
        # nothing is forbidden to root: a place where not even root can make a file
        site.main(PREFIX="/proc/1/pipelet").fails("/proc/1/pipelet", options=mode)
        return
    site.prefix.mkdir()
    site.prefix.chmod(0o555)
    site.fails(str(site.prefix), "Permission denied", options=mode)


@pytest.mark.parametrize(
    ("directive", "column"),
    [
        ("#multiplex zap", 12),
        ("#multiplex cross_prod whre a", 23),
        ("#multiplex cross_prod where a[", 30),
        ("#multiplex where nobody == 1", 18),
        ("#multiplex cross_prod group_by a group_by a", 34),
    ],
)
def test_a_multiplex_that_can_not_be_parsed_shows_line_and_column(site: Site, directive: str, column: int) -> None:
    site.works("-d")
    before = site.products()
    site.write(b=f"# the second line is wrong\n{directive}\n{SET}")
    said = site.fails(rf"b\.py, line 2, column {column}", lines=4)
    _, shown, mark = said.splitlines()[:3]
    assert shown.strip() == directive
    assert mark.index("^") - shown.index("#") == column - 1
    assert site.products() == before
    site.write(b=f"open(get_data_fn('product.txt'), 'w').write(str(get_input()))\n{SET}")
    assert site.works("-d") == (0, 4)


@pytest.mark.parametrize("pattern", ["nowhere.txt", "tables/*.txt", "../secret.py", "lib.py nowhere.py"])
def test_a_depend_that_matches_nothing(site: Site, pattern: str) -> None:
    site.write(lib="", b=f"x = 1\n#depend {pattern}\n{SET}")
    site.fails(r"b\.py, line 2", re.escape(pattern.split()[-1]))
    assert not site.prefix.exists()


def test_a_script_that_is_no_python(site: Site) -> None:
    site.works("-d")
    site.write(b="x = 1\nx = (")
    for mode in MODES:
        site.fails(r"b\.py, line 2", "never closed", lines=3, options=mode)
    (site.root / "b.py").write_bytes(b"x = '\xe9'\n")
    site.fails(r"b\.py")
    (site.root / "b.py").unlink()
    site.fails("no script", r"b: looked for b\.py")


def test_all_that_is_wrong_is_told_at_once(site: Site) -> None:
    site.write(a="#depend nowhere.txt\n", b="x = (")
    said = site.fails("2 problems", r"a\.py, line 1", r"b\.py, line 1", lines=6)
    assert said.count("\n- ") == 2


# --- what comes out while it runs


@pytest.mark.parametrize(
    ("mode", "directive", "words"),
    [
        (("-d",), "where a[0] == 1", [r"where `a\[0\] == 1`", "TypeError", "for a=1"]),
        (("-p", "2"), "where 1 / (a - 2) < 5", ["where `1 / .a - 2. < 5`", "ZeroDivisionError", "for a=2"]),
        (("-d",), "group_by [a]", [r"group_by `\[a\]`", r"gave \[1\]", "unhashable", "for a=1"]),
        (("-p", "2"), "group_by {a: 1}", ["gave {1: 1}", "unhashable", "a tuple"]),
        (("-d",), "group_by a.name", ["AttributeError", "'name'", "for a=1"]),
    ],
)
def test_an_expression_that_raises_names_segment_expression_and_element(
    site: Site, mode: tuple[str, ...], directive: str, words: list[str]
) -> None:
    good = (site.root / "b.py").read_text()
    site.write(b=f"#multiplex cross_prod {directive}\n{SET}")
    site.fails("segment 'b'", *words, lines=1, options=mode)
    # what came before is kept
    assert len(site.products()) == 2
    site.write(b=good)
    assert site.works(*mode) == (2, 2)


def test_lists_of_unequal_length_for_zip(site: Site) -> None:
    site.write(b="#multiplex zip\n" + SET, c="set_output([1, 2, 3])")
    site.main("a -> b; c -> b;").fails("segment 'b'", "zip", "a", "2", "c", "3", options=("-p", "1"))


def test_a_hook_that_raises_names_its_own_file_and_line(site: Site) -> None:
    site.write(b="x = get_input()\nhook('plot', globals())\n" + SET, b_plot="# a hook\n\nif x == 2:\n    1 / 0\n")
    result = site.ran("main.py", "-p", "2")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "b: ZeroDivisionError in b_plot.py, line 4" in result.stdout
    assert "input 2" in result.stdout
    assert "3 tasks done, 0 taken from disk, 1 failed" in result.stdout
    failed = site.pipeline("a -> b").tasks("b", "failed")
    assert values(failed, "input") == [{"a": 2}]
    assert re.search(r'b_plot\.py", line 4.*\n *1 / 0', failed[0].error or "")
    # where one debugs, the traceback is what is wanted, and it ends in the hook
    debugged = site.ran("main.py", "-d")
    assert debugged.returncode == 1
    frames = re.findall(r'File ".*/(.*\.py)", line (\d+)', debugged.stderr)
    assert frames[-1] == ("b_plot.py", "4")
    site.write(b_plot="")
    assert site.works("-p", "2") == (2, 2)


ODD = {
    "long": "x" * 300,
    "slashes": "../../../../tmp/evil",
    "dots": "..",
    "dot": ".",
    "empty": "",
    "spaces": "  a  b ",
    "lines": "a\nb\r\tc",
    "nul": "a\0b",
    "unicode": "Göttingen λ=21cm 🛰 ﷽",
    "accents": "é" * 299,
    "surrogate": "a\udcffb",
    "arrow": "-> [x] \"quoted\" 'too' $(rm -rf) `ls` %s {0}",
}


@pytest.mark.parametrize("processes", [0, 2])
def test_inputs_with_odd_names(tmp_path: Path, processes: int) -> None:
    project = Project(tmp_path)
    text = "open(get_data_fn('product.txt'), 'w').close()\nprint('hello')\n" + SET
    project.write(a=text, b=text, c="set_output(glob_parent('product.txt'))")
    pipeline = project.pipeline("a -> b -> c", {"a": ODD.values()})
    assert project.run(pipeline, processes).done == 3 * len(ODD)
    assert pipeline.outputs("b") == list(ODD.values())
    for name in "ab":
        for task in pipeline.tasks(name):
            path = Path(task.path or "")
            assert path.parent.name == "data"
            assert re.fullmatch(rf"{task.id}(_[\w+=,-]*)?", path.name), path.name
            assert os.listdir(path) == ["product.txt"]
    # nothing was made beside the tree
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.py", "b.py", "c.py", "prefix"]
    assert project.run(pipeline, processes).reused == 3 * len(ODD)


def test_a_hundred_megabytes_as_one_input(project: Project) -> None:
    array = np.arange(12_500_000, dtype=float)
    project.write(a="x = get_input()\nset_output([float(x[-1]), x.nbytes])", b=SET)
    pipeline = project.pipeline("a -> b", {"a": [array]})
    assert project.run(pipeline, 1).done == 3
    assert pipeline.outputs("b") == [12_499_999.0, 100_000_000]
    array[0] = 1
    assert project.run(pipeline, 1).reused == 3
    (task,) = pipeline.tasks("a")
    assert np.array_equal(task.input["aphantom"][1:], array[1:])
    shutil.rmtree(project.prefix)


def test_a_hundred_thousand_elements_as_one_output(project: Project) -> None:
    project.write(
        a="seg_output = [(number, str(number)) for number in range(100_000)]",
        b="#multiplex cross_prod group_by a[0] // 25_000\nset_output([len(get_input('a'))])",
        c="#multiplex cross_prod where a[0] == b\nset_output([get_input('a')])",
    )
    pipeline = project.pipeline("a -> b; a -> c; b -> c")
    assert project.run(pipeline, 2).done == 6
    assert pipeline.outputs("b") == [25_000] * 4
    assert pipeline.outputs("c") == [(25_000, "25000")]
    assert len(pipeline.outputs("a")) == 100_000
    assert pipeline.explain().up_to_date


@pytest.mark.parametrize("output", ["[1, lambda: 2]", "[0, (i for i in 'abc')]"])
def test_an_output_that_can_not_be_pickled_is_told_by_its_place(project: Project, output: str) -> None:
    project.write(a=f"x = get_input()\nset_output([0, x] if x else {output})", b=SET)
    pipeline = project.pipeline("a -> b", {"a": [1, 0]})
    summary = run_to_end(pipeline)
    # the inputs 0 and 1 of b are there, since the other task of a gave them
    assert (summary.done, summary.failed) == (3, 1)
    assert "element 1 of the output" in summary.failures[0].error


# --- the database


@pytest.mark.parametrize("mode", [*MODES, ("--explain",)])
def test_a_database_that_is_none_is_left_as_it_is(site: Site, mode: tuple[str, ...]) -> None:
    site.works("-d")
    before = site.products()
    database = site.prefix / ".sqlstatus"
    database.write_text("Dear diary, this is no database.\n" * 100)
    site.fails(r"\.sqlstatus is no SQLite database", "pipeutils -r PREFIX SQLFILE", "sqlfile=", options=mode)
    assert database.read_text() == "Dear diary, this is no database.\n" * 100
    assert site.products() == before


@pytest.mark.parametrize("mode", MODES)
def test_a_damaged_database_is_made_anew_from_the_tree(site: Site, mode: tuple[str, ...]) -> None:
    site.works("-d")
    before = site.products()
    rows = site.pipeline("a -> b").tasks("b")
    database = site.prefix / ".sqlstatus"
    content = database.read_bytes()
    database.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    site.fails("damaged", "pipeutils -r PREFIX SQLFILE", options=mode)
    result = site.ran("-m", "pipelet.cli.pipeutils", "-r", str(site.prefix), str(database))
    assert (result.returncode, result.stderr) == (0, "")
    assert site.works(*mode) == (0, 4)
    assert site.products() == before
    assert site.pipeline("a -> b").tasks("b") == rows


def test_a_database_of_another_program_is_left_as_it_is(site: Site) -> None:
    site.prefix.mkdir()
    database = site.prefix / ".sqlstatus"
    subprocess.run(
        [sys.executable, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('create table x (y)')",
         database],
        check=True,
    )
    content = database.read_bytes()
    site.fails("sqlfile=")
    assert database.read_bytes() == content


# --- in Python


def test_where_one_debugs_the_error_of_an_expression_is_raised(project: Project) -> None:
    project.write(a="set_output([(1,), 7])", b="#multiplex cross_prod where a[0]\n")
    pipeline = project.pipeline("a -> b")
    with pytest.raises(ExpansionError, match=r"segment 'b'.*`a\[0\]`.*a=7"):
        project.run(pipeline)
    assert pipeline.outputs("a") == [(1,), 7]
    assert pipeline.tasks("b") == []
