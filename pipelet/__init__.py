"""Pipelet: from a graph of scripts to versioned products on disk.

The names below can be imported from here or from the module that holds them. Nothing is loaded before it is asked for,
so ``import pipelet`` takes milliseconds.
"""

from __future__ import annotations

import importlib

from pipelet._version import __version__

# type checkers know this name; taking it from typing would cost as much as all the rest
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pipelet.environment import Environment, EnvironmentBase
    from pipelet.errors import PipeletError
    from pipelet.launchers import (
        job_script,
        launch_batch,
        launch_ccage_worker_2,
        launch_dask,
        launch_executor,
        launch_interactive,
        launch_pbs,
        launch_process,
        launch_sge,
        launch_slurm,
    )
    from pipelet.pipeline import Pipeline
    from pipelet.utils import rebuild_db_from_disk

__all__ = [
    "Environment",
    "EnvironmentBase",
    "PipeletError",
    "Pipeline",
    "__version__",
    "job_script",
    "launch_batch",
    "launch_ccage_worker_2",
    "launch_dask",
    "launch_executor",
    "launch_interactive",
    "launch_pbs",
    "launch_process",
    "launch_sge",
    "launch_slurm",
    "rebuild_db_from_disk",
]

_HOMES = {
    "Environment": "pipelet.environment",
    "EnvironmentBase": "pipelet.environment",
    "PipeletError": "pipelet.errors",
    "Pipeline": "pipelet.pipeline",
    "job_script": "pipelet.launchers",
    "launch_batch": "pipelet.launchers",
    "launch_dask": "pipelet.launchers",
    "launch_executor": "pipelet.launchers",
    "launch_sge": "pipelet.launchers",
    "launch_slurm": "pipelet.launchers",
    "launch_ccage_worker_2": "pipelet.launchers",
    "launch_interactive": "pipelet.launchers",
    "launch_pbs": "pipelet.launchers",
    "launch_process": "pipelet.launchers",
    "rebuild_db_from_disk": "pipelet.utils",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipelet' has no attribute {name!r}; it has {', '.join(__all__)}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next look finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: object) -> None:
    """Add ``%%segment`` to IPython and notebooks: what ``%load_ext pipelet`` calls."""
    importlib.import_module("pipelet.notebook").load(shell)


def unload_ipython_extension(shell: object) -> None:
    """Take it away again: what ``%unload_ext pipelet`` calls."""
    importlib.import_module("pipelet.notebook").unload(shell)
