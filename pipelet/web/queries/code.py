"""What the code page shows: all that a version was made of, and its relatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from markupsafe import Markup

from pipelet.core.model import Status
from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow
from pipelet.web.highlighting import LARGEST, coloured, text_of
from pipelet.web.queries.oneversion import Part, Version, Versions

#: Of what is no text, or very large, so many bytes are shown.
_FIRST = 256
_IN_A_ROW = 16
#: So many bytes of code are shown on one page, of so many files; each of the others has a page of its own.
_ON_A_PAGE = 1 << 20
_FILES = 40
#: So many versions, and children, are listed.
MOST_VERSIONS = 50
_MOST_CHILDREN = 24


class Shown(NamedTuple):
    """A file as the page shows it."""

    role: str
    name: str
    size: int | None
    lines: Sequence[Markup]
    words: str | None = None  #: why there are no lines, or not all
    dump: Sequence[str] = ()  #: the first bytes of what is no text
    apart: bool = False  #: it has a page of its own


class Relative(NamedTuple):
    """A version from which this one descends, itself, or a child."""

    row: InstanceRow
    tag: str | None
    tasks: int
    failed: int


class Other(NamedTuple):
    """Another version of the same segment."""

    row: InstanceRow
    tag: str | None
    tasks: int


@dataclass
class Family:
    """The tree reduced to one version.

    Attributes
    ----------
    generations
        Its ancestors, the furthest first, and itself as the last.
    children
        The versions that take from it, so many at most.
    more_children
        How many more there are.
    gone
        Names of parents that are not in the database.
    """

    generations: list[list[Relative]] = field(default_factory=list)
    children: list[Relative] = field(default_factory=list)
    more_children: int = 0
    gone: list[str] = field(default_factory=list)


def shown_files(version: Version, only: str | None = None) -> list[Shown]:
    """Read the files of a version.

    Parameters
    ----------
    version
        Which one.
    only
        The name of the one file to show.

    Returns
    -------
    list of Shown
    """
    found: list[Shown] = []
    used = 0
    for part in version.parts():
        if only is not None and part.name != only:
            continue
        if only is None and (used >= _ON_A_PAGE or len(found) >= _FILES):
            found.append(Shown(part.role, part.name, None, (), apart=True))
            continue
        shown = _shown(part, version)
        used += sum(map(len, shown.lines))
        found.append(shown)
    return found


def family(versions: Versions, row: InstanceRow) -> Family:
    """Give the versions from which one descends, and those that take from it.

    Parameters
    ----------
    versions
        All of them.
    row
        The one in question.
    """
    found = Family()
    generation = [row]
    layers = []
    while generation:
        layers.append(generation)
        above: dict[int, None] = dict.fromkeys(parent for item in generation for parent in item.parents)
        found.gone += [f"version {parent}" for parent in above if parent not in versions.by_id]
        generation = [versions.by_id[parent] for parent in above if parent in versions.by_id]
        # One that is reached on ways of different lengths stands where the longest leads to.
        for layer in layers[1:]:
            layer[:] = [item for item in layer if item not in generation]
        if len(layers) > len(versions.rows):
            # Only in a database that was tampered with does anything descend from itself.
            break
    found.generations = [[_relative(versions, item) for item in layer] for layer in reversed(layers) if layer]
    children = [item for item in versions.rows if row.id in item.parents]
    found.children = [_relative(versions, item) for item in children[:_MOST_CHILDREN]]
    found.more_children = max(len(children) - _MOST_CHILDREN, 0)
    return found


def other_versions(versions: Versions, row: InstanceRow) -> tuple[list[Other], InstanceRow | None, int]:
    """Give the other versions of a segment.

    Parameters
    ----------
    versions
        All of them.
    row
        The one in question.

    Returns
    -------
    list of Other
        The newest first.
    InstanceRow or None
        The one before it.
    int
        How many more there are.
    """
    rows = versions.of_segment(row.segment)
    at = next((place for place, item in enumerate(rows) if item.id == row.id), len(rows))
    before = rows[at + 1] if at + 1 < len(rows) else None
    others = [item for item in rows if item.id != row.id]
    listed = [
        Other(item, versions.tags.get(item.id), sum(versions.tally.get(item.id, {}).values()))
        for item in others[:MOST_VERSIONS]
    ]
    return listed, before, max(len(others) - MOST_VERSIONS, 0)


def _relative(versions: Versions, row: InstanceRow) -> Relative:
    counts = versions.tally.get(row.id, {})
    return Relative(row, versions.tags.get(row.id), sum(counts.values()), counts.get(Status.FAILED, 0))


def _shown(part: Part, version: Version) -> Shown:
    if part.kept is None:
        return Shown(part.role, part.name, len(part.text.encode("utf-8", "replace")), coloured(part.text, "x.py"))
    try:
        kept = version.kept.read(part.kept, LARGEST)
    except StorageError as error:
        return Shown(part.role, part.name, None, (), f"It can't be shown: {error}.")
    text = text_of(kept.data, part.name) if kept.whole else None
    if text is not None:
        return Shown(part.role, part.name, kept.size, coloured(text, part.name), None if text else "It is empty.")
    if not kept.whole:
        words = "It is too large to be shown as a whole; these are its first bytes."
    else:
        words = "It is no text; these are its first bytes."
    return Shown(part.role, part.name, kept.size, (), words, dump(kept.data[:_FIRST]))


def dump(data: bytes) -> list[str]:
    """Write bytes as hexadecimal digits, and as what they are in ASCII."""
    rows = []
    for start in range(0, len(data), _IN_A_ROW):
        piece = data[start : start + _IN_A_ROW]
        plain = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        rows.append(f"{start:04x}  {piece.hex(' '):<{3 * _IN_A_ROW}} {plain}")
    return rows
