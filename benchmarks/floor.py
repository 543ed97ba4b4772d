#!/usr/bin/env python3
"""The floor: a plain program that does for ``gen -> double -> incr -> total`` only what can't be avoided.

A pool of two processes takes the tasks in chunks. Each task executes a compiled script of three lines in a fresh dict,
makes a directory and writes one small pickle file; it has one row in an SQLite database (WAL), inserted and updated in
batches. Called again, the program reads all rows and scans the directories, and runs what is missing. No engine that
keeps as much can cost less, so this is what engines are measured against.

    python benchmarks/floor.py DIRECTORY 10000                     from nothing; again: nothing to do
    python benchmarks/floor.py DIRECTORY 10001                     one element more
    python benchmarks/floor.py DIRECTORY 10000 --no-directories    rows only
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from types import CodeType
from typing import Any, NamedTuple

SCRIPTS = {
    "gen": "n = task_input\noutput = list(range(n))\nset_output(output)\n",
    "double": "value = task_input\noutput = 2 * value\nset_output(output)\n",
    "incr": "value = task_input\noutput = value + 1\nset_output(output)\n",
    "total": "values = task_input\noutput = sum(values)\nset_output(output)\n",
}
WORKERS = 2
#: So many tasks go to a process at once, and into one transaction.
CHUNK = 1000
QUEUED, DONE = 0, 2
_CODES: dict[str, CodeType] = {name: compile(text, f"{name}.py", "exec") for name, text in SCRIPTS.items()}
_CREATE = """
CREATE TABLE IF NOT EXISTS task(id INTEGER PRIMARY KEY, segment TEXT, status INTEGER, input BLOB, output BLOB)
"""


class Chunk(NamedTuple):
    """Tasks that one process executes in one go."""

    segment: str
    directory: str | None
    tasks: Sequence[tuple[int, bytes]]  #: number and pickled input


def run_chunk(chunk: Chunk) -> list[tuple[int, bytes, int]]:
    """Execute tasks; gives the status, pickled output and number of each, as the update wants them."""
    code = _CODES[chunk.segment]
    done = []
    for number, blob in chunk.tasks:
        given: list[Any] = []
        exec(code, {"task_input": pickle.loads(blob), "set_output": given.append})
        output = pickle.dumps(given[0], pickle.HIGHEST_PROTOCOL)
        if chunk.directory is not None:
            directory = f"{chunk.directory}/{number}"
            os.mkdir(directory)
            with open(f"{directory}/value.pkl", "wb") as file:
                file.write(output)
        done.append((DONE, output, number))
    return done


class Floor:
    """The program on one directory."""

    def __init__(self, directory: str, directories: bool) -> None:
        self.data = os.path.join(directory, "data") if directories else None
        for name in SCRIPTS if directories else ():
            os.makedirs(os.path.join(directory, "data", name), exist_ok=True)
        os.makedirs(directory, exist_ok=True)
        self.database = sqlite3.connect(os.path.join(directory, "tasks.sqlite"), isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=NORMAL")
        self.database.execute(_CREATE)
        self.pool: Any = None
        self.executed = 0
        #: For each segment: pickled input to (number, pickled output) of the tasks that are done, in order.
        self.done: dict[str, dict[bytes, tuple[int, bytes]]] = {name: {} for name in SCRIPTS}
        self.last = 0
        self._read()

    def _read(self) -> None:
        """Read all rows and scan the directories: what is there need not run."""
        there = {}
        for name in SCRIPTS if self.data is not None else ():
            with os.scandir(f"{self.data}/{name}") as entries:
                there[name] = {entry.name for entry in entries}
        for number, segment, status, given, output in self.database.execute("SELECT * FROM task"):
            self.last = number
            if status == DONE and (self.data is None or str(number) in there[segment]):
                self.done[segment][given] = (number, output)

    def run(self, n: int) -> int:
        """Run all that is missing; gives the total."""
        outputs = self._segment("gen", [pickle.dumps(n, pickle.HIGHEST_PROTOCOL)])
        elements = [pickle.dumps(value, pickle.HIGHEST_PROTOCOL) for value in pickle.loads(outputs[0])]
        # The pickled output of a task is the pickled input of the next: nothing is unpickled on the way.
        outputs = self._segment("incr", self._segment("double", elements))
        values = [pickle.loads(output) for output in outputs] if self.executed else None
        if values is None:  # nothing has run, so the total is the one on record
            return int(pickle.loads(next(reversed(self.done["total"].values()))[1]))
        return int(pickle.loads(self._segment("total", [pickle.dumps(values, pickle.HIGHEST_PROTOCOL)])[0]))

    def _segment(self, name: str, inputs: Sequence[bytes]) -> list[bytes]:
        """Outputs for these inputs, in order."""
        done = self.done[name]
        missing = [given for given in inputs if given not in done]
        if missing:
            self._execute(name, missing)
        return [done[given][1] for given in inputs]

    def _execute(self, name: str, inputs: Sequence[bytes]) -> None:
        if self.pool is None:
            self.pool = multiprocessing.get_context("fork").Pool(WORKERS)
        first = self.last + 1
        self.last += len(inputs)
        self.executed += len(inputs)
        self._write(
            "INSERT INTO task VALUES(?, ?, ?, ?, NULL)",
            ((number, name, QUEUED, given) for number, given in enumerate(inputs, first)),
        )
        numbered = list(enumerate(inputs, first))
        size = max(1, min(CHUNK, -(-len(numbered) // (4 * WORKERS))))
        directory = None if self.data is None else f"{self.data}/{name}"
        chunks = (Chunk(name, directory, numbered[at : at + size]) for at in range(0, len(numbered), size))
        done = self.done[name]
        for results in self.pool.imap_unordered(run_chunk, chunks):
            self._write("UPDATE task SET status=?, output=? WHERE id=?", results)
            done.update((inputs[number - first], (number, output)) for _, output, number in results)

    def _write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany(statement, rows)
        self.database.execute("COMMIT")

    def close(self) -> None:
        """End the processes, so that what they cost is accounted for, and close the database."""
        if self.pool is not None:
            self.pool.close()
            self.pool.join()
        self.database.close()


def main() -> int:
    """Run it once, and print what it did as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="where its database and its directories are")
    parser.add_argument("n", type=int, help="elements (tasks: twice as many, and two)")
    parser.add_argument("--no-directories", action="store_true", help="no directory and no file for a task")
    options = parser.parse_args()
    floor = Floor(options.directory, not options.no_directories)
    try:
        total = floor.run(options.n)
    finally:
        floor.close()
    print(json.dumps({"total": total, "executed": floor.executed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
