"""Pipelines in a notebook, with a real kernel; and what a terminal shows of a run."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pexpect
import pytest
from nbclient import NotebookClient
from support import ENVIRONMENT, PATIENCE, Project, alive, until

from pipelet.drawing import STATUS_STYLES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

START = """
import os
from pipelet.environment import Environment
from pipelet.launchers import launch_interactive, launch_process
from pipelet.pipeline import Pipeline
"""


class Client(NotebookClient):
    """Also keeps what displays showed before they were drawn anew, as text."""

    drawn: list[str]

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if "display_data" in msg["msg_type"]:
            self.drawn.append(msg["content"]["data"]["text/plain"])
        return super().process_message(msg, cell, cell_index)


class Notebook:
    """A notebook that is written while its kernel runs, in the directory of a project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._book = nbformat.v4.new_notebook()
        self._client = Client(
            self._book, timeout=int(2 * PATIENCE), allow_errors=True,
            resources={"metadata": {"path": str(project.root)}},
        )
        #: All that displays have shown.
        self.drawn = self._client.drawn = []
        self._client.create_kernel_manager()
        # caches of compiled modules are what a second run might fall for
        environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._client.start_new_kernel(cwd=str(project.root), env=environment)
        self._client.start_new_kernel_client()
        self.good(START)

    @property
    def manager(self) -> Any:
        """What starts and interrupts the kernel."""
        return self._client.km

    def cell(self, code: str) -> list[Any]:
        """Run a new cell; give its outputs."""
        cell = nbformat.v4.new_code_cell(code)
        self._book.cells.append(cell)
        #: Whether the cell went wrong, so that "run all" would stop there.
        self.failed = False
        self._client.on_cell_error = self._note_failure
        self._client.execute_cell(cell, len(self._book.cells) - 1)
        return list(cell.outputs)

    def _note_failure(self, **about: Any) -> None:
        self.failed = True

    def good(self, code: str) -> list[Any]:
        """Run a cell that must not fail."""
        outputs = self.cell(code)
        errors = ["\n".join(item.traceback) for item in outputs if item.output_type == "error"]
        assert not errors, errors[0]
        return outputs

    def shown(self, code: str) -> dict[str, str]:
        """Run a cell that ends in an expression; give how its value shows itself."""
        return dict(self.good(code)[-1].data)

    def value(self, expression: str) -> Any:
        """The value of an expression in the kernel."""
        return eval(self.shown(expression)["text/plain"], {})

    def close(self) -> None:
        self._client._cleanup_kernel()


@pytest.fixture
def notebook(project: Project) -> Iterator[Notebook]:
    made = Notebook(project)
    yield made
    made.close()


def texts_and_colours(svg: str) -> tuple[str, set[str]]:
    root = ET.fromstring(svg)
    fills = {path.get("fill", "") for path in root.iter("{http://www.w3.org/2000/svg}path")}
    return " ".join("".join(root.itertext()).split()), fills


