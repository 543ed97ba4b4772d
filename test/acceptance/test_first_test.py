"""The first pipeline that a newcomer runs: knights, quality, melt and table, as it stands in test/first_test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("main.py", "knights.py", "quality.py", "melt.py", "melt_figure.py", "table.py", "heraldry.py")
TITLES = ("Lancelot the Brave", "Lancelot the Pure", "Galahad the Brave", "Galahad the Pure")


@pytest.fixture
def first_test(tmp_path: Path) -> Path:
    """A copy of the pipeline, without what a run may have left beside it."""
    return copied(tmp_path / "first_test")


def copied(copy: Path) -> Path:
    """Copy the pipeline."""
    copy.mkdir()
    original = REPOSITORY / "test" / "first_test"
    for name in SOURCES:
        shutil.copy(original / name, copy)
    shutil.copytree(original / "colours", copy / "colours")
    return copy


@pytest.fixture(scope="module")
def once_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline with all that a first run leaves; nobody changes it."""
    where = copied(tmp_path_factory.mktemp("once") / "first_test")
    assert ran(where) == (8, 0, 0)
    return where


@pytest.fixture
def after_a_run(once_run: Path, tmp_path: Path) -> Path:
    """A copy of that."""
    return Path(shutil.copytree(once_run, tmp_path / "first_test", symlinks=True))


def run(where: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "main.py", *options], cwd=where, env=environment, capture_output=True, text=True, check=False
    )


def ran(where: Path, *options: str) -> tuple[int, int, int]:
    """Run the pipeline well; give the numbers done, taken from disk, failed that it tells."""
    result = run(where, *options)
    assert result.returncode == 0, result.stdout + result.stderr
    return numbers(result)


def numbers(result: subprocess.CompletedProcess[str]) -> tuple[int, int, int]:
    found = re.search(r"(\d+) tasks? done, (\d+) taken from disk, (\d+) failed", result.stdout)
    assert found, result.stdout + result.stderr
    return int(found[1]), int(found[2]), int(found[3])


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def products(where: Path, pattern: str) -> dict[str, tuple[str, int]]:
    """Give content and time of change of each product, by path."""
    return {
        str(path.relative_to(where)): (path.read_text(), path.stat().st_mtime_ns)
        for path in where.glob(pattern)
        if "superseded" not in path.parts
    }


MELT_RESULTS = "knights_*/melt_*/data/*/result.txt"
SEATS = "knights_*/melt_*/table_*/data/*/seat.txt"


@pytest.mark.parametrize("options", [(), ("-d",), ("-p", "2")], ids=["cores", "interactive", "two"])
def test_it_makes_what_it_says(first_test: Path, options: tuple[str, ...]) -> None:
    assert ran(first_test, *options) == (8, 0, 0)

    results = {path: text for path, (text, _) in products(first_test, MELT_RESULTS).items()}
    assert sorted(results.values()) == sorted(f"{title}\n" for title in TITLES)
    for path, text in results.items():
        # <number>_<input as text>: the elements of the parents in their order
        assert re.fullmatch(r"\d+_" + text.strip().replace(" ", "_"), Path(path).parent.name)
        beside = first_test / Path(path).parent
        assert (beside / "arms.png").read_bytes().startswith(b"\x89PNG")
        assert (beside / "wc.log").read_text().split() == [str(len(text)), "result.txt"]
    seats = sorted(text for text, _ in products(first_test, SEATS).values())
    assert seats == ["Galahad: the Brave, the Pure\n", "Lancelot: the Brave, the Pure\n"]


def test_the_tree_holds_the_code_that_ran_and_what_it_needed(first_test: Path) -> None:
    ran(first_test, "-p", "2")
    names = [path.name for path in first_test.iterdir()]
    instances = [name for name in names if name not in SOURCES and not name.startswith(".")]
    assert sorted(re.sub("_[A-Z2-7]{6}$", "", name) for name in instances if name != "__pycache__") == [
        "colours",
        "knights",
        "quality",
    ]
    assert (first_test / ".sqlstatus").is_file()
    (melt,) = first_test.glob("knights_*/melt_*")
    for name in ("melt.py", "melt_figure.py", "heraldry.py", "colours/qualities.txt"):
        assert (melt / name).read_bytes() == (first_test / name).read_bytes()
    arguments = (melt / "melt.args").read_text()
    assert all(word in arguments for word in ("separator", "title", "colour", "darkred", "steelblue"))
    assert (melt / "melt.meta").is_file()


