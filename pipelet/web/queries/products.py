"""What the pages of tasks and of their products show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from pipelet.core.model import Status
from pipelet.core.text import task_name
from pipelet.errors import MissingProductError, StorageError
from pipelet.history import SUPERSEDED
from pipelet.statusdb import InstanceRow, Reader, TaskRow
from pipelet.statusdb.browsing import BriefTask, Choice, TaskPage, names_of, task_page
from pipelet.statusdb.matching import MatchedTask
from pipelet.storage import Entry, Kind, TaskFiles, Tree
from pipelet.web.viewers.kinds import has_picture

#: Tasks on a page, and in a gallery.
PAGE, GALLERY = 50, 24
#: Of each task so many files are looked at for its first image.
_LOOKED_AT = 200


class Filled(NamedTuple):
    """A page of tasks, with the first image of each in a gallery."""

    page: TaskPage
    images: dict[int, str]
    counts: dict[str, int]
    total: int


class ShownFile(NamedTuple):
    """A file of a task, for a list."""

    path: str
    entry: Entry
    picture: bool


def files_of(
    tree: Tree, reader: Reader, instance: InstanceRow, task: TaskRow | BriefTask | MatchedTask
) -> TaskFiles:
    """Give access to the files of a task.

    Parameters
    ----------
    tree, reader
        Where it is on record.
    instance, task
        Which one.

    Returns
    -------
    TaskFiles
        Usable while the reader is open.
    """
    current = task.current != SUPERSEDED
    siblings = _siblings(reader, instance.id)
    return TaskFiles(tree, instance.path, task.id, task.text, task.place, current, siblings, reader.sqlfile)


def is_gone(files: TaskFiles) -> bool:
    """Whether a task had a directory and has it no more, since somebody removed it or purged its data."""
    if files.directory is None:
        return False
    try:
        files.entry("")
    except MissingProductError:
        return True
    except StorageError:
        # Why it can't be read is told where its files are listed.
        return False
    return False


def _siblings(reader: Reader, instance: int) -> Callable[[Collection[str]], Collection[str]]:
    def siblings(names: Collection[str]) -> Collection[str]:
        numbers = {name: name.partition("_")[0] for name in names}
        ids = [int(number) for number in numbers.values() if number.isascii() and number.isdigit() and len(number) < 19]
        texts = names_of(reader, instance, ids) if ids else {}
        return {task_name(number, text) for number, text in texts.items()} & set(names)

    return siblings


def products(
    tree: Tree, reader: Reader, instance: InstanceRow, choice: Choice, after: str, before: str, gallery: bool
) -> Filled:
    """Give what the page of an instance's tasks shows."""
    page = task_page(reader, instance.id, choice, GALLERY if gallery else PAGE, after, before)
    images: dict[int, str] = {}
    for task in page.tasks if gallery else ():
        image = first_image(files_of(tree, reader, instance, task))
        if image is not None:
            images[task.id] = image
    tally = reader.tally([instance.id])[instance.id]
    counts = {str(status): tally.get(status, 0) for status in Status}
    return Filled(page, images, counts, sum(counts.values()))


def first_image(files: TaskFiles) -> str | None:
    """The path of the first image that a task made."""
    try:
        for path, entry in files.walk(_LOOKED_AT):
            if entry.kind is Kind.FILE and has_picture(path):
                return path
    except StorageError:
        return None
    return None


def all_files(files: TaskFiles, most: int) -> tuple[list[ShownFile], list[ShownFile], bool]:
    """The files of a task: images, all others, and whether there are more."""
    images: list[ShownFile] = []
    others: list[ShownFile] = []
    try:
        for path, entry in files.walk(most + 1):
            if len(images) + len(others) == most:
                return images, others, True
            shown = ShownFile(path, entry, has_picture(path) and Kind.FILE in (entry.kind, entry.leads))
            (images if shown.picture else others).append(shown)
    except MissingProductError:
        pass
    return images, others, False


def neighbours(files: TaskFiles, path: str) -> tuple[str | None, str | None]:
    """The files before and after one in its folder: of an image, images."""
    folder, slash, name = path.rpartition("/")
    wanted: Sequence[str] = files.names(folder)
    if has_picture(name):
        wanted = [other for other in wanted if has_picture(other)]
    if name not in wanted:
        return None, None
    place = wanted.index(name)
    before = f"{folder}{slash}{wanted[place - 1]}" if place else None
    after = f"{folder}{slash}{wanted[place + 1]}" if place + 1 < len(wanted) else None
    return before, after


