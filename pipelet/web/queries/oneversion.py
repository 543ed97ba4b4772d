"""A version of a segment as its pages need it: what the database and its files say, damaged or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from pipelet.core.model import Status
from pipelet.depends import kept_name
from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow, Reader
from pipelet.statusdb.matching import first_ids
from pipelet.storage import KeptFiles, Tree

#: So much of ``.args`` is read: what all tasks share stands at its beginning.
_ARGUMENTS = 64 << 10
#: So many tasks are asked for their parameters, and so many different values shown.
_SAMPLE = 200
_VALUES = 8
_WRITTEN_OUT = re.compile(r"\\(.)")


class Part(NamedTuple):
    """A file, or a piece of text, that a version is made of."""

    role: str  #: ``script``, ``hook``, ``dependency``, ``environment class`` or ``file``
    name: str  #: as people know it
    kept: str | None  #: the name of its copy; ``None`` where the text stands in ``.meta``
    text: str = ""  #: that text


class Module(NamedTuple):
    """An imported module."""

    name: str
    version: str  #: or what else tells one from another; "" where nothing is known


class Parameter(NamedTuple):
    """A parameter over the tasks of a version."""

    name: str
    exposed: bool
    values: tuple[str, ...]
    shared: bool  #: all tasks have this one value
    more: bool  #: there are more values than these


@dataclass(frozen=True)
class Version:
    """One version of a segment.

    Attributes
    ----------
    row, tag, counts
        What the database says; counts by status.
    meta
        What ``.meta`` says; empty where it says nothing.
    problem
        Why it says nothing.
    kept
        Its files.
    """

    row: InstanceRow
    tag: str | None
    counts: Mapping[Status, int]
    meta: Mapping[str, Any]
    problem: str | None
    kept: KeptFiles

    @property
    def key(self) -> str:
        """The beginning of its key, as it stands in addresses."""
        return self.row.key[:12]

    @property
    def short(self) -> str:
        """The beginning of its key, as it stands in the names of directories."""
        return self.row.path.rsplit("_", 1)[-1]

    @property
    def tasks(self) -> int:
        """How many tasks the last run wanted."""
        return sum(self.counts.values())

    @property
    def purged(self) -> float | None:
        """When its products were deleted, if they were and no run has made any since."""
        return purged_at(self.meta)

    @property
    def python(self) -> str | None:
        """The version of Python that it began with."""
        return _word(self.meta.get("python"))

    @property
    def revision(self) -> str | None:
        """The revision of the code directory's work tree."""
        return _word(self.meta.get("revision"))

    @property
    def computed(self) -> float | None:
        """When a run last computed something of it."""
        return _moment(self.meta.get("computed"))

    @property
    def directives(self) -> list[str]:
        """Its directives."""
        return words(self.meta.get("directives"))

    @property
    def ingredients(self) -> dict[str, str]:
        """What its key is made of, with a digest of each."""
        return _table(self.meta.get("ingredients"))

    @property
    def parent_keys(self) -> dict[str, str]:
        """The key of each parent."""
        return _table(self.meta.get("parents"))

    def modules(self) -> dict[str, Module]:
        """The imported modules by name; several versions of one stand in one text."""
        found: dict[str, list[str]] = {}
        facts = self.meta.get("modules")
        for fact in facts if isinstance(facts, list) else ():
            if isinstance(fact, dict) and _word(fact.get("name")):
                versions = found.setdefault(str(fact["name"]), [])
                text = _module_text(fact)
                if text and text not in versions:
                    versions.append(text)
        return {name: Module(name, ", ".join(found[name])) for name in sorted(found)}

    def parts(self) -> Iterator[Part]:
        """Name what it is made of, the script first."""
        if not self.meta:
            for name in self._found():
                yield Part("script" if name == f"{self.row.segment}.py" else "file", name, name)
            return
        script = _word(self.meta.get("script"))
        if script:
            yield Part("script", script, script)
        for name in _table(self.meta.get("hooks")).values():
            yield Part("hook", name, name)
        for name in words(self.meta.get("depends")):
            yield Part("dependency", name, kept_name(name))
        environment = self.meta.get("environment")
        if isinstance(environment, dict) and environment.get("source"):
            text = "\n".join(words(environment["source"])) + "\n"
            yield Part("environment class", _word(environment.get("class")) or "Environment", None, text)

    def _found(self) -> list[str]:
        first = f"{self.row.segment}.py"
        return sorted(self.kept.names(), key=lambda name: (name != first, name))


