"""Deleting segment instances, their data, or single tasks; the trash of a prefix.

What is deleted goes to the trash, and is final after some days, or when somebody says so. Each deletion holds the lock
of the prefix while it renames directories and changes rows; deleting files for good holds no lock.
"""

from __future__ import annotations

from pipelet.deletion.carry import Listed, recover
from pipelet.deletion.deleting import DAYS, delete_instances, delete_tasks, purge_instances
from pipelet.deletion.preview import (
    Doomed,
    Kind,
    Preview,
    chosen,
    measured,
    preview_instances,
    preview_purge,
    preview_tasks,
)
from pipelet.deletion.trashed import Trashed, condemn, empty_trash, keep_house, restore, trash

__all__ = [
    "DAYS",
    "Doomed",
    "Kind",
    "Listed",
    "Preview",
    "Trashed",
    "chosen",
    "condemn",
    "delete_instances",
    "delete_tasks",
    "empty_trash",
    "keep_house",
    "measured",
    "preview_instances",
    "preview_purge",
    "preview_tasks",
    "purge_instances",
    "recover",
    "restore",
    "trash",
]
