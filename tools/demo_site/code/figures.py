"""How the figures of this pipeline look."""

import flatsky
import matplotlib.pyplot as plt

COLOURS = {100: "#3b6fb6", 143: "#d97b29", 217: "#4f9a58"}
GREY = "0.35"
plt.rcParams.update(
    {
        "axes.edgecolor": GREY,
        "axes.labelcolor": GREY,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "legend.frameon": False,
        "xtick.color": GREY,
        "ytick.color": GREY,
    }
)


def draw_map(path, field, title, limit=350):
    """Save the picture of a patch of sky."""
    figure, axes = plt.subplots(figsize=(5.6, 4.8))
    half = flatsky.DEGREES / 2
    shown = axes.imshow(field, cmap="RdYlBu_r", vmin=-limit, vmax=limit, extent=(-half, half, -half, half))
    axes.set(title=title, xlabel="degrees", ylabel="degrees")
    bar = figure.colorbar(shown, label="temperature [µK]", shrink=0.85)
    bar.outline.set_visible(False)
    save(figure, path)


def spectrum_axes(size=(6.8, 4.2)):
    """Give a figure, and its axes for spectra."""
    figure, axes = plt.subplots(figsize=size)
    axes.set(xlim=(0, 1750), xlabel="multipole ℓ", ylabel="ℓ (ℓ + 1) C$_ℓ$ / 2π  [µK²]")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    return figure, axes


def save(figure, *paths):
    """Save a figure and let it go."""
    for path in paths:
        figure.savefig(path)
    plt.close(figure)
