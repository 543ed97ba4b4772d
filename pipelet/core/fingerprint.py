"""The digest of an input: equal when type and content are equal, in every process and under every Python.

An object is turned into its canonical code, bytes in which every part carries its type and its length, so that no two
different objects can run into the same bytes; the digest is a hash of that code. Ordinary values take a short way
(`_fast`). All others are walked without recursion as a graph (`_Walk`): what is shared is encoded once, depth is
bounded by memory alone, and objects that contain themselves are told apart by what can be reached from them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

from pipelet.core.arrays import describe_numpy, scalar_coder
from pipelet.core.canonical import OBJECT_HEADS, Form, Refused, Shape, describe
from pipelet.errors import FingerprintError

#: Counts up when the same object gets another digest than before: all that was computed is then computed again.
VALUE_VERSION: Final = 1

_SIZE: Final = 16
#: Longer codes are replaced by their hash, so that shared parts can't make a code grow without bound.
_LONGEST: Final = 96
#: How many levels of lists, tuples, dicts and sets the short way follows.
_FAST_DEPTH: Final = 4
#: Nothing that pickle takes is nested as deeply as this; what describes itself by ever new objects would go on forever.
_DEEPEST: Final = 100_000
#: What stands for a node of a cycle before anything is known of it.
_UNKNOWN: Final = b"o" + bytes(_SIZE)
#: Every digest starts from these, so that a value, a combination and another version never share one.
_VALUE_SALT: Final = b"value %d:" % VALUE_VERSION
_COMBINE_SALT: Final = b"combination %d:" % VALUE_VERSION
_VALUE_HASHER: Final = blake2b(_VALUE_SALT, digest_size=_SIZE)

_NAN: Final = struct.pack("<d", float("nan"))
_pack_float = struct.Struct("<d").pack


def value_digest(obj: object) -> bytes:
    """Give the digest of one object.

    Parameters
    ----------
    obj
        Anything that can be pickled.

    Returns
    -------
    bytes
        16 bytes; equal for two objects when their types and contents are.

    Raises
    ------
    FingerprintError
        A part of the object has no canonical encoding; the message names that part.
    """
    coder = _LEAVES.get(type(obj))
    if coder is not None:
        code = coder(obj)
    else:
        try:
            code = _fast(obj, _FAST_DEPTH)
        except _NotFast:
            code = _Walk().code(obj)
    hasher = _VALUE_HASHER.copy()
    hasher.update(code)
    return hasher.digest()


def combine(digests: Iterable[bytes], salt: bytes = b"") -> bytes:
    """Give the digest of several digests, their order included.

    Parameters
    ----------
    digests
        The digests of the elements of one input.
    salt
        What else tells this combination from another one of the same digests.

    Returns
    -------
    bytes
        16 bytes.
    """
    parts = [_COMBINE_SALT, b"%d:" % len(salt), salt]
    for digest in digests:
        parts.append(b"%d:" % len(digest))
        parts.append(digest)
    return blake2b(b"".join(parts), digest_size=_SIZE).digest()


# ---------------------------------------------------------------------------------------------- codes of simple values


def _float_code(value: float) -> bytes:
    return b"f" + (_pack_float(value) if value == value else _NAN)


def _complex_code(value: complex) -> bytes:
    return b"c" + _float_code(value.real) + _float_code(value.imag)


def _bytes_code(tag: bytes, data: bytes | bytearray) -> bytes:
    head = b"%b%d:" % (tag, len(data))
    if len(data) <= _LONGEST - 16:
        return head + data
    hasher = blake2b(head, digest_size=_SIZE)
    hasher.update(data)
    return b"#" + hasher.digest()


def _str_code(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    size = len(data)
    return b"s%d:%b" % (size, data) if size <= _LONGEST - 16 else _bytes_code(b"s", data)


def _int_code(value: int) -> bytes:
    code = b"i%x;" % value
    return code if len(code) <= _LONGEST else _shortened(code)


_LEAVES: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: _int_code,
    float: _float_code,
    complex: _complex_code,
    str: _str_code,
    bytes: lambda value: _bytes_code(b"b", value),
    bytearray: lambda value: _bytes_code(b"y", value),
    type(...): lambda _: b".",
    type(NotImplemented): lambda _: b"!",
}


def _leaf(kind: type) -> Callable[[Any], bytes] | None:
    """Find the coder of a type whose values have no parts; those of numpy join the table when first met."""
    coder = _LEAVES.get(kind)
    if coder is None and kind.__module__ == "numpy":
        coder = scalar_coder(kind)
        if coder is not None:
            _LEAVES[kind] = coder
    return coder


def _shortened(code: bytes) -> bytes:
    return code if len(code) <= _LONGEST else b"#" + blake2b(code, digest_size=_SIZE).digest()


def _assembled(head: bytes, form: Form, codes: list[bytes]) -> bytes:
    """Make the code of a whole from the codes of its parts.

    Sets and dicts are ordered by the codes of their parts: the only order that no hash seed and no history decides.
    """
    if form is Form.PAIRS:
        pairs = sorted(zip(codes[::2], codes[1::2], strict=True))
        codes = [code for pair in pairs for code in pair]
    elif form is Form.SET:
        codes = sorted(codes)
    return _shortened(b"%b%d:%b" % (head, len(codes), b"".join(codes)))


# ------------------------------------------------------------------------------------------------------- the short way


class _NotFast(Exception):
    """The object needs the long way."""


def _fast(obj: Any, depth: int) -> bytes:
    """Encode what has only ordinary parts, a few levels deep.

    The bound on the depth is what makes this safe: no cycle holds it up, and parts that are shared many times over
    can't multiply without end.
    """
    kind = type(obj)
    coder = _LEAVES.get(kind)
    if coder is not None:
        return coder(obj)
    if not depth:
        raise _NotFast
    depth -= 1
    if kind is tuple or kind is list:
        codes = []
        for item in obj:
            coder = _LEAVES.get(type(item))
            codes.append(_fast(item, depth) if coder is None else coder(item))
        return _shortened(b"%b%d:%b" % (b"t" if kind is tuple else b"l", len(codes), b"".join(codes)))
    if kind is dict:
        return _assembled(b"m", Form.PAIRS, [_fast(part, depth) for pair in obj.items() for part in pair])
    if kind is set or kind is frozenset:
        return _assembled(b"e" if kind is set else b"z", Form.SET, [_fast(item, depth) for item in obj])
    coder = _leaf(kind)
    if coder is None:
        raise _NotFast
    return coder(obj)


# -------------------------------------------------------------------------------------------------------- the long way


class _Node:
    """An object on the way through the graph."""

    __slots__ = ("code", "index", "low", "obj", "parent", "parts", "position", "shape")

    def __init__(self, obj: object, shape: Shape, parent: _Node | None, position: int, index: int) -> None:
        self.obj = obj  # kept alive: its id is what it is remembered by
        self.shape = shape
        self.parent = parent
        self.position = position
        self.index = index
        self.low = index
        self.parts: list[bytes | _Node] = []
        self.code: bytes | None = None


class _Walk:
    """One walk over all that an object holds: Tarjan's algorithm, with a stack of its own."""

    def __init__(self) -> None:
        self._seen: dict[int, _Node] = {}
        self._path: list[_Node] = []
        self._open: list[_Node] = []

    def code(self, root: object) -> bytes:
        """Give the canonical code of an object."""
        coder = _leaf(type(root))
        if coder is not None:
            return coder(root)
        first = self._enter(root, None, 0)
        while self._path:
            node = self._path[-1]
            if len(node.parts) < len(node.shape.parts):
                self._advance(node)
            else:
                self._leave(node)
        assert first.code is not None
        return first.code

    def _enter(self, obj: object, parent: _Node | None, position: int) -> _Node:
        try:
            if len(self._path) >= _DEEPEST:
                raise Refused(f"it is nested more than {_DEEPEST} levels deep")
            shape = obj if type(obj) is Shape else describe_numpy(obj) or describe(obj)
        except Refused as refusal:
            where = _where(parent, position)
            raise FingerprintError(f"{where} can't be part of an input or an output: {refusal}") from refusal.__cause__
        node = _Node(obj, shape, parent, position, len(self._seen))
        self._seen[id(obj)] = node
        self._path.append(node)
        self._open.append(node)
        return node

    def _advance(self, node: _Node) -> None:
        position = len(node.parts)
        part = node.shape.parts[position]
        coder = _leaf(type(part))
        if coder is not None:
            node.parts.append(coder(part))
            return
        known = self._seen.get(id(part))
        if known is None:
            known = self._enter(part, node, position)
        elif known.code is None:
            node.low = min(node.low, known.index)
        node.parts.append(known)

    def _leave(self, node: _Node) -> None:
        self._path.pop()
        if node.parent is not None:
            node.parent.low = min(node.parent.low, node.low)
        if node.low != node.index:
            return
        start = len(self._open) - 1
        while self._open[start] is not node:
            start -= 1
        members = self._open[start:]
        del self._open[start:]
        if len(members) == 1 and node not in node.parts:
            node.code = _node_code(node, {})
        else:
            _encode_cycle(members)
        for member in members:
            member.parts = []


