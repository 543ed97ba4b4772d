"""The tree on disk that a run of ``test/first_test`` leaves, as text."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_CODE = ROOT / "test" / "first_test"
#: What a reader of the tutorial need not know yet.
_LEFT_OUT = {"discard", "last_run", "__pycache__"}


def make(target: Path, scratch: Path) -> None:
    """Write the file."""
    (target / "tree.txt").write_text(text(scratch))


def text(scratch: Path) -> str:
    """Run the pipeline in an empty directory, and draw what is there then, without its scripts."""
    shutil.copytree(_CODE, scratch / "code", ignore=shutil.ignore_patterns("*_*", ".*", "__pycache__"))
    shutil.copy(_CODE / "melt_figure.py", scratch / "code")
    subprocess.run([sys.executable, "main.py", "-d"], cwd=scratch / "code", check=True, stdout=subprocess.DEVNULL)
    own = {path.name for path in _CODE.iterdir() if path.suffix == ".py"} | {"colours"}
    top = [path for path in (scratch / "code").iterdir() if path.name not in own | _LEFT_OUT]
    return "prefix\n" + "".join(f"{line}\n" for line in _drawn(sorted(top)))


def _drawn(paths: list[Path], before: str = "") -> Iterator[str]:
    for path in paths:
        last = path is paths[-1]
        yield f"{before}{'└── ' if last else '├── '}{path.name}"
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.name not in _LEFT_OUT)
            yield from _drawn(inside, before + ("    " if last else "│   "))
