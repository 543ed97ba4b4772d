"""The names of segment instances and of the files in them, as text: nothing here touches the disk."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelet.errors import StorageError

#: How many characters of the key a directory's name shows, unless that name is taken.
KEY_LENGTH = 6
_KEY = re.compile(r"[A-Z2-7]+")
_INSTANCE = re.compile(r"(.+)_([A-Z2-7]{6,})", re.DOTALL)
#: Names in an instance's directory that are never those of kept code.
_RESERVED = frozenset({"data", "superseded", "log"})
_SUFFIXES = (".meta", ".args", ".tag", ".journal")


def segment_of(name: str) -> str | None:
    """Give the segment of an instance directory's name, ``None`` if it is not one."""
    match = _INSTANCE.fullmatch(name)
    return match[1] if match and match[1].isidentifier() else None


def instance_names(segment: str, key: str) -> list[str]:
    """Give the names that an instance's directory may have, shortest first.

    Raises
    ------
    StorageError
        The segment is no identifier, or the key none of ours.
    """
    if not segment.isidentifier() or len(key) < KEY_LENGTH or not _KEY.fullmatch(key):
        raise StorageError(f"{segment!r} with the key {key!r} can't name a segment instance")
    return [f"{segment}_{key[:length]}" for length in range(KEY_LENGTH, len(key) + 1)]


def check_instance(path: str) -> None:
    """Raise a `StorageError` unless `path` is that of an instance, relative to the prefix."""
    if not all(segment_of(part) for part in path.split("/")):
        raise StorageError(f"{path!r} is no path of a segment instance, relative to the prefix")


def check_place(*names: str) -> None:
    """Raise a `StorageError` unless each is one name, or empty: no path that leads elsewhere."""
    for name in names:
        if name in (".", "..") or "/" in name or "\0" in name:
            raise StorageError(f"{name!r} is no name of a task's directory: it would lead out of the instance")


def check_kept(path: str, name: str) -> None:
    """Raise a `StorageError` unless a copy of code may have this name in the instance at `path`."""
    first = name.split("/", 1)[0]
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise StorageError(f"a kept file can't be named {name!r}: the name would lead out of the instance")
    segment = segment_of(path.rsplit("/", 1)[-1])
    if first in _RESERVED or segment_of(first) or name in {f"{segment}{suffix}" for suffix in _SUFFIXES}:
        raise StorageError(f"a kept file can't be named {name!r}: the name is one of the engine's own")


def steps(path: str) -> Iterator[str]:
    """Give the paths that lead to `path`, from the first directory to itself."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])
