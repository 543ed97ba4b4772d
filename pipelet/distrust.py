"""Doubts about a tree whose last run died: tasks whose files the disk may have lost, files whose tasks are lost."""

from __future__ import annotations

from collections.abc import Iterator

from pipelet.core.model import Status
from pipelet.statusdb import InstanceRow, Reader, TaskRow, Writer
from pipelet.storage import Tree
from pipelet.storage.strays import remove_strays


def doubtful_tasks(reader: Reader, tree: Tree) -> Iterator[tuple[InstanceRow, list[TaskRow]]]:
    """Find the tasks whose records say that they are done, and whose files may be lost.

    Parameters
    ----------
    reader
        The database; it has what the journals have.
    tree
        The prefix.

    Yields
    ------
    tuple
        An instance, and the tasks of it, as they are on record.
    """
    doubtful = tree.products.doubtful()
    for row in reader.instances() if doubtful else ():
        if row.path not in doubtful:
            continue
        begin = doubtful[row.path]
        # From the start: the mark may be older than a torn end that was cut since.
        frames = (events for events, end in tree.journal(row.path).read() if end > begin)
        late = {event[1] for events in frames for event in events if event[0] == "task"}
        tasks = [
            task
            for task in (reader.tasks(row.id, Status.DONE, current=None) if late else ())
            if task.id in late and task.place is not None
        ]
        if tasks:
            yield row, tasks


def distrust(writer: Writer, tree: Tree) -> int:
    """Put on record, as queued, the tasks whose files may be lost; for the holder of the prefix.

    Returns
    -------
    int
        How many.
    """
    number = 0
    for row, tasks in doubtful_tasks(writer, tree):
        events: list[list[object]] = [
            ["task", task.id, *task._replace(status=int(Status.QUEUED))[2:], []] for task in tasks
        ]
        end = tree.journal(row.path).append(events)
        with writer.transaction():
            writer.apply(row.id, events, end)
        number += len(tasks)
    tree.products.settle()
    return number


def distrust_in_copy(writer: Writer, tree: Tree) -> None:
    """Do in a private copy of the database what `distrust` will do in a run."""
    for _, tasks in doubtful_tasks(writer, tree):
        writer.set_status([(task.id, int(Status.QUEUED)) for task in tasks])


def sweep(writer: Writer, tree: Tree) -> int:
    """Delete directories and logs of tasks that are on no record; for the holder of the prefix.

    Returns
    -------
    int
        How many.
    """
    number = 0
    for row in writer.instances():
        if not row.journal_end and tree.read_meta(row.path).get("computed"):
            # Its journal is gone, and with it all that tells what is a stray.
            continue
        places = {task.id: task.place for task in writer.plan_rows(row.id)}
        whole = row.whole_task is not None or "" in places.values()
        number += remove_strays(tree, row.path, places, whole)
    return number


def mend_moves(writer: Reader, tree: Tree) -> None:
    """Bring all directories of tasks to where the records have them: a run was cut off while it moved some."""
    for row in writer.instances():
        tasks = []
        names = set()
        for task, _, _, current, place, text, *_ in writer.plan_rows(row.id):
            if place is not None:
                tasks.append((place, task, text, current != 0))
            if place:
                names.add(place)
        tree.mend(row.path, tasks, names)
    tree.settle()
