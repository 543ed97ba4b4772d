"""Values as a tree that a page can show, of a size that a person can read.

A node is a plain dict: ``kind`` (a word, may be empty), ``text`` (the value, on a line), ``inside`` (pairs of a name,
or ``None``, and a node), ``numbers`` (of an array), ``more`` (so many are not shown), ``note`` and ``danger``; all but
the first two only where there is something.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

Node = dict[str, Any]

#: The longest value on a line.
LONGEST = 400
#: Larger integers are not written out: that takes long.
_LARGE = 4000


class Budget:
    """How much of a value is shown.

    Parameters
    ----------
    nodes, depth, items
        So many nodes in all, so many levels, and so many items of each.
    """

    def __init__(self, nodes: int = 3000, depth: int = 12, items: int = 200) -> None:
        self.left = nodes
        self.depth = depth
        self.items = items

    def branch(self, kind: str, count: int, items: Iterable[tuple[str | None, Node]], **more: Any) -> Node:
        """Make a node of the first of its items; they are made one by one, while there is something left."""
        shown: list[tuple[str | None, Node]] = []
        for pair in islice(items, self.items):
            shown.append(pair)
            if self.left <= 0:
                break
        node: Node = {"kind": kind, "text": f"{count:,}", "inside": shown, **more}
        if count > len(shown):
            node["more"] = count - len(shown)
        return node

    def take(self) -> bool:
        """Whether there is room for another node."""
        self.left -= 1
        return self.left >= 0


def short(text: str, most: int = LONGEST) -> str:
    """Cut a text that is longer than a line."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def plain(value: object) -> Node:
    """Make a node of a simple value."""
    if value is None or isinstance(value, bool):
        return {"kind": "", "text": str(value)}
    if isinstance(value, int):
        if value.bit_length() > _LARGE:
            return {"kind": "int", "text": f"an integer of {value.bit_length():,} bits"}
        return {"kind": "int", "text": str(value)}
    if isinstance(value, float):
        return {"kind": "float", "text": repr(value)}
    if isinstance(value, str):
        rest = f"… ({len(value):,} characters)" if len(value) > LONGEST else ""
        return {"kind": "str", "text": repr(value[:LONGEST]) + rest}
    if isinstance(value, (bytes, bytearray)):
        shown = repr(bytes(value[:60]))
        return {"kind": type(value).__name__, "text": shown if len(value) <= 60 else f"{shown}… ({len(value):,} bytes)"}
    return {"kind": type(value).__name__, "text": short(str(value))}
