"""The root of the package: what it offers, and what it does not load."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import pipelet

REPOSITORY = Path(__file__).resolve().parents[2]

PUBLIC = {
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


def test_the_public_names_are_these() -> None:
    assert set(pipelet.__all__) == {*PUBLIC, "__version__"}
    assert set(pipelet.__all__) <= set(dir(pipelet))


@pytest.mark.parametrize(("name", "module"), PUBLIC.items())
def test_a_public_name_is_that_of_its_module(name: str, module: str) -> None:
    assert getattr(pipelet, name) is getattr(importlib.import_module(module), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Pipelines'.* Pipeline,"):
        pipelet.Pipelines  # noqa: B018 - looking it up is what is tested


def loaded_by(code: str) -> set[str]:
    program = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{code}\nprint(*sys.modules)"
    # isolated, and without the site module: what it loads is not ours
    result = subprocess.run([sys.executable, "-ISc", program], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_importing_the_root_loads_nothing_else() -> None:
    before = loaded_by("")
    new = loaded_by("import pipelet") - before
    assert {name for name in new if name.startswith("pipelet")} == {"pipelet", "pipelet._version"}
    assert not new & {"typing", "numpy", "sqlite3", "logging", "inspect"}


def test_launchers_need_no_optional_package() -> None:
    program = (
        "import sys\n"
        "for name in ('cherrypy', 'distributed', 'dask_jobqueue', 'IPython', 'matplotlib', 'argon2'):\n"
        "    sys.modules[name] = None\n"
        "from pipelet.launchers import launch_ccage_worker_2, launch_interactive, launch_pbs, launch_process\n"
        "from pipelet.pipeline import Pipeline\n"
        "Pipeline('a -> b')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
