"""What the README shows is typed here as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.rst").read_text()


def code_blocks(language: str) -> list[str]:
    """Give the blocks of code in one language, without their indentation."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", README, re.MULTILINE)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE).strip() + "\n" for block in found]


def substitute(path: Path, pattern: str, text: str) -> None:
    changed, times = re.subn(pattern, lambda _: text, path.read_text(), flags=re.DOTALL)
    assert times == 1, f"{pattern!r} stands {times} times in {path}"
    path.write_text(changed)


@pytest.fixture(scope="module")
def shell_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the commands of the checkout are found, as they are after an installation."""
    commands = tmp_path_factory.mktemp("bin")
    scripts = {name: f'"{REPOSITORY / "scripts" / name}"' for name in ("pipeutils", "pipeweb")}
    for name, script in {**scripts, "python3": ""}.items():
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {script} "$@"\n')
        command.chmod(0o755)
    path = os.pathsep.join([str(commands), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)}


def shell(command: str, where: Path, environment: dict[str, str]) -> str:
    result = subprocess.run(
        ["bash", "-euc", command], cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def test_the_first_commands_are_the_demo_and_the_tests() -> None:
    first, second = code_blocks("bash")[:2]
    assert first.splitlines()[0].startswith("git clone ")
    assert first.splitlines()[-1] == "make demo"
    assert second == "make test\n"


def test_the_first_pipeline_of_the_readme(tmp_path: Path, shell_environment: dict[str, str]) -> None:
    typed = [block for block in code_blocks("bash") if "./main.py" in block and "-b" not in block]
    frame, run, again = typed
    throw, gather, graph, push = code_blocks("python")
    shell(frame, tmp_path, shell_environment)
    where = tmp_path / "mypipe"
    main = where / "main.py"
    for script in (throw, gather):
        heading = re.match(r"# (\w+\.py)\n", script)
        assert heading is not None
        (where / heading[1]).write_text(script)
    substitute(main, r'pipedot = """.*?"""\n', graph)
    substitute(main, r"P\.push\(.*?\)\n", push)

    output = shell(run, where, shell_environment)
    assert "5 tasks done, 0 taken from disk, 0 failed" in output
    value = re.search(r"^(3\.1\d+) \+- 0\.00\d+ from 400000 points$", output, re.MULTILINE)
    assert value is not None, output
    assert float(value[1]) == pytest.approx(3.14159, abs=0.02)
    assert "0 tasks done, 5 taken from disk" in shell("./main.py", where, shell_environment)

    substitute(main, r"3, 4\]", "3, 4, 5]")
    assert "2 tasks done, 4 taken from disk" in shell("./main.py", where, shell_environment)

    substitute(where / "gather.py", " points", " throws")
    output = shell(again, where, shell_environment)
    assert "-" + gather.splitlines()[-3] in output.replace("| ", "")
    assert re.search(r"\b1 tasks? done, 5 taken from disk, 0 failed", output), output
    kept = {path.read_text() for path in where.glob("throw_*/gather_*/gather.py")}
    assert kept == {gather, gather.replace(" points", " throws")}


def test_the_larger_first_test_is_where_the_readme_says() -> None:
    (block,) = (block for block in code_blocks("bash") if "first_test" in block)
    change, run = block.splitlines()
    assert (REPOSITORY / change.removeprefix("cd ") / run.removeprefix("python ")).is_file()


def test_every_path_that_the_readme_names_exists() -> None:
    named = re.findall(r"``((?:examples|test|docs)/[\w/]*|[A-Z]+(?:\.\w+)?)``", README)
    paths = [name for name in named if name != "REPOSITORY"]
    assert len(paths) >= 5
    assert [name for name in paths if not name.startswith("docs/_") and not (REPOSITORY / name).exists()] == []
