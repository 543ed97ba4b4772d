"""What is on record of a segment instance, as the decisions on its tasks need it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property, partial

from pipelet.core.model import Status
from pipelet.core.plan import Asked, Record
from pipelet.core.text import task_name
from pipelet.statusdb import InstanceRow, PlanRow, Reader
from pipelet.storage import Tree

#: Values of a task's ``current``: superseded by a newer version; wanted by the last run; not wanted by it.
SUPERSEDED, CURRENT, DROPPED = 0, 1, 2


class History:
    """The records of one instance, found by the digests of inputs.

    In memory is only which task has which digest; the records are read when they are asked for.

    Parameters
    ----------
    tree, reader
        Where the facts are.
    row
        The instance; ``None`` for one that never was.
    hands
        Tells of a task whether this run has queued it or runs it (`pipelet.core.plan.QUEUED_NOW`, ``RUNNING_NOW``).
    tried
        Whether a task has failed in this run already.
    """

    def __init__(
        self,
        tree: Tree,
        reader: Reader,
        row: InstanceRow | None,
        hands: Callable[[int], int],
        tried: Callable[[int], bool],
    ) -> None:
        self._tree = tree
        self._reader = reader
        self._row = row
        self._hands = hands
        self._tried = tried
        self._cut = tree.moves_were_cut

    @cached_property
    def _index(self) -> dict[bytes, int | list[int]]:
        index: dict[bytes, int | list[int]] = {}
        for page in self._reader.digest_pages(self._row.id) if self._row is not None else ():
            for digest, task in page:
                known = index.setdefault(digest, task)
                if known != task:
                    index[digest] = [*([known] if isinstance(known, int) else known), task]
        return index

    @property
    def empty(self) -> bool:
        """Whether nothing was ever recorded of it."""
        return not self._index

    @property
    def lost(self) -> bool:
        """Whether tasks have run of which nothing is on record, since their journal is gone: their files stay."""
        row = self._row
        return row is not None and not row.journal_end and bool(self._tree.read_meta(row.path).get("computed"))

    def versions(self, digests: Sequence[bytes]) -> dict[bytes, list[Record]]:
        """Return the versions of the tasks with these inputs, the current one first."""
        ids: list[int] = []
        index = self._index
        if index:
            for digest in digests:
                found = index.get(digest)
                if isinstance(found, int):
                    ids.append(found)
                elif found is not None:
                    ids += found
        records: dict[bytes, list[Record]] = {}
        for row in self._reader.plan_rows_listed(ids) if ids else ():
            record = self._record(row)
            versions = records.get(row.digest)
            if versions is None:
                records[row.digest] = [record]
            elif record.current:
                versions.insert(0, record)
            else:
                versions.append(record)
        return records

    def _record(self, row: PlanRow) -> Record:
        task, _, status, current, place, text, parents, asked, aside, _ = row
        if place is None and status == 2 and current and asked is None:
            # Nearly all of them, when nothing has happened.
            return _record((task, _DONE, True, True, parents, None, bool(aside), None, text, self._hands(task), False))
        return Record(
            task,
            _DONE if status == 2 else Status(status),
            current != SUPERSEDED,
            place is None or self._is_there(task, current, place, text),
            parents,
            Asked.from_text(asked) if asked else None,
            bool(aside),
            place,
            text,
            self._hands(task),
            status == _FAILED and self._tried(task),
        )

    # --- what is on disk -----------------------------------------------------------------------------------------

    def _is_there(self, task: int, current: int, place: str, text: str) -> bool:
        present = task_name(task, text) in self._aside if current == SUPERSEDED else self._has(place)
        if self._cut and not present:
            # Whoever runs it first finishes the moves that were cut, and then it is where it belongs.
            present = self._has(place) or task_name(task, text) in self._aside
        return present

    def _has(self, place: str) -> bool:
        if not place:
            return self.has_data
        if place in self._here:
            return True
        # It may have been made since: tasks end while others are looked at.
        return self._row is not None and os.path.isdir(os.path.join(self._tree.data_dir(self._row.path), place))

    @cached_property
    def has_data(self) -> bool:
        """Whether the instance's ``data/`` is there."""
        return self._row is not None and os.path.isdir(self._tree.data_dir(self._row.path))

    @cached_property
    def _here(self) -> set[str]:
        return self._tree.present(self._row.path) if self._row is not None else set()

    @cached_property
    def _aside(self) -> set[str]:
        return self._tree.present_superseded(self._row.path) if self._row is not None else set()


#: What ``Record._make`` gives, in a third of the time.
_record: Callable[[tuple[object, ...]], Record] = partial(tuple.__new__, Record)
_DONE, _FAILED = Status.DONE, int(Status.FAILED)
