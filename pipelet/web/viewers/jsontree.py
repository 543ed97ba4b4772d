"""JSON, also a value a line, as a tree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipelet.errors import ViewError
from pipelet.web.viewers.trees import Budget, Node, plain, short

#: Larger files are shown as text.
LARGEST = 32 << 20
_MOST_DIGITS = 1000


def prepare() -> None:
    """Nothing to load."""


def answer(file: BinaryIO, options: dict[str, Any]) -> Node:
    """Read a file; ``options["lines"]`` says that there is a value on each line."""
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ViewError("it is too large to be shown as a tree")
    return tree(data, bool(options.get("lines")))


def tree(data: bytes, lines: bool = False) -> Node:
    """Make a tree of JSON.

    Parameters
    ----------
    data
        The text.
    lines
        Whether there is a value on each line.

    Returns
    -------
    dict
        A node of `pipelet.web.viewers.trees`.

    Raises
    ------
    ViewError
        It is no JSON, or nested too deeply.
    """
    budget = Budget()
    try:
        text = data.decode("utf-8-sig")
        if not lines:
            return _node(_loads(text), budget, 0)
        rows = [line for line in text.split("\n") if line.strip()]
        items = ((str(number), _node(_loads(row), budget, 1)) for number, row in enumerate(rows, 1) if budget.take())
        return budget.branch("lines", len(rows), items)
    except RecursionError:
        raise ViewError("it is nested too deeply to be shown as a tree") from None
    except ValueError as error:
        raise ViewError(f"it is no JSON: {short(str(error), 200)}") from None


def _loads(text: str) -> Any:
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else f"{digits[:40]}… ({len(digits):,} digits)"


def _node(value: Any, budget: Budget, depth: int) -> Node:
    if not isinstance(value, (dict, list)):
        return plain(value)
    kind = "object" if isinstance(value, dict) else "array"
    if depth >= budget.depth:
        return {"kind": kind, "text": f"{len(value):,}", "note": "deeper levels are not shown", "more": len(value)}
    return budget.branch(kind, len(value), _items(value, budget, depth))


def _items(value: Any, budget: Budget, depth: int) -> Iterator[tuple[str | None, Node]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in pairs:
        if not budget.take():
            return
        yield short(str(name), 100), _node(item, budget, depth + 1)
