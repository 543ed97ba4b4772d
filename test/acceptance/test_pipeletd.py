"""The command ``pipeletd``: what its user types and sees, and whose pickles it loads."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY, Project, alive, until

from pipelet._version import __version__
from pipelet.cli import pipeletd
from pipelet.errors import LauncherError
from pipelet.launchers import launch_batch
from pipelet.pickled import load_pipeline, open_private
from pipelet.pipeline import Pipeline

COMMAND = ("-m", "pipelet.cli.pipeletd")
BY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


@pytest.fixture
def pickled(project: Project) -> Callable[..., Path]:
    """Pickles a pipeline, as a user does."""

    def make(pipeline: object = None, name: str = "pipe.pkl") -> Path:
        path = project.root / name
        with open(path, "wb") as file:
            pickle.dump(pipeline or project.pipeline("a", {"a": range(6)}), file)
        path.chmod(0o644)
        return path

    project.write(a="set_output(get_input() * 2)")
    return make


@pytest.fixture
def ended(project: Project) -> Iterator[None]:
    """Ends what a test leaves behind."""
    yield
    for line in (project.root / "pids").read_text().split() if (project.root / "pids").exists() else []:
        if alive([int(line)]):
            os.kill(int(line), signal.SIGTERM)
            until(lambda pid=int(line): not alive([pid]), "the end of a server", 60)  # type: ignore[misc]


def typed(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the directory of the project."""
    done = project.ran(*COMMAND, *words)
    assert "Traceback" not in done.stderr
    for pid in re.findall(r"\(process (\d+)\)", done.stdout):
        with open(project.root / "pids", "a") as file:
            file.write(f"{pid}\n")
    return done


def server_file(project: Project) -> Path:
    """By which workers find the server."""
    return project.prefix / ".pipelet" / "server" / "server.json"


def add_workers(project: Project, number: int) -> None:
    """Add jobs that are processes of this machine, as soon as there is a server."""
    until(lambda: server_file(project).exists() and "address" in server_file(project).read_text(), "the server", 60)
    launch_batch(project.pipeline("a"), number, "local", server=False, idle_seconds=30)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "said"), [
    ([], "the following arguments are required: PIPELINE"),
    (["-p", "70000", "x"], "argument -p/--port: '70000' is no port; give a number from 0 to 65535"),
    (["--port", "http", "x"], "argument -p/--port: 'http' is no port"),
    (["-l", "loud", "x"], "argument -l/--log-level: 'loud' is no level; there are debug, info,"),
    (["-x", "x"], "unrecognized arguments: -x"),
    (["--fore", "x"], "unrecognized arguments: --fore"),
])
def test_wrong_use(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        pipeletd.main(words)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"pipeletd: error: {said}")


def test_the_help_has_long_names_and_an_example() -> None:
    text = pipeletd.parser().format_help()
    for both in ("-n, --foreground", "-l, --log-level LEVEL", "-a, --address HOST", "-p, --port PORT"):
        assert re.search(both.replace(", ", r"( \w+)?, "), text), both
    assert re.search(r"^  pipeletd -a login1 -p 50000 pipe.pkl", text, re.M)
    script = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "pipeletd", "--help"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert script.stdout.startswith("usage: pipeletd [-h] [-n]")


@pytest.mark.parametrize(("text", "level"), [("debug", 10), ("WARNING", 30), ("0", 0), ("15", 15)])
def test_levels(text: str, level: int) -> None:
    assert pipeletd.parser().parse_args(["-l", text, "x"]).log_level == level


