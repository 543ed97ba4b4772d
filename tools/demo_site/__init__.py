"""A small pipeline with a past, to show the web pages with: three runs over three weeks, with changed code.

    python -m tools.demo_site DIRECTORY

makes it, with the users ada (password lovelace, may change things) and guest (password guest, may read).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pipelet.accounts import add_user
from pipelet.statusdb import Writer
from pipelet.storage import Tree

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
#: Shifts the clock of all the processes of a run.
_CLOCK = REPOSITORY / "test" / "torture" / "clock"
_HOUR = 3600
_DAY = 24 * _HOUR

#: Name -> level, password.
USERS = {"ada": (2, "lovelace"), "guest": (1, "guest")}


class Demo(NamedTuple):
    """Where everything is."""

    code: Path  #: the scripts, as they were at the last run
    prefix: Path
    sqlfile: Path


class _Run(NamedTuple):
    """One run of the past: what was edited before it, how long ago it was, and the tags that were given after it."""

    ago: int
    edits: dict[str, list[tuple[str, str]]]
    tags: dict[str, str]


_RUNS = (
    _Run(23 * _DAY + 4 * _HOUR, {}, {"poster": "proposal"}),
    _Run(
        9 * _DAY + 7 * _HOUR,
        {
            "instrument.py": [
                ("fwhm = 12.0", "fwhm = {100: 9.7, 143: 7.3, 217: 5.0}[frequency]"),
                ("glitches = 0", "glitches = 40 if frequency == 217 else 0"),
            ]
        },
        {"poster": "collaboration meeting", "spectrum": "wide bins"},
    ),
    _Run(
        3 * _HOUR,
        {
            "spectrum.py": [
                ("width = 90", "width = 60"),
                ("weights = None", "weights = flatsky.apodised()"),
            ],
            "spectrum_figure.py": [('"o", color', '"o", markersize=4, color')],
        },
        {},
    ),
)


def make_demo(directory: str | os.PathLike[str], processes: int = 2) -> Demo:
    """Make the demonstration: code, tree, database and users.

    Parameters
    ----------
    directory
        Where; it is made, and must be empty or missing.
    processes
        How many workers the runs have.
    """
    home = Path(directory).resolve()
    demo = Demo(home / "code", home / "data", home / "data" / ".sqlstatus")
    shutil.copytree(HERE / "code", demo.code, ignore=shutil.ignore_patterns("__pycache__"))
    for run in _RUNS:
        _edit(demo.code, run)
        _start(demo, run.ago, processes)
        _tag(demo, run.tags)
    for name, (level, password) in USERS.items():
        add_user(demo.sqlfile, name, level, password)
    return demo


def _edit(code: Path, run: _Run) -> None:
    for name, edits in run.edits.items():
        text = (code / name).read_text(encoding="utf-8")
        for old, new in edits:
            if text.count(old) != 1:
                raise ValueError(f"{name} has {old!r} {text.count(old)} times, not once")
            text = text.replace(old, new)
        (code / name).write_text(text, encoding="utf-8")


def _start(demo: Demo, ago: int, processes: int) -> None:
    clock = demo.code.parent / "clock"
    clock.write_text(str(-ago))
    command = [sys.executable, str(HERE / "main.py"), str(demo.code), str(demo.prefix), str(processes)]
    paths = [str(_CLOCK), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "TORTURE_CLOCK": str(clock), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finally:
        clock.unlink()
    if ended.returncode:
        raise RuntimeError(f"a run of the demonstration went wrong:\n{ended.stdout}{ended.stderr}")


def _tag(demo: Demo, tags: dict[str, str]) -> None:
    """Tag the newest version of each of these segments."""
    tree = Tree(str(demo.prefix))
    with Writer.open(demo.sqlfile, "keep", create=False) as writer, writer.transaction():
        for segment, tag in tags.items():
            row = max(writer.instances(segment), key=lambda row: row.id)
            writer.set_tag(row.id, tag)
            tree.write_tag(row.path, tag)
