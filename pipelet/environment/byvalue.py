"""Pickling what the main script defines, which another process can't find by its name."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

from pipelet.core.canonical import CAME_BY_VALUE

_MAIN = "__main__"


def by_value(value: object, from_task: bool = False) -> bytes:
    """Pickle an object; what refers to the main script, or to cells of a notebook, goes along by value.

    Parameters
    ----------
    value
        The object.
    from_task
        Refuse classes of a segment's own script: each task has one of its own, so that objects of two tasks would
        never be equal.

    Raises
    ------
    Exception
        Whatever a class raises that can't be pickled.
    """
    try:
        blob = pickle.dumps(value, protocol=4)
    except Exception:  # the other way may work, or says best why not
        return cloudpickled(value, from_task)
    return cloudpickled(value, from_task) if _MAIN.encode() in blob else blob


def cloudpickled(value: object, from_task: bool = False) -> bytes:
    """Pickle an object, and by value all of the main script that it refers to; arguments as for `by_value`."""
    # Here, since it takes long to load and few pipelines need it.
    import cloudpickle

    classes: list[type] = []

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, type) and obj.__module__ == _MAIN:
                if from_task:
                    _check(obj)
                classes.append(obj)
            return super().reducer_override(obj)

    with io.BytesIO() as file:
        Pickler(file, protocol=4).dump(_Parcel(value, classes))
        return file.getvalue() if classes else bytes(cloudpickle.dumps(value, protocol=4))


class _Parcel:
    """An object and the classes that travel with it; the list is complete once the object has been pickled."""

    def __init__(self, value: object, classes: list[type]) -> None:
        self._content = (value, classes)

    def __reduce__(self) -> tuple[Any, ...]:
        return unpacked, self._content


def unpacked(value: object, classes: list[type]) -> object:
    """What a parcel becomes where it is unpickled."""
    CAME_BY_VALUE.update(classes)
    return value


def _check(kind: type) -> None:
    if kind in CAME_BY_VALUE:
        return
    found: Any = sys.modules[_MAIN]
    for step in kind.__qualname__.split("."):
        found = getattr(found, step, None)
    if found is not kind:
        raise pickle.PicklingError(
            f"the class {kind.__qualname__} can't be found from outside; write it at the top level of a module, and "
            "name that with #depend"
        )