def refused(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error, in this process."""
    assert pipeletd.main(words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pipeletd: error: ")
    assert err.count("\n") == 1
    return err.removeprefix("pipeletd: error: ").strip()


HOW = "make it in Python, after P.push(...): pickle.dump(P, file)"


def test_a_file_that_holds_no_pipeline(
    project: Project, pickled: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = project.root
    assert refused(f"{root}/none.pkl", capsys=capsys) == f"there is no file {root}/none.pkl; {HOW}"
    assert refused(str(root), capsys=capsys) == f"{root} is no file with a pipeline; {HOW}"
    os.mkfifo(root / "pipe")
    assert refused(f"{root}/pipe", capsys=capsys) == f"{root}/pipe is no file with a pipeline; {HOW}"
    for content in (b"", b"hello\n", pickle.dumps([1])[:-3], b"\x80\x04\x95"):
        (root / "x.pkl").write_bytes(content)
        (root / "x.pkl").chmod(0o644)
        said = refused(f"{root}/x.pkl", capsys=capsys)
        assert said.startswith(f"{root}/x.pkl is no pickle that can be read (")
        assert said.endswith(HOW)
    path = pickled({"a": 1})
    assert refused(str(path), capsys=capsys) == f"{path} holds no pipeline but {{'a': 1}}; {HOW}"
    path.write_bytes(b"cnowhere_at_all\nThing\n.")
    said = refused(str(path), capsys=capsys)
    assert said.startswith(f"{path} refers to what can't be imported here: No module named 'nowhere_at_all'; ")


def test_a_file_that_can_not_be_read(
    pickled: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pickled()

    def deny(*words: Any, **more: Any) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pipelet.pickled.os.open", deny)
    assert refused(str(path), capsys=capsys) == f"{path} can't be read: Permission denied"


def test_a_pipeline_that_another_version_has_pickled(
    project: Project, pickled: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pipelet.pipeline.__version__", "2.0rc1")
        path = pickled()
    said = refused(str(path), capsys=capsys)
    assert said == f"{path}: this pipeline was pickled by Pipelet 2.0rc1, and this is {__version__}: pickle it again"

    class Older(Pipeline):
        """As versions before put themselves down."""

        def __reduce__(self) -> Any:
            return Pipeline.__new__, (Pipeline,), {"pipedot": "a"}

    path = pickled(Older("a", code_dir=project.root, prefix=project.prefix))
    assert "was pickled by Pipelet of another version" in refused(str(path), capsys=capsys)


def test_a_pickle_that_others_can_write(pickled: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = pickled()
    for mode in (0o664, 0o646, 0o666, 0o620):
        path.chmod(mode)
        assert refused(str(path), capsys=capsys) == (
            f"{path} is run as code when it is loaded, and others can write it: chmod go-w {path}"
        )
    for mode in (0o644, 0o600, 0o755, 0o400):
        path.chmod(mode)
        open_private(str(path)).close()


def test_a_pickle_in_the_place_of_which_others_can_put_one(
    project: Project, pickled: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    place = project.root / "on the way" / "deep"
    place.mkdir(parents=True)
    pickled(name="on the way/deep/pipe.pkl")
    path = place / "pipe.pkl"
    for directory in (place, place.parent):
        for mode in (0o775, 0o757):
            directory.chmod(mode)
            assert refused(str(path), capsys=capsys) == (
                f"{path} is run as code when it is loaded, and others can put another file in its place, since they "
                f"can write the directory {directory}: chmod go-w '{directory}'"
            )
        # As /tmp is: nobody moves away there what belongs to somebody else.
        directory.chmod(0o1777)
        open_private(str(path)).close()
        directory.chmod(0o755)
    # What counts is where the file is, not only by which name it is reached.
    place.chmod(0o777)
    (project.root / "link.pkl").symlink_to(path)
    assert f"can write the directory {place}" in refused(f"{project.root}/link.pkl", capsys=capsys)


@BY_ROOT
def test_a_pickle_of_somebody_else(
    project: Project, pickled: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pickled()
    os.chown(path, 1, -1)
    said = refused(str(path), capsys=capsys)
    assert re.fullmatch(re.escape(str(path)) + r" is run as code when it is loaded, and it belongs to \w+: .*", said)
    os.chown(path, 0, -1)
    (project.root / "theirs").mkdir()
    path = path.rename(project.root / "theirs" / "pipe.pkl")
    os.chown(path.parent, 1, -1)
    assert f"and {path.parent} belongs to" in refused(str(path), capsys=capsys)
    os.chown(path.parent, 0, -1)
    link = project.root / "link.pkl"
    link.symlink_to(path)
    os.chown(link, 1, -1, follow_symlinks=False)
    assert f"{link} is run as code when it is loaded, and it belongs to" in refused(str(link), capsys=capsys)
    # The administrator can do everything anyhow.
    monkeypatch.setattr("pipelet.pickled.os.geteuid", lambda: 4711)
    open_private(str(path)).close()


def test_the_file_that_is_looked_at_is_the_one_that_is_loaded(
    project: Project, pickled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, evil = pickled(), pickled({"evil": True}, "evil.pkl")
    evil.chmod(0o666)
    real = os.open

    def swapping(before: Path, after: Path) -> Callable[..., int]:
        def opening(path: str, flags: int, *more: Any, **options: Any) -> int:
            place.unlink()
            os.link(before, place)
            descriptor = real(path, flags, *more, **options)
            place.unlink()
            os.link(after, place)
            return descriptor

        return opening

    place = project.root / "place.pkl"
    place.touch()
    monkeypatch.setattr("pipelet.pickled.os.open", swapping(evil, good))
    with pytest.raises(LauncherError, match="others can write it"):
        open_private(str(place))
    monkeypatch.setattr("pipelet.pickled.os.open", swapping(good, evil))
    with open_private(str(place)) as file:
        assert isinstance(load_pipeline(file, "x"), Pipeline)


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_in_the_foreground(project: Project, pickled: Callable[..., Path]) -> None:
    project.write(a="if get_input() == 3:\n    raise ValueError('three')\nset_output(get_input() * 2)")
    path = pickled()
    process = project.start(*COMMAND, "--foreground", "-l", "info", str(path))
    add_workers(project, 2)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 1, "a task has failed"
    assert "5 tasks done, 0 taken from disk, 1 failed" in out
    assert "the server listens at tls://" in err
    assert "INFO: a: 6 of 6 to run" in err
    assert "Traceback" not in err
    assert project.pipeline("a").outputs("a") == [0, 2, 4, 8, 10]
    assert not server_file(project).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_in_the_foreground_that_is_stopped(
    number: signal.Signals, project: Project, pickled: Callable[..., Path]
) -> None:
    process = project.start(*COMMAND, "-n", "-l", "0", str(pickled()))
    until(lambda: server_file(project).exists(), "the server", 60)
    until(lambda: (project.prefix / ".pipelet" / "log" / "pipelet.log").exists(), "the run", 60)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "pipeletd: interrupted\n")
    assert not server_file(project).exists()
    assert not (project.prefix / ".pipelet" / "lock").exists()


def test_a_run_that_goes_on_by_itself(project: Project, pickled: Callable[..., Path], ended: None) -> None:
    project.write(a=f"""\
    import os, time
    while not os.path.exists({str(project.root / "go")!r}):
        time.sleep(0.05)
    set_output(get_input() * 2)
    """)
    path = pickled()
    done = typed(project, path.name)
    assert (done.returncode, done.stderr) == (0, "")
    found = re.fullmatch(
        r"The server listens at (tls://\S+) \(process (\d+)\); `kill \2` ends it\n  log (\S+)\n", done.stdout
    )
    assert found is not None, done.stdout
    address, pid, log = found[1], int(found[2]), found[3]
    assert json.loads(server_file(project).read_text())["address"] == address
    assert alive([pid])
    assert os.getsid(pid) not in (pid, os.getsid(0)), "it has no terminal, and can get none"
    assert Path(log) == project.prefix / ".pipelet" / "log" / "pipelet.log"
    add_workers(project, 2)
    again = typed(project, path.name)
    assert again.returncode == 1
    assert again.stdout == ""
    assert re.fullmatch(
        rf"pipeletd: error: the prefix {project.prefix} is held by host \S+, pid \d+, since .*\n", again.stderr
    )
    # Whoever has started it may forget it: what was put in place of its file is nothing to it.
    path.unlink()
    (project.root / "go").touch()
    until(lambda: not alive([pid]), "the end of the run", 100)
    assert project.pipeline("a").outputs("a") == [0, 2, 4, 6, 8, 10]
    assert "6 tasks done" in (project.prefix / ".pipelet" / "log" / "pipeletd.out").read_text()
    assert not server_file(project).exists()


def test_a_run_that_goes_on_by_itself_until_it_is_stopped(
    project: Project, pickled: Callable[..., Path], ended: None
) -> None:
    project.write(a="import time\ntime.sleep(600 if get_input() > 1 else 0)\nset_output(get_input())")
    done = typed(project, "--port", "0", "--address", "127.0.0.1", "--log-level", "debug", pickled().name)
    assert "tls://127.0.0.1:" in done.stdout
    (pid,) = map(int, re.findall(r"\(process (\d+)\)", done.stdout))
    add_workers(project, 2)
    until(lambda: project.pipeline("a").status()["a"].get("done") == 2, "what is quick", 60)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not alive([pid]), "the end of the server", 60)
    assert project.pipeline("a").outputs("a") == [0, 1]
    assert not (project.prefix / ".pipelet" / "lock").exists()
    assert not server_file(project).exists()
    assert "stopped: what is done is kept" in (project.prefix / ".pipelet" / "log" / "pipeletd.out").read_text()


@pytest.mark.parametrize("options", [(), ("-n",)], ids=["by itself", "foreground"])
def test_a_run_that_can_not_begin(options: tuple[str, ...], project: Project, pickled: Callable[..., Path]) -> None:
    done = typed(project, *options, "-a", "no.such.host.invalid", pickled().name)
    assert (done.returncode, done.stdout) == (1, "")
    said = r"pipeletd: error: address=\('no.such.host.invalid', ...\): this name is not known .*\n"
    assert re.fullmatch(said, done.stderr)


def test_a_run_whose_code_is_gone(project: Project, pickled: Callable[..., Path]) -> None:
    path = pickled()
    (project.root / "a.py").unlink()
    done = typed(project, path.name)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"pipeletd: error: no script in .* for:\n  a: looked for a\.py\n", done.stderr)


def test_a_log_that_can_not_be_written(project: Project, pickled: Callable[..., Path]) -> None:
    project.prefix.write_text("a file where the prefix should be")
    done = typed(project, pickled().name)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"pipeletd: error: {project.prefix}\S*: Not a directory\n", done.stderr)


def test_a_run_with_nothing_left_to_do(project: Project, pickled: Callable[..., Path], ended: None) -> None:
    project.run(project.pipeline("a", {"a": range(6)}))
    done = typed(project, pickled().name)
    assert (done.returncode, done.stderr) == (0, "")
    (log,) = re.findall(r"^  log (\S+)$", done.stdout, re.M)
    until(lambda: not (project.prefix / ".pipelet" / "lock").exists(), "the end of the run", 60)
    assert os.path.exists(log)
    output = project.prefix / ".pipelet" / "log" / "pipeletd.out"
    until(lambda: "0 tasks done, 6 taken from disk" in output.read_text(), "its summary", 60)
