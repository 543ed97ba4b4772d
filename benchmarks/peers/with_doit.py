"""W(N) with doit: a task writes a file, knows its dependencies by time stamps, and its records are in SQLite."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain

directory, n = sys.argv[1], int(sys.argv[2])


def double(value: int, target: str) -> None:
    Path(target).write_text(str(2 * value))


def incr(source: str, target: str) -> None:
    Path(target).write_text(str(int(Path(source).read_text()) + 1))


def total(sources: list[str], target: str) -> None:
    Path(target).write_text(str(sum(int(Path(source).read_text()) for source in sources)))


def task_double() -> Iterator[dict[str, object]]:
    for value in range(n):
        target = f"double/{value}"
        yield {"name": str(value), "actions": [(double, (value, target))], "targets": [target], "uptodate": [True]}


def task_incr() -> Iterator[dict[str, object]]:
    for value in range(n):
        source, target = f"double/{value}", f"incr/{value}"
        yield {
            "name": str(value), "actions": [(incr, (source, target))], "file_dep": [source], "targets": [target],
        }


def task_total() -> dict[str, object]:
    sources = [f"incr/{value}" for value in range(n)]
    return {"actions": [(total, (sources, "total"))], "file_dep": sources, "targets": ["total"]}


if __name__ == "__main__":
    for name in ("double", "incr"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    os.chdir(directory)
    config = {
        "DOIT_CONFIG": {
            "backend": "sqlite3", "dep_file": "doit.sqlite", "check_file_uptodate": "timestamp", "reporter": "zero",
        }
    }
    creators = {"task_double": task_double, "task_incr": task_incr, "task_total": task_total, **config}
    arguments = ["run", "-n", "2", "-P", "process"]
    status = DoitMain(ModuleTaskLoader(creators)).run(arguments)
    print(Path("total").read_text())
    sys.exit(status)