def test_a_second_run_takes_everything_from_disk(after_a_run: Path) -> None:
    before = products(after_a_run, "**/*.txt")
    for options in ((), ("-d",), ("-p", "2")):
        assert ran(after_a_run, *options) == (0, 8, 0)
    assert products(after_a_run, "**/*.txt") == before


def test_one_more_knight_runs_all_but_the_qualities(after_a_run: Path) -> None:
    before = products(after_a_run, MELT_RESULTS)
    replace(after_a_run / "knights.py", '"Galahad"', '"Galahad", "Perceval"')
    # the code of knights changed: it runs, with all that descends from it (6 of melt, 3 of table)
    assert ran(after_a_run) == (10, 1, 0)
    after = products(after_a_run, MELT_RESULTS)
    assert before.items() <= after.items()
    assert sorted(text for path, (text, _) in after.items() if path not in before) == sorted(
        [*(f"{title}\n" for title in TITLES), "Perceval the Brave\n", "Perceval the Pure\n"]
    )
    assert len(list(after_a_run.glob("quality_*"))) == 1


def test_going_back_to_the_old_code_runs_nothing(after_a_run: Path) -> None:
    replace(after_a_run / "knights.py", '"Galahad"', '"Galahad", "Perceval"')
    ran(after_a_run)
    replace(after_a_run / "knights.py", '"Galahad", "Perceval"', '"Galahad"')
    assert ran(after_a_run) == (0, 8, 0)


@pytest.mark.parametrize(
    ("name", "old", "new", "done"),
    [
        ("table.py", "titles.pkl", "all.pkl", 2),
        ("melt.py", '"wc", "-c"', '"wc", "-m"', 6),
        ("melt_figure.py", "fontsize=60", "fontsize=61", 6),
        ("heraldry.py", '"gray"', '"grey"', 6),
        ("colours/qualities.txt", "steelblue", "navy", 6),
        ("melt.py", "# Runs once for", "# Runs once, for", 0),
        ("quality.py", "set_output(", "\n\nset_output(", 0),
    ],
)
def test_only_what_must_be_computed_again_is(after_a_run: Path, name: str, old: str, new: str, done: int) -> None:
    replace(after_a_run / name, old, new)
    assert ran(after_a_run) == (done, 8 - done, 0)


def test_the_colour_of_a_figure_comes_from_the_file_that_is_depended_on(after_a_run: Path) -> None:
    replace(after_a_run / "colours" / "qualities.txt", "steelblue", "navy")
    ran(after_a_run)
    texts = [path.read_text() for path in after_a_run.glob("knights_*/melt_*/melt.args")]
    assert sorted(("steelblue" in text, "navy" in text) for text in texts) == [(False, True), (True, False)]


def test_a_task_whose_directory_is_gone_is_run_again_it_alone(after_a_run: Path) -> None:
    before = products(after_a_run, MELT_RESULTS)
    gone = next(path for path in before if "Galahad_the_Pure" in path)
    shutil.rmtree(after_a_run / Path(gone).parent)
    assert ran(after_a_run) == (1, 7, 0)
    after = products(after_a_run, MELT_RESULTS)
    del before[gone]
    assert before.items() <= after.items()
    assert sorted(text for text, _ in after.values()) == sorted(f"{title}\n" for title in TITLES)


@pytest.mark.parametrize("options", [(), ("-p", "2")])
def test_a_failure_stops_only_what_depends_on_it(first_test: Path, options: tuple[str, ...]) -> None:
    replace(first_test / "melt.py", 'separator = " "', 'separator = " "\nif quality == "the Pure":\n    1 / 0')
    result = run(first_test, *options)
    assert result.returncode == 1
    assert numbers(result) == (4, 0, 2)
    assert "ZeroDivisionError" in result.stdout
    assert re.search(r"waiting.*\btable\b", result.stdout)
    assert len(products(first_test, MELT_RESULTS)) == 2

    # once melt is mended, knights and quality need not run again
    replace(first_test / "melt.py", "    1 / 0", "    pass")
    assert ran(first_test) == (6, 2, 0)


def test_the_debugging_mode_shows_where_it_failed(first_test: Path) -> None:
    replace(first_test / "melt.py", 'separator = " "', "separator = 1 / 0")
    result = run(first_test, "-d")
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert re.search(r'melt\.py", line \d+', result.stderr)


def test_help_shows_an_example(first_test: Path) -> None:
    result = run(first_test, "--help")
    assert result.returncode == 0
    assert "--debug" in result.stdout
    assert "python main.py -p 2" in result.stdout
