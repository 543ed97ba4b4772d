"""W(N) with ninja: one edge a task, arithmetic of the shell; the build file is written when N is another one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HEAD = """
rule double
  command = echo $$((2 * $value)) > $out
rule incr
  command = read x < $in; echo $$((x + 1)) > $out
rule total
  command = xargs cat < $out.files | awk '{ s += $$1 } END { printf "%.0f", s }' > $out
  rspfile = $out.files
  rspfile_content = $in_newline
"""

directory, n = sys.argv[1], int(sys.argv[2])


def lines() -> Iterator[str]:
    yield f"# {n}\n{HEAD}"
    for value in range(n):
        yield f"build double/{value}: double\n  value = {value}\nbuild incr/{value}: incr double/{value}\n"
    yield "build total: total " + " ".join(f"incr/{value}" for value in range(n)) + "\ndefault total\n"


def program() -> str:
    """The ninja that the package of this name has, else the one on the path."""
    try:
        import ninja
    except ImportError:
        return "ninja"
    return os.path.join(ninja.BIN_DIR, "ninja")


if __name__ == "__main__":
    path = Path(directory, "build.ninja")
    os.makedirs(directory, exist_ok=True)
    known = path.open().readline() if path.exists() else ""
    if known.strip() != f"# {n}":
        with path.open("w") as file:
            file.writelines(lines())
    status = subprocess.call([program(), "-j", "2", "--quiet"], cwd=directory)
    print(Path(directory, "total").read_text())
    sys.exit(status)
