"""What a pickle would make, drawn from notes of it: nothing is imported, called or built but numbers and arrays."""

from __future__ import annotations

import datetime
import re
import struct
from collections.abc import Iterator
from typing import Any

from pipelet.web.viewers.trees import Budget, Node, plain, short


class Bunch:
    """A container."""

    __slots__ = ("items", "kind", "pairs", "state")

    def __init__(self, kind: str, items: list[Any] | None = None) -> None:
        self.kind = kind
        self.items: list[Any] = [] if items is None else items
        self.pairs: list[tuple[Any, Any]] = []
        self.state: Any = None


class Name:
    """Something that would be imported."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    @property
    def full(self) -> str:
        """Both parts."""
        return f"{self.module}.{self.name}"


class Made:
    """Something that would be called, and what would then be put into it."""

    __slots__ = ("arguments", "call", "items", "named", "pairs", "state", "word")

    def __init__(self, call: Any, arguments: Any, word: str) -> None:
        self.call = call
        self.arguments = arguments
        self.word = word
        self.named: Any = None
        self.state: Any = None
        self.items: list[Any] = []
        self.pairs: list[tuple[Any, Any]] = []


#: What has effects beyond a value: a page that finds it warns.
_DANGEROUS_MODULES = frozenset({
    "_ctypes", "_io", "_pickle", "asyncio", "bdb", "cProfile", "code", "codeop", "commands", "ctypes", "functools",
    "http", "imp", "importlib", "io", "marshal", "multiprocessing", "nt", "operator", "os", "pathlib", "pdb", "pickle",
    "platform", "posix", "profile", "pty", "requests", "runpy", "shutil", "signal", "socket", "subprocess", "sys",
    "tempfile", "threading", "timeit", "trace", "types", "urllib", "webbrowser",
})
_HARMLESS = frozenset({
    "functools.partial", "operator.itemgetter", "pathlib.PosixPath", "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath", "pathlib.WindowsPath", "pathlib._local.PosixPath", "pathlib._local.PurePosixPath",
    "types.SimpleNamespace",
})
_BUILTIN_KINDS = frozenset({
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set",
    "slice", "str", "tuple", "xrange",
})
_NEW = frozenset({"copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__", "copy_reg.__newobj__"})
_WOULD_RUN = "this would run if the file were loaded; it was not"
_ARRAYS = frozenset({"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"})
_SCALARS = frozenset({"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"})
_BUFFERS = frozenset({"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"})
_SIMPLE_DTYPE = re.compile(r"[<>|=]?[biufcSUVMm?]\d*")
_SHOWN_NUMBERS = 100


def draw(value: Any, budget: Budget, depth: int = 0) -> Node:
    """Make a node of something that a pickle would make."""
    if isinstance(value, Name):
        return {"kind": "name", "text": short(value.full), **_warning(value)}
    if not isinstance(value, (Bunch, Made)):
        return plain(value)
    if depth >= budget.depth:
        return {"kind": "", "text": "…", "note": "deeper levels are not shown"}
    if isinstance(value, Bunch):
        if value.kind == "dict":
            pairs = value.pairs
            return budget.branch("dict", len(pairs), _pairs(pairs, budget, depth), **_misused(value.items))
        return budget.branch(value.kind, len(value.items), _list(value.items, budget, depth), **_misused(value.pairs))
    known = _known(value)
    if isinstance(known, dict):
        return known
    return draw(known, budget, depth) if known is not None else _object(value, budget, depth)


def _misused(items: list[Any]) -> dict[str, str]:
    return {"note": "damaged: it has items that it can't hold"} if items else {}


def _list(items: list[Any], budget: Budget, depth: int) -> Iterator[tuple[str | None, Node]]:
    for item in items:
        if not budget.take():
            return
        yield None, draw(item, budget, depth + 1)


def _pairs(pairs: list[tuple[Any, Any]], budget: Budget, depth: int) -> Iterator[tuple[str | None, Node]]:
    for key, value in pairs:
        if not budget.take():
            return
        yield _key(key), draw(value, budget, depth + 1)


def _key(key: Any, depth: int = 0) -> str:
    if isinstance(key, Bunch) and depth < 3 and key.kind != "dict":
        inside = ", ".join(_key(item, depth + 1) for item in key.items[:8])
        return short(f"({inside}{', …' if len(key.items) > 8 else ''})", 100)
    if isinstance(key, str):
        return short(key, 100)
    if isinstance(key, (Bunch, Made)):
        known = _known(key) if isinstance(key, Made) else None
        return str(known["text"]) if isinstance(known, dict) else "(an object)"
    return short(key.full if isinstance(key, Name) else str(plain(key)["text"]), 100)


# ------------------------------------------------------------------------------------------------------- known objects


def _known(value: Made) -> Node | Bunch | None:
    """Draw what is only a value: arrays, numbers, dates, builtin containers."""
    if not isinstance(value.call, Name):
        return None
    name = value.call.full
    arguments = value.arguments.items if isinstance(value.arguments, Bunch) else []
    try:
        if name in _ARRAYS:
            return _array(value.state)
        if name in _BUFFERS:
            return _buffer(arguments)
        if name in _SCALARS:
            return _scalar(arguments)
        if name == "numpy.dtype":
            return {"kind": "numpy.dtype", "text": str(_dtype(value))}
        if name == "_codecs.encode" and isinstance(arguments[0], str):
            return plain(arguments[0].encode("latin-1"))
        if value.call.module in ("builtins", "__builtin__"):
            return _builtin(value.call.name, value, arguments)
        if value.call.module == "datetime" and value.state is None:
            return _date(value.call.name, arguments)
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError, struct.error):
        return None
    return None


def _builtin(name: str, value: Made, arguments: list[Any]) -> Node | Bunch | None:
    if name in ("set", "frozenset", "list", "tuple") and value.state is None and len(arguments) <= 1:
        inside = arguments[0].items if arguments else []
        return Bunch(name, [*inside, *value.items])
    if name == "complex":
        return {"kind": "complex", "text": str(complex(*map(float, arguments)))}
    if name == "bytearray" and arguments and isinstance(arguments[0], bytes):
        return plain(bytearray(arguments[0]))
    if name in ("range", "xrange", "slice") and all(isinstance(item, int) or item is None for item in arguments):
        return {"kind": name, "text": ", ".join(str(plain(item)["text"]) for item in arguments)}
    return None


def _date(name: str, arguments: list[Any]) -> Node | None:
    if name == "timedelta":
        return {"kind": "datetime.timedelta", "text": str(datetime.timedelta(*map(int, arguments)))}
    packed = _bytes(arguments[0])
    if name == "date":
        year, month, day = struct.unpack(">HBB", packed)
        return {"kind": "datetime.date", "text": datetime.date(year, month, day).isoformat()}
    if name == "datetime":
        year, month, day, hour, minute, second, high, low = struct.unpack(">HBBBBBBH", packed)
        when = datetime.datetime(year, month & 0x7F, day, hour, minute, second, (high << 16) + low)
        zone = ", with a time zone" if len(arguments) > 1 else ""
        return {"kind": "datetime.datetime", "text": when.isoformat(" ") + zone}
    return None


def _dtype(value: Any, depth: int = 0) -> Any:
    """Make the dtype that a pickle notes, if it is one of plain numbers, times and texts."""
    import numpy as np

    if not isinstance(value, Made) or not isinstance(value.call, Name) or value.call.full != "numpy.dtype" or depth > 4:
        raise ValueError("no dtype")
    text = value.arguments.items[0]
    state = value.state.items if isinstance(value.state, Bunch) else []
    order = state[1] if len(state) > 1 and state[1] in ("<", ">") else ""
    if not isinstance(text, str) or not _SIMPLE_DTYPE.fullmatch(text):
        raise ValueError("no dtype")
    if len(state) > 4 and isinstance(state[3], Bunch):
        fields = {key: item.items for key, item in state[4].pairs}
        names = [str(name) for name in state[3].items]
        formats = [_dtype(fields[name][0], depth + 1) for name in names]
        offsets = [int(fields[name][1]) for name in names]
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": int(state[5])})
    if text[:1] in "Mm" and len(state) > 8 and isinstance(state[8], Bunch):
        unit = state[8].items[1].items
        step = f"{int(unit[1])}" if unit[1] != 1 else ""
        word = unit[0] if isinstance(unit[0], str) else _bytes(unit[0]).decode("ascii")
        text = f"{text[0]}8[{step}{word}]"
    return np.dtype(order + text.lstrip("<>|="))


def _array(state: Any) -> Node | None:
    _, shape, dtype, fortran, data = state.items
    if isinstance(data, Bunch):
        lengths = [int(length) for length in shape.items]
        return {
            "kind": "numpy.ndarray", "text": f"{_shape(lengths)} of Python objects",
            "note": "its elements are not shown",
        }
    return _numbers(_bytes(data), _dtype(dtype), [int(length) for length in shape.items], bool(fortran))


def _buffer(arguments: list[Any]) -> Node | None:
    data, dtype, shape, order = arguments
    return _numbers(bytes(data), _dtype(dtype), [int(length) for length in shape.items], order == "F")


def _numbers(data: bytes, dtype: Any, shape: list[int], fortran: bool) -> Node | None:
    import numpy as np

    count = 1
    for length in shape:
        count *= length
    if dtype.itemsize <= 0 or count < 0 or count * dtype.itemsize != len(data):
        return None
    array = np.frombuffer(data, dtype, count)
    node: Node = {"kind": "numpy.ndarray", "text": f"{_shape(shape)} {dtype}"}
    if fortran and len(shape) > 1:
        node["text"] += ", in Fortran's order"
    shown = [short(str(item), 60) for item in array[:_SHOWN_NUMBERS]]
    node["numbers"] = " ".join(shown) + (" …" if count > len(shown) else "")
    if dtype.kind in "iufb" and count:
        numbers = array[np.isfinite(array)] if dtype.kind == "f" else array
        if numbers.size:
            node["note"] = f"from {numbers.min():.6g} to {numbers.max():.6g}, mean {numbers.mean(dtype=np.float64):.6g}"
    return node


def _scalar(arguments: list[Any]) -> Node | None:
    import numpy as np

    dtype = _dtype(arguments[0])
    (value,) = np.frombuffer(_bytes(arguments[1]), dtype, 1)
    return {"kind": f"numpy.{dtype}" if dtype.names is None else "numpy.void", "text": short(str(value))}


def _bytes(value: Any) -> bytes:
    """Read bytes as the different versions of the format write them."""
    if isinstance(value, Made):
        inside = value.arguments.items
        return _bytes(inside[0]) if inside else b""
    if isinstance(value, str):
        return value.encode("latin-1")
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    raise ValueError("no bytes")


def _shape(lengths: list[int]) -> str:
    return " × ".join(f"{length:,}" for length in lengths) if lengths else "a single"


# --------------------------------------------------------------------------------------------------- all other objects


def _object(value: Made, budget: Budget, depth: int) -> Node:
    """Draw an object of a class that is not known here: its name, and what would be put into it."""
    name = value.call
    arguments = value.arguments.items if isinstance(value.arguments, Bunch) else [value.arguments]
    state = value.state
    if isinstance(name, Name) and name.full in _NEW:
        name, arguments = arguments[0] if arguments else name, []
    parts: list[tuple[str | None, Any]] = [(None, item) for item in arguments]
    parts += [(None, item) for item in value.items]
    parts += [(_key(key), item) for key, item in value.pairs]
    if value.named is not None:
        parts.append(("named arguments", value.named))
    if isinstance(state, Bunch) and state.kind == "dict":
        parts += [(f".{_key(key)}", item) for key, item in state.pairs]
    elif state is not None:
        parts.append(("state", state))
    kind = name.full if isinstance(name, Name) else "a call of what a call gave"
    warning = _warning(name) if isinstance(name, Name) else {"note": _WOULD_RUN, "danger": True}
    return budget.branch(short(kind, 120), len(parts), _parts(parts, budget, depth), **warning)


def _parts(parts: list[tuple[str | None, Any]], budget: Budget, depth: int) -> Iterator[tuple[str | None, Node]]:
    for key, item in parts:
        if not budget.take():
            return
        yield key, draw(item, budget, depth + 1)


def _warning(name: Name) -> dict[str, Any]:
    if name.full in _HARMLESS:
        return {}
    first = name.module.split(".", 1)[0]
    builtin = name.module in ("builtins", "__builtin__") and name.name not in _BUILTIN_KINDS
    if builtin and name.name.endswith(("Error", "Exception", "Warning")):
        return {}
    if first in _DANGEROUS_MODULES or builtin or _DANGEROUS_MODULES & set(name.name.split(".")):
        return {"note": _WOULD_RUN, "danger": True}
    return {}
