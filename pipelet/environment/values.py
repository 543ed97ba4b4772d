"""Small helpers around the values that pass through a segment's namespace."""

from __future__ import annotations

import keyword
import os
import pickle
from collections.abc import Callable, Iterable
from typing import Any

from pipelet.core.text import without_surrogates
from pipelet.environment.byvalue import by_value
from pipelet.environment.mainmodule import ASIDE, outside
from pipelet.errors import OutputError, ParameterError

#: Length of a value as shown to people.
_TEXT = 300


#: Types whose values hold nothing of the main script, so that their pickles need no second look.
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})


#: Puts the functions of an environment into a namespace.
Binder = Callable[[dict[str, Any], object], None]


class NotSet(list[Any]):
    """The list that ``seg_output`` starts as; a segment that leaves it empty set no particular output."""


def pickle_output(value: object, position: int) -> bytes:
    """Pickle one element of an output.

    Raises
    ------
    OutputError
        It can't be pickled; the message names the element.
    """
    if type(value) in _PLAIN:
        return pickle.dumps(value, 4)
    try:
        return by_value(value, from_task=True)
    except Exception as error:
        raise OutputError(f"element {position} of the output ({short(value)}) can't be pickled: {error}") from error


def loads(blob: bytes | None) -> Any:
    """Unpickle, where there is something."""
    if blob is None:
        return None
    if not ASIDE:
        return pickle.loads(blob)
    with outside():
        return pickle.loads(blob)


def loads_all(blobs: Iterable[bytes]) -> list[Any]:
    """Unpickle many values."""
    if not ASIDE:
        return list(map(pickle.loads, blobs))
    with outside():
        return list(map(pickle.loads, blobs))


def try_pickle(value: object) -> bytes | None:
    """Pickle a value; ``None`` if that is not possible."""
    try:
        with outside():
            return pickle.dumps(value, protocol=4)
    except Exception:  # what a class raises from its own reduction can be anything
        return None


def names_of(lst: str | Iterable[str]) -> list[str]:
    """The names in a list, or the one name that was given.

    Raises
    ------
    ParameterError
        Values were given in place of names.
    """
    names = [lst] if isinstance(lst, str) or not isinstance(lst, Iterable) else list(lst)
    for name in names:
        if not isinstance(name, str):
            raise ParameterError(f"the name of a variable is wanted, as in ['x'], and not its value {short(name)}")
    return names


def word(item: object) -> str | os.PathLike[str]:
    """An argument of a program."""
    return item if isinstance(item, (str, os.PathLike)) else str(item)


def short(value: object) -> str:
    """A value as text for people."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception as error:  # a broken __repr__ must not fail the task
        text = f"<{type(value).__name__} without a text: {error}>"
    return without_surrogates(text if len(text) <= _TEXT else text[: _TEXT - 3] + "...")


def public_methods(cls: type) -> tuple[str, ...]:
    """The names of the methods that become functions of the segments."""
    found: list[str] = []
    for name in dir(cls):
        attribute = getattr(cls, name, None)
        if not name.startswith("_") and callable(attribute):
            found.append(name)
    return tuple(found)



def binder(names: Iterable[str]) -> Binder:
    """A function that puts those attributes of an object into a namespace; written out, it is quicker than a loop."""
    lines = [f"    namespace[{name!r}] = {_attribute(name)}" for name in names]
    made: dict[str, Any] = {}
    exec("\n".join(["def bind(namespace, self):", *lines, "    return None"]), made)
    bind: Binder = made["bind"]
    return bind


def _attribute(name: str) -> str:
    return f"self.{name}" if name.isidentifier() and not keyword.iskeyword(name) else f"getattr(self, {name!r})"
