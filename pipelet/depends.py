"""What a ``#depend`` pattern stands for: the files of the code directory, and where a copy of each is kept."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator

from pipelet.errors import DependError

#: The folder of the kept copies whose own place in the instance directory is taken.
ASIDE = "depend"

#: Where the user's environment class is kept, by value: no dependency ever gets this name.
ENVIRONMENT_FILE = f"{ASIDE}/environment.pickle"

_TAKEN = frozenset({"data", "superseded", "log", ASIDE})
_TAKEN_ENDS = (".meta", ".args", ".journal", ".tag")
_INSTANCE = re.compile(r"([^\W\d]\w*)_[A-Z2-7]{6,}")
_WILD = re.compile(r"[*?\[]")


def kept_name(name: str) -> str:
    """Give the place in the instance directory where a copy of a dependency is kept.

    Parameters
    ----------
    name
        The file's name, relative to the code directory, with slashes.

    Returns
    -------
    str
        The same name, or one below ``depend/`` where the engine has a file or folder of its own of that name.
    """
    first = name.partition("/")[0]
    # Compared without case, since some file systems don't know any.
    plain = first.casefold()
    if plain in _TAKEN or plain.endswith(_TAKEN_ENDS) or _INSTANCE.fullmatch(first):
        return f"{ASIDE}/{name}"
    return name


def is_instance_directory(path: str) -> bool:
    """Tell whether a directory is one of a segment instance, rather than a folder of the user's with such a name."""
    match = _INSTANCE.fullmatch(os.path.basename(path))
    return match is not None and os.path.isfile(os.path.join(path, f"{match[1]}.meta"))


def find_dependencies(pattern: str, code_dir: str, filename: str, line: int) -> list[str]:
    """Find the files that one ``#depend`` pattern stands for.

    ``*``, ``?`` and ``[...]`` match within a name, ``**`` any number of folders. Wildcards match files only; a folder
    that is named in full stands for all that is in it. Neither takes hidden files, compiled Python, or the
    directories of segment instances.

    Parameters
    ----------
    pattern
        Relative to the code directory, with slashes.
    code_dir
        The code directory, absolute.
    filename, line
        Where the pattern stands, for the errors.

    Returns
    -------
    list of str
        Names relative to the code directory, with slashes, sorted.

    Raises
    ------
    DependError
        The pattern matches nothing, or something outside the code directory.
    """
    search = _Search(pattern, code_dir, f"{filename}, line {line}: `#depend {pattern}`")
    return search.files()


class _Search:
    """One pattern on its way through the folders."""

    def __init__(self, pattern: str, code_dir: str, where: str) -> None:
        self.pattern = pattern
        self.code_dir = code_dir
        self.real = os.path.realpath(code_dir)
        self.where = where

    def files(self) -> list[str]:
        parts = self._parts()
        exact = "/".join(parts)
        found: set[str] = set()
        # A name in full comes first, so that a file whose own name has brackets in it can be depended on.
        named = os.path.exists(self._path(exact))
        if named and not os.path.isfile(self._path(exact)):
            if not os.path.isdir(self._path(exact)):
                raise DependError(f"{self.where}: {self._path(exact)} is no regular file; name a file or a folder")
            self._check_inside(exact)
            found.update(name for name in self._match(exact, ["**"], frozenset()) if os.path.isfile(self._path(name)))
        elif named:
            found.add(exact)
        else:
            found.update(name for name in self._match("", parts, frozenset()) if os.path.isfile(self._path(name)))
        if not found:
            raise DependError(f"{self.where} matches no file in {self.code_dir}{self._advice(parts)}")
        for name in found:
            self._check_inside(name)
        return sorted(found)

    def _path(self, name: str) -> str:
        return os.path.join(self.code_dir, name) if name else self.code_dir

    def _parts(self) -> list[str]:
        pattern = self.pattern
        if "\0" in pattern:
            raise DependError(f"{self.where}: the name of a file can't hold a NUL character")
        if os.path.isabs(pattern) or pattern.startswith("~"):
            full = os.path.normpath(os.path.expanduser(pattern))
            below = os.path.relpath(full, self.code_dir)
            copy = f"copy the file into {self.code_dir} and name it from there"
            advice = copy if below.startswith("..") else f"write `#depend {below}`"
            raise DependError(f"{self.where}: the name must be relative to the code directory; {advice}")
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise DependError(
                f"{self.where}: `..` may lead out of the code directory; name the file from {self.code_dir} on, "
                "and copy it into that directory if it is elsewhere"
            )
        return parts

    def _match(self, folder: str, parts: list[str], above: frozenset[str]) -> Iterator[str]:
        if not parts:
            yield folder
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            # The folders above are remembered, so that a symbolic link to one of them does not go round for ever.
            here = os.path.realpath(self._path(folder))
            if here in above:
                return
            yield from self._match(folder, rest or ["*"], frozenset())
            for name in self._entries(folder):
                if os.path.isdir(self._path(name)):
                    # Not skipped in silence: what is behind a link that leads out may well be meant.
                    self._check_inside(name)
                    yield from self._match(name, parts, above | {here})
        elif _WILD.search(part):
            for name in self._entries(folder, hidden=part.startswith(".")):
                if fnmatch.fnmatchcase(os.path.basename(name), part):
                    yield from self._below(name, rest)
        else:
            yield from self._below(_join(folder, part), rest)

    def _below(self, name: str, rest: list[str]) -> Iterator[str]:
        path = self._path(name)
        if os.path.isdir(path) if rest else os.path.exists(path):
            yield from self._match(name, rest, frozenset())

    def _entries(self, folder: str, hidden: bool = False) -> Iterator[str]:
        directory = self._path(folder)
        try:
            names = sorted(os.listdir(directory))
        except OSError as error:
            raise DependError(f"{self.where}: {directory} can't be read: {error.strerror or error}") from error
        for name in names:
            if name == "__pycache__" or name.endswith((".pyc", ".pyo")) or (name.startswith(".") and not hidden):
                continue
            if not is_instance_directory(os.path.join(directory, name)):
                yield _join(folder, name)

    def _check_inside(self, name: str) -> None:
        real = os.path.realpath(self._path(name))
        if not is_inside(real, self.real):
            raise DependError(
                f"{self.where}: {self._path(name)} is, or lies behind, a symbolic link that leads out of the code "
                f"directory, to {real}; put a copy of it into {self.code_dir}, or use a pattern that does not match it"
            )

    def _advice(self, parts: list[str]) -> str:
        exact = "/".join(parts)
        for guess in (f"{exact}.py", f"{exact.replace('.', '/')}.py", exact.replace(".", "/")):
            if guess != exact and os.path.exists(self._path(guess)):
                return f"; did you mean `#depend {guess}`?"
        if any(os.path.isdir(self._path(name)) for name in self._match("", parts, frozenset())):
            return f", only folders; write `#depend {exact}/**` for the files in them"
        return "; check the spelling, or remove it"


def is_inside(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or something below it; both absolute and normal."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
