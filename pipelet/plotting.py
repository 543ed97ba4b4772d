"""Lets tasks draw into files without a screen, and leaves matplotlib as it was.

matplotlib is never imported here: a pipeline that does not draw needs none. Where it is not loaded yet, the variable
``MPLBACKEND`` tells it, also in programs that a task starts; where it is, it is asked to change.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any, NamedTuple

_VARIABLE = "MPLBACKEND"
_SCREENLESS = "agg"
_PYPLOT = "matplotlib.pyplot"


class _Before(NamedTuple):
    """What stood in matplotlib before."""

    backend: object  #: a name, or matplotlib's own mark for "not chosen yet"
    resolved: bool  #: pyplot has loaded it


class Screenless:
    """Selects the Agg backend for as long as tasks run in this process."""

    def __init__(self) -> None:
        self._selected = False
        self._variable: str | None = None
        self._before: _Before | None = None
        self._figures: frozenset[int] = frozenset()

    def select(self) -> None:
        """Select the backend, whatever a task before may have selected."""
        if not self._selected:
            self._variable = os.environ.get(_VARIABLE)
            self._before = _state()
            self._figures = frozenset(_fignums())
            self._selected = True
        os.environ[_VARIABLE] = "Agg"
        matplotlib = _loaded("matplotlib")
        if matplotlib is not None and str(_backend(matplotlib)).lower() != _SCREENLESS:
            matplotlib.use("Agg")

    def close_figures(self) -> None:
        """Close the figures that a task left open: the next one must not go on drawing into them."""
        if _PYPLOT not in sys.modules:
            return
        mine = [number for number in _fignums() if number not in self._figures]
        for number in mine:
            sys.modules[_PYPLOT].close(number)

    def restore(self) -> None:
        """Give matplotlib back as it was, also when it was imported meanwhile."""
        if not self._selected:
            return
        self._selected = False
        if self._variable is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = self._variable
        matplotlib = _loaded("matplotlib")
        if matplotlib is None:
            return
        before = self._before or _Before(self._variable or _configured(matplotlib), False)
        if before.resolved:
            matplotlib.use(before.backend, force=False)
            return
        # By way of `use` a backend that nobody needed yet would be loaded, and might want a screen.
        dict.__setitem__(matplotlib.rcParams, "backend", before.backend)
        pyplot = _loaded(_PYPLOT)
        if pyplot is not None and hasattr(pyplot, "_backend_mod"):
            pyplot._backend_mod = None


def _loaded(name: str) -> Any:
    module = sys.modules.get(name)
    # One that is being imported, or that stands for another thing, has no settings yet.
    return module if isinstance(module, ModuleType) and hasattr(module, _MARKS[name]) else None


_MARKS = {"matplotlib": "rcParams", _PYPLOT: "get_fignums"}


def _fignums() -> list[int]:
    pyplot = _loaded(_PYPLOT)
    return list(pyplot.get_fignums()) if pyplot is not None else []


def _state() -> _Before | None:
    matplotlib = _loaded("matplotlib")
    if matplotlib is None:
        return None
    pyplot = _loaded(_PYPLOT)
    return _Before(_backend(matplotlib), pyplot is not None and getattr(pyplot, "_backend_mod", None) is not None)


def _backend(matplotlib: Any) -> object:
    # Asked in the usual way, matplotlib would choose one.
    return dict.__getitem__(matplotlib.rcParams, "backend")


def _configured(matplotlib: Any) -> object:
    return dict.__getitem__(matplotlib.rcParamsOrig, "backend")
