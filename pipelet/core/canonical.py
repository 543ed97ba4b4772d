"""How an object is seen by its fingerprint: a head, and parts that are objects again.

What has a content of its own (containers, dates, paths, numbers of the standard library) is described by that content.
Everything else is described by what it tells pickle of itself (`object.__reduce_ex__`), taken apart piece by piece:
never by the bytes that pickle would write, which differ with the sharing of parts, the order of sets and the version
of Python.
"""

from __future__ import annotations

import copyreg
import enum
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property, lru_cache
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple
from weakref import WeakSet

#: The protocol that objects are asked to describe themselves in: one for all versions of Python.
_PROTOCOL: Final = 4


class Form(enum.Enum):
    """What the order of the parts means."""

    ORDERED = enum.auto()
    #: The parts have no order.
    SET = enum.auto()
    #: Key, value, key, value, and so on: the pairs have no order.
    PAIRS = enum.auto()


class Shape(NamedTuple):
    """One object, one level deep."""

    head: bytes  #: tells its own end, so that nothing can be shifted between it and the parts
    form: Form
    parts: list[Any]  #: objects, or shapes of what is no object of its own
    labels: tuple[str, ...] = ()  #: how an error names each part, where its position alone would not do


#: Heads of objects that pickle would make anew from arguments, a state, items and pairs.
OBJECT_HEADS: Final = (b"O", b"R")

_OBJECT_LABELS: Final = ("", "", "", "", "", "")


class Refused(Exception):
    """An object can't be described; the text says why."""


def describe(obj: Any) -> Shape:
    """Describe an object that has parts.

    Parameters
    ----------
    obj
        Any object.

    Returns
    -------
    Shape
        Its head and its parts.

    Raises
    ------
    Refused
        It can't be pickled, or has no content that would be the same in another process.
    """
    kind = type(obj)
    if kind is tuple or kind is list:
        return Shape(b"t" if kind is tuple else b"l", Form.ORDERED, list(obj))
    if kind is dict:
        return Shape(b"m", Form.PAIRS, [part for pair in obj.items() for part in pair])
    if kind is set or kind is frozenset:
        return Shape(b"e" if kind is set else b"z", Form.SET, list(obj))
    if kind is FunctionType or issubclass(kind, type):
        return _found_by_name(obj, obj.__qualname__)
    if kind is range or kind is slice:
        return Shape(b"r" if kind is range else b"k", Form.ORDERED, [obj.start, obj.stop, obj.step])
    if isinstance(obj, enum.Enum):
        # the name of a combination of flags differs between versions of Python, and its value says it all
        name = None if isinstance(obj, enum.Flag) else obj.name
        return Shape(b"E", Form.ORDERED, [kind, name, obj.value], ("", ".name", ".value"))
    for module, describer in _DESCRIBERS.items():
        loaded = sys.modules.get(module)
        shape = None if loaded is None else describer(loaded, obj)
        if shape is not None:
            return shape
    return reduced(obj)


# ----------------------------------------------------------------------------- types whose own reduction would not do
# Their reductions differ between versions of Python, or between equal objects. An object of a type can't exist before
# the module of the type is loaded: so modules are taken as they are, and none is imported for types that nobody uses.


def _path(pathlib: ModuleType, obj: Any) -> Shape | None:
    if not isinstance(obj, pathlib.PurePath):
        return None
    return Shape(b"P", Form.ORDERED, [type(obj), str(obj)])


def _fraction(fractions: ModuleType, obj: Any) -> Shape | None:
    if type(obj) is not fractions.Fraction:
        return None
    return Shape(b"Q", Form.ORDERED, [obj.numerator, obj.denominator])


def _decimal(decimal: ModuleType, obj: Any) -> Shape | None:
    if type(obj) is not decimal.Decimal:
        return None
    if obj.is_nan():
        return Shape(b"X", Form.ORDERED, ["snan" if obj.is_snan() else "nan"])
    sign, digits, exponent = obj.as_tuple()
    return Shape(b"X", Form.ORDERED, [sign, bytes(digits), exponent])


