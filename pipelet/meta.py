"""The plain-text files of an instance that people read: ``.meta`` and ``.args``."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping

from pipelet.codebase import SegmentCode
from pipelet.core.graph import Graph
from pipelet.modules import revision


def describe(
    segment: str,
    key: str,
    code: SegmentCode,
    keys: Mapping[str, str],
    graph: Graph,
    created: float,
    code_dir: str,
) -> dict[str, object]:
    """What ``.meta`` says of a new instance.

    Parameters
    ----------
    segment, key, code
        The segment as it was read.
    keys, graph
        Of the whole pipeline.
    created
        Seconds since the epoch.
    code_dir
        Where the code stands; only its revision is kept.
    """
    return {
        "segment": segment,
        "key": key,
        "created": clock_text(created),
        "created_seconds": created,
        "computed": None,
        "parents": {name: keys[name] for name in graph.parents(segment)},
        "script": code.script.name,
        "hooks": {name: file.name for name, file in sorted(code.hooks.items())},
        "depends": [file.name for file in code.dependencies],
        "directives": list(code.directives),
        "ingredients": dict(code.ingredients),
        "revision": revision(code_dir),
        "python": platform.python_version(),
        "modules": [],
    }


def clock_text(seconds: float) -> str:
    """A moment, given in seconds since the epoch, for people of any time zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def parameters_text(by_task: Mapping[str, Mapping[str, str | None]]) -> str:
    """What ``.args`` says: the parameters that all tasks share first, then those that differ, by task.

    Parameters
    ----------
    by_task
        Name of a task's directory -> parameter -> its value for people.
    """
    tasks = list(by_task.values())
    shared = {
        name: value
        for name, value in (tasks[0].items() if tasks else ())
        if all(name in other and other[name] == value for other in tasks)
    }
    lines = [f"{name} = {_one_line(value)}" for name, value in sorted(shared.items())]
    for task, values in sorted(by_task.items(), key=lambda item: _number(item[0])):
        own = {name: value for name, value in values.items() if name not in shared}
        if own:
            lines += ["", f"[{task}]"]
            lines += [f"{name} = {_one_line(value)}" for name, value in sorted(own.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _one_line(value: str | None) -> str:
    return (value or "").replace("\\", "\\\\").replace("\n", "\\n")


def _number(name: str) -> int:
    head = name.partition("_")[0]
    return int(head) if head.isdigit() else 0
