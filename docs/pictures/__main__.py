"""``python -m docs.pictures`` makes all of them; with names, only those: graphs, tree, plots, diagrams."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from docs.pictures import diagrams, graphs, plots, tree

TARGET = Path(__file__).resolve().parents[1] / "_static" / "pictures"
MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "graphs": graphs.make, "tree": tree.make, "plots": plots.make, "diagrams": diagrams.make,
}


def main() -> int:
    """Make what is asked for."""
    names = sys.argv[1:] or list(MAKERS)
    if unknown := [name for name in names if name not in MAKERS]:
        sys.exit(f"{', '.join(unknown)}: there are only {', '.join(MAKERS)}")
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="pictures-") as scratch:
            MAKERS[name](TARGET, Path(scratch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