def _date(datetime: ModuleType, obj: Any) -> Shape | None:
    kind = type(obj)
    if kind is datetime.datetime:
        parts = ["datetime", obj.year, obj.month, obj.day, obj.hour, obj.minute, obj.second, obj.microsecond]
        return Shape(b"D", Form.ORDERED, [*parts, obj.fold, obj.tzinfo])
    if kind is datetime.date:
        return Shape(b"D", Form.ORDERED, ["date", obj.year, obj.month, obj.day])
    if kind is datetime.time:
        parts = ["time", obj.hour, obj.minute, obj.second, obj.microsecond]
        return Shape(b"D", Form.ORDERED, [*parts, obj.fold, obj.tzinfo])
    if kind is datetime.timedelta:
        return Shape(b"D", Form.ORDERED, ["timedelta", obj.days, obj.seconds, obj.microseconds])
    if kind is datetime.timezone:
        return Shape(b"D", Form.ORDERED, ["timezone", *obj.__getinitargs__()])
    return None


def _zone(zoneinfo: ModuleType, obj: Any) -> Shape | None:
    if type(obj) is not zoneinfo.ZoneInfo or obj.key is None:
        return None
    return Shape(b"D", Form.ORDERED, ["zone", obj.key])


def _packed_array(array: ModuleType, obj: Any) -> Shape | None:
    if type(obj) is not array.array:
        return None
    items = obj.tolist() if obj.typecode in "fdu" else obj.tobytes()
    return Shape(b"p", Form.ORDERED, [obj.typecode, obj.itemsize, items])


_DESCRIBERS: Final[dict[str, Callable[[ModuleType, Any], Shape | None]]] = {
    "pathlib": _path,
    "fractions": _fraction,
    "decimal": _decimal,
    "datetime": _date,
    "zoneinfo": _zone,
    "array": _packed_array,
}


# ------------------------------------------------------------------------------------------- what objects tell pickle


def reduced(obj: Any) -> Shape:
    """Describe an object by what it tells pickle of itself.

    Parameters
    ----------
    obj
        Any object.

    Returns
    -------
    Shape
        Parts: what makes the object, the arguments, the state (third, always), list items, dict items, and the
        function that sets the state.

    Raises
    ------
    Refused
        It can't be pickled.
    """
    maker, arguments, state, items, pairs, setter = _reduction(obj)
    if maker is None:
        return _found_by_name(obj, arguments)
    kind: Any = type(obj)
    state = _without_caches(state, _cache_names(kind))
    if type(state) is dict and not state:
        state = None  # Python 3.10 and later ones differ in which of the two they give
    if isinstance(obj, (set, frozenset)) and kind.__reduce__ in _SET_REDUCTIONS:
        return Shape(b"Z", Form.ORDERED, [maker, Shape(b"e", Form.SET, list(obj)), state], ("", "", ""))
    ordered = isinstance(obj, OrderedDict)
    listed = None if items is None else Shape(b"l", Form.ORDERED, list(items))
    flat = None if pairs is None else [part for pair in pairs for part in pair]
    paired = None if flat is None else Shape(b"w" if ordered else b"m", Form.ORDERED if ordered else Form.PAIRS, flat)
    head = b"R"
    given: object = arguments
    if maker is _new_object:
        head, maker, given = b"O", arguments[0], Shape(b"t", Form.ORDERED, list(arguments[1:]))
    return Shape(head, Form.ORDERED, [maker, given, state, listed, paired, setter], _OBJECT_LABELS)


#: What pickle calls for objects that are made by their class alone.
_new_object: Final[object] = vars(copyreg)["__newobj__"]
_SET_ITERATOR: Final[type] = type(iter(set[int]()))
#: These give the elements in the order of their hashes.
_SET_REDUCTIONS: Final[tuple[object, ...]] = (set.__reduce__, frozenset.__reduce__)


