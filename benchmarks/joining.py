#!/usr/bin/env python3
"""A pipeline of N + 1 or N + 2 trivial tasks, from nothing, by two worker processes: with ``where``, and without.

    python benchmarks/joining.py DIRECTORY 10000 --where    a and b give N elements each, and c joins the equal ones
    python benchmarks/joining.py DIRECTORY 10000            a gives N elements, and c takes each
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline

WHERE = "a[0] == b[0]"
PARENT = "n = get_input()\nset_output([(number, '{0}%d' % number) for number in range(n)])\n"
CHILD = "set_output(get_input('a')[0])\n"


def main() -> int:
    """Run it once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="where scripts, database and tree are")
    parser.add_argument("n", type=int, help="elements of each parent")
    parser.add_argument("--where", action="store_true", help=f"two parents, joined by {WHERE}")
    options = parser.parse_args()
    parents = "ab" if options.where else "a"
    for name in parents:
        Path(options.directory, f"{name}.py").write_text(PARENT.format(name))
    directive = f"#multiplex cross_prod where {WHERE}\n" if options.where else ""
    Path(options.directory, "c.py").write_text(directive + CHILD)
    pipeline = Pipeline(
        "; ".join(f"{name} -> c" for name in parents),
        code_dir=options.directory,
        prefix=os.path.join(options.directory, "prefix"),
    )
    pipeline.push(**{name: [options.n] for name in parents})
    w, _ = launch_process(pipeline, 2, log_level=0)
    summary = w.run()
    wrong = summary.done != options.n + len(parents) or sorted(pipeline.outputs("c")) != list(range(options.n))
    return 1 if wrong or not summary.ok else 0


if __name__ == "__main__":
    sys.exit(main())
