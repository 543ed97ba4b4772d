"""Tables, goals and files of results, for all the benchmarks."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Table:
    """Rows of words under a head; the first column stands left, the others right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    #: How many columns stand left.
    left: int = 1

    def widths(self) -> list[int]:
        """How wide each column is."""
        return [max(len(row[at]) for row in (self.head, *self.rows)) for at in range(len(self.head))]

    def line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        """One row as text."""
        cells = [
            cell.ljust(width) if at < self.left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    def text(self) -> str:
        """For a terminal."""
        widths = self.widths()
        rule = "  ".join("-" * width for width in widths)
        lines = [self.title, "", self.line(self.head, widths), rule]
        lines += [self.line(row, widths) for row in self.rows]
        return "\n".join([*lines, *([self.note] if self.note else [])])

    def markdown(self) -> str:
        """For a page in Markdown."""
        marks = [":--" if at < self.left else "--:" for at in range(len(self.head))]
        rows = [self.head, marks, *self.rows]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else [])])

    def rst(self) -> str:
        """For a page in reStructuredText."""
        lines = [f".. list-table:: {self.title}", "   :header-rows: 1", ""]
        for row in (self.head, *self.rows):
            lines += [f"   {'* -' if at == 0 else '  -'} {cell}".rstrip() for at, cell in enumerate(row)]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


@dataclass(frozen=True)
class Goal:
    """One reading beside what it should be."""

    what: str
    at: str  #: for which size
    value: float
    limit: float
    unit: str = ""  #: empty for a ratio

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.value <= self.limit

    def words(self) -> list[str]:
        """As a row."""
        return [self.what, self.at, shown(self.value, self.unit), shown(self.limit, self.unit), told(self.met)]


def told(met: bool) -> str:
    """Whether a goal is met, in words."""
    return "met" if met else "not met"


def shown(value: float, unit: str = "") -> str:
    """A number with three digits that count, and its unit."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{' ' + unit if unit else ''}"


def goals_table(goals: Iterable[Goal], title: str = "Goals") -> Table:
    """All goals, one a row."""
    return Table(title, ("goal", "at", "reading", "at most", ""), [goal.words() for goal in goals], left=2)


def megabytes(number: float) -> str:
    """Bytes as MB; what ended before anybody looked is not known."""
    return shown(number / 1e6) if number else "-"


def machine() -> dict[str, str]:
    """What the readings were taken on."""
    from pipelet._version import __version__

    model = platform.processor() or platform.machine()
    try:
        words = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in words if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "pipelet": __version__ + _revision(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": f"{len(os.sched_getaffinity(0))} x {model}",
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def _revision() -> str:
    command = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    try:
        return f" ({subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()})"
    except (OSError, subprocess.CalledProcessError):
        return ""


def save(
    name: str, tables: Sequence[Table], goals: Sequence[Goal], content: object, directory: str | os.PathLike[str]
) -> list[Path]:
    """Write NAME.json, NAME.md and NAME.rst; gives their paths."""
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    facts = machine()
    about = ", ".join(f"{what} {value}" for what, value in facts.items())
    listed = [{**asdict(goal), "met": goal.met} for goal in goals]
    data = {"machine": facts, "goals": listed, "content": content}
    paths = [home / f"{name}.{ending}" for ending in ("json", "md", "rst")]
    paths[0].write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    paths[1].write_text("\n\n".join([*(table.markdown() for table in tables), about]) + "\n", encoding="utf-8")
    paths[2].write_text("\n\n".join([*(table.rst() for table in tables), about]) + "\n", encoding="utf-8")
    return paths


def progress(words: str) -> None:
    """Say what is going on, on a line that the next one overwrites; nothing where nobody looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()


def say(words: str = "") -> None:
    """Print a line, in place of the progress."""
    progress("")
    print(words, flush=True)