def test_a_pipeline_in_cells(notebook: Notebook) -> None:
    """One notebook from the first look to the last: each cell stands on the ones before."""
    notebook.project.write(
        a="set_output([get_input()])",
        b="x = get_input()\nif x == 2:\n    raise ValueError('<b>two</b> & more')\nset_output([x])",
        c="#multiplex cross_prod group_by 'all'\nset_output([sum(get_input('b'))])",
    )
    notebook.good("P = Pipeline('a -> b -> c', './', './prefix')\nP.push(a=[1, 2, 3])")

    # before anything has run: the graph, without status
    before = notebook.shown("P")
    text, fills = texts_and_colours(before["image/svg+xml"])
    assert "no tasks" in text
    assert not fills.intersection(style.fill for style in STATUS_STYLES.values())
    # what shows no SVG shows pixels
    assert base64.b64decode(before["image/png"]).startswith(b"\x89PNG")

    # both launchers; nothing has to be wrapped in `if __name__ == "__main__"`
    notebook.good("w, t = launch_process(P, 2, log_level=0)\nsummary = w.run()")
    assert notebook.value("[summary.done, summary.reused, summary.failed, summary.waiting]") == [5, 0, 1, ["c"]]

    after = notebook.shown("P")
    text, fills = texts_and_colours(after["image/svg+xml"])
    for words in ("3 done", "2 done", "1 failed", "waiting"):
        assert words in text
    assert {STATUS_STYLES[name].fill for name in ("done", "failed", "waiting")} <= fills
    plain = after["text/plain"]
    assert [line.split("  ")[-2:] for line in plain.splitlines()] == [
        ["a", "3 done"], ["b", "2 done, 1 failed"], ["c", "waiting"],
    ]

    # where there is no `dot`, the same in letters
    without = notebook.shown("PATH = os.environ['PATH']; os.environ['PATH'] = '/nowhere'\nP")
    assert without == {"text/plain": plain}
    notebook.good("os.environ['PATH'] = PATH")

    # tables, in which nothing that came from data is taken for HTML
    for code in ("summary", "P.tasks('b')", "P.instances('b')", "t", "P.explain()"):
        page = notebook.shown(code)["text/html"]
        assert "<b>two</b>" not in page
        ET.fromstring(f"<page>{page.replace('<br>', '<br/>')}</page>")
    assert "&lt;b&gt;two&lt;/b&gt; &amp; more" in notebook.shown("summary")["text/html"]
    assert "no tasks" not in notebook.shown("P.tasks('b', 'done')")["text/html"]

    # the interactive mode raises what the segment raised
    error = notebook.cell("w, t = launch_interactive(P, log_level=0)\nw.run()")[-1]
    assert (error.output_type, error.ename) == ("error", "ValueError")

    notebook.project.write(b="set_output([get_input()])")
    notebook.good("w, t = launch_interactive(P, log_level=0)\nsummary = w.run()")
    assert notebook.value("[summary.done, summary.reused, summary.failed]") == [4, 3, 0]
    assert notebook.value("P.outputs('c')") == [6]
    shown = notebook.shown("summary")
    assert "4 tasks done, 3 taken from disk, 0 failed" in shown["text/html"]
    assert "\n" not in shown["text/plain"]


@pytest.mark.parametrize("launch", ["launch_interactive(P, log_level=0)", "launch_process(P, 1, log_level=0)"])
def test_a_second_run_never_sees_old_code(notebook: Notebook, launch: str) -> None:
    project = notebook.project
    project.write(
        unit="NAME = 'first'\n",
        deeper="import unit\ndef name():\n    return unit.NAME\n",
        a="#depend unit.py deeper.py\nimport deeper, loose\nset_output([deeper.name() + ' one ' + loose.NAME])",
        b="hook('more', globals())\nset_output([get_input('a') + ' ' + more])",
        b_more="more = 'hook'",
    )
    run = f"w, t = {launch}\nsummary = w.run()"

    def write_loose(name: str) -> None:
        # the same length, at the same time: a cache of compiled modules would be fooled
        project.write(loose=f"NAME = {name!r}\n")
        os.utime(project.root / "loose.py", (1e9, 1e9))

    write_loose("x")
    before = notebook.value("__import__('sys').path")
    # results far from the code: what is imported from kept copies does not come from below the code directory
    notebook.good(f"P = Pipeline('a -> b', './', {str(project.root) + '-data'!r})\n{run}")
    assert notebook.value("P.outputs('b')") == ["first one x hook"]
    project.write(unit="NAME = 'other'\n")
    notebook.good(run)
    assert notebook.value("P.outputs('b')") == ["other one x hook"]
    # a module that nobody depends on is no reason to run, and is seen as it is when there is one
    write_loose("y")
    notebook.good(run)
    assert notebook.value("summary.done") == 0
    project.write(
        a="#depend unit.py deeper.py\nimport deeper, loose\nset_output([deeper.name() + ' two ' + loose.NAME])"
    )
    notebook.good(run)
    assert notebook.value("P.outputs('b')") == ["other two y hook"]
    project.write(b_more="more = 'kooh'")
    notebook.good(run)
    assert notebook.value("P.outputs('b')") == ["other two y kooh"]
    assert notebook.value("[summary.done, summary.reused]") == [1, 1]
    # and back: both versions of the module are still on disk, each beside what it made
    project.write(unit="NAME = 'first'\n")
    notebook.good(run)
    assert notebook.value("P.outputs('b')") == ["first two y kooh"]
    # what the user imported in the kernel is the user's own, before and after
    notebook.good("import unit\nmine = unit")
    project.write(unit="NAME = 'third'\n")
    notebook.good(run)
    assert notebook.value("P.outputs('b')") == ["third two y kooh"]
    assert notebook.value("[mine.NAME, __import__('sys').modules['unit'] is mine]") == ["first", True]
    assert notebook.value("__import__('sys').path") == before


