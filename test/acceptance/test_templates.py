"""A new pipeline: made by `pipeutils -c`, run as it is, then edited."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(REPOSITORY),
    # ./main.py takes the first python3 of the PATH
    "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]),
}


def typed(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(words), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture
def mypipe(tmp_path: Path) -> Path:
    result = typed(sys.executable, str(REPOSITORY / "scripts" / "pipeutils"), "-c", "mypipe", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return tmp_path / "mypipe"


def ran(mypipe: Path, *options: str) -> tuple[int, int, int]:
    """Run the pipeline well; give the numbers done, taken from disk, failed that it tells."""
    result = typed("./main.py", *options, cwd=mypipe)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    return numbers(result)


def numbers(result: subprocess.CompletedProcess[str]) -> tuple[int, int, int]:
    found = re.search(r"(\d+) tasks? done, (\d+) taken from disk, (\d+) failed", result.stdout)
    assert found, result.stdout + result.stderr
    return int(found[1]), int(found[2]), int(found[3])


def made(mypipe: Path) -> set[str]:
    return set(os.listdir(mypipe)) - {"main.py", "default.py"}


@pytest.mark.parametrize("options", [(), ("-d",), ("--debug",), ("-p", "2"), ("-p", "1", "-l", "0")])
def test_it_runs_unedited_and_then_from_disk(mypipe: Path, options: tuple[str, ...]) -> None:
    assert ran(mypipe, *options) == (6, 0, 0)
    texts = sorted(path.read_text() for path in mypipe.glob("default1_*/data/*/result.txt"))
    assert texts == ["1\n", "2\n", "3\n"]
    texts = sorted(path.read_text() for path in mypipe.glob("default1_*/default2_*/data/*/result.txt"))
    assert texts == ["1\n", "4\n", "9\n"]
    for task in (path.parent for path in mypipe.glob("default1_*/**/result.txt")):
        assert sorted(os.listdir(task)) == ["ls.err", "ls.log", "result.txt", "squares.pkl"]
    assert ran(mypipe, *options) == (0, 6, 0)


def test_it_works_from_any_directory(mypipe: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert typed(str(mypipe / "main.py"), cwd=elsewhere).returncode == 0
    assert os.listdir(elsewhere) == []
    assert numbers(typed(sys.executable, "../mypipe/main.py", "-p", "1", cwd=elsewhere)) == (0, 6, 0)


def test_one_more_input_runs_only_what_is_new(mypipe: Path) -> None:
    ran(mypipe)
    main = mypipe / "main.py"
    main.write_text(main.read_text().replace("[1, 2, 3]", "[1, 2, 3, 4]"))
    assert ran(mypipe) == (2, 6, 0)


def test_every_function_of_a_segment_is_shown(mypipe: Path) -> None:
    text = (mypipe / "default.py").read_text()
    functions = (
        "get_input set_output seg_input seg_output get_data_fn glob_parent glob_seg get_tmp_fn save_param expose "
        "load_param save_products load_products logged_subprocess logger hook"
    )
    assert [name for name in functions.split() if not re.search(rf"\b{name}\b", text)] == []
    assert all(word in text for word in ("multiplex", "depend", "group_by", "where", "union", "zip"))


def test_a_hook_that_is_added_is_run(mypipe: Path) -> None:
    ran(mypipe)
    (mypipe / "default_plot.py").write_text('with open(get_data_fn("plot.txt"), "w") as file:\n    file.write("x")\n')
    assert ran(mypipe) == (6, 0, 0)
    assert len(list(mypipe.glob("default1_*/**/plot.txt"))) == 6


def test_explain_says_what_the_next_run_would_do_and_does_nothing(mypipe: Path) -> None:
    result = typed("./main.py", "--explain", cwd=mypipe)
    assert (result.returncode, result.stderr) == (0, "")
    assert "default1" in result.stdout
    assert "default2" in result.stdout
    assert list(mypipe.glob("default*_*")) == []
    ran(mypipe)
    (mypipe / "default.py").write_text((mypipe / "default.py").read_text().replace("exponent = 2", "exponent = 4"))
    result = typed("./main.py", "--explain", cwd=mypipe)
    assert result.returncode == 0
    assert "exponent = 4" in result.stdout
    assert len(list(mypipe.glob("default1_*"))) == 1


@pytest.mark.parametrize("option", ["-D", "--dot"])
def test_the_graph_is_written_and_nothing_is_run(mypipe: Path, option: str) -> None:
    result = typed("./main.py", option, cwd=mypipe)
    assert (result.returncode, result.stderr) == (0, "")
    assert made(mypipe) == {"pipeline.dot"}
    assert re.search(r"\bdefault1\b.*->.*\bdefault2\b", (mypipe / "pipeline.dot").read_text())


def test_a_graph_that_cannot_be_written_is_one_line(mypipe: Path) -> None:
    (mypipe / "pipeline.dot").mkdir()
    result = typed("./main.py", "-D", cwd=mypipe)
    assert result.returncode == 1
    assert "pipeline.dot" in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_a_failed_task_gives_exit_status_1(mypipe: Path) -> None:
    with open(mypipe / "default.py", "a") as file:
        file.write("if number == 2:\n    raise ValueError('two is one too many')\n")
    result = typed("./main.py", "-p", "2", cwd=mypipe)
    assert result.returncode == 1
    # 1 and 9 come out of what did not fail
    assert numbers(result) == (4, 0, 1)
    assert "default1: ValueError in default.py" in result.stdout
    assert "two is one too many" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    result = typed("./main.py", "-d", cwd=mypipe)
    assert result.returncode == 1
    assert "ValueError: two is one too many" in result.stderr


@pytest.mark.parametrize("options", [("-p", "0"), ("-p", "two"), ("-d", "-p", "2"), ("-l", "loud"), ("more",), ("-a",)])
def test_wrong_use_has_exit_status_2(mypipe: Path, options: tuple[str, ...]) -> None:
    result = typed("./main.py", *options, cwd=mypipe)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert made(mypipe) == set()


def test_what_is_wrong_with_a_pipeline_is_told_in_words(mypipe: Path) -> None:
    main = mypipe / "main.py"
    main.write_text(main.read_text().replace("P.push(default1=", "P.push(defalt1="))
    result = typed("./main.py", cwd=mypipe)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("main.py: error:")
    assert "default1" in result.stderr


def test_help_lists_the_options_with_long_names_and_examples(mypipe: Path) -> None:
    result = typed("./main.py", "--help", cwd=mypipe)
    assert (result.returncode, result.stderr) == (0, "")
    names = (
        "--debug",
        "--processes",
        "--batch",
        "--add-workers",
        "--dot",
        "--explain",
        "--log-level",
        "./main.py -p 4",
    )
    assert all(name in result.stdout for name in names)
    assert made(mypipe) == set()
