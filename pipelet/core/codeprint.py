"""The fingerprint of code: it changes with what the code says, not with how it is laid out.

The syntax tree is walked here, in an order of our own, because what the standard library would write of a tree differs
between versions of Python. What only newer versions know of is left out as long as it is empty.
"""

from __future__ import annotations

import ast
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from pipelet.errors import CodeError

#: Counts up when the same code gets another fingerprint than before: all that was computed is then computed again.
CODE_VERSION: Final = 1

_SIZE: Final = 16
#: How much of a long line an error shows on either side of the mark.
_SHOWN: Final = 60
#: They say where a name stands, which its place in the tree says too, and what comments say of types.
_IGNORED_FIELDS: Final = frozenset({"ctx", "type_comment", "type_ignores"})


#: So many texts are remembered with what was found in them: the scripts of a pipeline are looked at again and again.
TEXTS: Final = 256


@lru_cache(maxsize=TEXTS)
def code_digest(source: str, filename: str) -> str:
    """Give the fingerprint of a Python source.

    Comments, blank lines, layout, quotes and brackets that change nothing have no part in it; docstrings have.

    Parameters
    ----------
    source
        The text of a script or module.
    filename
        Its name, for errors alone.

    Returns
    -------
    str
        32 hexadecimal digits, the same under every version of Python.

    Raises
    ------
    CodeError
        The source can't be compiled; the message holds file, line and column.
    """
    tree = _tree(source, filename)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, filename, "exec", dont_inherit=True)
    except Exception as error:
        raise _code_error(error, source, filename) from error
    hasher = blake2b(b"code %d:" % CODE_VERSION, digest_size=_SIZE)
    hasher.update(b"".join(_codes(tree)))
    return hasher.hexdigest()


@lru_cache(maxsize=TEXTS)
def hook_calls(source: str, filename: str = "<source>") -> frozenset[str] | None:
    """Find the hooks that a source calls.

    Parameters
    ----------
    source, filename
        The text and, for errors, its name.

    Returns
    -------
    frozenset of str or None
        The names given as literals to ``hook("name", ...)``; ``None`` when at least one is computed.

    Raises
    ------
    CodeError
        The source can't be parsed.
    """
    return called_with_names(source, "hook", "hookname", filename)


