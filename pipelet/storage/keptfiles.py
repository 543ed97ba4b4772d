"""What an instance keeps beside its data, for those who look on: code, ``.meta`` and ``.args``."""

from __future__ import annotations

import json
import os
import stat
from typing import NamedTuple

from pipelet.errors import MissingProductError, RefusedProductError, StorageError
from pipelet.storage.files import is_directory
from pipelet.storage.names import check_instance, check_kept, segment_of
from pipelet.storage.tree import Tree
from pipelet.storage.walls import Walls, names_in

#: A larger ``.meta`` is no one's.
_LARGEST_META = 16 << 20
#: So many names of a directory are looked at.
_MOST_NAMES = 2000
_ENGINE_ENDS = (".meta", ".args", ".tag", ".journal")


class Kept(NamedTuple):
    """The beginning of a file."""

    size: int
    data: bytes

    @property
    def whole(self) -> bool:
        """Whether that is all of it."""
        return len(self.data) >= self.size


class KeptFiles:
    """The files of one instance.

    Parameters
    ----------
    tree
        Where it is.
    path
        The instance.

    Raises
    ------
    StorageError
        The path is that of no instance.
    """

    def __init__(self, tree: Tree, path: str) -> None:
        check_instance(path)
        self._path = path
        self._steps = path.split("/")
        self._segment = segment_of(self._steps[-1]) or ""
        self._walls = Walls(tree.prefix, [tree.engine_dir, tree.default_sqlfile])
        self.directory = tree.absolute(path)

    def exists(self) -> bool:
        """Tell whether the instance's directory is on disk."""
        return is_directory(self.directory)

    def read(self, name: str, most: int) -> Kept:
        """Read the beginning of a file that was kept.

        Parameters
        ----------
        name
            As `Tree.create_instance` was given it.
        most
            So many bytes.

        Returns
        -------
        Kept

        Raises
        ------
        StorageError
            There is none, it is no regular file below the prefix, or it can't be read.
        """
        check_kept(self._path, name)
        return self._beginning([*self._steps, *name.split("/")], most)

    def meta(self) -> dict[str, object]:
        """Read the ``.meta``.

        Raises
        ------
        StorageError
            It is missing, can't be read, or is damaged.
        """
        name = f"{self._segment}.meta"
        kept = self._beginning([*self._steps, name], _LARGEST_META)
        try:
            meta = json.loads(kept.data) if kept.whole else None
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{name} is damaged: {error}") from error
        if not isinstance(meta, dict):
            raise StorageError(f"{name} is damaged: no table of values")
        return meta

    def arguments(self, most: int) -> Kept | None:
        """Read the beginning of the ``.args``; ``None`` if there is none that can be read."""
        try:
            return self._beginning([*self._steps, f"{self._segment}.args"], most)
        except StorageError:
            return None

    def names(self) -> list[str]:
        """Name the files at the top that are not the engine's own: what the code is, where no ``.meta`` tells."""
        try:
            with self._walls.folder(self._steps) as handle:
                found, _ = names_in(handle, lambda name: True, _MOST_NAMES)
                return [name for name in found if not self._is_engine(name) and _is_file(name, handle)]
        except (MissingProductError, RefusedProductError):
            return []

    def _is_engine(self, name: str) -> bool:
        return name.startswith(".") or name in {f"{self._segment}{end}" for end in _ENGINE_ENDS}

    def _beginning(self, parts: list[str], most: int) -> Kept:
        with self._walls.open(parts) as file:
            return Kept(os.fstat(file.fileno()).st_size, file.read(most))


def _is_file(name: str, directory: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False
