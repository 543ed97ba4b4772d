"""The tree on disk: every path, atomic writes, the journals of tasks, the lock of a prefix. No SQL."""

from __future__ import annotations

from pipelet.storage.journal import Journal
from pipelet.storage.keptfiles import Kept, KeptFiles
from pipelet.storage.lock import Holder, PrefixLock
from pipelet.storage.processes import process_start
from pipelet.storage.showing import Folder, TaskFiles
from pipelet.storage.taskfiles import glob_products, make_task_directory, products
from pipelet.storage.tree import Tree
from pipelet.storage.walls import Entry, Kind, printable

__all__ = [
    "Entry",
    "Folder",
    "Holder",
    "Journal",
    "Kept",
    "KeptFiles",
    "Kind",
    "PrefixLock",
    "TaskFiles",
    "Tree",
    "glob_products",
    "make_task_directory",
    "printable",
    "process_start",
    "products",
]