@pytest.mark.parametrize("launch", ["launch_interactive(P, log_level=0)", "launch_process(P, 2, log_level=0)"])
def test_what_is_defined_in_a_cell_goes_along(notebook: Notebook, launch: str) -> None:
    notebook.project.write(
        a="length = get_input()\nset_output([Length_of(twice(length)), length])", b="set_output([get_input().number])"
    )
    notebook.good("""
class Length:
    def __init__(self, number):
        self.number = number
    def __mul__(self, factor):
        return Length(self.number * factor)

def double(what):
    return what * 2

class Mine(Environment):
    def twice(self, what):
        return double(what)
    def Length_of(self, what):
        return Length(what.number)
""")
    run = f"""
P = Pipeline('a -> b', './', './prefix', env=Mine)
P.push(a=[Length(1), Length(20)])
w, t = {launch}
summary = w.run()
"""
    notebook.good(run)
    assert notebook.value("P.outputs('b')") == [2, 1, 40, 20]
    assert notebook.value("[type(item).__name__ for item in P.outputs('a')]") == ["Length"] * 4
    assert notebook.value("P.tasks('a')[1].input['aphantom'].number") == 20
    # the same cells once more: nothing to do
    notebook.good(run)
    assert notebook.value("[summary.done, summary.reused]") == [0, 6]
    # another method: everything is computed with it
    notebook.good("class Mine(Mine):\n    def twice(self, what):\n        return what * 3")
    notebook.good(run)
    assert notebook.value("P.outputs('b')") == [3, 1, 60, 20]


def lines_of(error: Any) -> list[str]:
    """The lines of a traceback as IPython shows it, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)).splitlines()


def test_an_exception_shows_the_lines_of_the_segment_and_none_of_the_engine(notebook: Notebook) -> None:
    project = notebook.project
    project.write(
        a="x = get_input()\nhook('more', globals())\nset_output([x])",
        # it is the code that runs which is shown, whatever becomes of the file
        a_more="def weigh(what):\n    return 1 / what\n\n"
        f"open({str(project.root / 'a_more.py')!r}, 'w').close()\nweigh(x)",
        b="get_input('mould')",
    )
    notebook.good("P = Pipeline('a -> b', './', './prefix')\nP.push(a=[1, 0])")
    error = notebook.cell("w, t = launch_interactive(P, log_level=0)\nw.run()")[-1]
    lines = lines_of(error)
    assert [line.split(None, 2)[1:] for line in lines if re.match(r"-+> ", line)] == [
        ["2", "w.run()"], ["2", "hook('more', globals())"], ["5", "weigh(x)"], ["2", "return 1 / what"],
    ]
    files = [line.split()[1].partition(":")[0] for line in lines if line.startswith("File ")]
    assert [Path(file).name for file in files] == ["a.py", "a_more.py", "a_more.py"]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    # the debugger has the variables of the script
    debugger = "import sys\nframe = [frame for frame, _ in __import__('traceback').walk_tb(sys.last_traceback)][-1]"
    notebook.good(debugger)
    assert notebook.value("[frame.f_locals['what'], frame.f_back.f_globals['x']]") == [0, 0]
    # what the engine itself refuses is told at the line that asked for it
    error = notebook.cell("w, t = launch_interactive(P, log_level=0)\nw.run()")[-1]
    lines = lines_of(error)
    assert [line for line in lines if line.startswith("File ")] == [f"File {project.root}/b.py:1"]
    assert lines[-1] == "InputNameError: segment 'b' has no parent named 'mould'; known are: a"
    project.write(b="import sys\nsys.exit('enough')")
    lines = lines_of(notebook.cell("w, t = launch_interactive(P, log_level=0)\nw.run()")[-1])
    assert [line for line in lines if line.startswith("File ")] == [f"File {project.root}/b.py:2"]
    assert lines[-1] == "TaskError: the segment called sys.exit('enough')"
    for code in ("P.tasks('c')", "launch_process(P, 0)", "P.push(b=[1])"):
        lines = lines_of(notebook.cell(code)[-1])
        assert f"----> 1 {code}" in lines
        assert not [line for line in lines if line.startswith("File ")]


def interrupting(notebook: Notebook, look: Callable[[], bool]) -> threading.Thread:
    """Do what the stop button of a notebook does, once something is seen."""

    def watch() -> None:
        until(look, "the moment to interrupt")
        asyncio.run(notebook.manager.interrupt_kernel())

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def descendants(pid: int) -> set[int]:
    """All the processes that come from one, also those that have lost their parents but not their session."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,sess="], capture_output=True, text=True, check=True).stdout
    table = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = {pid}
    while more := {own for own, parent, session in table if parent in found or session in found} - found:
        found |= more
    return found - {pid}


