"""What a deletion in the trash says of itself, checked before anything is done that it says."""

from __future__ import annotations

from typing import Any

#: A place relative to the prefix, and one relative to the deletion's directory.
Move = tuple[str, str]

_KINDS = ("instances", "products", "tasks")
#: In seconds since the epoch; later moments can't be written as a date.
_LATEST = 2.47e11


def check_manifest(table: Any) -> dict[str, Any]:
    """Give a manifest back if it is as one was written; else raise a `ValueError`."""
    if not isinstance(table, dict) or table.get("kind") not in _KINDS or not isinstance(table.get("by"), str):
        raise ValueError("its manifest is none")
    moments = (table.get("made"), table.get("until"))
    if not all(isinstance(moment, (int, float)) and 0 <= moment <= _LATEST for moment in moments):
        raise ValueError("its manifest has no date")
    items = table.get("instances")
    if not isinstance(items, list) or not all(map(_is_instance, items)):
        raise ValueError("its manifest names no segment instances")
    return table


def check_moves(table: Any) -> list[Move]:
    """Give the moves of a deletion, none of which leads elsewhere; else raise a `ValueError`."""
    moves = table.get("moves") if isinstance(table, dict) else None
    if not isinstance(moves, list) or not all(isinstance(move, list) and len(move) == 2 for move in moves):
        raise ValueError("it does not say what it took from where")
    if not all(_is_below(place) for move in moves for place in move):
        raise ValueError("it took something from elsewhere")
    return [(source, kept) for source, kept in moves]


def _is_instance(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and all(isinstance(item.get(name), int) for name in ("id", "tasks"))
        and all(isinstance(item.get(name), str) for name in ("segment", "key", "path"))
        and isinstance(item.get("tag"), (str, type(None)))
        and isinstance(item.get("parents", []), list)
    )


def _is_below(place: Any) -> bool:
    return isinstance(place, str) and not any(part in ("", ".", "..") for part in place.split("/"))
