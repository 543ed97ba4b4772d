"""Directories and logs of tasks that came on no record: the run that made them died, and its database was lost."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from pipelet.storage.files import discard, is_directory, scan, storage_errors
from pipelet.storage.tree import Tree

_TASK = re.compile(r"(\d+)(?:_.*|\.log)?", re.DOTALL)


def remove_strays(tree: Tree, path: str, numbers: Collection[int], whole: bool) -> int:
    """Delete what tasks have left that an instance has no record of; for the holder of the lock.

    Parameters
    ----------
    tree, path
        The prefix and the instance.
    numbers
        The ids of all its tasks.
    whole
        Whether some task has ``data/`` itself: then directories in it may be its products, and stay.

    Returns
    -------
    int
        How many files and directories.

    Raises
    ------
    StorageError
        Something can't be read or deleted.
    """
    logs = os.path.dirname(tree.log_path(path, 0))
    number = 0
    for folder in (logs,) if whole else (logs, tree.data_dir(path)):
        with storage_errors("read", folder):
            entries = scan(folder)
        for entry in entries:
            found = _TASK.fullmatch(entry.name)
            stray = found is not None and int(found[1]) not in numbers
            if stray and (folder == logs or is_directory(entry.path)):
                discard(entry.path, tree.discard_dir)
                number += 1
    return number
