"""The commands as a person types them, in a shell, with what the documentation shows first."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from support import ENVIRONMENT, PATIENCE, REPOSITORY, Project, until

from pipelet.accounts import check_password

FIRST_TEST = REPOSITORY / "test" / "first_test"
#: The four commands of the tutorial's first page.
RUN = "cd test/first_test\npython main.py"
TRACK = "pipeweb track test ./.sqlstatus"
ADD_USER = "pipeutils -a username -l 2 .sqlstatus"
START = "pipeweb start"


class Shell:
    """A shell in a directory of its own, where `python`, `pipeutils` and `pipeweb` are those of this checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root / "home"
        commands = root / "bin"
        self.root.mkdir()
        commands.mkdir()
        for name in ("python", "python3"):
            (commands / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        for name in ("pipeutils", "pipeweb"):
            module = f"pipelet.cli.{name}"
            (commands / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
        for path in commands.iterdir():
            path.chmod(0o755)
        self.environment = {
            **ENVIRONMENT, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "PIPELET_CONFIG_DIR": str(root / "config"), "PIPELET_STATE_DIR": str(root / "state"),
        }

    def first_test(self) -> Path:
        """A copy of test/first_test, without what a run may have left beside it."""
        copy = self.root / "test" / "first_test"
        known = subprocess.run(
            ["git", "ls-files", "."], cwd=FIRST_TEST, capture_output=True, text=True, check=False
        ).stdout.split()
        for name in known or [path.name for path in FIRST_TEST.glob("*.py")] + ["colours/qualities.txt"]:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(FIRST_TEST / name, copy / name)
        return copy

    def typed(self, line: str, where: Path | None = None, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", line], cwd=where or self.root, env=self.environment, input=given, capture_output=True,
            text=True, check=False,
        )

    def terminal(self, line: str, where: Path) -> pexpect.spawn:
        return pexpect.spawn(
            "/bin/sh", ["-c", f"exec {line}"], cwd=str(where), env={**self.environment, "TERM": "xterm"},
            encoding="utf-8", timeout=PATIENCE, dimensions=(24, 80),
        )


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    found = Shell(tmp_path)
    yield found
    if (tmp_path / "state").exists():
        found.typed("pipeweb stop")


@pytest.fixture
def usual_port() -> Iterator[None]:
    """The port that the documentation speaks of, which one test at a time can have."""
    with open(Path(tempfile.gettempdir()) / f"pipelet-test-8080-{os.getuid()}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", 8080))
            except OSError:
                pytest.skip("somebody else has port 8080")
        yield


def test_the_first_page_of_the_tutorial(usual_port: None, shell: Shell) -> None:
    where = shell.first_test()
    ran = shell.typed(RUN)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "8 tasks done, 0 taken from disk, 0 failed" in ran.stdout
    titles = {path.read_text().strip() for path in where.glob("knights_*/melt_*/data/*/result.txt")}
    assert titles == {"Lancelot the Brave", "Lancelot the Pure", "Galahad the Brave", "Galahad the Pure"}

    added = shell.typed(ADD_USER, where, given="s3cret\n")
    assert (added.returncode, added.stderr) == (0, "")
    assert "username" in added.stdout
    assert check_password(where / ".sqlstatus", "username", "s3cret") == 2

    tracked = shell.typed(TRACK, where)
    assert (tracked.returncode, tracked.stderr) == (0, "")
    assert tracked.stdout == f"test shows {where / '.sqlstatus'}\n"
    started = shell.typed(START, where)
    assert (started.returncode, started.stderr) == (0, "")
    assert "http://localhost:8080/" in started.stdout
    with urllib.request.urlopen("http://localhost:8080", timeout=PATIENCE) as page:
        assert "Password" in page.read().decode()
    stopped = shell.typed("pipeweb stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    again = shell.typed(RUN)
    assert "0 tasks done, 8 taken from disk, 0 failed" in again.stdout
    assert check_password(where / ".sqlstatus", "username", "s3cret") == 2


def test_the_password_is_asked_for_twice_and_not_shown(shell: Shell) -> None:
    where = shell.first_test()
    shell.typed(RUN)
    child = shell.terminal(ADD_USER, where)
    child.expect("Password for username: ")
    child.waitnoecho()
    child.sendline("täglich 7 Äpfel")
    child.expect("again: ")
    child.waitnoecho()
    child.sendline("täglich 7 Äpfel")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "Äpfel" not in (child.before or "")
    assert check_password(where / ".sqlstatus", "username", "täglich 7 Äpfel") == 2

    # a slip changes nothing
    child = shell.terminal(ADD_USER.replace("-l 2", "-l 1"), where)
    for word in ("one", "two"):
        child.expect(": ")
        child.waitnoecho()
        child.sendline(word)
    child.expect("differ")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert check_password(where / ".sqlstatus", "username", "täglich 7 Äpfel") == 2

    # nor does Ctrl-C, which leaves the terminal as it was
    child = shell.terminal(ADD_USER, where)
    child.expect("Password")
    child.waitnoecho()
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in (child.before or "")
    assert check_password(where / ".sqlstatus", "username", "täglich 7 Äpfel") == 2


def test_a_user_is_removed_and_the_database_made_anew(shell: Shell) -> None:
    where = shell.first_test()
    shell.typed(RUN)
    shell.typed(ADD_USER, where, given="s3cret\n")
    removed = shell.typed("pipeutils -d username .sqlstatus", where)
    assert (removed.returncode, removed.stderr) == (0, "")
    assert check_password(where / ".sqlstatus", "username", "s3cret") is None
    gone = shell.typed("pipeutils -d username .sqlstatus", where)
    assert gone.returncode == 1
    assert "username" in gone.stderr

    shell.typed(ADD_USER, where, given="s3cret\n")
    (where / ".sqlstatus").unlink()
    made = shell.typed("pipeutils -r . .sqlstatus", where)
    assert (made.returncode, made.stderr) == (0, "")
    assert "4 segment instances, 8 tasks" in made.stdout
    assert "Users" in made.stdout
    assert check_password(where / ".sqlstatus", "username", "s3cret") is None
    assert "0 tasks done, 8 taken from disk" in shell.typed(RUN).stdout
    # a database that is there is kept beside the new one
    shell.typed(ADD_USER, where, given="s3cret\n")
    assert shell.typed("pipeutils -r ./ ./.sqlstatus", where).returncode == 0
    assert check_password(where / ".sqlstatus.old", "username", "s3cret") == 2


@pytest.mark.parametrize(
    "line",
    ["pipeutils --help", "pipeweb --help", "pipeweb track --help", "pipeweb start --help", "python main.py --help"],
)
def test_help_shows_examples_that_are_right(usual_port: None, shell: Shell, line: str) -> None:
    """Each example of a help text is typed in turn, where a pipeline has run."""
    where = shell.first_test()
    shell.typed(RUN)
    shown = shell.typed(line, where)
    assert (shown.returncode, shown.stderr) == (0, "")
    command = line.split(" track")[0].split(" start")[0].removesuffix(" --help")
    _, found, examples = shown.stdout.rpartition("example")
    assert found
    lines = [re.split("  +", text.strip())[0] for text in re.findall(rf"{command} [^\n]*", examples)]
    assert lines
    for example in lines:
        # What goes on until Ctrl-C gets one after some seconds, and not its whole process group a second one.
        ended = "timeout --foreground --preserve-status --signal=INT 10 " if "--watch" in example else ""
        typed = shell.typed(ended + example, where, given="c\n" if "--pdb" in example else "s3cret\n")
        assert typed.returncode == 0, f"{example}: {typed.stderr}"
        assert "usage:" not in typed.stderr


MAKES_IT = """
from pipelet.pipeline import Pipeline
from pipelet.launchers import {launcher}
pipedot = \"""
knights -> melt;
quality -> melt;
\"""
P = Pipeline(pipedot, code_dir='./',prefix='./')
"""


def write_first_pipeline(root: Path) -> None:
    """The segments of the tutorial's "Writing a first pipeline"."""
    (root / "knights.py").write_text('set_output(["Lancelot", "Galahad"])\n')
    (root / "quality.py").write_text("set_output (['the Brave', 'the Pure'] )\n")
    (root / "melt.py").write_text(
        "knight, quality = get_input('knights'), get_input('quality')\n"
        "f = open(get_data_fn('result.txt'), 'w')\n"
        "f.write(knight + ' ' + quality+'\\n')\n"
        "f.close()\n"
    )


@pytest.mark.parametrize(
    ("launcher", "rest"),
    [
        ("launch_interactive", "w,t = launch_interactive(P)\nw.run()\n"),
        ("launch_process", "w, t = launch_process(P, 2)\nw.run()\n"),
        ("launch_process", "launch_process(P, 2)\n"),
        ("launch_process", "import logging\nlaunch_process(P, 2,log_level=logging.DEBUG)\n"),
    ],
)
def test_the_first_pipeline_of_the_tutorial(shell: Shell, launcher: str, rest: str) -> None:
    write_first_pipeline(shell.root)
    (shell.root / "main.py").write_text(MAKES_IT.format(launcher=launcher) + rest)
    ran = shell.typed("python main.py")
    assert ran.returncode == 0, ran.stderr
    found = sorted(path.read_text() for path in shell.root.glob("knights_*/melt_*/data/*/result.txt"))
    assert found == ["Galahad the Brave\n", "Galahad the Pure\n", "Lancelot the Brave\n", "Lancelot the Pure\n"]
    assert ("INFO" in ran.stderr) == ("DEBUG" in rest)
    # one more knight: the tutorial promises that only what is required is computed
    before = {path: path.stat().st_mtime_ns for path in shell.root.glob("quality_*/**/*")}
    (shell.root / "knights.py").write_text('set_output(["Lancelot", "Galahad", "Perceval"])\n')
    assert shell.typed("python main.py").returncode == 0
    assert len(list(shell.root.glob("knights_*/melt_*/data/*/result.txt"))) == 4 + 6
    assert {path: path.stat().st_mtime_ns for path in shell.root.glob("quality_*/**/*")} == before


def test_ctrl_c_in_a_terminal_keeps_what_is_done(shell: Shell) -> None:
    """The `main.py` that `pipeutils -c` gives, stopped in the middle of a task, and run again."""
    assert shell.typed("pipeutils -c mypipe").returncode == 0
    where = shell.root / "mypipe"
    (where / "default.py").write_text(
        "import os, time\nx = get_input()\nopen(get_data_fn('begun'), 'w').close()\n"
        f"while x == 2 and not os.path.exists({str(where / 'go')!r}):\n    time.sleep(0.01)\nset_output(x)\n"
    )
    child = shell.terminal("./main.py -p 1", where)
    until(lambda: list(where.glob("default1_*/data/*_2/begun")), "the second task")
    child.sendintr()
    child.expect("main.py: stopped")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in (child.before or "")
    (where / "go").touch()
    again = shell.typed("./main.py -p 1", where)
    assert again.returncode == 0, again.stderr
    found = re.search(r"(\d+) tasks done, (\d+) taken from disk, 0 failed", again.stdout)
    assert found
    assert int(found[1]) + int(found[2]) == 6
    assert int(found[2]) >= 1


def test_a_failure_gives_exit_status_1_and_points_at_the_log(project: Project) -> None:
    shutil.copy(REPOSITORY / "pipelet" / "static" / "main.py", project.root)
    project.write(default="print('so far so good')\nraise RuntimeError('this far')\n")
    result = project.ran("main.py", "-p", "1")
    assert result.returncode == 1
    assert "3 failed" in result.stdout
    (log,) = set(re.findall(r"log: (.*1\.log)", result.stdout))
    assert "so far so good" in Path(log).read_text()
