"""Fingerprints are the same under every Python that the machine has, and under every hash seed.

``PIPELET_TEST_INTERPRETERS`` may hold the paths of the interpreters to use, separated as in ``PATH``; there must then
be at least two. Without it, all that are found are used.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# They are processes of their own, and many.
pytestmark = pytest.mark.no_cover

CORPUS = Path(__file__).with_name("fingerprint_corpus.py")
ROOT = Path(__file__).resolve().parents[2]
SEEDS = ("0", "1", "4711")
VERSIONS = ((3, 10), (3, 11), (3, 12), (3, 13))
FILES = 60

_ABOUT = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('stdlib'), sep='\\n')"


def candidates() -> list[str]:
    given = os.environ.get("PIPELET_TEST_INTERPRETERS")
    if given is not None:
        return [path for path in given.split(os.pathsep) if path]
    found = [sys.executable]
    roots = [os.environ.get("PYENV_ROOT"), os.path.expanduser("~/.pyenv")]
    for root in dict.fromkeys(root for root in roots if root):
        found += [str(path) for path in sorted(Path(root, "versions").glob("3.*/bin/python"))]
    names = [f"python{major}.{minor}" for major, minor in VERSIONS]
    return found + [path for path in map(shutil.which, names) if path]


def interpreters() -> dict[tuple[int, ...], tuple[str, Path]]:
    """Find one interpreter of each version: its path, and where its standard library is."""
    found: dict[tuple[int, ...], tuple[str, Path]] = {}
    for path in candidates():
        about = subprocess.run([path, "-c", _ABOUT], capture_output=True, text=True, check=False)
        # pyenv leaves programs in the path that only say that the version is not switched on
        if about.returncode == 0:
            major, minor, library = about.stdout.splitlines()
            version = (int(major), int(minor))
            if version in VERSIONS:
                found.setdefault(version, (path, Path(library)))
    return dict(sorted(found.items()))


def copy_sources(library: Path, directory: Path) -> None:
    """Copy modules of a standard library, evenly picked, so that every interpreter reads the same texts."""
    files = sorted(file for file in [*library.glob("*.py"), *library.glob("*/*.py")] if file.stat().st_size > 500)
    files = [file for file in files if "site-packages" not in file.parts and "lib2to3" not in file.parts]
    for file in files[:: max(1, len(files) // FILES)][:FILES]:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        name = "__".join(file.relative_to(library).parts)
        (directory / name).write_text(text, encoding="utf-8")


def run(interpreter: str, seed: str, directory: Path) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [interpreter, "-W", "error", str(CORPUS), str(directory)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, f"{interpreter}, seed {seed}:\n{ended.stderr}"
    return json.loads(ended.stdout)


def test_fingerprints_are_the_same_everywhere(tmp_path: Path) -> None:
    found = interpreters()
    if "PIPELET_TEST_INTERPRETERS" in os.environ:
        assert len(found) >= 2, f"PIPELET_TEST_INTERPRETERS names too few working interpreters: {found}"
    assert found, "no interpreter was found, not even the one that runs this"
    oldest = next(iter(found.values()))
    copy_sources(oldest[1], tmp_path)
    assert len(list(tmp_path.iterdir())) > FILES * 0.8
    answers = {f"{path}, seed {seed}": run(path, seed, tmp_path) for path, _ in found.values() for seed in SEEDS}
    known: dict[str, tuple[str, str]] = {}
    differences = []
    for source, answer in answers.items():
        for name, result in answer["results"].items():
            first, expected = known.setdefault(name, (source, result))
            if result != expected:
                differences.append(f"{name}: {expected} under {first}, {result} under {source}")
    assert not differences, "\n".join(differences)
    refused = [name for name, (_, result) in known.items() if result.startswith('["error: ')]
    assert not refused, f"what the oldest Python can compile was refused: {refused}"
    unstable = [name for name, (_, result) in known.items() if "round trip" in result]
    assert not unstable, f"changed by a round trip: {unstable}"


def test_too_few_interpreters_are_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELET_TEST_INTERPRETERS", sys.executable)
    with pytest.raises(AssertionError, match="too few working interpreters"):
        test_fingerprints_are_the_same_everywhere(tmp_path)


def test_the_corpus_would_show_a_difference(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("x = 1")
    first = run(sys.executable, "0", tmp_path)
    (tmp_path / "one.py").write_text("x = 2")
    second = run(sys.executable, "0", tmp_path)
    changed = [name for name, result in first["results"].items() if second["results"][name] != result]
    assert changed == ["code one.py"]
    assert len(first["results"]) > 300
