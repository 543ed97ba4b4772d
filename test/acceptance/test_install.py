"""The package as it is installed: what is in it, and that both ways to install give working commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import pipelet

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "setup.py", "README.rst", "LICENSE", "pipelet")


def run(
    *command: str | Path, cwd: Path, status: int = 0, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, outside of this checkout and of this environment."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV", "VIRTUAL_ENV"))
    }
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        # To compile all that is installed takes longer than the tests.
        env={**environment, "PIP_NO_COMPILE": "1", **(more or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status, f"{command}\n{result.stdout}{result.stderr}"
    return result


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of what an installation reads: building leaves files beside the sources."""
    copy = tmp_path / "sources"
    copy.mkdir()
    for name in SOURCES:
        original = REPOSITORY / name
        if original.is_dir():
            shutil.copytree(original, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(original, copy)
    return copy


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The Python of a new virtual environment."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    return tmp_path / "venv" / "bin" / "python"


@pytest.mark.install
def test_the_wheel_holds_the_package_whole_and_nothing_else(sources: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", cwd=sources)
    (wheel,) = (tmp_path / "dist").glob("pipelet_engine-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = {".py", ".typed", ".html", ".css", ".js", ".svg"}
    files = [path for path in (sources / "pipelet").rglob("*") if path.is_file() and "build" not in path.parts]
    assert {path.suffix for path in files} == kept
    assert names == {path.relative_to(sources).as_posix() for path in files}
    assert {"pipelet/static/main.py", "pipelet/static/default.py", "pipelet/static/web/style.css"} <= names
    assert pipelet.__version__ in wheel.name


@pytest.mark.install
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", [("-m", "pip", "install", "--quiet", "."), ("setup.py", "install")])
def test_an_installation_gives_working_commands(
    sources: Path, bare: Path, tmp_path: Path, way: tuple[str, ...]
) -> None:
    run(bare, *way, cwd=sources)
    shutil.rmtree(sources)  # what works now needs nothing of the checkout
    desk = tmp_path / "desk"
    desk.mkdir()

    found = run(bare, "-c", "import pipelet; print(pipelet.__version__, pipelet.__file__)", cwd=desk).stdout.split()
    assert found[0] == pipelet.__version__
    assert found[1].startswith(str(bare.parents[1]))

    commands = bare.parent
    for command in ("pipeletd", "pipeutils", "pipeweb"):
        assert "example" in run(commands / command, "--help", cwd=desk).stdout.lower()
    run(commands / "pipeutils", "-c", "mypipe", cwd=desk)
    output = run(bare, "main.py", cwd=desk / "mypipe").stdout
    assert " 0 failed" in output
    assert run(commands / "pipeutils", "-c", "mypipe", cwd=desk, status=1).stderr.count("\n") <= 2

    own = {"PIPELET_CONFIG_DIR": str(tmp_path / "config"), "PIPELET_STATE_DIR": str(tmp_path / "state")}
    run(commands / "pipeweb", "start", "--port", "0", cwd=desk, more=own)
    try:
        (address,) = re.findall(r"http://\S+:\d+", run(commands / "pipeweb", "status", cwd=desk, more=own).stdout)
        for path, kind in (("/", "text/html"), ("/static/style.css", "text/css")):
            with urllib.request.urlopen(address + path, timeout=60) as answer:
                assert answer.headers.get_content_type() == kind
    finally:
        run(commands / "pipeweb", "stop", cwd=desk, more=own)
