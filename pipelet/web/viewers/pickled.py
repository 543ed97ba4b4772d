"""Pickles, without loading them: the instructions are followed on paper.

A pickle is a program for a small machine with a stack. Here the machine has no way to import, call or build anything: a
name is put on the stack as a name, a call as a note that it would be called. What comes out is a drawing of the value,
of which simple values, containers and the arrays of numpy are then shown as what they are (`pickledvalues`).
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import msgpack

from pipelet.errors import ViewError
from pipelet.web.viewers.pickledvalues import Bunch, Made, Name, draw
from pipelet.web.viewers.trees import Budget, Node

#: Larger files are not followed.
LARGEST = 128 << 20
_LISTING = 64 << 10


class _Mark:
    """Where the items of a container begin on the stack."""


MARK = _Mark()


def prepare() -> None:
    """Load what draws arrays, before the process may no more."""
    import numpy  # noqa: F401


def answer(file: BinaryIO, options: dict[str, Any]) -> Any:
    """Draw a pickle, or list its instructions; for the job ``values`` those in a container of the database."""
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ViewError("it is too large to be looked through")
    if options["job"] == "values":
        return values(data)
    try:
        return {"tree": tree(data)}
    except ViewError as error:
        return {"listing": listing(data), "reason": str(error)}


def values(container: bytes) -> list[Node]:
    """Draw the pickles of a container, as the database has them, with one budget for all of them."""
    budget = Budget()
    blobs = msgpack.unpackb(container)
    drawn = []
    for blob in blobs[: budget.items]:
        if budget.left <= 0:
            break
        drawn.append({"kind": "", "text": "None"} if blob is None else _tree_or_reason(blob, budget))
    if len(blobs) > len(drawn):
        drawn.append({"kind": "", "text": "…", "more": len(blobs) - len(drawn)})
    return drawn


def _tree_or_reason(blob: bytes, budget: Budget) -> Node:
    try:
        return tree(blob, budget)
    except ViewError as error:
        return {"kind": "", "text": "", "note": str(error)}


def tree(data: bytes, budget: Budget | None = None) -> Node:
    """Draw the value of a pickle.

    Parameters
    ----------
    data
        The pickle.
    budget
        How much is drawn.

    Returns
    -------
    dict
        A node of `pipelet.web.viewers.trees`.

    Raises
    ------
    ViewError
        It is no pickle, or a damaged one.
    """
    machine = Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return draw(machine.pop(), budget or Budget())
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError) as error:
        words = " ".join(str(error).split())[:200]
        raise ViewError(f"it is no pickle that can be followed to its end: {words}") from None
    raise ViewError("it is a pickle without an end")


def listing(data: bytes) -> str:
    """List the instructions of a pickle, as far as they can be read."""
    lines: list[str] = []
    size = 0
    try:
        for opcode, argument, place in pickletools.genops(data):
            shown = "" if argument is None else repr(argument if isinstance(argument, int) else str(argument)[:200])
            lines.append(f"{place or 0:>8}: {opcode.name} {shown[:200]}".rstrip())
            size += len(lines[-1])
            if size > _LISTING:
                lines.append("…")
                break
    except Exception as error:
        lines.append(f"     end: {' '.join(str(error).split())[:200]}")
    return "\n".join(lines)


class Machine:
    """The stack and the memory of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            self.stack.append(argument)
        elif name in _EMPTY:
            self.stack.append(Bunch(_EMPTY[name]))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in ("PROTO", "FRAME", "READONLY_BUFFER"):
            raise ValueError(f"unknown instruction {name}")

    def pop(self) -> Any:
        """Take the uppermost thing."""
        top = self.stack.pop()
        if top is MARK:
            raise ValueError("a container without an end")
        return top

    def to_mark(self) -> list[Any]:
        """Take all that was put there since the last mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise ValueError("a container without a beginning")

    def top(self) -> Any:
        """The uppermost thing, where it is."""
        if self.stack[-1] is MARK:
            raise ValueError("nothing where there should be a container")
        return self.stack[-1]

    def add(self, items: Sequence[Any]) -> None:
        """Put items into the list or set on top, or note that they would be."""
        self.top().items.extend(items)

    def put(self, items: Sequence[Any]) -> None:
        """Put keys and values into the dict on top, or note that they would be."""
        self.top().pairs.extend(zip(items[::2], items[1::2], strict=True))

    def make(self, call: Any, arguments: Any, word: str) -> None:
        """Note a call."""
        self.stack.append(Made(call, arguments, word))


def _global(machine: Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(Name(module, name))


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(Name(str(module), str(name)))


def _reduce(machine: Machine, _: Any) -> None:
    arguments, call = machine.pop(), machine.pop()
    machine.make(call, arguments, "call")


def _newobj(machine: Machine, _: Any) -> None:
    arguments, kind = machine.pop(), machine.pop()
    machine.make(kind, arguments, "new")


def _newobj_ex(machine: Machine, _: Any) -> None:
    named, arguments, kind = machine.pop(), machine.pop(), machine.pop()
    machine.make(kind, arguments, "new")
    machine.stack[-1].named = named


def _inst(machine: Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.make(Name(module, name), Bunch("tuple", machine.to_mark()), "new")


def _obj(machine: Machine, _: Any) -> None:
    kind, *arguments = machine.to_mark()
    machine.make(kind, Bunch("tuple", arguments), "new")


def _build(machine: Machine, _: Any) -> None:
    state = machine.pop()
    machine.top().state = state


def _take(count: int) -> Callable[[Machine, Any], None]:
    def step(machine: Machine, _: Any) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.stack.append(Bunch("tuple", items[::-1]))

    return step


def _gather(kind: str) -> Callable[[Machine, Any], None]:
    def step(machine: Machine, _: Any) -> None:
        items = machine.to_mark()
        made = Bunch(kind)
        machine.stack.append(made)
        if kind == "dict":
            machine.put(items)
        else:
            made.items.extend(items)

    return step


def _remember(machine: Machine, argument: int) -> None:
    machine.memory[argument] = machine.top()


def _memoize(machine: Machine, _: Any) -> None:
    machine.memory[len(machine.memory)] = machine.top()


def _recall(machine: Machine, argument: int) -> None:
    machine.stack.append(machine.memory[argument])


def _append(machine: Machine, _: Any) -> None:
    item = machine.pop()
    machine.add([item])


def _appends(machine: Machine, _: Any) -> None:
    items = machine.to_mark()
    machine.add(items)


def _setitem(machine: Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.put([key, value])


def _setitems(machine: Machine, _: Any) -> None:
    items = machine.to_mark()
    machine.put(items)


def _mark(machine: Machine, _: Any) -> None:
    machine.stack.append(MARK)


def _pop(machine: Machine, _: Any) -> None:
    machine.stack.pop()


def _pop_mark(machine: Machine, _: Any) -> None:
    machine.to_mark()


def _dup(machine: Machine, _: Any) -> None:
    machine.stack.append(machine.top())


def _extension(machine: Machine, argument: int) -> None:
    machine.stack.append(Name("copyreg extension", str(argument)))


def _persistent(machine: Machine, argument: str) -> None:
    machine.make(Name("persistent", "id"), Bunch("tuple", [argument]), "new")


def _binpersistent(machine: Machine, _: Any) -> None:
    machine.make(Name("persistent", "id"), Bunch("tuple", [machine.pop()]), "new")


def _next_buffer(machine: Machine, _: Any) -> None:
    machine.make(Name("buffer", "elsewhere"), Bunch("tuple"), "new")


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = frozenset({
    "BINBYTES", "BINBYTES8", "BINFLOAT", "BININT", "BININT1", "BININT2", "BINSTRING", "BINUNICODE", "BINUNICODE8",
    "BYTEARRAY8", "FLOAT", "INT", "LONG", "LONG1", "LONG4", "SHORT_BINBYTES", "SHORT_BINSTRING", "SHORT_BINUNICODE",
    "STRING", "UNICODE",
})
_EMPTY = {"EMPTY_LIST": "list", "EMPTY_TUPLE": "tuple", "EMPTY_DICT": "dict", "EMPTY_SET": "set"}
_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _reduce, "NEWOBJ": _newobj, "NEWOBJ_EX": _newobj_ex,
    "INST": _inst, "OBJ": _obj, "BUILD": _build, "TUPLE1": _take(1), "TUPLE2": _take(2), "TUPLE3": _take(3),
    "TUPLE": _gather("tuple"), "LIST": _gather("list"), "DICT": _gather("dict"), "FROZENSET": _gather("frozenset"),
    "PUT": _remember, "BINPUT": _remember, "LONG_BINPUT": _remember, "MEMOIZE": _memoize,
    "GET": _recall, "BINGET": _recall, "LONG_BINGET": _recall, "APPEND": _append, "APPENDS": _appends,
    "ADDITEMS": _appends, "SETITEM": _setitem, "SETITEMS": _setitems, "MARK": _mark, "POP": _pop,
    "POP_MARK": _pop_mark, "DUP": _dup, "EXT1": _extension, "EXT2": _extension, "EXT4": _extension,
    "PERSID": _persistent, "BINPERSID": _binpersistent, "NEXT_BUFFER": _next_buffer,
}