class Versions:
    """All versions in a pipeline's database.

    Parameters
    ----------
    tree, reader
        Where they are.
    """

    def __init__(self, tree: Tree, reader: Reader) -> None:
        self.tree = tree
        self.reader = reader
        self.rows = reader.instances()
        self.by_id = {row.id: row for row in self.rows}
        self.by_key = {row.key: row for row in self.rows}
        self.tags = reader.tags()
        self.tally = reader.tally()

    def version(self, row: InstanceRow) -> Version:
        """Read what is known of one."""
        kept = KeptFiles(self.tree, row.path)
        meta: Mapping[str, Any] = {}
        problem = None
        try:
            meta = kept.meta()
        except StorageError as error:
            problem = str(error) if kept.exists() else "its directory is not on disk"
        return Version(row, self.tags.get(row.id), self.tally.get(row.id, {}), meta, problem, kept)

    def of_segment(self, segment: str) -> list[InstanceRow]:
        """The versions of a segment, the newest first."""
        return [row for row in self.rows if row.segment == segment]

    def parameters(self, version: Version) -> tuple[list[Parameter], int]:
        """Give the parameters of a version, without a look at all of its tasks.

        Parameters
        ----------
        version
            Which one.

        Returns
        -------
        list of Parameter, int
            By name; and how many tasks were looked at for those that differ, 0 if that was all.
        """
        kept = version.kept.arguments(_ARGUMENTS)
        shared = _shared(kept.data.decode("utf-8", "replace")) if kept else {}
        ids = first_ids(self.reader, version.row.id, _SAMPLE)
        values: dict[str, dict[str, None]] = {}
        exposed = set()
        for params in self.reader.params(ids).values():
            for param in params:
                values.setdefault(param.name, {})[param.text or ""] = None
                if param.exposed:
                    exposed.add(param.name)
        found = []
        for name in sorted(shared.keys() | values.keys()):
            texts = [shared[name]] if name in shared else sorted(values[name], key=_by_size)
            found.append(Parameter(name, name in exposed, tuple(texts[:_VALUES]), name in shared, len(texts) > _VALUES))
        return found, len(ids) if len(ids) >= _SAMPLE else 0


def words(value: object) -> list[str]:
    """The texts in a list that may be anything."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _by_size(text: str) -> tuple[int, float, str]:
    """Numbers first, by their size: then versions whose tasks came in another order have equal lists."""
    try:
        number = float(text)
    except ValueError:
        return (1, 0.0, text)
    return (0, number, text) if number == number else (1, 0.0, text)


def purged_at(meta: Mapping[str, Any]) -> float | None:
    """When the products of a version were deleted; ``None`` if they were not, or a run has made some since.

    Parameters
    ----------
    meta
        What is on record of the version.
    """
    purged, computed = _moment(meta.get("purged")), _moment(meta.get("computed"))
    return None if purged is None or (computed is not None and computed > purged) else purged


def _moment(value: object) -> float | None:
    try:
        return datetime.strptime(_word(value) or "", "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (ValueError, OverflowError):
        return None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _table(value: object) -> dict[str, str]:
    return {name: item for name, item in value.items() if isinstance(item, str)} if isinstance(value, dict) else {}


def _module_text(fact: Mapping[str, object]) -> str:
    texts = [_word(fact.get("version")), _word(fact.get("revision"))]
    digest = _word(fact.get("digest"))
    if not any(texts) and digest:
        texts = [f"content {digest[:10]}"]
    return " ".join(text for text in texts if text)


def _shared(text: str) -> dict[str, str]:
    """The parameters that all tasks share: what ``.args`` says before its first task."""
    found = {}
    for line in text.split("\n"):
        if line.startswith("["):
            break
        name, sign, value = line.partition(" = ")
        if sign:
            found[name] = _WRITTEN_OUT.sub(lambda match: "\n" if match[1] == "n" else match[1], value)
    return found
