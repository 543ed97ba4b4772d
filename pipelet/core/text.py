"""An input as a part of a directory's name: for people, and for the globs that they write."""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

#: The longest text, in characters, and in bytes of UTF-8: a file system holds 255 bytes, number and suffixes included.
LONGEST: Final = 120
MOST_BYTES: Final = 200

#: Stands where the middle was cut out.
_CUT: Final = ",,,"
#: How much of a text that is too long is taken from its beginning: less than from the end, which globs look for.
_HEAD_SHARE: Final = 0.35
#: Larger sets, dicts and arrays are named by their type and size.
_MOST_ITEMS: Final = 16
#: How many levels of dicts and sets are written out; deeper ones are named by their type and size.
_COLLECTIONS_DEEP: Final = 1
#: How many steps are made into an object that holds itself before one gives up.
_MOST_STEPS: Final = 2000

#: Integers up to here need no second look at their text.
_SMALL: Final = 1 << 300
#: Sequences of at most so many things of these types take a shorter way.
_FEW: Final = 32
_SIMPLE: Final = frozenset({str, int, float, bool})

_UNWANTED = re.compile(r"[^\w+=,-]")
_PLAIN = re.compile(r"[A-Za-z0-9_+=,-]{0,120}")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def value_text(obj: object) -> str:
    """Write one element as text that a file name can hold.

    Parameters
    ----------
    obj
        Any object.

    Returns
    -------
    str
        A string as it is, the elements of a tuple or list joined by ``_``, a number as its value; only letters, digits
        and ``_+=,-``. At most 120 characters and 200 bytes: the middle is cut so that the end stays.
    """
    if type(obj) is str:
        return _cleaned(obj)
    if type(obj) is int and -_SMALL < obj < _SMALL:
        return str(obj)
    if (type(obj) is tuple or type(obj) is list) and len(obj) <= _FEW and _SIMPLE.issuperset(map(type, obj)):
        text = "_".join(map(_number_text, obj))
        if len(text) <= LONGEST:
            return _cleaned(text)
    return _cleaned(_text(obj, _COLLECTIONS_DEEP))


def without_surrogates(text: str) -> str:
    """Write out halves of characters, as they come from file names that are no UTF-8: no database takes them.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    str
        The same, with ``\\udc80`` in words.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def join_texts(texts: Sequence[str]) -> str:
    """Join the texts of the parents' elements, in order.

    Parameters
    ----------
    texts
        What `value_text` gave for each.

    Returns
    -------
    str
        Within the same bounds; empty texts leave no trace.
    """
    if len(texts) == 1:
        return texts[0]
    return _cut("_".join(text for text in texts if text))


def task_name(number: int, text: str) -> str:
    """Give the name of a task's directory.

    Parameters
    ----------
    number
        The task's number.
    text
        Its input as text.

    Returns
    -------
    str
        ``12_Lancelot``, or ``12`` when there is no text.
    """
    return f"{number}_{text}" if text else str(number)


# --------------------------------------------------------------------------------------------------------------- texts


def _cleaned(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    if len(text) > 2 * LONGEST:
        text = text[:LONGEST] + text[-LONGEST:]
    return _cut(_UNWANTED.sub("_", text))


def _cut(text: str) -> str:
    """Take out of the middle what is too much."""
    limit = LONGEST
    cut = text
    while len(cut) > LONGEST or len(cut.encode()) > MOST_BYTES:
        head = int(limit * _HEAD_SHARE)
        tail = limit - head - len(_CUT)
        cut = text[:head] + _CUT + text[-tail:]
        limit -= 1
    return cut


def _joined(texts: Iterable[str], enough: int) -> str:
    """Join texts by ``_`` until there is enough."""
    parts: list[str] = []
    size = -1
    for text in texts:
        parts.append(text)
        size += len(text) + 1
        if size >= enough:
            break
    return "_".join(parts)


def _text(obj: Any, deep: int) -> str:
    """Write an object; from one that is too long, at least as much of either end as stays."""
    if not isinstance(obj, (tuple, list)):
        return _leaf_text(obj, deep)
    head = _joined(_leaves(obj, deep, False), LONGEST + 1)
    if len(head) <= LONGEST:
        return head
    return head + _joined((text[-LONGEST - 1 :][::-1] for text in _leaves(obj, deep, True)), LONGEST + 1)[::-1]


def _leaves(obj: Sequence[Any], deep: int, backwards: bool) -> Iterator[str]:
    """Give the texts of all that nested tuples and lists hold, from either end."""
    stack: list[Iterator[Any]] = [reversed(obj) if backwards else iter(obj)]
    for _ in range(_MOST_STEPS):
        if not stack:
            return
        item = next(stack[-1], stack)
        if item is stack:
            stack.pop()
        elif isinstance(item, (tuple, list)):
            stack.append(reversed(item) if backwards else iter(item))
        else:
            yield _leaf_text(item, deep)


def _leaf_text(obj: Any, deep: int) -> str:
    if type(obj) is str:
        return str(obj)
    if isinstance(obj, enum.Enum):
        # only newer versions of Python name a combination of flags
        return str(obj.value if obj.name is None or "|" in obj.name else obj.name)
    if isinstance(obj, (int, float)):
        return _number_text(obj)
    if isinstance(obj, (bytes, bytearray)):
        return (obj[:LONGEST] + obj[max(LONGEST, len(obj) - LONGEST) :]).decode("ascii", "replace")
    if isinstance(obj, (set, frozenset, dict)):
        return _collection_text(obj, deep)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(obj, numpy.ndarray):
        return _array_text(numpy.asarray(obj))
    if numpy is not None and isinstance(obj, numpy.void) and obj.dtype.names:
        return _text(obj.item(), deep)
    return _object_text(obj)


def _number_text(obj: object) -> str:
    try:
        return str(obj)
    except ValueError:  # Python refuses to write very large integers with decimal digits
        return f"{obj:#x}"


def _collection_text(obj: Any, deep: int) -> str:
    if len(obj) > _MOST_ITEMS or not deep:
        return f"{type(obj).__name__}_of_{len(obj)}"
    if isinstance(obj, dict):
        return "_".join(sorted(f"{_text(key, deep - 1)}={_text(value, deep - 1)}" for key, value in obj.items()))
    return "_".join(sorted(_text(item, deep - 1) for item in obj))


def _array_text(array: Any) -> str:
    if array.size <= _MOST_ITEMS and array.dtype.names is None and not array.dtype.hasobject:
        return "_".join(str(item) for item in array.reshape(-1))
    shape = "x".join(map(str, array.shape))
    return f"{'record' if array.dtype.names else array.dtype.name}_{shape}"


def _object_text(obj: Any) -> str:
    """Write an object as it writes itself, or by its name or its type's where it says nothing of its own."""
    kind: Any = type(obj)
    name = getattr(obj, "__qualname__", getattr(obj, "__name__", None))
    if isinstance(name, str):
        return name
    if kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__:
        return str(kind.__name__)
    try:
        return _ADDRESS.sub("", str(obj))
    except Exception:
        return str(kind.__name__)
