"""Texts, logs and code."""

from __future__ import annotations

import json

from pipelet.errors import ViewError
from pipelet.web.viewers import highlight, limited
from pipelet.web.viewers.base import TEXT_BYTES, Source, View, cut_line, decode, read_part

#: Lines of one page.
_LINES = 20_000


def view(source: Source, tail: bool = False) -> View:
    """Show the beginning or the end of a text.

    Parameters
    ----------
    source
        The file.
    tail
        Its end.

    Returns
    -------
    View
        With ``lines``, ``encoding``, ``tail`` and ``cut`` (whether there is more than this).
    """
    data, note = read_part(source, TEXT_BYTES, tail)
    text, encoding = decode(data, note is not None)
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    notes = [note] if note else []
    if len(lines) > _LINES:
        notes.append(f"{'Last' if tail else 'First'} {_LINES:,} of {len(lines):,} lines of this part.")
        lines = lines[-_LINES:] if tail else lines[:_LINES]
    data_ = {"lines": [cut_line(line) for line in lines], "encoding": encoding, "tail": tail, "cut": bool(notes)}
    return View("text", "_view_text.html", data_, tuple(notes))


def view_code(source: Source) -> View:
    """Show code in colours, or as a text where there is too much of it."""
    if source.size > highlight.LARGEST:
        found = view(source)
        return found._replace(notes=(*found.notes, "It is too long for colours."))
    try:
        lines = json.loads(limited.ask("code", source.file, {"name": source.name}))
    except ViewError as error:
        found = view(source)
        return found._replace(notes=(*found.notes, f"Without colours: {error}."))
    return View("code", "_view_code.html", {"lines": lines})
