"""Arrays and scalars of numpy as their fingerprints see them: dtype, shape and values, whatever the memory looks like.

Numpy is never imported here: its objects can't exist before it is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import blake2b
from types import ModuleType
from typing import Any, Final

from pipelet.core.canonical import Form, Refused, Shape, by_name, reduced

_DIGEST_SIZE: Final = 16


def describe_numpy(obj: Any) -> Shape | None:
    """Describe an object of numpy.

    Parameters
    ----------
    obj
        Any object.

    Returns
    -------
    Shape or None
        ``None`` for what is no array, scalar, dtype or ufunc.

    Raises
    ------
    Refused
        It has no content that would be the same in another process.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(obj, (numpy.ndarray, numpy.generic, numpy.dtype, numpy.ufunc)):
        return None
    if isinstance(obj, numpy.ndarray):
        return _array(numpy, obj)
    if isinstance(obj, numpy.generic):
        return _scalar(numpy, obj)
    if isinstance(obj, numpy.dtype):
        objects: list[object] = []
        code = _dtype_code(obj, objects)
        return Shape(b"d%d:%b" % (len(code), code), Form.ORDERED, objects)
    return _function(obj)


def scalar_coder(kind: type) -> Callable[[Any], bytes] | None:
    """Find a quick coder for the common scalar types.

    Parameters
    ----------
    kind
        A type from numpy.

    Returns
    -------
    callable or None
        What gives the canonical code of a scalar of exactly that type; ``None`` where `describe_numpy` has to do it.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(kind, (numpy.bool_, numpy.number)) or issubclass(kind, numpy.timedelta64):
        return None
    dtype = numpy.dtype(kind)
    if dtype.type is not kind or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        return None
    head = b"n" + dtype.str.encode()
    if dtype.kind not in "fc":
        return lambda value: head + value.tobytes()
    return lambda value: head + (value.tobytes() if value == value else _memory(numpy, numpy.asarray(value)).tobytes())


# ---------------------------------------------------------------------------------------------------------- the kinds


def _scalar(numpy: ModuleType, obj: Any) -> Shape:
    kind = type(obj)
    if kind.__reduce__ is not numpy.generic.__reduce__:
        return reduced(obj)
    if isinstance(obj, numpy.str_):
        return Shape(b"g", Form.ORDERED, ["str", str(obj)])
    if isinstance(obj, numpy.bytes_):
        return Shape(b"g", Form.ORDERED, ["bytes", bytes(obj).rstrip(b"\0")])  # as pickle leaves them
    name = "record" if isinstance(obj, numpy.record) else "scalar"
    return Shape(b"g", Form.ORDERED, [name, _content(numpy, numpy.asarray(obj))], ("", ""))


def _function(ufunc: Any) -> Shape:
    name = str(ufunc.__name__)
    for module in ("numpy", "scipy.special"):
        if getattr(sys.modules.get(module), name, None) is ufunc:
            return by_name(module, name)
    raise Refused(f"the ufunc {name} is in no module that it could be found by")


def _array(numpy: ModuleType, obj: Any) -> Shape:
    kind = type(obj)
    if kind is numpy.ndarray:
        return _content(numpy, obj)
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(obj, masked.MaskedArray):
        if kind.__reduce__ is not masked.MaskedArray.__reduce__:
            return reduced(obj)
        # pickle makes a full mask of a missing one, and sets a filling where there is none: taken as they will be
        parts = (masked.getdata(obj, False), masked.getmaskarray(obj), obj.fill_value)
        shapes = [_content(numpy, numpy.asarray(part)) for part in parts]
        return Shape(b"M", Form.ORDERED, [kind, *shapes], ("", "", ".mask", ".fill_value"))
    plain = _content(numpy, obj.view(numpy.ndarray))
    if kind.__reduce__ is numpy.ndarray.__reduce__ and kind.__reduce_ex__ is numpy.ndarray.__reduce_ex__:
        return Shape(b"B", Form.ORDERED, [kind, plain], ("", ""))
    # a subclass that adds to what an array tells pickle: the raw memory in it gives way to the content
    shape = reduced(obj)
    state = shape.parts[2] if len(shape.parts) > 2 else None
    if _is_raw(numpy, state):
        shape.parts[2] = plain
    elif type(state) is tuple:
        shape.parts[2] = Shape(b"t", Form.ORDERED, [plain if _is_raw(numpy, part) else part for part in state])
    return shape


def _is_raw(numpy: ModuleType, part: object) -> bool:
    """Tell whether this is the state that `numpy.ndarray.__reduce__` gives, memory order and all."""
    return (
        type(part) is tuple
        and len(part) == 5
        and type(part[1]) is tuple
        and isinstance(part[2], numpy.dtype)
        and isinstance(part[4], (bytes, list))
    )


def _content(numpy: ModuleType, array: Any) -> Shape:
    objects: list[object] = []
    code = _dtype_code(array.dtype, objects)
    hasher = blake2b(digest_size=_DIGEST_SIZE)
    _gather(numpy, array, hasher.update, objects)
    sizes = ",".join(map(str, array.shape)).encode()
    head = b"A%d:%b%b;%b" % (len(code), code, sizes, hasher.digest())
    return Shape(head, Form.ORDERED, objects)


# --------------------------------------------------------------------------------------------------- dtypes and values


def _dtype_code(dtype: Any, objects: list[object]) -> bytes:
    """Encode a dtype so that those that numpy calls equal are equal; objects that it holds are added to the list."""
    if dtype.names is not None:
        fields = [b"{%d," % dtype.itemsize]
        for name in dtype.names:
            field, offset, *title = dtype.fields[name]
            for text in (name, *title):
                data = str(text).encode("utf-8", "surrogatepass")
                fields.append(b"%d:%b" % (len(data), data))
            fields.append(b"@%d" % offset + _dtype_code(field, objects))
        return b"".join([*fields, b"}"])
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return b"(%b)" % ",".join(map(str, shape)).encode() + _dtype_code(base, objects)
    if dtype.kind == "T":
        missing = hasattr(dtype, "na_object")
        if missing:
            objects.append(dtype.na_object)
        return b"T%d%d;" % (missing, dtype.coerce)
    if dtype.isbuiltin == 2:
        objects.append(dtype.type)
        return b"U%b;" % dtype.str.encode()
    code: bytes = dtype.str.encode()
    return code + b";"


def _gather(numpy: ModuleType, array: Any, update: Callable[[Any], object], objects: list[object]) -> None:
    """Hand over the values of an array, field by field, so that the padding between fields is left out."""
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:
            _gather(numpy, array[name], update, objects)
    elif dtype.kind in "OT":
        objects.extend(array.reshape(-1).tolist())
    elif array.size and dtype.itemsize:
        update(_memory(numpy, array))


def _memory(numpy: ModuleType, array: Any) -> Any:
    """Give the values of an array as bytes in C order; every NaN is the same one."""
    flat = numpy.ascontiguousarray(array).reshape(-1)
    kind = flat.dtype.kind
    if kind == "b":
        return flat.view("u1") != 0
    if kind == "c":
        kind, flat = "f", flat.view(flat.real.dtype)
    if kind == "f" and flat.dtype.isbuiltin != 2:
        missing = numpy.isnan(flat)
        if missing.any():
            flat = flat.copy()
            flat[missing] = numpy.nan
        if flat.dtype.itemsize > 8:
            return _long_memory(numpy, flat)
    return flat.view("u1")


def _long_memory(numpy: ModuleType, flat: Any) -> Any:
    """Give the bytes of long doubles without the padding that fills their last bytes on x86."""
    native = flat.astype(flat.dtype.newbyteorder("="))
    size = native.dtype.itemsize
    used = 10 if numpy.finfo(native.dtype).nmant == 63 and sys.byteorder == "little" else size
    return numpy.ascontiguousarray(native.view("u1").reshape(-1, size)[:, :used])
