"""The fingerprint of the user's environment class, wherever it was written."""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import os
import sys
import sysconfig
import types
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

from pipelet.core.codeprint import code_digest
from pipelet.depends import is_inside
from pipelet.errors import CodeError

_OURS = "pipelet"
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@dataclass(frozen=True)
class EnvironmentFacts:
    """The environment's class, as it is in the key and in ``.meta``."""

    name: str
    digest: str  #: `environment_fingerprint`; empty for the class that is used where none is given
    source: str  #: `environment_source`

    def to_meta(self) -> dict[str, object] | None:
        """What ``.meta`` says of it."""
        return {"class": self.name, "digest": self.digest, "source": self.source.splitlines()} if self.digest else None


# A class that was seen keeps its fingerprint as long as it has the same functions: its file may be edited after it was
# imported, and then tells of another class than the one that runs.
_seen: weakref.WeakKeyDictionary[type, tuple[dict[str, object], str, str]] = weakref.WeakKeyDictionary()


def environment_fingerprint(cls: type) -> str:
    """Fingerprint the environment class of a pipeline.

    Parameters
    ----------
    cls
        The class, from a module, from a script that is run, or from a cell of a notebook.

    Returns
    -------
    str
        Empty for Pipelet's own classes, otherwise a digest, in hex, over the code of the class and of those of its
        bases that the user wrote.

    Raises
    ------
    CodeError
        The source of a class can't be had.
    """
    digests = [_class_digest(base)[0] for base in users_classes(cls)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if digests else ""


def environment_source(cls: type) -> str:
    """The source that `environment_fingerprint` is made over: that of the class, and of its bases that the user wrote.

    Raises
    ------
    CodeError
        The source of a class can't be had.
    """
    return "\n\n".join(_class_digest(base)[1].rstrip("\n") for base in users_classes(cls))


def users_classes(cls: type) -> list[type]:
    """Those among a class and its bases that are neither Pipelet's nor Python's own."""
    return [base for base in cls.__mro__ if _is_users(base)]


def _is_users(cls: type) -> bool:
    if _is_ours(cls):
        return False
    module = sys.modules.get(cls.__module__)
    file = vars(module).get("__file__") if module is not None else None
    if not isinstance(file, str):
        return cls.__module__ == "__main__" or cls.__module__.partition(".")[0] not in sys.stdlib_module_names
    if any(part in file for part in _INSTALLED):
        # An upgrade of a package recomputes nothing, unless environments are what it is for.
        return any(_is_ours(base) for base in cls.__mro__)
    return not is_inside(os.path.realpath(file), os.path.realpath(sysconfig.get_path("stdlib")))


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == _OURS


def _class_digest(cls: type) -> tuple[str, str]:
    """The fingerprint of one class, and its source."""
    # Reloading may put new functions into the old class, or new code into its old functions.
    parts: dict[str, object] = {}
    for name, value in vars(cls).items():
        function = _function(value)
        parts[name] = value if function is None else function.__code__
    known = _seen.get(cls)
    if known is not None and known[0].keys() == parts.keys() and all(known[0][name] is parts[name] for name in parts):
        return known[1:]
    source, filename = _class_source(cls)
    digest = code_digest(source, filename)
    _seen[cls] = (parts, digest, source)
    return digest, source


def _class_source(cls: type) -> tuple[str, str]:
    functions = [function for value in vars(cls).values() if (function := _function(value)) is not None]
    own = [function.__code__ for function in functions if function.__qualname__.startswith(f"{cls.__qualname__}.")]
    texts = list(_texts(cls, own))
    # What only has the right name is taken last: attributes may also have been set from outside.
    for strictly in (True, False):
        for filename, lines in texts:
            starts = [code.co_firstlineno for code in own if code.co_filename == filename]
            node = _find_class(lines, cls, starts, strictly)
            if node is not None:
                text = "".join(lines[_first_line(node) - 1 : node.end_lineno])
                # An indented class is put below a line that makes it right: without its blanks, strings would differ.
                return (f"if True:\n{text}" if text[:1].isspace() else text), filename
    raise CodeError(
        f"the source of the environment class {cls.__qualname__} (module {cls.__module__}) can't be had, so that a "
        "change of it would not be seen; write the class in a file or in a cell of the notebook, and if its file was "
        "edited after the import, import it anew"
    )


def _function(value: object) -> types.FunctionType | None:
    """The function behind an attribute, however it is wrapped."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    value = inspect.unwrap(value) if callable(value) else value
    return value if isinstance(value, types.FunctionType) else None


def _texts(cls: type, codes: list[types.CodeType]) -> Iterator[tuple[str, list[str]]]:
    """The texts that may hold the class, the likeliest first."""
    for name in dict.fromkeys(code.co_filename for code in codes):
        yield name, _source_lines(name)
    module = sys.modules.get(cls.__module__)
    space = {} if module is None else vars(module)
    file = space.get("__file__")
    if isinstance(file, str):
        yield file, _source_lines(file)
    elif cls.__module__ == "__main__":
        # A class without functions does not know its cell: the one that was run last comes first.
        cells = space.get("In")
        for cell in reversed(cells if isinstance(cells, list) else []):
            yield "<cell>", str(cell).splitlines(keepends=True)
        for name, entry in reversed(list(linecache.cache.items())):
            if len(entry) == 4 and entry[1] is None:
                yield name, entry[2]


def _source_lines(filename: str) -> list[str]:
    linecache.checkcache(filename)
    return linecache.getlines(filename)


def _find_class(lines: list[str], cls: type, starts: list[int], strictly: bool) -> ast.ClassDef | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return None
    found = [node for qualname, node in _classes(tree, "") if qualname == cls.__qualname__]
    if starts:
        found = [node for node in found if any(_first_line(node) <= s <= (node.end_lineno or 0) for s in starts)]
    else:
        line = vars(cls).get("__firstlineno__")
        found = [node for node in found if _first_line(node) == line] or found
        found = [node for node in found if not strictly or _agrees(node, cls)]
    # Of several definitions the last one stands.
    return found[-1] if found else None


def _agrees(node: ast.ClassDef, cls: type) -> bool:
    """Tell whether the constants that a definition gives to the attributes are those that the class has."""
    for part in node.body:
        if not isinstance(part, (ast.Assign, ast.AnnAssign)) or not isinstance(part.value, ast.Constant):
            continue
        given = part.value.value
        for target in part.targets if isinstance(part, ast.Assign) else [part.target]:
            has = vars(cls).get(target.id) if isinstance(target, ast.Name) else given
            if type(has) is not type(given) or has != given:
                return False
    return True


def _first_line(node: ast.ClassDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", child
            yield from _classes(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _classes(child, f"{prefix}{child.name}.<locals>.")
        else:
            yield from _classes(child, prefix)
