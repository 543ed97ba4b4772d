"""The galactic mask: which part of the sky a spectrum is estimated from."""

import healpy as hp
import numpy as np

# The cut follows the Galactic plane, and is wider towards the Galactic centre. All in degrees.
HALF_WIDTH = 4.0
HALF_WIDTH_AT_CENTRE = 16.0
EXTENT_OF_CENTRE = 40.0
# From the edge of the cut the mask rises from 0 to 1, so that it has little power at high multipoles.
APODISATION = 5.0


def galactic_mask(nside):
    """Make the mask.

    Parameters
    ----------
    nside
        The resolution of the map.

    Returns
    -------
    numpy.ndarray
        Between 0, inside the cut, and 1, for pixels in Galactic coordinates in the order RING.
    """
    longitude, latitude = hp.pix2ang(nside, np.arange(hp.nside2npix(nside)), lonlat=True)
    from_centre = (longitude + 180) % 360 - 180
    widening = np.exp(-((from_centre / EXTENT_OF_CENTRE) ** 2))
    edge = HALF_WIDTH + (HALF_WIDTH_AT_CENTRE - HALF_WIDTH) * widening
    depth = np.clip((np.abs(latitude) - edge) / APODISATION, 0, 1)
    return (1 - np.cos(np.pi * depth)) / 2
