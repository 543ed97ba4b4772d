"""Which files of the code directory an import reads, found without running anything."""

from __future__ import annotations

import ast
import contextlib
import importlib.machinery
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

from pipelet.codefiles import SourceFile
from pipelet.errors import CodeError


def imported_files(source: str, name: str, code_dir: str) -> set[str]:
    """Find the files of the code directory that the imports of a Python source read, without following them further.

    Parameters
    ----------
    source
        The Python code.
    name
        Its file's name relative to the code directory, with slashes; relative imports start there.
    code_dir
        The code directory.

    Returns
    -------
    set of str
        Names relative to the code directory; nothing for a source that does not parse.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    package = name.split("/")[:-1]
    return {file for parts in _imported(tree, package) for file in _files_of(parts, code_dir)}


def _imported(tree: ast.Module, package: list[str]) -> Iterator[list[str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                yield [*start, *module, alias.name]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value.split(".")


def _files_of(parts: list[str], code_dir: str) -> Iterator[str]:
    if not parts or parts[0] in sys.builtin_module_names:
        return
    place = ""
    for part in parts:
        if not part.isidentifier():
            return
        place = f"{place}/{part}" if place else part
        path = os.path.join(code_dir, place)
        if os.path.isfile(os.path.join(path, "__init__.py")):
            yield f"{place}/__init__.py"
            continue
        for suffix in importlib.machinery.all_suffixes():
            if not suffix.endswith(".pyc") and os.path.isfile(path + suffix):
                yield place + suffix
                return
        if not os.path.isdir(path):
            return


def package_files(name: str, code_dir: str) -> list[str]:
    """The ``__init__.py`` files that an import of a module runs first."""
    folders = name.split("/")[:-1]
    inits = ["/".join([*folders[:depth], "__init__.py"]) for depth in range(1, len(folders) + 1)]
    return [init for init in inits if os.path.isfile(os.path.join(code_dir, init))]


def package_of(name: str, code_dir: str) -> str | None:
    """The folder of the outermost package that a Python file is part of."""
    inits = package_files(name, code_dir) if name.endswith(".py") else []
    return os.path.dirname(inits[0]) if inits else None


def reached_files(
    start: Mapping[str, SourceFile], code_dir: str, read: Callable[[str], SourceFile], initial: Iterable[str] = ()
) -> set[str]:
    """Follow the imports of some code through the code directory.

    Parameters
    ----------
    start
        The files to begin with: name to file.
    code_dir
        The code directory.
    read
        Reads a file by its name; a `CodeError` makes it one that imports nothing.
    initial
        Names of more files to begin with, which count as found.

    Returns
    -------
    set of str
        Names of the files that are imported, without those of ``start``.
    """
    reached: set[str] = set(initial) - start.keys()
    todo = [*start, *reached]
    while todo:
        name = todo.pop()
        if not name.endswith(".py"):
            continue
        with contextlib.suppress(CodeError):
            file = start.get(name) or read(name)
            new = imported_files(file.text, name, code_dir) - reached - start.keys()
            reached |= new
            todo.extend(new)
    return reached