def _node_code(node: _Node, inside: dict[_Node, bytes]) -> bytes:
    codes: list[bytes] = []
    for part in node.parts:
        if isinstance(part, bytes):
            codes.append(part)
        else:
            codes.append(part.code if part.code is not None else inside[part])
    return _assembled(node.shape.head, node.shape.form, codes)


def _encode_cycle(members: Sequence[_Node]) -> None:
    """Encode objects that all reach each other.

    Each round tells apart what looks different one step further on. When a round finds no new difference there is
    none to be found, and a member is what it looks like together with all that the cycle holds. Neither identity nor
    the place where the cycle was entered has a part in it.
    """
    codes = dict.fromkeys(members, _UNKNOWN)
    classes = 1
    while True:
        codes = {node: _opaque(_node_code(node, codes)) for node in members}
        found = len(set(codes.values()))
        if found == classes:
            break
        classes = found
    everything = b"".join(sorted(set(codes.values())))
    final = {node: _opaque(codes[node] + everything) for node in members}
    for node, code in final.items():
        node.code = code


def _opaque(code: bytes) -> bytes:
    return b"o" + blake2b(code, digest_size=_SIZE).digest()


# ----------------------------------------------------------------------------------------------- words for error texts


def _where(parent: _Node | None, position: int) -> str:
    """Name a part as one would write it: ``value[2]['mask'].weights``."""
    steps: list[str] = []
    while parent is not None:
        steps.append(_step(parent, position))
        position, parent = parent.position, parent.parent
    steps.reverse()
    if len(steps) > 12:
        steps[6:-6] = ["..."]
    return "value" + "".join(steps)


def _step(parent: _Node, position: int) -> str:
    shape = parent.shape
    if shape.labels:
        return shape.labels[position]
    if shape.form is Form.ORDERED:
        return f"[{position}]"
    if shape.form is Form.SET:
        return "{an element}"
    key = shape.parts[position - position % 2]
    if position % 2 == 0:
        return "{a key}"
    holder = parent.parent
    if type(key) is str and holder is not None and holder.shape.head in OBJECT_HEADS and parent.position == 2:
        return f".{key}"
    text = repr(key) if type(key) in (int, float, str, bytes, bool) else f"<{type(key).__name__}>"
    return f"[{text if len(text) <= 40 else text[:37] + '...'}]"
