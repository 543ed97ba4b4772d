"""Adds two realisations of the noise to a sky, and estimates the spectrum from the cross spectrum of the two maps."""
#multiplex cross_prod where cmb[0] == noise
#depend instrument.py skies.py estimators.py

import healpy as hp
import numpy as np
from estimators import Estimator, pseudo_spectrum
from instrument import analysis_lmax
from skies import NOISE_FIRST, NOISE_SECOND, generator, noise_map

nside, sim_id = get_input("cmb")
lmax = analysis_lmax(nside)
sky = hp.read_map(get_data_fn("cmb.fits", "cmb"))
sigma = hp.read_map(get_data_fn("sigma.fits", "noise"))
weights = hp.read_map(get_data_fn("weights.fits", "noise"))
spectrum = np.load(get_data_fn("spectrum.npy", "cmb"))

# The noise of the two maps is independent, so that it adds to the scatter of their cross spectrum, but not to its mean.
first, second = (sky + noise_map(sigma, generator(sim_id, what)) for what in (NOISE_FIRST, NOISE_SECOND))

bandpowers = {}
for name, weight in {"pure": 1.0, "weighted": weights}.items():
    estimator = Estimator(**np.load(get_data_fn(f"{name}.npz", "noise")))
    bandpowers[name] = estimator.estimate(pseudo_spectrum(weight * first, weight * second, lmax))
    bandpowers[f"{name}_expected"] = estimator.expectation(spectrum)
logger.info("sky %d at nside %d: %d bins up to l = %d", sim_id, nside, len(bandpowers["pure"]), lmax)

np.savez(get_data_fn("bandpowers.npz"), edges=estimator.edges, spectrum=spectrum, **bandpowers)

set_output((nside, sim_id))
