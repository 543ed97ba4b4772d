"""Two versions side by side: what differs in code, parents, parameters, modules and durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow
from pipelet.statusdb.matching import Durations, durations
from pipelet.storage import Kept
from pipelet.web.queries.difftext import Diff, diff
from pipelet.web.queries.oneversion import Parameter, Part, Version, Versions

#: Of larger files only the sizes, and what the key says of them, are compared.
_LARGEST = 1_000_000
#: So many files are compared line by line.
_MOST_FILES = 60
#: So many names stand in the sentence.
_NAMED = 5


class FileChange(NamedTuple):
    """A file of code that both versions have, or one of them."""

    role: str
    name: str
    state: str  #: ``changed``, ``layout`` (the same to the key), ``added``, ``removed``, ``equal`` or ``unknown``
    diff: Diff
    words: str | None = None


class ParentChange(NamedTuple):
    """A parent that is another one."""

    name: str
    old: InstanceRow | None
    new: InstanceRow | None
    state: str  #: ``changed``, ``added`` or ``removed``


class Beside(NamedTuple):
    """Something that both versions have a value of."""

    name: str
    old: str | None
    new: str | None
    exposed: bool = True

    @property
    def differs(self) -> bool:
        """Whether they differ."""
        return self.old != self.new

    @property
    def number(self) -> float | None:
        """The difference, if both are numbers."""
        old, new = as_number(self.old), as_number(self.new)
        return None if old is None or new is None else new - old


class Sides(NamedTuple):
    """How the pages call two versions: the older and the newer, or by the names of two segments."""

    old: str
    new: str
    heads: tuple[str, str]  #: of columns
    only: tuple[str, str]  #: of what one of them alone has

    @classmethod
    def of(cls, old: InstanceRow, new: InstanceRow) -> Sides:
        """Name two versions."""
        if old.segment == new.segment:
            return cls("older", "newer", ("Older", "Newer"), ("only in the older", "only in the newer"))
        names = (old.segment, new.segment)
        return cls(*names, names, (f"only in {old.segment}", f"only in {new.segment}"))


@dataclass(frozen=True)
class Comparison:
    """What differs between two versions.

    Attributes
    ----------
    old, new
        The versions.
    files, parents, parameters, modules
        Piece by piece, equal ones as well.
    directives
        A diff.
    python, revision
        Of both.
    times
        How long the tasks of each took.
    sampled
        Of so many tasks the parameters that differ by task were taken; 0: of all.
    """

    old: Version
    new: Version
    files: Sequence[FileChange]
    parents: Sequence[ParentChange]
    parameters: Sequence[Beside]
    modules: Sequence[Beside]
    directives: Diff
    python: Beside
    revision: Beside
    times: tuple[Durations, Durations]
    sampled: int

    @property
    def same_segment(self) -> bool:
        """Whether they are versions of one segment."""
        return self.old.row.segment == self.new.row.segment

    @property
    def sides(self) -> Sides:
        """How they are called."""
        return Sides.of(self.old.row, self.new.row)

    @property
    def changed_files(self) -> list[FileChange]:
        """The files that differ, in whatever way."""
        return [file for file in self.files if file.state != "equal"]

    def sentence(self) -> str:
        """What differs, in one sentence."""
        if self.old.row.id == self.new.row.id:
            return "This is one and the same version: choose another one."
        remarks = _REMARKS
        if not self.same_segment:
            # Between two segments nothing is new and nothing has gone.
            remarks = {**remarks, "added": f" ({self.sides.only[1]})", "removed": f" ({self.sides.only[0]})"}
        names = [f"{file.name}{remarks.get(file.state, '')}" for file in self.changed_files]
        names += ["the directives"] if self.directives else []
        names += [f"the parent {parent.name}{remarks.get(parent.state, '')}" for parent in self.parents]
        names += ["the version of Python"] if self.python.differs and self.old.python and self.new.python else []
        names += [f"{item.name}'s version" for item in self.modules if item.differs and item.old and item.new]
        differing = [item.name for item in self.parameters if item.differs]
        if differing:
            said = f"parameter{'s' if len(differing) > 1 else ''} {_listed(differing)}"
        unread = [version.short for version in (self.old, self.new) if version.problem]
        end = f" What is on record of {' and '.join(unread)} is not all here." if unread else ""
        if not names and not differing:
            return f"Nothing on record differs: code, parents, modules and parameters are equal.{end}"
        if not names:
            return f"Only the {said} {'differ' if len(differing) > 1 else 'differs'}.{end}"
        rest = f"so {'do' if len(differing) > 1 else 'does'} the {said}" if differing else "parameters are equal"
        text = f"{_listed(names)} {'differ' if len(names) > 1 else 'differs'}; {rest}."
        return f"{text[:1].upper() if text.startswith('the ') else text[:1]}{text[1:]}{end}"


_REMARKS = {
    "layout": " (in comments or layout only)",
    "added": " (new)",
    "removed": " (no longer there)",
    "unknown": " (can't be read)",
}


def compare(versions: Versions, old: Version, new: Version) -> Comparison:
    """Compare two versions.

    Parameters
    ----------
    versions
        All of them.
    old, new
        These two.
    """
    before, sampled = versions.parameters(old)
    after, sampled_too = versions.parameters(new)
    lines = [("\n".join(version.directives) + "\n").encode() if version.directives else b"" for version in (old, new)]
    return Comparison(
        old,
        new,
        _files(old, new),
        _parents(versions, old, new),
        _parameters(before, after),
        _beside(
            {name: module.version for name, module in old.modules().items()},
            {name: module.version for name, module in new.modules().items()},
        ),
        diff(lines[0], lines[1], "directives"),
        Beside("Python", old.python, new.python),
        Beside("revision", old.revision, new.revision),
        (durations(versions.reader, old.row.id), durations(versions.reader, new.row.id)),
        max(sampled, sampled_too),
    )


def as_number(text: str | None) -> float | None:
    """Read a number; ``None`` if it is none, or too long to be one."""
    if text is None or len(text) > 40:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _files(old: Version, new: Version) -> list[FileChange]:
    before = {(part.role, part.name): part for part in old.parts()}
    after = {(part.role, part.name): part for part in new.parts()}
    if old.row.segment != new.row.segment:
        # Scripts of different segments have different names, and are compared all the same.
        _rename_scripts(before, after)
    found = []
    for count, key in enumerate(dict.fromkeys([*after, *before])):
        one, other = before.get(key), after.get(key)
        found.append(_file(key, one, other, old, new, count < _MOST_FILES))
    return found


def _rename_scripts(before: dict[tuple[str, str], Part], after: dict[tuple[str, str], Part]) -> None:
    ours = [key for key in before if key[0] == "script"]
    theirs = [key for key in after if key[0] == "script"]
    if len(ours) == 1 and len(theirs) == 1 and ours != theirs:
        name = ("script", f"{ours[0][1]} and {theirs[0][1]}")
        before[name], after[name] = before.pop(ours[0]), after.pop(theirs[0])


def _file(
    key: tuple[str, str], one: Part | None, other: Part | None, old: Version, new: Version, line_by_line: bool
) -> FileChange:
    role, name = key
    nothing = Diff([], 0, 0, 0, None)
    try:
        first = None if one is None else _content(one, old)
        second = None if other is None else _content(other, new)
    except StorageError as error:
        return FileChange(role, name, "unknown", nothing, f"It can't be compared: {error}.")
    state = "added" if first is None else "removed" if second is None else "changed"
    alike = one is not None and other is not None and _same_to_the_key(one, other, old, new)
    if any(kept is not None and not kept.whole for kept in (first, second)):
        if alike and first == second:
            return FileChange(role, name, "equal", nothing)
        return _large(role, name, state, first, second)
    if first == second:
        return FileChange(role, name, "equal", nothing)
    if not line_by_line:
        return FileChange(role, name, state, nothing, "So many files differ that this one is not shown.")
    if state == "changed" and alike:
        state = "layout"
    return FileChange(role, name, state, diff(first and first.data, second and second.data, name))


def _content(part: Part, version: Version) -> Kept:
    if part.kept is None:
        data = part.text.encode("utf-8", "replace")
        return Kept(len(data), data)
    return version.kept.read(part.kept, _LARGEST + 1)


def _large(role: str, name: str, state: str, first: Kept | None, second: Kept | None) -> FileChange:
    nothing = Diff([], 0, 0, 0, None)
    sizes = [f"{kept.size} bytes" if kept is not None else "not there" for kept in (first, second)]
    return FileChange(role, name, state, nothing, f"It is too large to be compared: {sizes[0]} and {sizes[1]}.")


def _same_to_the_key(one: Part, other: Part, old: Version, new: Version) -> bool:
    kind = {"script": "code", "dependency": "depend"}.get(one.role, one.role)
    digest = old.ingredients.get(f"{kind} {one.name}")
    return digest is not None and digest == new.ingredients.get(f"{kind} {other.name}")


def _parents(versions: Versions, old: Version, new: Version) -> list[ParentChange]:
    before, after = _parent_rows(versions, old), _parent_rows(versions, new)
    found = []
    for name in dict.fromkeys([*after, *before]):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            found.append(ParentChange(name, one, other, "added" if one is None else "removed"))
        elif one.id != other.id:
            found.append(ParentChange(name, one, other, "changed"))
    return found


def _parent_rows(versions: Versions, version: Version) -> dict[str, InstanceRow]:
    rows = [versions.by_id[parent] for parent in version.row.parents if parent in versions.by_id]
    return {row.segment: row for row in rows}


def _parameters(before: Sequence[Parameter], after: Sequence[Parameter]) -> list[Beside]:
    old, new = _by_name(before), _by_name(after)
    exposed = {item.name for item in (*before, *after) if item.exposed}
    return [item._replace(exposed=item.name in exposed) for item in _beside(old, new)]


def _by_name(parameters: Sequence[Parameter]) -> dict[str, str]:
    return {item.name: ", ".join(item.values) + (" …" if item.more else "") for item in parameters}


def _beside(old: Mapping[str, str], new: Mapping[str, str]) -> list[Beside]:
    return [Beside(name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys())]


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:_NAMED])
    more = len(names) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
