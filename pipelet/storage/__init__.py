"""The tree on disk: every path, atomic writes, the journals of tasks, the lock of a prefix. No SQL."""

from __future__ import annotations

from pipelet.storage.joblogs import (
    MOST_JOBS,
    JobLog,
    has_jobs,
    job_log,
    job_log_dir,
    job_logs,
    job_named,
    open_job_log,
    write_job_note,
)
from pipelet.storage.journal import Journal
from pipelet.storage.keptfiles import Kept, KeptFiles
from pipelet.storage.lock import Holder, PrefixLock
from pipelet.storage.processes import process_age, process_start
from pipelet.storage.showing import Folder, TaskFiles
from pipelet.storage.taskfiles import await_directory, glob_products, make_task_directory, products
from pipelet.storage.tree import Tree
from pipelet.storage.walls import Entry, Kind, printable

__all__ = [
    "MOST_JOBS",
    "Entry",
    "Folder",
    "Holder",
    "JobLog",
    "Journal",
    "Kept",
    "KeptFiles",
    "Kind",
    "PrefixLock",
    "TaskFiles",
    "Tree",
    "await_directory",
    "glob_products",
    "has_jobs",
    "job_log",
    "job_log_dir",
    "job_logs",
    "job_named",
    "make_task_directory",
    "open_job_log",
    "printable",
    "process_age",
    "process_start",
    "products",
    "write_job_note",
]
