"""Tasks of two versions that have the same input, and the files that each of them left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow, ParamRow, Reader
from pipelet.statusdb.matching import WALKED, MatchedTask, inputs, listed, search, walk
from pipelet.storage import Entry, Kind, TaskFiles, Tree
from pipelet.web.queries.compare import Beside, Sides
from pipelet.web.queries.products import files_of
from pipelet.web.viewers.kinds import kind_by_name

#: Pairs on a page.
PAGE = 20
#: Versions with at most so many tasks are matched as a whole, which takes some hundredths of a second.
SMALL = 20_000
#: For so long a page looks for inputs; and if it was asked to take its time.
_PATIENCE, _THOROUGH = 0.03, 6.0
#: Files of one task.
_MOST_FILES = 60
#: Bytes that are read to tell whether files are equal: of one pair of files, and of all on a page.
_MOST_READ, _READ_ON_A_PAGE = 16 << 20, 96 << 20
_PIECE = 1 << 20


class FilePair(NamedTuple):
    """Files of one path."""

    path: str
    kind: str  #: see `pipelet.web.viewers.kinds`, or ``""``
    old: Entry | None
    new: Entry | None
    state: str  #: ``equal``, ``changed``, ``added``, ``removed``, or ``unknown``
    words: str  #: the state, for people


@dataclass
class Pair:
    """Two tasks with the same input, or one without a counterpart.

    Attributes
    ----------
    old, new
        The tasks.
    files
        Of both, by path.
    parameters
        Those that differ, or all of them.
    cut
        There are more files.
    problem
        Why the files can't be listed.
    """

    old: MatchedTask | None
    new: MatchedTask | None
    files: list[FilePair] = field(default_factory=list)
    parameters: list[Beside] = field(default_factory=list)
    cut: bool = False
    problem: str | None = None

    @property
    def text(self) -> str:
        """The input."""
        task = self.old or self.new
        return task.text if task is not None else ""

    @property
    def images(self) -> list[FilePair]:
        """The images among the files."""
        return [file for file in self.files if file.kind in ("image", "svg")]

    @property
    def others(self) -> list[FilePair]:
        """The other files."""
        return [file for file in self.files if file.kind not in ("image", "svg")]


class Matches(NamedTuple):
    """A page of tasks, matched by input."""

    pairs: list[tuple[MatchedTask | None, MatchedTask | None]]
    after: int | None  #: where the next page begins; ``None``: there is none
    near: int  #: from where on that looks in the other version
    whole: bool  #: what is said to be in one version only is not in the other


class Numbers(NamedTuple):
    """How many inputs are where."""

    both: int
    old: int
    new: int


class Reading:
    """So many bytes may still be read."""

    def __init__(self, left: int = _READ_ON_A_PAGE) -> None:
        self.left = left


def count(reader: Reader, old: int, new: int, tasks: int) -> Numbers | None:
    """Count the inputs in both of two instances; ``None`` where there are many tasks."""
    if tasks > 2 * SMALL:
        return None
    one, other = inputs(reader, old), inputs(reader, new)
    return Numbers(len(one & other), len(one - other), len(other - one))


def matches(reader: Reader, old: int, new: int, which: str, after: int, near: int, thorough: bool) -> Matches:
    """Give a page of tasks.

    Parameters
    ----------
    reader
        The database.
    old, new
        The instances.
    which
        ``both``: those whose inputs both have; ``old`` or ``new``: those of one of them only.
    after, near
        Where the page begins, and where to look first in the other instance.
    thorough
        Whether to look through all of a large instance.
    """
    walked, other = (new, old) if which == "new" else (old, new)
    tasks = walk(reader, walked, after, WALKED)
    patience = _THOROUGH if thorough else _PATIENCE
    found = search(reader, other, [task.digest for task in tasks], near, patience)
    chosen = [task for task in tasks if (task.digest in found.found) == (which == "both")]
    more = len(chosen) > PAGE or len(tasks) == WALKED
    chosen = chosen[:PAGE]
    passed = chosen[-1].id if len(chosen) == PAGE else tasks[-1].id if tasks else after
    numbers = [number for task in tasks if task.id <= passed and (number := found.found.get(task.digest)) is not None]
    counterparts = listed(reader, [found.found[task.digest] for task in chosen]) if which == "both" else {}
    pairs: list[tuple[MatchedTask | None, MatchedTask | None]] = []
    for task in chosen:
        counterpart = counterparts.get(found.found.get(task.digest, 0))
        pairs.append((counterpart, task) if which == "new" else (task, counterpart))
    return Matches(pairs, passed if more else None, max(numbers, default=near), found.whole)


def counterpart(reader: Reader, old: int, new: int, task: int) -> tuple[MatchedTask | None, MatchedTask | None]:
    """Give one task of either instance, and the one of the other with the same input."""
    found = listed(reader, [task]).get(task)
    owner = reader.task(task) if found is not None else None
    if found is None or owner is None or owner.instance not in (old, new):
        return None, None
    other = new if owner.instance == old else old
    number = search(reader, other, [found.digest], 0, _THOROUGH).found.get(found.digest)
    matched = listed(reader, [number]).get(number) if number is not None else None
    return (found, matched) if owner.instance == old else (matched, found)


def pair(
    tree: Tree,
    reader: Reader,
    rows: tuple[InstanceRow, InstanceRow],
    tasks: tuple[MatchedTask | None, MatchedTask | None],
    params: dict[int, list[ParamRow]],
    reading: Reading,
) -> Pair:
    """Compare what two tasks left.

    Parameters
    ----------
    tree, reader
        Where it is.
    rows
        The versions.
    tasks
        One of each; or one alone.
    params
        Their parameters, by task.
    reading
        How much may be read.
    """
    found = Pair(*tasks)
    found.parameters = _parameters(*(params.get(task.id, []) if task else [] for task in tasks))
    sides = []
    for row, task in zip(rows, tasks, strict=True):
        files = None if task is None or task.place is None else files_of(tree, reader, row, task)
        try:
            entries = dict(files.walk(_MOST_FILES + 1)) if files is not None else {}
        except StorageError as error:
            entries = {}
            found.problem = str(error)
        found.cut = found.cut or len(entries) > _MOST_FILES
        sides.append((files, entries))
    (old_files, old), (new_files, new) = sides
    only = Sides.of(*rows).only
    for path in sorted(old.keys() | new.keys())[:_MOST_FILES]:
        one, other = old.get(path), new.get(path)
        if one is None or other is None:
            state, words = ("added", only[1]) if one is None else ("removed", only[0])
        else:
            state, words = _state(path, one, other, old_files, new_files, reading)
        found.files.append(FilePair(path, kind_by_name(path) or "", one, other, state, words))
    return found


def _state(
    path: str, one: Entry, other: Entry, old: TaskFiles | None, new: TaskFiles | None, reading: Reading
) -> tuple[str, str]:
    if old is None or new is None or not (_is_file(one) and _is_file(other)):
        return "unknown", "no file"
    if one.size != other.size:
        return "changed", "differs"
    if one.size > min(_MOST_READ, reading.left):
        return "unknown", "of one size, too large to be compared"
    reading.left -= one.size
    try:
        equal = _equal(old, new, path)
    except (StorageError, OSError):
        return "unknown", "can't be read"
    return ("equal", "identical") if equal else ("changed", "differs")


def _is_file(entry: Entry) -> bool:
    return Kind.FILE in (entry.kind, entry.leads)


def _equal(old: TaskFiles, new: TaskFiles, path: str) -> bool:
    with old.open(path) as one, new.open(path) as other:
        left = _MOST_READ + _PIECE
        while left > 0:
            first, second = one.read(_PIECE), other.read(_PIECE)
            if first != second:
                return False
            if not first:
                return True
            left -= len(first)
    return False


def _parameters(old: Sequence[ParamRow], new: Sequence[ParamRow]) -> list[Beside]:
    before, after = {item.name: item.text or "" for item in old}, {item.name: item.text or "" for item in new}
    exposed = {item.name for item in (*old, *new) if item.exposed}
    names = sorted(before.keys() | after.keys())
    return [Beside(name, before.get(name), after.get(name), name in exposed) for name in names]
