"""While a segment runs, it is the main module: what `pickle` and `multiprocessing` look up there is found."""

from __future__ import annotations

import sys
import types
from typing import Any

_MAIN = "__main__"
#: The main modules that stand aside, the outermost first; with none, no segment runs.
ASIDE: list[types.ModuleType] = []


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
        step_in(self._module)

    def __exit__(self, *error: Any) -> None:
        step_out()


def step_in(module: types.ModuleType) -> None:
    """Make a module the main one, until `step_out`; quicker than `AsMain`, for what is done for every task."""
    ASIDE.append(sys.modules[_MAIN])
    sys.modules[_MAIN] = module


def step_out() -> None:
    """Give the main module back that was there before the last `step_in`."""
    sys.modules[_MAIN] = ASIDE.pop()


def outside() -> AsMain:
    """The main module of the process itself.

    What leaves a task has to be read where the segment's own classes and functions are not at hand: only what can be
    pickled in here can be.
    """
    return AsMain(ASIDE[0] if ASIDE else sys.modules[_MAIN])
