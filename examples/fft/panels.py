"""The picture of one filtered field: what goes in, its spectrum, what comes out."""

import matplotlib.pyplot as plt
import numpy as np

GREY = "0.35"


def draw_panels(title, quantity, colours, image, spectrum, filtered, sigma, cutoff):
    """Draw the three panels side by side; the field before and after has one scale of colours.

    Parameters
    ----------
    title, quantity, colours
        The field's name, what its values are, and a matplotlib colour map.
    image, spectrum, filtered
        The field, its Fourier transform in the order of ``numpy.fft.fft2``, and the field after the filter.
    sigma, cutoff
        The filter's width in pixels, and the frequency at which half of the amplitude passes.

    Returns
    -------
    matplotlib.figure.Figure
        Always of the same size and with its panels in the same places, so that figures can be stacked.
    """
    figure = plt.figure(figsize=(13, 4.5), dpi=110)
    grid = {"left": 0.035, "right": 0.925, "bottom": 0.1, "top": 0.84, "wspace": 0.36}
    before, middle, after = figure.subplots(1, 3, gridspec_kw=grid)
    figure.suptitle(title, x=0.035, ha="left", fontweight="bold", fontsize=15)

    draw_field(before, image, image, colours)
    before.set_title(f"input, {image.shape[0]} × {image.shape[1]} pixels", color=GREY)
    draw_spectrum(middle, spectrum, cutoff)
    middle.set_title("spectrum of the input", color=GREY)
    shown = draw_field(after, filtered, image, colours)
    after.set_title(f"filtered, σ = {sigma:g} pixels", color=GREY)
    add_scale(after, shown, quantity)
    return figure


def draw_field(axes, values, reference, colours):
    """Draw one field with the colours of the reference; give what a colour bar needs."""
    low, high = reference.min(), reference.max()
    if low < 0 < high:
        # heights and depths: zero is the sea level, it belongs in the middle of the colours and on the map
        high = max(-low, high)
        low = -high
        axes.contour(values, levels=[0], colors="black", linewidths=0.6)
    axes.tick_params(length=2, labelsize=8, colors=GREY)
    return axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")


def draw_spectrum(axes, spectrum, cutoff):
    """Draw the power on a logarithmic scale, the frequency zero in the middle, and the circle of the filter."""
    power = np.abs(np.fft.fftshift(spectrum)) ** 2
    smallest = np.finfo(float).tiny  # a power of zero has no logarithm
    logarithm = np.log10(np.maximum(power / power.max(), smallest))
    rows, columns = (np.fft.fftshift(np.fft.fftfreq(n)) for n in spectrum.shape)
    # The mean in the very middle dwarfs all the rest, and a few points are all but zero: they stay off the scale.
    low, high = np.percentile(logarithm, [1, 99.9])
    shown = axes.pcolormesh(columns, rows, logarithm, cmap="magma", vmin=low, vmax=high, shading="nearest")
    axes.invert_yaxis()
    axes.set_box_aspect(1)

    angle = np.linspace(0, 2 * np.pi, 361)
    axes.plot(cutoff * np.cos(angle), cutoff * np.sin(angle), color="white", linewidth=1.4, linestyle="--")
    axes.annotate(
        "half amplitude",
        (cutoff * 0.71, -cutoff * 0.71),
        xytext=(24, 22),
        textcoords="offset points",
        color="white",
        fontsize=9,
        arrowprops={"arrowstyle": "-", "color": "white", "linewidth": 0.8},
    )
    axes.set_xlabel("cycles per pixel", color=GREY, fontsize=9)
    axes.tick_params(length=2, labelsize=8, colors=GREY)
    add_scale(axes, shown, "log₁₀ of the relative power")


def add_scale(axes, shown, label):
    """Put a colour bar beside the panel, as high as the panel is."""
    bar = axes.figure.colorbar(shown, cax=axes.inset_axes([1.03, 0, 0.045, 1]), label=label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=8, colors=GREY)