def called_with_names(
    source: str, function: str, keyword: str = "", filename: str = "<source>"
) -> frozenset[str] | None:
    """Find the names with which a source calls a function.

    Parameters
    ----------
    source, filename
        The text and, for errors, its name.
    function
        The name of the function.
    keyword
        The name of its first parameter, for calls that spell it out.

    Returns
    -------
    frozenset of str or None
        The first arguments of its calls; ``None`` when one of them is no literal, or when the function is used in any
        other way than called (given a second name, for example), so that its arguments can't be known.

    Raises
    ------
    CodeError
        The source can't be parsed.
    """
    names: set[str] = set()
    called: set[ast.AST] = set()
    mentioned: set[ast.AST] = set()
    for node in ast.walk(_tree(source, filename)):
        if isinstance(node, ast.Name) and node.id == function:
            mentioned.add(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
            name = _first_argument(node, keyword)
            if name is None:
                return None
            names.add(name)
            called.add(node.func)
    return None if mentioned - called else frozenset(names)


@lru_cache(maxsize=TEXTS)
def imported_names(source: str, filename: str = "<source>") -> frozenset[str]:
    """Find the modules that a source imports, at its top or anywhere below.

    Parameters
    ----------
    source, filename
        The text and, for errors, its name.

    Returns
    -------
    frozenset of str
        Dotted names, as they are written; of ``from a import b`` it is ``a``. Relative imports are left out.

    Raises
    ------
    CodeError
        The source can't be parsed.
    """
    names: set[str] = set()
    for node in ast.walk(_tree(source, filename)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
        elif isinstance(node, ast.Call) and _is_import_function(node.func):
            name = _first_argument(node, "name")
            if name and not name.startswith("."):
                names.add(name)
    return frozenset(names)


def _first_argument(call: ast.Call, keyword: str) -> str | None:
    """Give the first argument of a call, or the one given by keyword, if it is a literal string."""
    values = call.args or [given.value for given in call.keywords if given.arg == keyword]
    first = values[0] if values else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _is_import_function(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "import_module"
    return isinstance(node, ast.Name) and node.id in ("__import__", "import_module")


# ------------------------------------------------------------------------------------------------- parsing, and errors


def _tree(source: str, filename: str) -> ast.Module:
    try:
        return _parsed(source)
    except Exception as error:
        raise _code_error(error, source, filename) from error


@lru_cache(maxsize=8)
def _parsed(source: str) -> ast.Module:
    """Parse a source; one text is asked about several times in a row, and nobody changes the tree."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _code_error(error: Exception, source: str, filename: str) -> CodeError:
    """Say where a source is wrong: ``melt.py, line 3, column 7: invalid syntax``, with the line and a mark under it."""
    if "\0" in source:
        line, column = _position(source, source.index("\0"))
        return CodeError(f"{filename}, line {line}, column {column}: there is a null byte; is this a Python script?")
    if isinstance(error, UnicodeEncodeError) and error.object == source:
        line, column = _position(source, error.start)
        return CodeError(f"{filename}, line {line}, column {column}: no valid character; save the file as UTF-8")
    if isinstance(error, (RecursionError, MemoryError)):
        return CodeError(f"{filename}: too deeply nested for Python to compile; split its longest expression")
    if not isinstance(error, SyntaxError):
        return CodeError(f"{filename}: Python can't compile it ({type(error).__name__}: {error})")
    line, column = error.lineno or 1, max(error.offset or 1, 1)
    message = f"{filename}, line {line}, column {column}: {error.msg}"
    lines = source.splitlines()
    if not 1 <= line <= len(lines):
        return CodeError(message)
    start = max(0, column - _SHOWN)
    shown = lines[line - 1].expandtabs(1)[start : start + 2 * _SHOWN]
    return CodeError(f"{message}\n    {shown}\n    {' ' * (column - 1 - start)}^")


def _position(source: str, index: int) -> tuple[int, int]:
    before = source[:index]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


# ----------------------------------------------------------------------------------------------------- the walk itself


def _codes(tree: ast.Module) -> Iterator[bytes]:
    """Walk a tree, with a stack of its own since expressions may be nested deeply."""
    stack: list[Any] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, _Ready):
            yield item
        elif isinstance(item, ast.AST):
            stack.extend(reversed(_node_items(item)))
        elif isinstance(item, list):
            stack.extend(reversed([_Ready(b"[%d:" % len(item)), *item]))
        else:
            yield _constant_code(item)


class _Ready(bytes):
    """Bytes that are code already, no constant of the source."""


def _node_items(node: ast.AST) -> list[Any]:
    """Take a node apart into its name, the names of its fields, and what these hold.

    A field that holds nothing is left out: so the fields that newer versions of Python added change no older code.
    Of a constant only the value is taken, not that a string was written with the prefix ``u``.
    """
    kind = type(node)
    if isinstance(node, ast.Constant):
        return [_Ready(b"(Constant 1:value "), _Ready(_constant_code(node.value))]
    held = [(name, getattr(node, name, None)) for name in _field_names(kind)]
    if isinstance(node, ast.JoinedStr):
        held = [("values", _merged(node.values))]
    held = [(name, value) for name, value in held if value]
    items: list[Any] = [_Ready(b"(%b %d:" % (kind.__name__.encode(), len(held)))]
    for name, value in held:
        items.append(_Ready(name.encode() + b" "))
        items.append(value)
    return items


def _field_names(kind: type) -> tuple[str, ...]:
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(sorted(set(vars(kind)["_fields"]) - _IGNORED_FIELDS))
    return names


_FIELDS: Final[dict[type, tuple[str, ...]]] = {}


def _merged(values: Iterable[ast.expr]) -> list[ast.expr]:
    """Merge the constant parts of an f-string, which some versions of Python split and pad with empty ones."""
    merged: list[ast.expr] = []
    for value in values:
        last = merged[-1] if merged else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            merged[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            merged.append(value)
    return merged


def _constant_code(value: Any) -> bytes:
    """Encode a constant with its type: ``1``, ``True`` and ``1.0`` are different code, as are ``0.0`` and ``-0.0``."""
    coder = _CONSTANTS.get(type(value))
    if coder is None:
        raise TypeError(f"a syntax tree holds an unknown constant of type {type(value).__name__}")
    data = coder(value)
    return b"%b %d:%b" % (type(value).__name__.encode(), len(data), data)


_CONSTANTS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"",
    type(...): lambda _: b"",
    bool: lambda value: b"1" if value else b"0",
    int: lambda value: b"%x" % value,
    float: struct.Struct("<d").pack,
    complex: lambda value: struct.pack("<dd", value.real, value.imag),
    str: lambda value: value.encode("utf-8", "surrogatepass"),
    bytes: bytes,
}
