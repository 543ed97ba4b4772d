"""Draws one realisation of the noise, and computes its spectrum with either estimator."""
#depend instrument.py skies.py estimators.py

import healpy as hp
import numpy as np
from estimators import Estimator, pseudo_spectrum
from instrument import analysis_lmax
from skies import NOISE_ALONE, generator, noise_map

nside = get_input("noise")
lmax = analysis_lmax(nside)
sigma = hp.read_map(get_data_fn("sigma.fits", "noise"))
weights = hp.read_map(get_data_fn("weights.fits", "noise"))
noise = noise_map(sigma, generator(0, NOISE_ALONE))

# White noise has the same power at all multipoles; in D_l, and freed of the beam, it rises steeply.
solid_angle = 4 * np.pi / len(sigma)
spectra = {}
for name, weight in {"pure": np.ones_like(weights), "weighted": weights}.items():
    estimator = Estimator(**np.load(get_data_fn(f"{name}.npz", "noise")))
    level = solid_angle * np.mean((weight * sigma) ** 2)
    pseudo = pseudo_spectrum(weight * noise, weight * noise, lmax)
    spectra[name] = estimator.estimate(pseudo)
    spectra[f"{name}_expected"] = estimator.estimate(np.full(lmax + 1, level))
    found = pseudo[2:].mean() / level
    logger.info("%s: %.4f of the expected noise, which is C_l = %.3g µK²", name, found, level)

np.savez(get_data_fn(f"noise_nside{nside}.npz"), **spectra)

set_output(nside)
