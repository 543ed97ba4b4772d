"""The figure of the spectra: estimates over theory, their deviations, and what the weights gain."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker

# The colours of Okabe and Ito, which colour-blind readers tell apart; markers and lines differ as well.
THEORY, PURE, WEIGHTED, NOISE = "black", "#0072B2", "#D55E00", "#009E73"
GREY = "0.4"
STYLES = {
    "pure": {"color": PURE, "marker": "o", "label": "cross spectrum, unweighted"},
    "weighted": {"color": WEIGHTED, "marker": "s", "label": "cross spectrum, inverse-noise weights"},
    "pure_noise": {"color": NOISE, "marker": "D", "label": "noise of one map"},
}
ORDER = ["input, ΛCDM", *(style["label"] for style in STYLES.values()), "noise, expected"]
SHIFTS = {"pure": -0.13, "weighted": 0.13, "pure_noise": 0.0}


def draw_spectra(edges, spectrum, results, nside):
    """Draw the figure.

    Parameters
    ----------
    edges
        Shape (B + 1,): bin b holds the multipoles edges[b] <= l < edges[b + 1].
    spectrum
        The input C_l in µK², for l = 0 ... sky_lmax.
    results
        A ``Result`` for "pure" and "weighted", and for "pure_noise" if there is one.
    nside
        The resolution of the maps.

    Returns
    -------
    matplotlib.figure.Figure
    """
    many = len(results["pure"].samples) > 1
    heights = [3.4, 1.2, 1.2] if many else [3.4, 1.2]
    size = (7.2, 1.15 * sum(heights) + 1.1)
    figure, panels = plt.subplots(
        len(heights), 1, sharex=True, figsize=size, dpi=150, layout="constrained", height_ratios=heights
    )
    figure.get_layout_engine().set(hspace=0, h_pad=0.03)
    draw_bandpowers(panels[0], edges, spectrum, results)
    panels[0].set_title(title(results, nside), loc="left", fontsize=10.5)
    draw_deviations(panels[1], edges, results)
    if many:
        draw_gain(panels[2], edges, results)
    for axes in panels:
        axes.tick_params(direction="in", which="both", top=True, right=True)
    set_multipoles(panels[-1], edges)
    figure.align_ylabels(panels)
    return figure


def title(results, nside):
    """Say what is shown."""
    number = len(results["pure"].samples)
    if number == 1:
        return f"nside = {nside}, one simulation; bars: its expected error"
    return f"nside = {nside}, mean of {number} simulations; thin bars: error of one, thick bars: of the mean"


def draw_bandpowers(axes, edges, spectrum, results):
    """Draw the input spectrum and what was estimated, as D_l."""
    multipole = np.arange(2, edges[-1])
    theory = multipole * (multipole + 1) * spectrum[multipole] / (2 * np.pi)
    axes.plot(multipole, theory, color=THEORY, linewidth=1.4, label="input, ΛCDM", zorder=1)
    for name, style in STYLES.items():
        if name not in results:
            continue
        result, place = results[name], positions(edges, SHIFTS[name])
        number = len(result.samples)
        axes.errorbar(
            place, result.mean, result.sigma, linestyle="none", markersize=4.2, linewidth=1, capsize=2, **style
        )
        if number > 1:
            axes.errorbar(
                place, result.mean, result.sigma / np.sqrt(number), linestyle="none", linewidth=3, color=style["color"]
            )
    if "pure_noise" in results:
        draw_noise_level(axes, edges, results["pure_noise"])
        axes.set_yscale("log")
        axes.set_ylim(theory.min() / 60, results["pure_noise"].mean.max() * 2)
    else:
        axes.axhline(0, color=GREY, linewidth=0.7)
        axes.set_ylim(-0.25 * theory.max(), 1.75 * theory.max())
    axes.set_ylabel(r"$D_\ell = \ell\,(\ell+1)\,C_\ell\,/\,2\pi$   [µK$^2$]")
    handles, labels = axes.get_legend_handles_labels()
    # matplotlib puts all lines first; the level of the noise belongs below its points
    order = sorted(range(len(labels)), key=lambda place: ORDER.index(labels[place]))
    axes.legend([handles[i] for i in order], [labels[i] for i in order], frameon=False, fontsize=9, loc="upper left")


def draw_noise_level(axes, edges, noise):
    """Draw what the noise should be."""
    axes.plot(
        positions(edges), noise.expectation,
        color=NOISE, linewidth=1, linestyle="--", label="noise, expected", zorder=0,
    )


def draw_deviations(axes, edges, results):
    """Draw the mean minus its expectation, in units of the expected error, and what chi2 makes of it."""
    axes.axhspan(-1, 1, color="0.92", linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.7)
    shown = [name for name in STYLES if name in results]
    for column, name in enumerate(shown):
        style, result = STYLES[name], results[name]
        axes.plot(
            positions(edges, SHIFTS[name]), result.deviation,
            linestyle="none", markersize=4.2, color=style["color"], marker=style["marker"],
        )
        chi2, probability = result.chi_squared()
        text = rf"$\chi^2$ = {chi2:.1f} / {len(result.mean)},  p = {probability:.2f}"
        axes.text(0.02 + 0.33 * column, 0.87, text, color=style["color"], fontsize=9, transform=axes.transAxes)
    axes.set_ylim(-3.6, 5.4)
    axes.set_yticks([-2, 0, 2])
    axes.set_ylabel("deviation\n" + ("[σ of the mean]" if len(results["pure"].samples) > 1 else "[σ]"))


def draw_gain(axes, edges, results):
    """Draw the error with weights over the error without, from the simulations and as expected."""
    pure, weighted = results["pure"], results["weighted"]
    expected = weighted.expected_sigma / pure.expected_sigma
    measured = weighted.sigma / pure.sigma
    # of two standard deviations from n values each; that they share the sky makes it smaller
    uncertainty = measured / np.sqrt(len(pure.samples) - 1)
    axes.axhline(1, color=GREY, linewidth=0.7)
    axes.plot(positions(edges), expected, color=WEIGHTED, linewidth=1.2, label="expected")
    axes.errorbar(
        positions(edges), measured, uncertainty,
        color=WEIGHTED, marker="s", markersize=4.2, linestyle="none", linewidth=1.1, capsize=2, label="simulations",
    )
    axes.set_ylim(0.4, 2.3)
    axes.set_ylabel("σ weighted /\nσ unweighted")
    axes.legend(frameon=False, fontsize=8.5, loc="upper right", ncols=2)


def positions(edges, shift=0.0):
    """Give the middle of each bin, moved by a fraction of its width so that points do not cover each other."""
    return (edges[:-1] + edges[1:] - 1) / 2 + shift * np.diff(edges)


def set_multipoles(axes, edges):
    """Make the axis of the multipoles logarithmic at first, and linear from a quarter of its end on."""
    pivot = (edges[-1] - 1) / 4

    def forward(multipole):
        low = pivot * (1 + np.log(np.maximum(multipole, 1e-3) / pivot))
        return np.where(multipole < pivot, low, multipole)

    def inverse(place):
        return np.where(place < pivot, pivot * np.exp(np.minimum(place, pivot) / pivot - 1), place)

    axes.set_xscale("function", functions=(forward, inverse))
    axes.set_xlim(1.7, edges[-1] + 0.02 * edges[-1])
    low = [value for value in (2, 5, 10, 20, 50, 100, 200) if value < 0.8 * pivot]
    step = ticker.MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(pivot, edges[-1])
    axes.set_xticks(low + [int(value) for value in step if pivot <= value < edges[-1]])
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.0f}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlabel(r"multipole $\ell$")
