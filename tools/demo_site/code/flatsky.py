"""A small flat patch of sky: its Fourier modes, random fields on it, and their power spectra."""

import numpy as np

PIXELS = 192
PIXEL = np.radians(0.1)  # the patch is 19 degrees wide
DEGREES = PIXELS * np.degrees(PIXEL)


def multipoles():
    """Give the multipole of each Fourier mode, in the order of ``numpy.fft.fft2``."""
    frequencies = 2 * np.pi * np.fft.fftfreq(PIXELS, PIXEL)
    return np.hypot(*np.meshgrid(frequencies, frequencies))


def random_sky(ell, power, seed):
    """Draw a Gaussian field with a power spectrum C_ell, given at some multipoles."""
    modes = np.fft.fft2(np.random.default_rng(seed).standard_normal((PIXELS, PIXELS)))
    grid = multipoles()
    amplitude = np.sqrt(np.interp(grid, ell, power)) / PIXEL
    amplitude[grid < 2] = 0
    return np.fft.ifft2(modes * amplitude).real


def beam(fwhm, ell):
    """Give the window of a Gaussian beam whose full width is in minutes of arc."""
    sigma = np.radians(fwhm / 60) / np.sqrt(8 * np.log(2))
    return np.exp(-0.5 * ell**2 * sigma**2)


def smoothed(field, fwhm):
    """Give the field as an instrument with that beam sees it."""
    return np.fft.ifft2(np.fft.fft2(field) * beam(fwhm, multipoles())).real


def binned_spectrum(field, edges, weights=None):
    """Give the mean power C_ell of a field between the edges."""
    bad = int(np.count_nonzero(~np.isfinite(field)))
    if bad:
        raise ValueError(f"{bad} pixels of the map are not finite: mask them before the transform")
    if weights is None:
        weights = np.ones_like(field)
    power = np.abs(np.fft.fft2(field * weights)) ** 2 * PIXEL**2 / np.sum(weights**2)
    ell = multipoles().ravel()
    where = np.digitize(ell, edges) - 1
    inside = (where >= 0) & (where < len(edges) - 1)
    number = np.bincount(where[inside], minlength=len(edges) - 1)
    return np.bincount(where[inside], power.ravel()[inside], minlength=len(edges) - 1) / np.maximum(number, 1)


def apodised():
    """Give weights that fall to zero at the border of the patch."""
    ramp = np.clip(np.arange(PIXELS) / 24, 0, 1)
    ramp = np.sin(0.5 * np.pi * np.minimum(ramp, ramp[::-1])) ** 2
    return np.outer(ramp, ramp)
