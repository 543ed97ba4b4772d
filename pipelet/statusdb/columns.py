"""Many rows at once as a few columns, where all of them are alike."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipelet.core.model import DIGEST
from pipelet.statusdb import statements as sql
from pipelet.statusdb.rows import id_list


class StandingRows(NamedTuple):
    """Tasks that are done, not superseded, that asked for nothing, and have no place or one of their own."""

    digests: bytes  #: of their inputs, 16 bytes each
    parents: list[str]
    places: list[str]  #: "" for none


class SingleOutputs(NamedTuple):
    """The outputs of tasks that gave one element each; the containers stand one after the other."""

    digests: bytes
    outputs: bytes
    texts: bytes


class Columns(ABC):
    """What a reader of the database can tell of many tasks at once."""

    @abstractmethod
    def _one(self, statement: str, *arguments: object) -> tuple[Any, ...] | None:
        """Execute a statement; return its first row."""

    def _columns(self, statement: str, ids: Sequence[int], *arguments: object) -> tuple[Any, ...] | None:
        """Read columns of tasks, if the statement finds all of them, in order."""
        listed = id_list(ids)
        row = self._one(statement, listed, *arguments)
        return None if row is None or f"[{row[0]}]" != listed else row[1:]

    def standing(self, instance_id: int, ids: Sequence[int]) -> StandingRows | None:
        """Return the columns of tasks of an instance; ``None`` where not all of them are `StandingRows`."""
        columns = self._columns(sql.SELECT_STANDING, ids, instance_id)
        if columns is None:
            return None
        digests, parents, places = columns
        rows = StandingRows(bytes.fromhex(digests), parents.split(" "), places.split("/"))
        if not len(ids) * DIGEST == len(rows.digests) == DIGEST * len(rows.parents) == DIGEST * len(rows.places):
            return None
        return rows

    def first_fallen(self, instance_id: int, ids: Sequence[int]) -> int | None:
        """Return the place of the first of some tasks that does not stand, as in `standing`."""
        row = self._one(sql.SELECT_FALLEN, id_list(ids), instance_id)
        return None if row is None else row[0]

    def all_ids(self, instance_id: int) -> list[int]:
        """Return the ids of all tasks of an instance, superseded ones as well."""
        row = self._one(sql.SELECT_ALL_IDS, instance_id)
        ids: list[int] = json.loads(f"[{(row and row[0]) or ''}]")
        return ids

    def single_digests(self, ids: Sequence[int]) -> bytes | None:
        """Return the digests of the outputs of tasks one after the other, if each is done and gave one element."""
        columns = self._columns(sql.SELECT_SINGLES, ids)
        return None if columns is None else bytes.fromhex(columns[0])

    def single_outputs(self, ids: Sequence[int]) -> SingleOutputs | None:
        """Return the outputs of tasks, if each is done and gave one element, and that is short."""
        columns = self._columns(sql.SELECT_SINGLE_OUTPUTS, ids)
        return None if columns is None else SingleOutputs(*map(bytes.fromhex, columns))
