"""What the verbs are told: a prefix, and perhaps where its database is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Union

from pipelet import deletion
from pipelet.errors import PrefixError
from pipelet.storage import Tree
from pipelet.storage.holding import held

StrPath = Union[str, "os.PathLike[str]"]


@contextlib.contextmanager
def holding_tree(prefix: StrPath, sqlfile: StrPath | None) -> Iterator[Tree]:
    """Hold the lock of the runs; what a deletion that was cut left half done is done first."""
    tree = tree_at(prefix)
    tree.create()
    with held(tree):
        deletion.recover(tree, sqlfile_of(tree, sqlfile))
        yield tree


def tree_at(prefix: StrPath) -> Tree:
    """The tree of a prefix, which must be there."""
    root = os.path.abspath(prefix)
    if not os.path.isdir(root):
        raise PrefixError(f"there is no directory {root}; give the prefix of a pipeline, the root of its data")
    return Tree(root)


def sqlfile_of(tree: Tree, sqlfile: StrPath | None) -> str:
    """Where the database is: as given, or where a pipeline has it that was told nothing."""
    return os.path.abspath(sqlfile) if sqlfile is not None else tree.default_sqlfile
