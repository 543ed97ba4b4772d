"""Binned estimators of the power spectrum from pseudo-spectra, and what they are expected to give.

Maps that are multiplied by weights have a pseudo-spectrum whose mean is a linear function of the spectrum of the sky,
through the mode-coupling matrix of the weights. The estimators here undo that function in bins (Hivon et al. 2002). The
formulas are in docs/cmb-method.rst, with references.
"""

from typing import NamedTuple

import healpy as hp
import numpy as np
from ducc0.misc.experimental import coupling_matrix_rect

# Bins are at least so wide that the weights leave neighbours nearly independent, and at the most so wide that the
# acoustic peaks stay visible.
NARROWEST, WIDEST = 5, 30
RELATIVE_WIDTH = 0.2


class Estimator(NamedTuple):
    """A linear map from a pseudo-spectrum to binned D_l = l (l + 1) C_l / 2 pi.

    The shapes are those of B bins, an analysis up to lmax and a sky up to sky_lmax.
    """

    edges: np.ndarray  # shape (B + 1,): bin b holds the multipoles edges[b] <= l < edges[b + 1]
    filters: np.ndarray  # shape (B, lmax + 1): from the pseudo-spectrum to the estimate
    windows: np.ndarray  # shape (B, sky_lmax + 1): from the C_l of the sky to the mean of the estimate

    def estimate(self, pseudo):
        """Give binned D_l from a pseudo-spectrum in µK², shape (lmax + 1,)."""
        return self.filters @ pseudo

    def expectation(self, spectrum):
        """Give the mean of the estimate for a sky of that C_l in µK², shape (sky_lmax + 1,)."""
        return self.windows @ spectrum


def bin_edges(lmax):
    """Divide the multipoles 2 ... lmax into bins; what would be left over makes the last one wider."""
    edges = [2]
    while edges[-1] <= lmax:
        width = np.clip(round(RELATIVE_WIDTH * edges[-1]), NARROWEST, WIDEST)
        edges.append(edges[-1] + int(width))
    if edges[-1] > lmax + 1:
        edges[-2:] = [lmax + 1]
    return np.array(edges)


def pseudo_spectrum(first, second, lmax):
    """Compute the cross spectrum of two maps as they are, weighted or not.

    Parameters
    ----------
    first, second
        Maps in µK, in the order RING. The same map twice gives its auto spectrum.
    lmax
        The highest multipole that is wanted.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1,), in µK².
    """
    # Iterations correct the quadrature only for multipoles that take part in them, hence all that the pixels can hold.
    return hp.anafast(first, second, iter=3)[: lmax + 1]


def coupling_kernel(weight_spectrum, lmax, sky_lmax):
    """Sum the squared Wigner 3j symbols over the spectrum of weights.

    Parameters
    ----------
    weight_spectrum
        The spectrum W_l of the map of weights, or the cross spectrum of two such maps.
    lmax, sky_lmax
        The highest multipoles of the pseudo-spectrum and of the sky.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1, sky_lmax + 1): sum over L of (2 L + 1) / 4 pi W_L (l l' L; 0 0 0)^2.
    """
    kernel = np.empty((1, lmax + 1, sky_lmax + 1))
    coupling_matrix_rect(np.atleast_2d(weight_spectrum), (0,), kernel)
    return kernel[0]


def coupling_matrix(weights, lmax, sky_lmax):
    """Compute the mode-coupling matrix of a map of weights, in the order RING.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1, sky_lmax + 1): times the C_l of the sky, it gives the mean of the pseudo-spectrum.
    """
    return coupling_kernel(hp.anafast(weights, iter=3), lmax, sky_lmax) * (2 * np.arange(sky_lmax + 1) + 1)


def make_estimator(coupling, transfer, edges=None):
    """Make the estimator for a coupling matrix.

    Parameters
    ----------
    coupling
        The mode-coupling matrix, shape (lmax + 1, sky_lmax + 1). For maps without weights it is the identity.
    transfer
        b_l p_l for l = 0 ... sky_lmax.
    edges
        Of the bins, as in `Estimator`; if not given, those of `bin_edges`.

    Returns
    -------
    Estimator
    """
    lmax = len(coupling) - 1
    edges = bin_edges(lmax) if edges is None else np.asarray(edges)
    multipole = np.arange(lmax + 1)
    scale = multipole * (multipole + 1) / (2 * np.pi)
    inside = (multipole >= edges[:-1, np.newaxis]) & (multipole < edges[1:, np.newaxis])

    average = inside * scale / np.diff(edges)[:, np.newaxis]
    spread = np.divide(inside, scale, out=np.zeros(inside.shape), where=inside).T
    observed = coupling * transfer**2
    mixing = average @ observed[:, : lmax + 1] @ spread
    filters = np.linalg.solve(mixing, average)
    return Estimator(edges, filters, filters @ observed)


def covariance_kernels(weights, variance, lmax):
    """Prepare the covariance of a cross spectrum of two maps with the same weights and equal, independent noise.

    Parameters
    ----------
    weights, variance
        The weights, and the variance of the noise in µK², in each pixel.
    lmax
        The highest multipole.

    Returns
    -------
    numpy.ndarray
        Shape (3, lmax + 1, lmax + 1): signal with signal, signal with noise, noise with noise.
    """
    signal = weights**2
    noise = weights**2 * variance * (4 * np.pi / len(weights))
    pairs = [(signal, signal), (signal, noise), (noise, noise)]
    return np.array([coupling_kernel(hp.anafast(*pair, iter=3), lmax, lmax) for pair in pairs])


def expected_covariance(estimator, kernels, spectrum):
    """Compute the covariance of the binned D_l in the Gaussian approximation.

    Parameters
    ----------
    estimator
        The estimator.
    kernels
        Those of its weights, from `covariance_kernels`.
    spectrum
        C_l of the sky in µK², times (b_l p_l)^2 and smoothed as `smoothed_spectrum` does; shape (lmax + 1,).

    Returns
    -------
    numpy.ndarray
        Shape (B, B), in µK⁴.
    """
    amplitude = np.sqrt(np.outer(spectrum, spectrum))
    pseudo = 2 * amplitude**2 * kernels[0] + 2 * amplitude * kernels[1] + kernels[2]
    return estimator.filters @ pseudo @ estimator.filters.T


def smoothed_spectrum(coupling, spectrum, transfer):
    """Give the mean of the pseudo-spectrum, per unit of mean squared weight, in µK², shape (lmax + 1,).

    In a covariance it takes the place of the spectrum, which the weights do not show sharper than that.
    """
    whole = coupling.sum(axis=1)
    return coupling @ (spectrum * transfer**2) / whole
