"""The example in examples/cmb: its pipelines run, and its estimators are right.

How a small bias is tested: the mean of n simulations scatters by one sigma of the mean even if the estimator is
perfect, so with fifty simulations some bins are always off by more than half of that sigma. Here the fifty simulations
of a pipeline are compared with the input by chi2. The half sigma is asked of the bias itself, in each bin: it must be
below half of the sigma of the mean of fifty simulations, and it is measured with 2000, whose own scatter is a sixth of
that sigma. All seeds are fixed. Estimators that lack a correction must fail the same tests.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from cmb_simulations import LOUDNESS
from matplotlib import image
from scipy import stats

REPOSITORY = Path(__file__).resolve().parents[2]
ORIGINAL = REPOSITORY / "examples" / "cmb"
MODULES = ("estimators", "galaxy", "instrument", "results", "scan", "skies")
NSIDE = 16
FIFTY = 50
NAMES = ("pure", "weighted")

# what the first tests of either kind wait for is more than a minute of work on a busy machine
pytestmark = pytest.mark.timeout(900)


def call(where: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("MPLBACKEND", None)  # the pipeline must choose one that needs no screen
    return subprocess.run(
        [sys.executable, "main.py", "--nside", str(NSIDE), *options],
        cwd=where, env=environment, capture_output=True, text=True, check=False,
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


def read_table(path: Path) -> dict[str, np.ndarray]:
    about, titles = path.read_text().splitlines()[:2]
    assert "uK^2" in about
    return dict(zip(titles[1:].split(), np.loadtxt(path).T, strict=True))


# --- the pipelines ---------------------------------------------------------------------------------------------------


class Runs(NamedTuple):
    where: Path
    design: str  # what the run of the design pipeline printed
    monte_carlo: str  # what the run of fifty simulations printed, in the same tree

    def one(self, pattern: str) -> Path:
        (path,) = self.where.glob(pattern)
        return path

    def plot(self, output: str) -> Path:
        """The directory of the task of clplot that a run tells of."""
        found = re.search(r"^As numbers: +(\S+)$", output, re.MULTILINE)
        assert found, output
        return Path(found[1]).parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The design pipeline, and then the Monte Carlo pipeline in the same tree. Tests only look at it."""
    where = copy_example(tmp_path_factory.mktemp("cmb") / "cmb")
    design = call(where, "-p", "2")
    assert design.returncode == 0, design.stdout + design.stderr
    shutil.copy(where / "design.png", where / "kept.png")
    monte_carlo = call(where, "-p", "2", "--mc", str(FIFTY))
    assert monte_carlo.returncode == 0, monte_carlo.stdout + monte_carlo.stderr
    return Runs(where, design.stdout, monte_carlo.stdout)


def test_the_monte_carlo_pipeline_takes_what_it_shares_with_the_design_from_disk(runs: Runs) -> None:
    assert numbers(runs.design) == (5, 0, 0)
    # the sky, the noise and the cross spectrum of the first simulation are shared, the figure can't be
    assert numbers(runs.monte_carlo) == (2 * (FIFTY - 1) + 1, 3, 0)
    assert len(list(runs.where.glob("cmb_*/data/**/cmb.fits"))) == FIFTY
    assert len(list(runs.where.glob("noise_*/data/**/weights.fits"))) == 1
    assert len(list(runs.where.glob("cmb_*/clcmb_*/data/**/bandpowers.npz"))) == FIFTY
    assert len(list(runs.where.glob("cmb_*/clcmb_*/clplot_*"))) == 2


@pytest.mark.parametrize("options", [("--design",), ("--mc", str(FIFTY))])
def test_nothing_is_left_to_do_in_either_pipeline(runs: Runs, options: tuple[str, ...]) -> None:
    assert "nothing to run" in call(runs.where, *options, "--explain").stdout


def test_one_simulation_more_is_one_sky_more(runs: Runs) -> None:
    explained = call(runs.where, "--mc", str(FIFTY + 1), "--explain").stdout
    assert f"cmb: 1 to run, {FIFTY} taken from disk" in explained
    assert "noise: nothing to run, 1 taken from disk" in explained


def test_the_run_says_where_to_look(runs: Runs) -> None:
    for output, name in ((runs.design, "design.png"), (runs.monte_carlo, "mc.png")):
        assert str(runs.where / name) in output
        assert {path.name for path in runs.plot(output).iterdir()} >= {"spectra.png", "spectra.pdf", "bandpowers.txt"}
    assert str(runs.one("noise_*/data/maps.png")) in runs.design