@pytest.mark.parametrize("launch", ["launch_interactive(P, log_level=0)", "launch_process(P, 2, log_level=0)"])
def test_the_stop_button_ends_the_run_and_the_kernel_goes_on(notebook: Notebook, launch: str) -> None:
    project = notebook.project
    project.write(
        a=f"ROOT = {str(project.root)!r}" + """
import os, subprocess, time
x = get_input()
with open(get_data_fn("half"), "w") as file:
    file.write("half")
if x == "endless" and not os.path.exists(f"{ROOT}/open"):
    program = subprocess.Popen(["sleep", "1000"])
    with open(f"{ROOT}/pids", "a") as file:
        print(os.getpid(), program.pid, file=file)
    program.wait()
    time.sleep(1000)
with open(get_data_fn("whole"), "w") as file:
    file.write("whole")
set_output([x])
""",
        b="set_output([get_input()])",
    )
    notebook.good("P = Pipeline('a -> b', './', './prefix')\nP.push(a=['quick', 'endless', 'last'])")
    kernel = notebook.value("os.getpid()")
    before = descendants(kernel)
    seen = project.pipeline("a -> b")
    running: set[int] = set()

    def at_work() -> bool:
        # in the interactive mode the second task has begun when its line is written
        done = seen.status()["a"].get("done") == 2
        begun = len(project.lines("pids")) == 1 and (done or "interactive" in launch)
        running.update(descendants(kernel) - before)
        return begun

    thread = interrupting(notebook, at_work)
    outputs = notebook.cell(f"w, t = {launch}\nw.run()")
    thread.join()
    assert [item.ename for item in outputs if item.output_type == "error"] == ["KeyboardInterrupt"]
    # the tasks are stopped, with what they had started, and so are the processes of the run
    pids = {int(pid) for line in project.lines("pids") for pid in line.split()} - {kernel}
    assert pids
    assert running >= pids
    until(lambda: not alive(running), "the end of all processes")
    assert not list(Path(project.prefix, ".pipelet").glob("lock*"))
    stopped = {"done": 1, "queued": 2} if "interactive" in launch else {"done": 2, "queued": 1}
    assert notebook.value("dict(P.status()['a'])") == stopped
    # the next run in the same kernel goes on from there, with nothing half-done
    (project.root / "open").touch()
    done = sum(counts.get("done", 0) for counts in seen.status().values())
    notebook.good(f"w, t = {launch}\nsummary = w.run()")
    assert notebook.value("[summary.done, summary.reused, P.outputs('b')]") == [
        6 - done, done, ["quick", "endless", "last"]
    ]
    assert all(sorted(os.listdir(task.path)) == ["half", "whole"] for task in seen.tasks("a"))
    # and its bars are there again
    assert bars_of(notebook.good(f"w, t = {launch}\nsummary = w.run()")) == ["a  3/3  3 from disk\nb  3/3  3 from disk"]


def test_the_kernel_is_free_while_processes_work(notebook: Notebook) -> None:
    project = notebook.project
    project.write(
        a="import os, time\nwhile not os.path.exists(" + repr(str(project.root / "open")) + "):\n    time.sleep(0.01)\n"
        "set_output([1])"
    )
    notebook.good("P = Pipeline('a', './', './prefix')\nw, t = launch_process(P, 1, log_level=0)")
    until(lambda: notebook.value("P.status()['a']") == {"running": 1}, "a running task")
    assert notebook.value("t.finished") is False
    assert "running" in notebook.shown("t")["text/plain"]
    # a second run on the same prefix is told who holds it
    error = notebook.cell("launch_process(P, 1, log_level=0)")[-1]
    assert error.ename == "PrefixLocked"
    (project.root / "open").touch()
    assert notebook.value("w.run().done") == 1
    assert notebook.value("t.finished") is True


