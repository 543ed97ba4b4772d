"""What is on record of a segment instance, as the decisions on its tasks need it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property, partial

from pipelet.core.lockstep import Standing
from pipelet.core.model import DIGEST, Digests, Status
from pipelet.core.plan import Asked, Record
from pipelet.core.text import task_name
from pipelet.errors import DamagedDatabaseError
from pipelet.statusdb import InstanceRow, PlanRow, Reader, in_pieces, unpack_ids
from pipelet.storage import Tree

#: Values of a task's ``current``: superseded by a newer version; wanted by the last run; not wanted by it.
SUPERSEDED, CURRENT, DROPPED = 0, 1, 2
#: The inputs of so many tasks are read at once.
_AT_ONCE = 10_000


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
        hands: Callable[[int], int | None],
        tried: Callable[[int], bool],
    ) -> None:
        self._tree = tree
        self._reader = reader
        self._row = row
        self._hands = hands
        self._tried = tried
        self._cut = tree.moves_were_cut

    @cached_property
    def before(self) -> Before | None:
        """The tasks that were wanted last, where that is known."""
        row = self._row
        if row is None or row.wanted is None or self._cut:
            return None
        try:
            ids = array("q", unpack_ids(row.wanted))
        except DamagedDatabaseError:
            return None
        return Before(self, self._reader, row.id, ids) if ids else None

    @cached_property
    def _index(self) -> dict[bytes, int | list[int]]:
        index: dict[bytes, int | list[int]] = {}
        for page in self._pages():
            for digest, task in page:
                known = index.setdefault(digest, task)
                if known != task:
                    index[digest] = [*([known] if isinstance(known, int) else known), task]
        return index

    def _pages(self) -> Iterable[Sequence[tuple[bytes, int]]]:
        if self._row is None:
            return ()
        before = self.__dict__.get("before")
        if before is not None and before.passed:
            return map(self._reader.digests_listed, in_pieces(before.remaining(), _AT_ONCE))
        return self._reader.digest_pages(self._row.id)

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
        task, _, status, current, place, text, parents, asked, mark, _ = row
        if place is None and status == 2 and current and asked is None:
            # Nearly all of them, when nothing has happened.
            hands = self._hands(task) or 0
            return _record((task, _DONE, True, True, parents, None, mark, None, text, hands, False))
        return Record(
            task,
            _DONE if status == 2 else Status(status),
            current != SUPERSEDED,
            place is None or self._is_there(task, current, place, text),
            parents,
            Asked.from_text(asked) if asked else None,
            mark,
            place,
            text,
            self._hands(task) or 0,
            status == _FAILED and self._tried(task),
        )

    def record(self, task: int) -> Record | None:
        """What is on record of one task."""
        rows = self._reader.plan_rows_listed([task])
        return self._record(rows[0]) if rows else None

    # --- what is on disk -----------------------------------------------------------------------------------------

    def first_away(self, places: Sequence[str]) -> int | None:
        """Which of some places, ``""`` for none, is the first that is not on disk."""
        here = self._here if any(places) else set()
        missing = set(places) - here - {""}
        return next(at for at, place in enumerate(places) if place in missing) if missing else None

    def first_in_hands(self, tasks: Sequence[int]) -> int | None:
        """Which of some tasks is the first that this run has in its hands."""
        hands = list(map(self._hands, tasks))
        return next(at for at, hand in enumerate(hands) if hand) if any(hands) else None

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
        return self._row is not None and self._tree.is_present(self._row.path, place)

    @cached_property
    def has_data(self) -> bool:
        """Whether the instance's ``data/`` is there."""
        return self._row is not None and self._tree.is_present(self._row.path, "")

    @cached_property
    def _here(self) -> set[str]:
        return self._tree.present(self._row.path) if self._row is not None else set()

    @cached_property
    def _aside(self) -> set[str]:
        return self._tree.present_superseded(self._row.path) if self._row is not None else set()


class Before:
    """The tasks that the last run wanted, in order (`pipelet.core.plan.Before`).

    Parameters
    ----------
    history
        Of the instance.
    reader, instance_id
        Where the records are.
    ids
        The tasks.
    """

    def __init__(self, history: History, reader: Reader, instance_id: int, ids: array[int]) -> None:
        self._history = history
        self._reader = reader
        self._instance_id = instance_id
        self._ids = ids
        self._at = 0
        #: So many of the first ones are known to be wanted again.
        self.passed = 0

    @cached_property
    def _others(self) -> list[int]:
        """The other tasks of the instance: versions that are superseded, or were not wanted."""
        return list(set(self._reader.all_ids(self._instance_id)).difference(self._ids))

    @cached_property
    def _doubles(self) -> set[bytes]:
        """The digests of their inputs: a task with one of these is not the only version of itself."""
        return {digest for digest, _ in self._reader.digests_listed(self._others)} if self._others else set()

    @cached_property
    def _marked(self) -> frozenset[int]:
        """The tasks that somebody has asked to run again."""
        return frozenset(self._reader.marked(self._instance_id))

    def remaining(self) -> list[int]:
        """The tasks of the instance but the `passed` ones, by id."""
        return sorted([*self._others, *self._ids[self.passed :]])

    def ahead(self, number: int) -> Standing:
        """The next tasks, up to the first one that can't be taken as it is."""
        ids = self._ids[self._at : self._at + number]
        rows = self._reader.standing(self._instance_id, ids) if ids else None
        if rows is None and ids:
            del ids[self._reader.first_fallen(self._instance_id, ids) :]
            rows = self._reader.standing(self._instance_id, ids) if ids else None
        if rows is None:
            return Standing((), b"", [])
        ends = [self._history.first_away(rows.places), self._history.first_in_hands(ids)]
        if self._doubles:
            digests = Digests(rows.digests)
            ends.append(next((at for at, digest in enumerate(digests) if digest in self._doubles), None))
        if self._marked:
            ends.append(next((at for at, task in enumerate(ids) if task in self._marked), None))
        stop = min((end for end in ends if end is not None), default=len(ids))
        return Standing(ids[:stop], rows.digests[: DIGEST * stop], rows.parents[:stop])

    def advance(self, number: int) -> None:
        """Go on behind that many tasks, which are wanted again."""
        if self.passed == self._at:
            self.passed += number
        self._at += number

    def resume(self, ids: Sequence[int]) -> None:
        """Go on behind tasks that were decided on one by one."""
        last = next((task for task in reversed(ids) if task), 0)
        with suppress(ValueError):
            self._at = self._ids.index(last, self._at, self._at + _FAR) + 1

    def record(self, task: int) -> Record | None:
        """What is on record of one of these tasks."""
        return self._history.record(task)


#: So far ahead a task is looked for when others have come in between, or are gone.
_FAR = 20_000
#: What ``Record._make`` gives, in a third of the time.
_record: Callable[[tuple[object, ...]], Record] = partial(tuple.__new__, Record)
_DONE, _FAILED = Status.DONE, int(Status.FAILED)
