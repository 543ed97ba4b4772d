"""The example in examples/fft: nine tasks on four real fields, and numbers that an independent library confirms."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib import image
from scipy import ndimage

REPOSITORY = Path(__file__).resolve().parents[2]
ORIGINAL = REPOSITORY / "examples" / "fft"
SIGMA = 4.0
FIELDS = (1, 2, 3, 4)


class Run(NamedTuple):
    where: Path
    output: str

    @property
    def results(self) -> dict[int, Path]:
        """The directories of convol's tasks, by the number of the field."""
        found = self.where.glob("mkgauss_*/convol_*/data/*_gauss_*")
        return {int(path.name.rsplit("_", 1)[1]): path for path in found}


def call(where: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("MPLBACKEND", None)  # the pipeline must choose one that needs no screen
    return subprocess.run(
        [sys.executable, "main.py", *options], cwd=where, env=environment, capture_output=True, text=True, check=False
    )


def copy_example(where: Path) -> Path:
    """Copy the sources, without what a run may have left beside them."""
    where.mkdir()
    for source in ORIGINAL.glob("*.py"):
        shutil.copy(source, where)
    return where


def numbers(output: str) -> tuple[int, int, int]:
    found = re.search(r"(\d+) tasks? done, (\d+) taken from disk, (\d+) failed", output)
    assert found, output
    return int(found[1]), int(found[2]), int(found[3])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The example after one run with two processes. Tests only look at it."""
    where = copy_example(tmp_path_factory.mktemp("fft") / "fft")
    result = call(where, "-p", "2")
    assert result.returncode == 0, result.stdout + result.stderr
    return Run(where, result.stdout)


@pytest.fixture
def example(finished: Run, tmp_path: Path) -> Path:
    """A finished example of one's own, to change and run again."""
    return Path(shutil.copytree(finished.where, tmp_path / "fft", symlinks=True))


def input_field(number: int) -> np.ndarray:
    spec = importlib.util.spec_from_file_location("example_fields", ORIGINAL / "fields.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values: np.ndarray = module.read_field(number).values
    return values


def test_there_are_one_and_four_and_four_tasks(finished: Run) -> None:
    assert numbers(finished.output) == (9, 0, 0)
    assert len(list(finished.where.glob("mkgauss_*/data/gauss.pkl"))) == 1
    assert sorted(path.name.rsplit("_", 1)[1] for path in finished.where.glob("fftimg_*/data/*")) == list("1234")
    assert sorted(finished.results) == list(FIELDS)


def test_the_graph_is_written(finished: Run) -> None:
    graph = (finished.where / "pipeline.dot").read_text()
    assert re.search(r"mkgauss\"? *-> *\"?convol", graph)
    assert re.search(r"fftimg\"? *-> *\"?convol", graph)


def test_the_fields_are_real_and_have_different_shapes() -> None:
    fields = [input_field(number) for number in FIELDS]
    assert len({field.shape for field in fields}) == len(FIELDS)
    for field in fields:
        assert field.ndim == 2
        assert np.isfinite(field).all()
        # neighbours in a picture of the world are alike, unlike in noise, but not equal
        assert 0 < np.diff(field, axis=1).std() < 0.5 * field.std()


@pytest.mark.parametrize("number", FIELDS)
def test_the_product_in_the_fourier_domain_is_that_of_scipy(finished: Run, number: int) -> None:
    field = input_field(number)
    expected = np.fft.ifft2(ndimage.fourier_gaussian(np.fft.fft2(field), SIGMA)).real
    result = np.load(finished.results[number] / "filtered.npy")
    np.testing.assert_allclose(result / np.ptp(field), expected / np.ptp(field), rtol=0, atol=1e-10)


@pytest.mark.parametrize("number", FIELDS)
def test_the_result_is_a_gaussian_smoothing_in_pixels(finished: Run, number: int) -> None:
    field = input_field(number)
    expected = ndimage.gaussian_filter(field, SIGMA, mode="wrap", truncate=10)
    result = np.load(finished.results[number] / "filtered.npy")
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3 * np.ptp(field))
    assert result.std() < 0.97 * field.std()


def test_the_filter_is_kept_with_its_width(finished: Run) -> None:
    (path,) = finished.where.glob("mkgauss_*/data/gauss.pkl")
    kept = pickle.loads(path.read_bytes())
    assert kept["sigma"] == SIGMA
    assert kept["profile"][0] == 1
    assert np.interp(kept["cutoff"], kept["frequency"], kept["profile"]) == pytest.approx(0.5, abs=1e-3)


def panel_pixels(path: Path) -> np.ndarray:
    pixels: np.ndarray = image.imread(path)[..., :3]
    return pixels


def test_each_field_has_a_picture_with_three_full_panels(finished: Run) -> None:
    shapes = set()
    for path in finished.results.values():
        pixels = panel_pixels(path / "panels.png")
        shapes.add(pixels.shape)
        height, width = pixels.shape[:2]
        assert width > 1000
        for panel in range(3):
            # the heart of each panel, where there is neither a title nor an axis
            left = int(width * (0.08 + 0.325 * panel))
            heart = pixels[height // 3 : 2 * height // 3, left : left + width // 8]
            assert len(np.unique(heart.reshape(-1, 3), axis=0)) > 100
    assert len(shapes) == 1


def test_the_filter_has_a_picture(finished: Run) -> None:
    (path,) = finished.where.glob("mkgauss_*/data/gauss.png")
    assert panel_pixels(path).std() > 0.05


def test_the_contact_sheet_holds_the_four_pictures_in_order(finished: Run) -> None:
    pictures = [panel_pixels(finished.results[number] / "panels.png") for number in FIELDS]
    sheet = panel_pixels(finished.where / "contact_sheet.png")
    np.testing.assert_allclose(sheet, np.vstack(pictures), atol=1 / 255)


def test_the_run_says_where_to_look(finished: Run) -> None:
    assert str(finished.where / "contact_sheet.png") in finished.output
    for path in finished.results.values():
        assert str(path / "panels.png") in finished.output


def test_each_field_tells_in_its_log_what_the_filter_keeps(finished: Run) -> None:
    logs = [path.read_text() for path in finished.where.glob("mkgauss_*/convol_*/log/*.log")]
    assert len(logs) == len(FIELDS)
    for log in logs:
        assert re.search(r"keeps \d+\.\d % of the variance", log)


def test_a_second_run_computes_nothing(example: Path) -> None:
    before = (example / "contact_sheet.png").stat().st_mtime_ns
    result = call(example, "-p", "2")
    assert result.returncode == 0, result.stderr
    assert numbers(result.stdout) == (0, 9, 0)
    assert (example / "contact_sheet.png").stat().st_mtime_ns == before


def test_another_width_leaves_the_transforms_alone(example: Path) -> None:
    script = example / "mkgauss.py"
    script.write_text(script.read_text().replace("sigma = 4.0", "sigma = 2.0"))
    explained = call(example, "--explain")
    assert explained.returncode == 0, explained.stderr
    assert "+sigma = 2.0" in explained.stdout
    result = call(example, "-d")
    assert result.returncode == 0, result.stderr
    assert numbers(result.stdout) == (5, 4, 0)
    assert len(list(example.glob("mkgauss_*/data"))) == 2
    field = input_field(3)
    results = [np.load(path) for path in example.glob("mkgauss_*/convol_*/data/*_gauss_3/filtered.npy")]
    expected = ndimage.gaussian_filter(field, 2.0, mode="wrap", truncate=10)
    assert sorted(np.abs(result - expected).max() < 1e-3 * np.ptp(field) for result in results) == [False, True]


def test_a_lost_result_is_computed_again_it_alone(example: Path) -> None:
    (lost,) = example.glob("mkgauss_*/convol_*/data/*_gauss_2")
    shutil.rmtree(lost)
    result = call(example, "-p", "2")
    assert numbers(result.stdout) == (1, 8, 0)
    assert (lost / "filtered.npy").exists()


def test_the_graph_alone_can_be_asked_for(tmp_path: Path) -> None:
    where = copy_example(tmp_path / "fft")
    result = call(where, "-D")
    assert result.returncode == 0, result.stderr
    assert (where / "pipeline.dot").exists()
    assert not list(where.glob("mkgauss_*/data"))
    assert not (where / ".sqlstatus").exists()


def test_a_failed_field_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    where = copy_example(tmp_path / "fft")
    script = where / "main.py"
    script.write_text(script.read_text().replace("[1, 2, 3, 4]", "[3, 5]"))
    result = call(where, "-p", "2")
    assert result.returncode == 1
    assert numbers(result.stdout) == (3, 0, 1)
    assert "fftimg" in result.stdout
    assert not (where / "contact_sheet.png").exists()


def test_in_debug_mode_a_file_that_is_missing_shows_where_in_the_segment(tmp_path: Path) -> None:
    where = copy_example(tmp_path / "fft")
    (where / "mkgauss.py").write_text("open('gone.txt')")
    result = call(where, "-d")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert f'"{where / "mkgauss.py"}", line 1' in result.stderr
    assert result.stderr.splitlines()[-1].startswith("FileNotFoundError")


@pytest.mark.parametrize("options", [("-p", "0"), ("-p", "many"), ("-l", "loud"), ("-d", "-p", "2"), ("surplus",)])
def test_wrong_use_is_told_without_a_run(tmp_path: Path, options: tuple[str, ...]) -> None:
    where = copy_example(tmp_path / "fft")
    result = call(where, *options)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert not (where / ".sqlstatus").exists()