# --- segments in cells


def test_segments_are_written_in_cells(notebook: Notebook) -> None:
    def said(code: str) -> str:
        return "".join(output.text for output in notebook.good(code) if output.output_type == "stream").strip()

    assert said("%load_ext pipelet") == ""
    assert said("%%segment a --dir code\nset_output([1, 2])") == "code/a.py: new file"
    notebook.good("P = Pipeline('a -> b', 'code', './prefix')")
    assert said("%%segment b\nset_output([10 * get_input()])") == "code/b.py: new file"
    notebook.good("w, t = launch_interactive(P, log_level=0)\nsummary = w.run()")
    changed = "code/b.py: changed, the next run computes a new version of b"
    assert said("%%segment b\nset_output([20 * get_input()])") == changed
    notebook.good("w, t = launch_interactive(P, log_level=0)\nsummary = w.run()")
    assert notebook.value("[P.outputs('b'), summary.done, summary.reused]") == [[20, 40], 2, 1]
    # a refused cell stops what comes after it, and the file is that of before
    file = notebook.project.root / "code" / "b.py"
    before = file.read_text()
    (shown,) = notebook.cell("%%segment b\nset_output(")
    assert shown.name == "stderr"
    assert shown.text.splitlines()[:3] == [
        "UsageError: code/b.py, line 1, column 11: '(' was never closed", "    set_output(", "              ^",
    ]
    assert notebook.failed
    assert file.read_text() == before


def test_segments_are_written_in_a_terminal(project: Project) -> None:
    words = ["--no-banner", "--simple-prompt", "--no-confirm-exit", "--HistoryManager.enabled=False"]
    child = pexpect.spawn(
        sys.executable, ["-m", "IPython", *words], cwd=str(project.root), timeout=PATIENCE, encoding="utf-8",
        env={**ENVIRONMENT, "TERM": "dumb", "IPYTHONDIR": str(project.root / "ipython")}, echo=False,
    )
    for line, answer in (
        ("%load_ext pipelet", r"In \[2\]: "),
        ("get_ipython().run_cell_magic('segment', 'melt', 'x = 1\\n')", "melt.py: new file"),
        ("get_ipython().run_cell_magic('segment', 'melt', '# x\\nx = 1\\n')", "melt.py: changed in comments"),
        ("get_ipython().run_cell_magic('segment', 'melt', 'x = = 1\\n')", r"x = = 1\r\n +\^\r\nthe file stays"),
    ):
        child.sendline(line)
        child.expect(answer)
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()
    assert (project.root / "melt.py").read_text() == "# x\nx = 1\n"


# --- bars

SLOW = """
import os, time
x = get_input()
time.sleep(0.05)
while not os.path.exists(f"{SEEN}/PLACE{x}"):
    time.sleep(0.01)
set_output([x])
"""


def bars_of(outputs: list[Any]) -> list[str]:
    """The bars among the outputs of a cell, as text."""
    return [item.data["text/plain"] for item in outputs if item.output_type == "display_data"]


def test_a_notebook_shows_a_bar_for_each_segment(notebook: Notebook) -> None:
    text = "import time\ntime.sleep(0.25)\nset_output([get_input()])"
    notebook.project.write(a=text, b=text)
    notebook.good("P = Pipeline('a -> b', './', './prefix', order='breadth')\nP.push(a=range(6))")
    outputs = notebook.good("w, t = launch_process(P, 1, log_level=0)\nsummary = w.run()")
    # what is saved is the last state, in a form that needs no widget and no script
    (shown,) = outputs
    assert set(shown.data) == {"text/plain", "text/html"}
    assert re.fullmatch(r"a  6/6  6 done, in [\d.]+ s\nb  6/6  6 done, in [\d.]+ s", shown.data["text/plain"])
    ET.fromstring(shown.data["text/html"])
    assert "<script" not in shown.data["text/html"]
    assert "<style" not in shown.data["text/html"]
    # the second time there is nothing to watch, and it is told what there was
    again = notebook.good("w, t = launch_interactive(P, log_level=0)\nsummary = w.run()")
    assert bars_of(again) == ["a  6/6  6 from disk\nb  6/6  6 from disk"]
    assert len(again) == 1


