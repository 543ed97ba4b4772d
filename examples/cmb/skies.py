"""Random skies and random noise, each from a seed of its own: a simulation is the same wherever it runs."""

import healpy as hp
import numpy as np

# What is drawn at random; the numbers are part of the seeds.
CMB, NOISE_FIRST, NOISE_SECOND, NOISE_ALONE = range(1, 5)


def generator(sim_id, what):
    """Give the random numbers of one part of one simulation.

    Parameters
    ----------
    sim_id
        The number of the simulation, 0 or more.
    what
        ``CMB``, ``NOISE_FIRST``, ``NOISE_SECOND`` or ``NOISE_ALONE``.
    """
    return np.random.default_rng([sim_id, what])


def gaussian_alm(spectrum, random):
    """Draw spherical harmonic coefficients of a real Gaussian field.

    Parameters
    ----------
    spectrum
        C_l for l = 0 ... lmax.
    random
        A `numpy.random.Generator`.

    Returns
    -------
    numpy.ndarray
        Complex, in the order of healpy; the unit is the root of that of the spectrum.
    """
    lmax = len(spectrum) - 1
    alm = random.standard_normal((hp.Alm.getsize(lmax), 2)) @ [1, 1j] / np.sqrt(2)
    # a coefficient with m = 0 is real, and has all of the variance in its real part
    alm[: lmax + 1] = alm[: lmax + 1].real * np.sqrt(2)
    return hp.almxfl(alm, np.sqrt(spectrum))


def cmb_map(spectrum, transfer, nside, random):
    """Draw a sky and observe it without noise.

    Parameters
    ----------
    spectrum
        C_l in µK² for l = 0 ... lmax.
    transfer
        b_l p_l: what beam and pixel leave of the amplitude, for the same multipoles.
    nside
        The resolution of the map.
    random
        A `numpy.random.Generator`.

    Returns
    -------
    numpy.ndarray
        The map in µK, in the order RING.
    """
    observed = hp.almxfl(gaussian_alm(spectrum, random), transfer)
    return hp.alm2map(observed, nside, lmax=len(spectrum) - 1)


def noise_map(sigma, random):
    """Draw noise that is independent from pixel to pixel; `sigma` is its standard deviation in each, in µK."""
    return sigma * random.standard_normal(len(sigma))
