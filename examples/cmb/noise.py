"""Scans the sky, and makes all that follows from where it was seen: noise, mask, weights, both estimators."""
#depend instrument.py scan.py galaxy.py estimators.py maps.py

import healpy as hp
import numpy as np
from estimators import coupling_matrix, covariance_kernels, make_estimator
from galaxy import galactic_mask
from instrument import SIGMA0, analysis_lmax, sky_lmax, transfer_function
from scan import hit_counts

nside = get_input()
lmax, transfer = analysis_lmax(nside), transfer_function(nside)

hits = hit_counts(nside)
sigma = SIGMA0 / np.sqrt(hits)
logger.info("nside %d: %.0f hits per pixel, from %.0f to %.0f", nside, hits.mean(), hits.min(), hits.max())
logger.info("noise: %.0f µK per pixel, from %.0f to %.0f", sigma.mean(), sigma.min(), sigma.max())

mask = galactic_mask(nside)
weights = hits * mask
weights /= weights.max()
sky_fraction = float(mask.mean())

# two estimators: of the maps as they are, and of the maps times the weights
cases = {
    "pure": (np.ones_like(weights), np.eye(lmax + 1, sky_lmax(nside) + 1)),
    "weighted": (weights, coupling_matrix(weights, lmax, sky_lmax(nside))),
}
for name, (weight, coupling) in cases.items():
    np.savez(get_data_fn(f"{name}.npz"), **make_estimator(coupling, transfer)._asdict())
    kernels = covariance_kernels(weight, sigma**2, lmax)
    np.savez(get_data_fn(f"{name}_covariance.npz"), coupling=coupling, kernels=kernels)

columns = {"hits": (hits, "counts"), "sigma": (sigma, "uK"), "mask": (mask, ""), "weights": (weights, "")}
for name, (values, unit) in columns.items():
    hp.write_map(
        get_data_fn(f"{name}.fits"), values, coord="G", column_names=[name.upper()], column_units=unit, dtype=np.float64
    )

sigma0 = SIGMA0
expose(["nside", "lmax", "sigma0", "sky_fraction"])
hook("maps", globals())

set_output(nside)
