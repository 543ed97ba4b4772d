"""What the tests share that start a ``main.py``, disturb it, and start it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from support import REPOSITORY, Project, alive, until

from pipelet.core.model import Status
from pipelet.storage import Tree

#: Each execution leaves a line: segment, input, process. Children that a task starts leave theirs.
PRELUDE = """
import os, subprocess, sys, time
HERE = os.path.dirname(__file__)
number = get_input()
def note(file, *words):
    with open(os.path.join(HERE, file), "a") as lines:
        print(*words, file=lines)
def wait_for(name):
    end = time.monotonic() + 240
    while not os.path.exists(os.path.join(HERE, name)):
        assert time.monotonic() < end
        time.sleep(0.01)
note("ran", os.path.basename(__file__)[:-3], number, os.getpid())
set_output(number)
"""

#: The first six tasks end at once; the others wait for a sign, with a child that writes all the time.
GATED = PRELUDE + """
TICK = "import os, sys, time\\nwhile True:\\n    open(sys.argv[1], 'a').write('.')\\n    time.sleep(0.02)\\n"
with open(get_data_fn("half"), "w") as product:
    product.write("half")
    if number >= 6 and not os.path.exists(os.path.join(HERE, "go")):
        child = subprocess.Popen([sys.executable, "-c", TICK, get_data_fn("ticks")], stderr=subprocess.DEVNULL)
        note("children", child.pid)
        note("begun", number, os.getpid())
        wait_for("go")
        child.kill()
    product.write(" and whole")
os.rename(get_data_fn("half"), get_data_fn("whole"))
"""


class Runs(Project):
    """A project whose ``main.py`` is the template, with a graph of its own."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """As for every project; and `end` knows of it."""
        process = super().start(*words, **options)
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill what a failed test has left; what these processes have started ends with them."""
        for process in self.started:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def prepare(self, dot: str = "a", push: str = "a=range(12)") -> Runs:
        """Write ``main.py``; without scripts, `GATED` is the one segment."""
        text = (REPOSITORY / "pipelet" / "static" / "main.py").read_text()
        for old, new in (
            ("default1 -> default2;", dot),
            ("P.push(default1=[1, 2, 3])", f"P.push({push})"),
            ("PREFIX = HERE", 'PREFIX = os.path.join(HERE, "prefix")'),
        ):
            assert old in text
            text = text.replace(old, new)
        (self.root / "main.py").write_text(text)
        if dot == "a":
            self.write(a=GATED)
        return self

    def go(self) -> None:
        """Let the tasks that wait go on."""
        (self.root / "go").touch()

    def executions(self) -> Counter[tuple[str, str]]:
        """How often each task was run, by segment and input."""
        lines = (line.split() for line in self.lines("ran"))
        return Counter((words[0], words[1]) for words in lines if len(words) == 3)

    def workers(self) -> list[int]:
        """Process ids of all that ever ran a task."""
        return list({int(words[2]): None for line in self.lines("ran") if len(words := line.split()) == 3})

    def children(self) -> list[int]:
        """Process ids of what tasks have started."""
        return [int(line) for line in self.lines("children")]

    def wait_for_gate(self, number: int) -> None:
        """Wait until so many tasks wait for the sign."""
        until(lambda: len(self.lines("begun")) >= number, "the tasks to begin")

    def boss(self) -> int:
        """The process that holds the prefix."""

        def read() -> int:
            try:
                return int(json.loads((self.prefix / ".pipelet" / "lock").read_text())["pid"])
            except (OSError, ValueError):
                return 0

        return until(read, "the lock")

    def all_gone(self) -> None:
        """Wait until no process of any run lives."""
        until(lambda: not alive([*self.workers(), *self.children()]), "old processes to go")

    def journalled(self) -> set[tuple[str, str]]:
        """What the journals have as done, by segment and input."""
        return {(segment, text) for segment, text, status in _journal_rows(self.prefix) if status == Status.DONE}


def _journal_rows(prefix: Path) -> list[tuple[str, str, int]]:
    rows = {}
    tree = Tree(str(prefix))
    for path in tree.find_instances():
        segment = os.path.basename(path).rpartition("_")[0]
        for events, _ in tree.journal(path).read():
            for event in events:
                if event[0] == "task":
                    # id, digest, status, current, place, text
                    rows[segment, event[1]] = (segment, str(event[6]), int(str(event[3])))
    return list(rows.values())
