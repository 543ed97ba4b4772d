#!/usr/bin/env python3
"""The work W(N) for Pipelet: ``gen -> double -> incr -> total``, one run with two worker processes.

    python benchmarks/work.py DIRECTORY 10000            scripts, database and tree are in DIRECTORY
    python benchmarks/work.py DIRECTORY 10000 --files    each task of double and incr writes a file
    python benchmarks/work.py DIRECTORY 10000 --check    runs nothing: is all on record, and right?
    python benchmarks/work.py DIRECTORY 10000 --durability process      asks nothing of the disk
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
from pathlib import Path

from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline

DOT = "gen -> double -> incr -> total"
FILE = "import pickle\nwith open(get_data_fn('value.pkl'), 'wb') as file:\n    pickle.dump({}, file)\n"
SCRIPTS = {
    "gen": "n = get_input()\noutput = list(range(n))\nset_output(output)\n",
    "double": "value = get_input()\noutput = 2 * value\nset_output(output)\n",
    "incr": "value = get_input()\noutput = value + 1\nset_output(output)\n",
    "total": (
        "#multiplex cross_prod group_by 'all'\nvalues = get_input('incr')\noutput = sum(values)\nset_output(output)\n"
    ),
}
WITH_FILE = ("double", "incr")


def write_scripts(directory: str, files: bool) -> None:
    """Write the four scripts, unless they are there."""
    for name, text in SCRIPTS.items():
        text += FILE.format("output") if files and name in WITH_FILE else ""
        path = Path(directory, f"{name}.py")
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def pipeline(directory: str, n: int, durability: str = "power") -> Pipeline:
    """The pipeline, with n pushed."""
    made = Pipeline(DOT, code_dir=directory, prefix=os.path.join(directory, "prefix"), durability=durability)
    made.push(gen=[n])
    return made


def check(directory: str, n: int, files: bool) -> None:
    """Look whether all tasks are on record, with the right outputs, and their files on disk."""
    made = pipeline(directory, n)
    outputs = {name: made.outputs(name) for name in SCRIPTS}
    assert outputs["gen"] == list(range(n)), "gen"
    assert outputs["double"] == [2 * value for value in range(n)], "double"
    assert outputs["incr"] == [2 * value + 1 for value in range(n)], "incr"
    assert outputs["total"] == [n * n], outputs["total"]
    for name in WITH_FILE if files else ():
        assert made.instances(name)[0].counts, name
        paths = sorted(Path(made.instances(name)[0].path, "data").glob("*/value.pkl"))
        values = sorted(pickle.loads(path.read_bytes()) for path in paths)
        assert values == outputs[name], f"files of {name}: {len(paths)}"


def main() -> int:
    """Run it once, and print what it did as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="where scripts, database and tree are")
    parser.add_argument("n", type=int, help="elements (tasks: twice as many, and two)")
    parser.add_argument("--files", action="store_true", help="each task of double and incr writes a file")
    parser.add_argument("--check", action="store_true", help="run nothing, look whether all is there")
    parser.add_argument("--durability", default="power", help="what 'done' outlives (default: %(default)s)")
    options = parser.parse_args()
    if options.check:
        check(options.directory, options.n, options.files)
        print(json.dumps({"checked": True}))
        return 0
    write_scripts(options.directory, options.files)
    w, _ = launch_process(pipeline(options.directory, options.n, options.durability), 2, log_level=0)
    summary = w.run()
    print(json.dumps({"executed": summary.done, "reused": summary.reused, "seconds": summary.seconds}))
    return 0 if summary.ok else 1


if __name__ == "__main__":
    sys.exit(main())
