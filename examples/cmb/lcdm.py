"""The input spectrum: temperature anisotropies of a flat LCDM universe, from CAMB."""

import functools

import camb

# Planck 2018 (arXiv:1807.06209), the last column of table 2, rounded.
PARAMETERS = {"H0": 67.4, "ombh2": 0.0224, "omch2": 0.120, "tau": 0.054, "As": 2.1e-9, "ns": 0.965}
# CAMB wants to know the spectrum beyond what it is asked for: lensing mixes neighbours.
MARGIN = 300


@functools.cache
def lcdm_spectrum(lmax):
    """Compute the lensed spectrum. A process computes it once, however many skies it simulates.

    Parameters
    ----------
    lmax
        The highest multipole.

    Returns
    -------
    numpy.ndarray
        C_l in µK² for l = 0 ... lmax; monopole and dipole are zero. It can't be written to, as it is shared.
    """
    cosmology = camb.set_params(**PARAMETERS, lmax=lmax + MARGIN, lens_potential_accuracy=1)
    results = camb.get_results(cosmology)
    spectrum = results.get_lensed_scalar_cls(lmax, CMB_unit="muK", raw_cl=True)[:, 0].copy()
    spectrum[:2] = 0
    spectrum.flags.writeable = False
    return spectrum