def test_the_bars_of_a_notebook_move_while_it_runs(notebook: Notebook) -> None:
    project = notebook.project
    project.write(
        a="import os, time\n"
        f"while get_input() == 3 and not os.path.exists({str(project.root / 'open')!r}):\n    time.sleep(0.01)\n"
        "set_output([1])"
    )
    notebook.good("P = Pipeline('a', './', './prefix')\nP.push(a=range(4))\nw, t = launch_process(P, 2, log_level=0)")

    def watch() -> None:
        until(lambda: any(text.startswith("a  3/4  3 done") for text in notebook.drawn), "a bar with three of four")
        (project.root / "open").touch()

    watching = threading.Thread(target=watch)
    watching.start()
    (shown,) = notebook.good("w.run();")
    watching.join()
    assert len(notebook.drawn) >= 2
    assert shown.data["text/plain"].startswith("a  4/4  4 done")


MAIN = """
import sys
from pipelet.launchers import launch_interactive, launch_process
from pipelet.pipeline import Pipeline

P = Pipeline("a -> b", "./", "./prefix", order="breadth")
P.push(a=range(8))
w, t = launch_process(P, 1) if sys.argv[1:] else launch_interactive(P)
print(w.run())
"""


def terminal(project: Project, *words: str, **variables: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable, ["main.py", *words], cwd=str(project.root), env={**ENVIRONMENT, "TERM": "xterm", **variables},
        timeout=PATIENCE, dimensions=(24, 100), encoding="utf-8",
    )


@pytest.mark.parametrize("words", [(), ("process",)])
def test_a_terminal_shows_a_bar_for_each_segment(project: Project, words: tuple[str, ...]) -> None:
    seen = project.root / "seen"
    seen.mkdir()
    script = f"SEEN = {str(seen)!r}\n{SLOW}"
    a, b = (script.replace("PLACE", name) for name in "ab")
    project.write(main=MAIN, a=a + "logger.warning('hello %s', x)", b=b)
    child = terminal(project, *words)
    for segment in "ab":
        for number in range(8):
            # how far it is, in words and as a picture; each task ends only when that has been seen
            numbers = rf"{number} done, \d\d:\d\d left" if number else ""
            child.expect(rf"{segment} {number}/8 \|[^|\r]{{30}}\| {numbers}")
            (seen / f"{segment}{number}").touch()
        child.expect(rf"{segment} +8 done, in [\d.]+ s")
    child.expect("16 tasks done, 0 taken from disk, 0 failed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_run_that_has_nothing_to_do_is_short(project: Project) -> None:
    project.write(main=MAIN, a="set_output([get_input()])", b="pass")
    project.ran("main.py")
    child = terminal(project, "process")
    child.expect(pexpect.EOF)
    child.close()
    lines = [re.sub(" +", " ", line) for line in (child.before or "").splitlines()]
    assert lines[:2] == ["a 8 from disk", "b 8 from disk"]
    assert [line.partition(", in")[0] for line in lines[2:]] == ["0 tasks done, 16 taken from disk, 0 failed"]


@pytest.mark.parametrize(
    ("words", "variables"), [((), {"TERM": "dumb"}), (("process",), {"TERM": "dumb"}), ((), {"TQDM_DISABLE": "1"})]
)
def test_there_are_no_bars_where_nobody_could_read_them(
    project: Project, words: tuple[str, ...], variables: dict[str, str]
) -> None:
    text = "import time\ntime.sleep(0.1)\nset_output([get_input()])"
    project.write(main=MAIN, a=text, b=text)
    child = terminal(project, *words, **variables)
    child.expect(pexpect.EOF)
    child.close()
    (line,) = (child.before or "").splitlines()
    assert line.startswith("16 tasks done")


@pytest.mark.parametrize("words", [(), ("process",)])
def test_a_run_whose_output_is_no_terminal_shows_no_bars(project: Project, words: tuple[str, ...]) -> None:
    text = "import time\ntime.sleep(0.1)\nset_output([get_input()])"
    project.write(main=MAIN, a=text, b=text)
    result = project.ran("main.py", *words)
    assert result.stderr == ""
    assert result.stdout.startswith("16 tasks done")
    assert Path(project.prefix, ".sqlstatus").exists()
