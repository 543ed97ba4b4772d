"""The scan of the sky: how often a year of observation hits each pixel.

Three motions add up. The satellite spins; its spin axis circles around the direction away from the Sun; and that
direction drifts once around the ecliptic in a year. The lines of sight stand at a fixed angle from the spin axis, so
each spin draws a circle on the sky. Near the poles of the ecliptic, and on the rings where many circles touch, pixels
are seen several times as often as on the ecliptic itself.
"""

import healpy as hp
import numpy as np
from instrument import BEAMS, MAPS, sample_time

YEAR = 365.25 * 86400.0  # seconds
GOLDEN_RATIO = (1 + np.sqrt(5)) / 2
SPIN_PERIOD = 60.0 / 0.464  # seconds
# An hour, nearly. If spins fitted evenly into it, the circles of each hour would fall on those of earlier ones, and
# gaps would stay between them.
PRECESSION_PERIOD = (26 + GOLDEN_RATIO) * SPIN_PERIOD
PRECESSION_ANGLE = np.radians(22.5)  # from the direction away from the Sun to the spin axis
BEAM_ANGLE = np.radians(70.5)  # from the spin axis to either line of sight

# So many hits per pixel are followed; each stands for its neighbours in time.
FOLLOWED_PER_PIXEL = 400
CHUNK = 500_000


def hit_counts(nside):
    """Count the observations of each pixel in a year.

    Parameters
    ----------
    nside
        The resolution of the map.

    Returns
    -------
    numpy.ndarray
        The observations of each pixel that enter one of the maps, for pixels in Galactic coordinates in the order RING.
    """
    pixels = hp.nside2npix(nside)
    samples = pixels * FOLLOWED_PER_PIXEL // BEAMS
    hits = np.zeros(pixels)
    for start in range(0, samples, CHUNK):
        index = np.arange(start, min(start + CHUNK, samples))
        # Equal steps could fall into step with spin and precession, and draw stripes that no real scan has.
        time = (index + np.modf(index * GOLDEN_RATIO)[0]) / samples * YEAR
        for beam in lines_of_sight(time):
            hits += np.bincount(hp.vec2pix(nside, *beam), minlength=pixels)
    observations = YEAR / sample_time(nside) * BEAMS / MAPS
    return hits * observations / hits.sum()


def lines_of_sight(time):
    """Give where the two beams look.

    Parameters
    ----------
    time
        Shape (n,), in seconds since the Earth passed ecliptic longitude 0.

    Returns
    -------
    tuple of two numpy.ndarray
        Unit vectors in Galactic coordinates, each of shape (3, n).
    """
    zero = np.zeros_like(time)
    drift, precession, spin = (2 * np.pi * time / period for period in (YEAR, PRECESSION_PERIOD, SPIN_PERIOD))
    away_from_sun = np.array([np.cos(drift), np.sin(drift), zero])
    along_ecliptic = np.array([-np.sin(drift), np.cos(drift), zero])
    to_pole = np.array([zero, zero, zero + 1])

    outward = np.cos(precession) * along_ecliptic + np.sin(precession) * to_pole
    sideways = np.cos(precession) * to_pole - np.sin(precession) * along_ecliptic
    axis = np.cos(PRECESSION_ANGLE) * away_from_sun + np.sin(PRECESSION_ANGLE) * outward
    across = np.cos(PRECESSION_ANGLE) * outward - np.sin(PRECESSION_ANGLE) * away_from_sun

    around = np.cos(spin) * across + np.sin(spin) * sideways
    to_galactic = hp.Rotator(coord=["E", "G"]).mat
    return tuple(
        to_galactic @ (np.cos(BEAM_ANGLE) * axis + side * np.sin(BEAM_ANGLE) * around) for side in (1, -1)
    )
