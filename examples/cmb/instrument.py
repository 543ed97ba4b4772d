"""The instrument: a W-band assembly of WMAP in its first year, made smaller or larger with the resolution of the map.

At nside 512 it is that of the mission. At another resolution the beam is as many pixels wide, and samples follow each
other as densely along a scan; so a year has nside / 512 times as many of them, each with the same noise. By this the
CMB gives way to the noise well within the multipoles that a map can hold, whatever its resolution.
"""

import healpy as hp
import numpy as np

NSIDE_OF_WMAP = 512
BEAM_FWHM = 13.2  # minutes of arc, at nside 512: 0.22 degrees
SAMPLE_TIME = 0.0512  # seconds, at nside 512
# The noise of one sample: the mean of the four assemblies of the first year (5.85, 6.53, 6.88 and 6.73 mK).
SIGMA0 = 6500.0  # µK
BEAMS = 2  # an assembly looks into two directions at once
MAPS = 2  # turns of the spin axis are dealt out to two maps, so that these have the same hits and independent noise


def beam_fwhm(nside):
    """Give the full width of the beam at half of its maximum, in radians."""
    return np.radians(BEAM_FWHM / 60) * NSIDE_OF_WMAP / nside


def sample_time(nside):
    """Give the time between two samples of an assembly, in seconds."""
    return SAMPLE_TIME * NSIDE_OF_WMAP / nside


def transfer_function(nside):
    """Give what beam and pixel leave of the amplitude at each multipole.

    Returns
    -------
    numpy.ndarray
        b_l p_l for l = 0 ... ``sky_lmax(nside)``: a Gaussian beam, and the pixel window of HEALPix.
    """
    lmax = sky_lmax(nside)
    return hp.gauss_beam(beam_fwhm(nside), lmax=lmax) * hp.pixwin(nside, lmax=lmax)


def sky_lmax(nside):
    """Give the highest multipole of a simulated sky, the highest that the pixels can hold."""
    return 3 * nside - 1


def analysis_lmax(nside):
    """Give the highest multipole that is estimated: above it, the quadrature on the pixels is not exact enough."""
    return 2 * nside