def _reduction(obj: Any) -> tuple[Any, ...]:
    """Ask an object for the six parts of its reduction; for one that goes by its name, ``None`` and the name."""
    kind = type(obj)
    if kind is _SET_ITERATOR:
        raise Refused("an iterator over a set goes in another order in every process; make it a sorted list")
    reducer = copyreg.dispatch_table.get(kind)
    try:
        told = obj.__reduce_ex__(_PROTOCOL) if reducer is None else reducer(obj)
    except Exception as error:
        text = f"{_kind_name(obj)} can't be pickled ({type(error).__name__}: {error})"
        raise Refused(text) from error
    if type(told) is str:
        return (None, told, None, None, None, None)
    if type(told) is not tuple or not 2 <= len(told) <= 6 or type(told[1]) is not tuple:
        raise Refused(f"{_kind_name(obj)} can't be pickled: its __reduce_ex__ gives what pickle does not take")
    return told + (None,) * (6 - len(told))


@lru_cache(maxsize=256)
def _cache_names(kind: type) -> frozenset[str]:
    """Name the attributes that only remember what was asked for: to look at an object does not change it."""
    names = {name for base in kind.__mro__ for name, held in vars(base).items() if isinstance(held, cached_property)}
    return frozenset(names | {"_cache"} if kind.__module__.startswith("pandas.") else names)


def _without_caches(state: Any, names: frozenset[str]) -> Any:
    if names and type(state) is dict:
        return {name: value for name, value in state.items() if name not in names}
    if names and type(state) is tuple:
        return tuple(_without_caches(part, names) if type(part) is dict else part for part in state)
    return state


def _kind_name(obj: object) -> str:
    kind = type(obj)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"an object of type {name}"


# ---------------------------------------------------------------------------------- what is known by its name alone

#: Classes of another process's main script that were unpickled here: they count as what is found under their names.
CAME_BY_VALUE: Final[WeakSet[type]] = WeakSet()

_NAMED_BY_TYPE: Final = {type(None): "NoneType", type(...): "ellipsis", type(NotImplemented): "NotImplementedType"}


def _found_by_name(obj: Any, name: str) -> Shape:
    """Describe a function or a class by its module and name, if these lead to it, as pickle would have it."""
    if isinstance(obj, type) and obj in _NAMED_BY_TYPE:
        return by_name("builtins", _NAMED_BY_TYPE[obj])
    module = getattr(obj, "__module__", None)
    title = f"the {'class' if isinstance(obj, type) else 'function'} {module}.{name}"
    if "<lambda>" in name:
        raise Refused(f"{title} has no name to be found by in another process; write it with def in a module")
    if "<locals>" in name:
        raise Refused(f"{title} is made inside a function; move it to the top level of a module")
    found: Any = sys.modules.get(module) if type(module) is str else None
    for step in name.split("."):
        found = getattr(found, step, None)
    if type(module) is not str or (found is not obj and obj not in CAME_BY_VALUE):
        raise Refused(f"{title} is not what is found under that name; define it at the top level of a module")
    return by_name(_steady_module(module, isinstance(obj, type)), name)


def by_name(module: str, name: str) -> Shape:
    """Describe what stands under a name in a module.

    Parameters
    ----------
    module, name
        The name, and the dotted name of the module.

    Returns
    -------
    Shape
        Without parts.
    """
    data = f"{module}:{name}".encode("utf-8", "surrogatepass")
    return Shape(b"G%d:%b" % (len(data), data), Form.ORDERED, [])


def _steady_module(module: str, is_class: bool) -> str:
    """Undo the moves of modules between versions of Python and numpy."""
    package, _, rest = module.partition(".")
    if package == "pathlib":
        return "pathlib"
    if package != "numpy":
        return module
    if is_class:
        return "numpy"
    return f"numpy._{rest}" if rest.split(".")[0] == "core" else module
