"""Which versions of the segments the last run of a prefix was about: a small file beside its log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

from pipelet.storage.files import encode, write_atomic
from pipelet.storage.tree import Tree

_NAME = "last_run"


def write_last_run(tree: Tree, keys: Mapping[str, str]) -> None:
    """Note what a run is about, when it begins.

    Parameters
    ----------
    tree
        The prefix.
    keys
        The key of each segment, parents first.

    Raises
    ------
    StorageError
        It can't be written.
    """
    # It may get lost with the power: it serves those who look on.
    text = json.dumps({"began": time.time(), "segments": dict(keys)}, indent=1) + "\n"
    write_atomic(os.path.join(tree.log_dir, _NAME), encode(text), False, tree.discard_dir)


def read_last_run(tree: Tree) -> dict[str, str]:
    """Give the key of each segment of the last run, parents first; empty where that is not known."""
    segments = _read(tree).get("segments")
    return {str(name): str(key) for name, key in segments.items()} if isinstance(segments, dict) else {}


def last_run_began(tree: Tree) -> float | None:
    """Tell when the last run of a prefix began, in seconds since the epoch; ``None`` where that is not known."""
    began = _read(tree).get("began")
    return float(began) if isinstance(began, (int, float)) else None


def _read(tree: Tree) -> dict[str, object]:
    try:
        with open(os.path.join(tree.log_dir, _NAME), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
