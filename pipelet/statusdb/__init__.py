"""The status database: all the SQL of Pipelet, each statement named.

It is an index of the journals in the tree: `pipelet.utils.rebuild_db_from_disk` makes it anew. One process writes the
tasks, any number read.
"""

from __future__ import annotations

from pipelet.statusdb.columns import SingleOutputs
from pipelet.statusdb.opening import has_database
from pipelet.statusdb.reader import Reader
from pipelet.statusdb.rows import (
    InstanceRow,
    OutputRow,
    ParamRow,
    PlanRow,
    QueuedTask,
    TaskRow,
    id_list,
    id_ranges,
    in_pieces,
    pack_ids,
    read_id_list,
    unpack_ids,
    whole_task_event,
)
from pipelet.statusdb.writer import Event, JournalMode, Writer

__all__ = [
    "Event",
    "InstanceRow",
    "JournalMode",
    "OutputRow",
    "ParamRow",
    "PlanRow",
    "QueuedTask",
    "Reader",
    "SingleOutputs",
    "TaskRow",
    "Writer",
    "has_database",
    "id_list",
    "id_ranges",
    "in_pieces",
    "pack_ids",
    "read_id_list",
    "unpack_ids",
    "whole_task_event",
]
