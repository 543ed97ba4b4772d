"""While a segment runs, it is the main module: what `pickle` and `multiprocessing` look up there is found."""

from __future__ import annotations

import sys
import types
from typing import Any

_MAIN = "__main__"
#: The main modules that stand aside, the outermost first.
_aside: list[types.ModuleType] = []


class AsMain:
    """Lets a module be the main one.

    Parameters
    ----------
    module
        The module.
    """

    __slots__ = ("_module",)

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def __enter__(self) -> None:
        _aside.append(sys.modules[_MAIN])
        sys.modules[_MAIN] = self._module

    def __exit__(self, *error: Any) -> None:
        sys.modules[_MAIN] = _aside.pop()


def is_outside() -> bool:
    """Whether the main module is the process's own, since no segment runs."""
    return not _aside


def outside() -> AsMain:
    """The main module of the process itself.

    What leaves a task has to be read where the segment's own classes and functions are not at hand: only what can be
    pickled in here can be.
    """
    return AsMain(_aside[0] if _aside else sys.modules[_MAIN])
