"""The picture of the maps that a noise task makes."""

import healpy as hp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors
from matplotlib.patches import Ellipse

# of the picture of one map, in pixels
WIDTH = 800


def draw_maps(hits, mask, weights):
    """Draw the hits, the galactic mask and the weights below each other, in Galactic coordinates.

    Parameters
    ----------
    hits, mask, weights
        Maps in the order RING.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, panels = plt.subplots(3, 1, figsize=(6.6, 9.0), dpi=120, layout="constrained")
    rows = [
        (hits, r"observations of a pixel, $N_\mathrm{obs}$", "viridis", colors.LogNorm(hits.min(), hits.max())),
        (mask, "galactic mask", "gray", colors.Normalize(0, 1)),
        (weights, r"weights, mask × $N_\mathrm{obs}$ [largest = 1]", "viridis", colors.PowerNorm(0.5, 0, 1)),
    ]
    for axes, (values, label, colours, norm) in zip(panels, rows, strict=True):
        draw_map(axes, values, label, colours, norm)
    return figure


def draw_map(axes, values, label, colours, norm):
    """Draw one map in the Mollweide projection, the Galactic centre in the middle."""
    projection = hp.projector.MollweideProj(xsize=WIDTH)
    nside = hp.get_nside(values)
    picture = projection.projmap(values, lambda *vector: hp.vec2pix(nside, *vector))
    picture = np.ma.masked_invalid(np.where(np.isinf(picture), np.nan, picture))
    extent = projection.get_extent()
    shown = axes.imshow(picture, origin="lower", extent=extent, cmap=colours, norm=norm, interpolation="nearest")
    axes.set_axis_off()
    axes.set(xlim=(-2.02, 2.02), ylim=(-1.02, 1.02))
    axes.add_patch(Ellipse((0, 0), 4, 2, fill=False, color="0.3", linewidth=0.8))
    axes.figure.colorbar(shown, ax=axes, label=label, shrink=0.85, pad=0.02)
