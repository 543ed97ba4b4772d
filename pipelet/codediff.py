"""What changed between two versions of a segment's code, for people."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping

#: Larger files are only said to differ: comparing them line by line takes minutes.
_LARGEST = 1_000_000
_MOST_LINES = 20_000
#: So do changes that are spread over more lines than this.
_MOST_CHANGED = 4000


def diff_ingredients(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Name the ingredients of a key that were added, removed or changed.

    Parameters
    ----------
    old, new
        Names of ingredients to their digests.

    Returns
    -------
    list of str
        The names, sorted.
    """
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def unified(old: bytes | None, new: bytes | None, name: str) -> str:
    """Show how a file changed, as a unified diff.

    Parameters
    ----------
    old, new
        Its contents before and now; ``None`` where it was not there.
    name
        Its name, for the heading.

    Returns
    -------
    str
        The diff, or one line where the content is no text or very large; empty when nothing changed.
    """
    if old == new:
        return ""
    before = _lines(old, name)
    after = _lines(new, name)
    if before is None or after is None:
        if old is not None and new is not None and len(old) == len(new):
            return f"{name}: {_size(old)} before and now, with another content\n"
        return f"{name}: {_size(old)} before, {_size(new)} now\n"
    first, changed = _changed(before, after)
    if changed > _MOST_CHANGED and old is not None and new is not None:
        sides = [(sign, lines) for sign, lines in (("-", before), ("+", after)) if first < len(lines)]
        shown = [f"{sign}{lines[first].rstrip()}\n" for sign, lines in sides]
        counts = f"{len(before)} lines before, {len(after)} lines now"
        return f"{name}: {counts}, the first that differs is line {first + 1}\n{''.join(shown)}"
    heads = [f"{name} ({'before' if old is not None else 'not there before'})"]
    heads.append(f"{name} ({'now' if new is not None else 'no longer there'})")
    differing = difflib.unified_diff(before, after, heads[0], heads[1])
    diff = "".join(
        line if line.endswith("\n") else f"{line}\n\\ no line end at the end of the file\n" for line in differing
    )
    return diff or f"{name}: only line ends or the encoding differ\n"


def _changed(before: list[str], after: list[str]) -> tuple[int, int]:
    """The first line that differs, and over how many lines the changes are spread."""
    shorter = min(len(before), len(after))
    first = next((at for at in range(shorter) if before[at] != after[at]), shorter)
    last = next((at for at in range(shorter - first) if before[-1 - at] != after[-1 - at]), shorter - first)
    return first, max(len(before), len(after)) - first - last


def _lines(data: bytes | None, name: str) -> list[str] | None:
    if data is None:
        return []
    if len(data) > _LARGEST or b"\0" in data:
        return None
    try:
        text = importlib.util.decode_source(data) if name.endswith(".py") else data.decode("utf-8-sig")
    except (SyntaxError, UnicodeError, LookupError):
        return None
    # Not splitlines(): a form feed or a Unicode line separator ends no line of code.
    lines = [f"{line}\n" for line in text.replace("\r\n", "\n").split("\n")]
    last = lines.pop()[:-1]
    lines += [last] if last else []
    return lines if len(lines) <= _MOST_LINES else None


def _size(data: bytes | None) -> str:
    return "not there" if data is None else f"{len(data)} bytes"
