"""The files of a code directory: how they are found by a segment's name, read and decoded."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass

from pipelet.errors import CodeError


@dataclass(frozen=True)
class SourceFile:
    """One file of the code directory, as it was when the run started."""

    name: str  #: relative to the code directory, with slashes
    path: str  #: absolute
    data: bytes

    @functools.cached_property
    def text(self) -> str:
        """The content as Python reads it: decoded by its byte order mark or coding line, every line end as ``\\n``.

        Raises
        ------
        CodeError
            The content is no text in that encoding.
        """
        try:
            return importlib.util.decode_source(self.data)
        except (SyntaxError, UnicodeError, LookupError) as error:
            raise CodeError(
                f"{self.path} can't be decoded: {error}; save it as UTF-8, or name its encoding in the first line, "
                "as in `# -*- coding: latin-1 -*-`"
            ) from error

    @property
    def is_python(self) -> bool:
        """Whether it is a Python source by its name."""
        return self.name.endswith(".py")


def read_file(name: str, code_dir: str) -> SourceFile:
    """Read one file of the code directory.

    Raises
    ------
    CodeError
        It can't be read.
    """
    path = os.path.join(code_dir, *name.split("/"))
    try:
        with open(path, "rb") as file:
            return SourceFile(name, path, file.read())
    except OSError as error:
        raise CodeError(f"{path} can't be read: {error.strerror or error}") from error


def find_script(segment: str, code_dir: str) -> str | None:
    """Find the script of a segment: ``seg.py``, ``se.py``, then ``s.py``.

    Parameters
    ----------
    segment
        The segment's name.
    code_dir
        The code directory.

    Returns
    -------
    str or None
        The path, or ``None`` where there is none.
    """
    return _first_file(script_names(segment), code_dir)


def find_hook(segment: str, name: str, code_dir: str) -> str | None:
    """Find the script of a hook: ``seg_name.py``, ``se_name.py``, then ``s_name.py``.

    Parameters
    ----------
    segment
        The name of the segment that calls it.
    name
        The hook's name.
    code_dir
        The code directory.

    Returns
    -------
    str or None
        The path, or ``None`` where there is none.
    """
    if "/" in name or os.sep in name or "\0" in name:
        return None
    return _first_file([f"{prefix}_{name}.py" for prefix in _prefixes(segment)], code_dir)


def script_names(segment: str) -> list[str]:
    """List the file names that are looked for as a segment's script, in order."""
    return [f"{prefix}.py" for prefix in _prefixes(segment)]


def _prefixes(segment: str) -> list[str]:
    return [segment[:length] for length in range(len(segment), 0, -1)]


def _first_file(names: Iterable[str], code_dir: str) -> str | None:
    paths = (os.path.join(code_dir, name) for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


def hook_candidates(segment: str, code_dir: str) -> set[str]:
    """The names of all the hooks that exist for a segment."""
    stems = [name[:-3] for name in os.listdir(code_dir) if name.endswith(".py")]
    starts = [f"{prefix}_" for prefix in _prefixes(segment)]
    return {stem[len(start) :] for stem in stems for start in starts if stem.startswith(start)}
