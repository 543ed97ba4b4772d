"""What the tests that run pipelines share: a place for scripts and results, runs in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from pipelet.core.calls import Batch, BatchResult, TaskResult
from pipelet.executors.base import BATCH_SECONDS, InlineExecutor
from pipelet.launchers import launch_interactive, launch_process
from pipelet.pipeline import Pipeline
from pipelet.runner import Hooks, execute
from pipelet.summary import Summary

REPOSITORY = Path(__file__).resolve().parents[1]
#: The variable by which coverage has child processes measured, and its value. `conftest` sets it for some of the tests.
MEASURE = "COVERAGE_PROCESS_CONFIG"
measuring = os.environ.pop(MEASURE, None)
#: What tests start as a user would is not measured: that takes a lock at each start of a thread or process, where
#: Ctrl-C hangs, and doubles what a short process costs.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
#: How long anything may take before a test gives up on it: machines may be slow.
PATIENCE = 120.0

_T = TypeVar("_T")


def until(look: Callable[[], _T], what: str = "", seconds: float = PATIENCE) -> _T:
    """Look again and again until there is something; give that."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what or look}"
        time.sleep(0.01)


class Project:
    """A code directory, a prefix, and ways to run what is in them.

    Attributes
    ----------
    root
        Where the scripts and ``main.py`` are, and the current directory of what is started.
    prefix
        The root of the data.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.prefix = root / "prefix"

    def write(self, **scripts: str) -> Project:
        """Write ``name.py`` for each argument; indentation that all lines share goes."""
        for name, text in scripts.items():
            (self.root / f"{name}.py").write_text(textwrap.dedent(text))
        return self

    def pipeline(self, dot: str, push: dict[str, Iterable[Any]] | None = None, **options: Any) -> Pipeline:
        """A pipeline on these scripts and this prefix."""
        pipeline = Pipeline(dot, **{"code_dir": self.root, "prefix": self.prefix, **options})
        pipeline.push(**(push or {}))
        return pipeline

    def run(self, pipeline: Pipeline, processes: int = 0, log_level: int = 0) -> Summary:
        """Run a pipeline: in this process, or by so many worker processes."""
        if processes:
            return launch_process(pipeline, processes, log_level=log_level)[0].run()
        return launch_interactive(pipeline, log_level=log_level)[0].run()

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start Python with these words (``"main.py", "-d"``) as a process of its own, leader of a new group."""
        defaults = {
            "cwd": self.root, "env": ENVIRONMENT, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE, "text": True, "process_group": 0,
        }
        if sys.version_info < (3, 11):
            del defaults["process_group"]
            defaults["start_new_session"] = True
        return subprocess.Popen([sys.executable, *words], **{**defaults, **options})

    def ran(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Start Python with these words, and wait for its end."""
        process = self.start(*words, **options)
        out, err = process.communicate(timeout=2 * PATIENCE)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def lines(self, name: str) -> list[str]:
        """The lines of a file beside the scripts; none when there is no file."""
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []


def alive(pids: Iterable[int]) -> list[int]:
    """Those of the processes that still run; a zombie does not."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.append(pid)
    return found


def values(tasks: Sequence[Any], name: str) -> list[Any]:
    """One field of each of some task records."""
    return [getattr(task, name) for task in tasks]


class Lab:
    """Segments that note each of their executions, and runs that tell which these were.

    Before each run `Pipeline.explain` is asked, and what it is certain of is compared with what then happens.
    """

    NOTE = """\
    with open(__file__.rpartition("/")[0] + "/executed", "a") as _log:
        _shown = "_".join(map(str, seg_input.values())) if isinstance(seg_input, dict) else str(seg_input)
        _log.write((__file__.rpartition("/")[2][:-3] + " " + _shown).strip() + "\\n")
    """

    def __init__(self, project: Project, dot: str) -> None:
        self.project = project
        self.dot = dot
        self.summary = Summary()
        self.messages: list[str] = []

    def write(self, **scripts: str) -> Lab:
        """Write ``name.py`` for each argument, with a first line that notes the execution."""
        for name, text in scripts.items():
            body = textwrap.dedent(text)
            (self.project.root / f"{name}.py").write_text(textwrap.dedent(self.NOTE) + body)
        return self

    def pipeline(self, **push: Any) -> Pipeline:
        """The pipeline with something pushed."""
        return self.project.pipeline(self.dot, push)

    def ran(self, processes: int = 0, options: dict[str, Any] | None = None, **push: Any) -> list[str]:
        """Run it, failures and all; give ``segment input`` of each execution, sorted."""
        pipeline = self.project.pipeline(self.dot, push, **(options or {}))
        said = pipeline.explain()
        before = len(self.project.lines("executed"))
        self.messages.clear()
        if processes:
            self.summary = self.project.run(pipeline, processes)
        else:
            self.summary = run_to_end(pipeline, self.messages)
        ran = sorted(self.project.lines("executed")[before:])
        for name, item in said.items():
            did = [line for line in ran if line.split()[0] == name]
            assert len(did) >= item.to_run, f"explain said {item}, the run did {did}"
            if item.certain:
                counts = self.summary.counts[name]
                assert (len(did), counts["reused"]) == (item.to_run, item.reused), f"explain said {item}, not {did}"
        return ran

    @property
    def warnings(self) -> list[str]:
        """What the last run, one in this process, warned of."""
        return [message for message in self.messages if message.startswith("WARNING")]

    def path(self, segment: str, text: str = "", **push: Any) -> Path:
        """The directory of the task with this input as text."""
        tasks = [task for task in self.pipeline(**push).tasks(segment) if task.text == text]
        assert len(tasks) == 1, f"{len(tasks)} tasks of {segment} on {text!r}"
        assert tasks[0].path is not None
        return Path(tasks[0].path)


class _ToTheEnd:
    """Tasks run in this process; a failing one is recorded, and the run goes on."""

    slots = 1
    batch_seconds = BATCH_SECONDS

    def __init__(self) -> None:
        self._inline = InlineExecutor()

    def submit(self, batch: Batch) -> Future[BatchResult]:
        return self._inline.submit(batch)

    def partial(self, future: Future[BatchResult]) -> Sequence[TaskResult]:
        return ()

    def expect(self, more: bool) -> None:
        pass

    def wait(self, seconds: float) -> None:
        pass

    def processes(self) -> list[tuple[int, float | None]]:
        return []

    def close(self, kill: bool = False) -> None:
        self._inline.close()


def run_to_end(pipeline: Pipeline, messages: list[str] | None = None) -> Summary:
    """Run a pipeline in this process as by processes: failures end up in the summary.

    ``messages`` receives what the run says, ``"WARNING: seg: ..."``.
    """
    said: list[str] = [] if messages is None else messages
    hooks = Hooks(lambda level, text: said.append(text), lambda items: None, lambda: False)
    return execute(pipeline.snapshot(), lambda scratch: _ToTheEnd(), hooks, lambda: None)