def has_colour(pixels: np.ndarray, hexadecimal: str) -> bool:
    wanted = np.array([int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return bool((np.abs(pixels[..., :3] - wanted).max(axis=-1) < 0.02).sum() > 50)


def test_the_figures_show_what_their_pipeline_knows(runs: Runs) -> None:
    pure, weighted, noise = "#0072B2", "#D55E00", "#009E73"
    design, monte_carlo = image.imread(runs.where / "design.png"), image.imread(runs.where / "mc.png")
    assert all(has_colour(design, colour) for colour in (pure, weighted, noise))
    assert [has_colour(monte_carlo, colour) for colour in (pure, weighted, noise)] == [True, True, False]


def test_the_table_has_the_numbers_of_the_figure(runs: Runs) -> None:
    design = read_table(runs.plot(runs.design) / "bandpowers.txt")
    monte_carlo = read_table(runs.plot(runs.monte_carlo) / "bandpowers.txt")
    assert {"pure", "weighted", "pure_noise", "weighted_noise"} <= design.keys()
    assert not any("noise" in title for title in monte_carlo)
    for table in (design, monte_carlo):
        assert table["l_first"][0] == 2
        assert table["l_last"][-1] == 2 * NSIDE
        # the plateau of large scales, as everybody knows it
        assert (np.abs(table["pure_expected"] - 1000) < 200).all()
    # the error of a single simulation is the expected one, and the scatter of fifty is not far from it
    ratio = monte_carlo["weighted_sigma"] / design["weighted_sigma"]
    assert (np.abs(ratio - 1) < 4 / np.sqrt(2 * FIFTY)).all()


def test_a_change_of_the_figure_recomputes_the_figure_alone(runs: Runs, tmp_path: Path) -> None:
    where = Path(shutil.copytree(runs.where, tmp_path / "cmb", symlinks=True))
    script = where / "figure.py"
    script.write_text(script.read_text().replace('GREY = "0.4"', 'GREY = "0.3"'))
    explained = call(where, "--explain").stdout
    assert re.findall(r"^(\w+): (\w+) to run", explained, re.MULTILINE) == [
        ("cmb", "nothing"), ("noise", "nothing"), ("clcmb", "nothing"), ("clnoise", "nothing"), ("clplot", "1")
    ]


def test_in_debug_mode_a_file_that_is_missing_shows_where_in_the_segment(tmp_path: Path) -> None:
    where = copy_example(tmp_path / "cmb")
    (where / "cmb.py").write_text("open('gone.txt')")
    result = call(where, "-d", "--nside", "8")
    assert result.returncode == 1
    assert f'"{where / "cmb.py"}", line 1' in result.stderr
    assert result.stderr.splitlines()[-1].startswith("FileNotFoundError")


@pytest.mark.parametrize("options", [("--nside", "17"), ("--mc", "0"), ("--mc", "2", "--design"), ("-d", "-p", "2")])
def test_wrong_use_is_told_without_a_run(tmp_path: Path, options: tuple[str, ...]) -> None:
    where = copy_example(tmp_path / "cmb")
    result = call(where, *options)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert not (where / ".sqlstatus").exists()


def test_fifty_simulations_of_the_pipeline_agree_with_the_input(runs: Runs) -> None:
    products = [np.load(path) for path in runs.where.glob("cmb_*/clcmb_*/data/**/bandpowers.npz")]
    for name in NAMES:
        samples = np.array([product[name] for product in products])
        agree(samples, products[0][f"{name}_expected"])


# --- the estimators --------------------------------------------------------------------------------------------------


def agree(samples: np.ndarray, expectation: np.ndarray) -> None:
    """The mean of simulations agrees with what is expected, in all bins together and in each."""
    number, bins = samples.shape
    difference = samples.mean(axis=0) - expectation
    # chi2 with a covariance that comes from the same simulations has the distribution of Hotelling
    chi2 = number * difference @ np.linalg.solve(np.cov(samples.T), difference)
    probability = stats.f.sf(chi2 * (number - bins) / (bins * (number - 1)), bins, number - bins)
    assert 0.001 < probability < 0.999
    # in sigmas of the mean; of a dozen bins none is beyond 3.5 but once in a hundred times
    assert np.abs(difference / samples.std(axis=0, ddof=1) * np.sqrt(number)).max() < 3.5


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The modules of the example."""
    where = copy_example(tmp_path_factory.mktemp("modules") / "cmb")
    sys.path.insert(0, str(where))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(where))
        for name in MODULES:
            del sys.modules[name]


class Sky(NamedTuple):
    """What all simulations share."""

    spectrum: np.ndarray
    transfer: np.ndarray
    sigma: np.ndarray
    weights: np.ndarray
    couplings: dict[str, np.ndarray]
    estimators: dict[str, Any]
    lmax: int


@pytest.fixture(scope="module")
def sky(runs: Runs, example: Any) -> Sky:
    """What the noise segment made, but its estimators, which are made anew."""
    import healpy

    noise = runs.one("noise_*/data")
    lmax, sky_lmax = example.instrument.analysis_lmax(NSIDE), example.instrument.sky_lmax(NSIDE)
    weights = healpy.read_map(noise / "weights.fits")
    transfer = example.instrument.transfer_function(NSIDE)
    couplings = {
        "pure": np.eye(lmax + 1, sky_lmax + 1),
        "weighted": example.estimators.coupling_matrix(weights, lmax, sky_lmax),
    }
    estimators = {name: example.estimators.make_estimator(matrix, transfer) for name, matrix in couplings.items()}
    spectrum = np.load(next(runs.where.glob("cmb_*/data/**/spectrum.npy")))
    return Sky(spectrum, transfer, healpy.read_map(noise / "sigma.fits"), weights, couplings, estimators, lmax)


@pytest.fixture(scope="module")
def simulations(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Pseudo-spectra by kind ("many", "loud", "noise") and by name ("pure", "weighted"), each (number, lmax + 1)."""
    output = tmp_path_factory.mktemp("simulations") / "spectra.npz"
    program = Path(__file__).with_name("cmb_simulations.py")
    spectrum = next(runs.where.glob("cmb_*/data/**/spectrum.npy"))
    words = [sys.executable, program, runs.where, runs.one("noise_*/data"), spectrum, output]
    subprocess.run(words, check=True)
    with np.load(output) as archive:
        return {kind: dict(zip(NAMES, values, strict=True)) for kind, values in archive.items()}


@pytest.fixture
def many(simulations: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return simulations["many"]


@pytest.mark.parametrize("name", NAMES)
def test_many_simulations_have_a_bias_below_half_a_sigma_of_the_mean_of_fifty(
    sky: Sky, many: dict[str, np.ndarray], name: str
) -> None:
    estimator = sky.estimators[name]
    samples = many[name] @ estimator.filters.T
    expectation = estimator.expectation(sky.spectrum)
    agree(samples, expectation)
    sigma_of_fifty = samples.std(axis=0, ddof=1) / np.sqrt(FIFTY)
    assert (np.abs(samples.mean(axis=0) - expectation) < 0.5 * sigma_of_fifty).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_pipeline_gives_what_the_modules_give(runs: Runs, sky: Sky, many: dict[str, np.ndarray], name: str) -> None:
    products = [np.load(path)[name] for path in runs.where.glob("cmb_*/clcmb_*/data/**/bandpowers.npz")]
    expected = many[name][:FIFTY] @ sky.estimators[name].filters.T
    np.testing.assert_allclose(np.sort(products, axis=0), np.sort(expected, axis=0), rtol=1e-6, atol=1e-3)


def test_an_estimator_that_lacks_a_correction_is_found_out(
    example: Any, sky: Sky, many: dict[str, np.ndarray]
) -> None:
    import healpy

    make = example.estimators.make_estimator
    beam = healpy.gauss_beam(example.instrument.beam_fwhm(NSIDE), lmax=len(sky.transfer) - 1)
    uncoupled = sky.couplings["pure"] * np.mean(sky.weights**2)
    wrong = {
        "no coupling matrix": ("weighted", make(uncoupled, sky.transfer)),
        "no pixel window": ("weighted", make(sky.couplings["weighted"], beam)),
        "no beam": ("pure", make(sky.couplings["pure"], sky.transfer / beam)),
        "no pixel window without weights": ("pure", make(sky.couplings["pure"], beam)),
    }
    found = {what for what, (name, estimator) in wrong.items() if not agrees(many[name], estimator, sky.spectrum)}
    assert found == set(wrong)


def agrees(pseudo: np.ndarray, estimator: Any, spectrum: np.ndarray) -> bool:
    try:
        agree(pseudo @ estimator.filters.T, estimator.expectation(spectrum))
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_the_scatter_is_the_expected_one(example: Any, sky: Sky, many: dict[str, np.ndarray], name: str) -> None:
    estimator = sky.estimators[name]
    covariance = expected_covariance(example, sky, name, sky.spectrum)
    scatter = (many[name] @ estimator.filters.T).std(axis=0, ddof=1)
    # the approximation is good to a few percent; the scatter of so many is known to 1.4 %
    np.testing.assert_allclose(scatter / np.sqrt(np.diag(covariance)), 1, atol=0.1)


def expected_covariance(
    example: Any, sky: Sky, name: str, spectrum: np.ndarray, loudness: float = 1.0, estimator: Any = None
) -> np.ndarray:
    estimators = example.estimators
    weights = sky.weights if name == "weighted" else np.ones_like(sky.weights)
    kernels = estimators.covariance_kernels(weights, (loudness * sky.sigma) ** 2, sky.lmax)
    smoothed = estimators.smoothed_spectrum(sky.couplings[name], spectrum, sky.transfer)
    covariance: np.ndarray = estimators.expected_covariance(estimator or sky.estimators[name], kernels, smoothed)
    return covariance


def test_weights_make_the_variance_smaller_where_noise_dominates(
    example: Any, sky: Sky, simulations: dict[str, dict[str, np.ndarray]]
) -> None:
    # Weights correlate multipoles that are near to each other: in wide bins one sees what they gain in all.
    edges = [2, 17, sky.lmax + 1]
    variances, expected = {}, {}
    for name in NAMES:
        estimator = example.estimators.make_estimator(sky.couplings[name], sky.transfer, edges)
        variances[name] = (simulations["loud"][name] @ estimator.filters.T).var(axis=0, ddof=1)
        covariance = expected_covariance(example, sky, name, sky.spectrum, LOUDNESS, estimator)
        expected[name] = np.diag(covariance)
        if name == "pure":
            level = np.full(sky.lmax + 1, 4 * np.pi / len(sky.sigma) * np.mean((LOUDNESS * sky.sigma) ** 2))
            assert (estimator.estimate(level) > 10 * estimator.expectation(sky.spectrum)).all()
    ratio = variances["weighted"] / variances["pure"]
    np.testing.assert_allclose(ratio, expected["weighted"] / expected["pure"], rtol=0.12)
    assert (ratio < 0.93).all()
    # in the simulations of the pipeline, the last bin is loud enough
    last = {name: (simulations["many"][name] @ sky.estimators[name].filters[-1]).var(ddof=1) for name in NAMES}
    assert last["weighted"] < last["pure"]


def test_noise_has_the_expected_spectrum_and_scatter(
    example: Any, sky: Sky, simulations: dict[str, dict[str, np.ndarray]]
) -> None:
    for name, weights in (("pure", 1.0), ("weighted", sky.weights)):
        estimator = sky.estimators[name]
        samples = simulations["noise"][name] @ estimator.filters.T
        level = 4 * np.pi / len(sky.sigma) * np.mean((weights * sky.sigma) ** 2)
        expected = estimator.estimate(np.full(sky.lmax + 1, level))
        variance = 2 * np.diag(expected_covariance(example, sky, name, np.zeros_like(sky.spectrum)))
        # quadrature on pixels as coarse as these leaves about a percent of the noise
        tolerance = 0.01 * expected + 3.5 * np.sqrt(variance / len(samples))
        assert (np.abs(samples.mean(axis=0) - expected) < tolerance).all()
        np.testing.assert_allclose(samples.std(axis=0, ddof=1) / np.sqrt(variance), 1, atol=0.15)


def test_of_a_sky_without_noise_the_unweighted_estimator_gives_its_own_spectrum(example: Any, sky: Sky) -> None:
    import healpy

    skies = example.skies
    alm = skies.gaussian_alm(sky.spectrum, skies.generator(7, skies.CMB))
    observed = skies.cmb_map(sky.spectrum, sky.transfer, NSIDE, skies.generator(7, skies.CMB))
    estimator = sky.estimators["pure"]
    estimate = estimator.estimate(example.estimators.pseudo_spectrum(observed, observed, sky.lmax))
    np.testing.assert_allclose(estimate, estimator.expectation(healpy.alm2cl(alm)), rtol=5e-3)


# --- the parts -------------------------------------------------------------------------------------------------------


def test_the_coupling_matrix_is_that_of_two_other_computations(sky: Sky) -> None:
    import camb.mathutils
    import ducc0
    import healpy

    spectrum = healpy.anafast(sky.weights, iter=3)
    rows, columns = sky.couplings["weighted"].shape
    terms = (2 * np.arange(len(spectrum)) + 1) / (4 * np.pi) * spectrum
    expected = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            first, symbols = ducc0.misc.wigner3j_int(row, column, 0, 0)
            used = terms[first : first + len(symbols)]
            expected[row, column] = (2 * column + 1) * (used * symbols[: len(used)] ** 2).sum()
    scale = expected.max()
    np.testing.assert_allclose(sky.couplings["weighted"], expected, rtol=1e-9, atol=1e-12 * scale)
    theirs = camb.mathutils.pcl_coupling_matrix(spectrum, rows - 1)
    np.testing.assert_allclose(sky.couplings["weighted"][:, :rows], theirs, rtol=1e-9, atol=1e-12 * scale)


def test_without_weights_modes_are_not_coupled(example: Any) -> None:
    matrix = example.estimators.coupling_matrix(np.ones(12 * NSIDE**2), 20, 30)
    np.testing.assert_allclose(matrix, np.eye(21, 31), atol=1e-4)


def test_the_pixel_window_is_the_mean_over_a_pixel_and_the_beam_a_gaussian(example: Any) -> None:
    import healpy

    lmax = 2 * NSIDE
    spectrum = np.zeros(lmax + 1)
    spectrum[2:] = 1.0
    alm = example.skies.gaussian_alm(spectrum, np.random.default_rng(3))
    fine = healpy.alm2map(alm, 16 * NSIDE, lmax=lmax)
    pixels = healpy.ud_grade(fine, NSIDE)
    window = np.sqrt(healpy.anafast(pixels, lmax=lmax, iter=3)[2:] / healpy.alm2cl(alm)[2:])
    multipole = np.arange(2, lmax + 1)
    width = np.radians(example.instrument.beam_fwhm(NSIDE) * 180 / np.pi) / np.sqrt(8 * np.log(2))
    beam = np.exp(-multipole * (multipole + 1) * width**2 / 2)
    np.testing.assert_allclose(example.instrument.transfer_function(NSIDE)[2 : lmax + 1], beam * window, rtol=0.01)


def test_bins_are_contiguous_and_reach_the_end(example: Any) -> None:
    for nside in (8, 16, 64, 512):
        lmax = example.instrument.analysis_lmax(nside)
        edges = example.estimators.bin_edges(lmax)
        assert edges[0] == 2
        assert edges[-1] == lmax + 1
        assert np.diff(edges).min() >= 5
        assert np.diff(edges).max() < 60


def test_the_scan_is_that_of_the_mission(example: Any) -> None:
    import healpy

    scan, instrument = example.scan, example.instrument
    time = np.linspace(0, scan.YEAR, 1001)
    one, other = scan.lines_of_sight(time)
    np.testing.assert_allclose(np.linalg.norm([one, other], axis=1), 1)
    np.testing.assert_allclose((one * other).sum(axis=0), np.cos(np.radians(141)), atol=1e-12)
    # the spin axis stays at 22.5 degrees from the direction away from the Sun, here in ecliptic coordinates
    axis = healpy.Rotator(coord=["G", "E"]).mat @ (one + other)
    drift = 2 * np.pi * time / scan.YEAR
    away = (axis[0] * np.cos(drift) + axis[1] * np.sin(drift)) / np.linalg.norm(axis, axis=0)
    np.testing.assert_allclose(away, np.cos(np.radians(22.5)), atol=1e-12)

    hits = scan.hit_counts(NSIDE)
    assert hits.sum() == pytest.approx(scan.YEAR / instrument.sample_time(NSIDE))
    assert hits.min() > 0.5 * hits.mean()
    to_galactic = healpy.Rotator(coord=["E", "G"]).mat
    pole, equator = (healpy.query_disc(NSIDE, to_galactic @ vector, 0.1) for vector in np.eye(3)[[2, 0]])
    assert hits[pole].mean() > 2 * hits.mean() > 2 * hits[equator].mean()


def test_the_mask_hides_the_galaxy_and_little_more(example: Any) -> None:
    import healpy

    mask = example.galaxy.galactic_mask(64)
    longitude, latitude = healpy.pix2ang(64, np.arange(mask.size), lonlat=True)
    assert 0.8 < mask.mean() < 0.9
    assert (mask[np.abs(latitude) < 3.5] == 0).all()
    assert (mask[np.abs(latitude) > 22] == 1).all()
    assert mask[(longitude < 5) & (np.abs(latitude) < 15)].max() == 0
    assert (mask[(np.abs(longitude - 180) < 5) & (np.abs(latitude) > 10)] == 1).all()
