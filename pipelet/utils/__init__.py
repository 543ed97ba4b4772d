"""Maintenance verbs, for scripts and for the commands."""

from __future__ import annotations

from pipelet.check import Finding, Report
from pipelet.deletion import Preview, Trashed
from pipelet.marks import Marked
from pipelet.rebuild import Rebuilt
from pipelet.replayed import Replayed
from pipelet.utils.deleting import (
    delete_instances,
    delete_tasks,
    empty_trash,
    preview_deletion,
    preview_purge,
    preview_task_deletion,
    purge_instances,
    restore,
    trash,
)
from pipelet.utils.marking import (
    release,
    run_again,
    set_aside,
    tag_instances,
)
from pipelet.utils.mending import (
    check_prefix,
    rebuild_db_from_disk,
    replay_task,
)

__all__ = [
    "Finding",
    "Marked",
    "Preview",
    "Rebuilt",
    "Replayed",
    "Report",
    "Trashed",
    "check_prefix",
    "delete_instances",
    "delete_tasks",
    "empty_trash",
    "preview_deletion",
    "preview_purge",
    "preview_task_deletion",
    "purge_instances",
    "rebuild_db_from_disk",
    "release",
    "replay_task",
    "restore",
    "run_again",
    "set_aside",
    "tag_instances",
    "trash",
]
