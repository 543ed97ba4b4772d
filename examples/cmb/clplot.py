"""Draws the spectra of all simulations at one resolution beside what they should be. Runs once for each resolution."""
#multiplex cross_prod group_by clcmb[0]
#depend instrument.py estimators.py results.py figure.py

import matplotlib.pyplot as plt
import numpy as np
from estimators import Estimator, expected_covariance, smoothed_spectrum
from figure import draw_spectra
from instrument import transfer_function
from results import Result, write_table

nside = get_input()
simulations = [np.load(path) for path in glob_parent("bandpowers.npz", "clcmb")]
edges, spectrum = simulations[0]["edges"], simulations[0]["spectrum"]

results = {}
for name in ("pure", "weighted"):
    estimator = Estimator(**np.load(get_data_fn(f"{name}.npz", "noise")))
    prepared = np.load(get_data_fn(f"{name}_covariance.npz", "noise"))
    smoothed = smoothed_spectrum(prepared["coupling"], spectrum, transfer_function(nside))
    covariance = expected_covariance(estimator, prepared["kernels"], smoothed)
    samples = np.array([simulation[name] for simulation in simulations])
    results[name] = Result(samples, simulations[0][f"{name}_expected"], covariance)
    # In the pipeline of the Monte Carlo simulations nothing comes from clnoise, and nothing is found here.
    for path in glob_parent(f"noise_nside{nside}.npz"):
        noise = np.load(path)
        # an auto spectrum of noise scatters twice as much, in variance, as the cross spectrum of two maps does
        covariance = 2 * expected_covariance(estimator, prepared["kernels"], np.zeros_like(smoothed))
        results[f"{name}_noise"] = Result(noise[name][np.newaxis], noise[f"{name}_expected"], covariance)

tests = {name: result.chi_squared() for name, result in results.items()}
for name, (chi2, probability) in tests.items():
    logger.info("%s: chi2 = %.1f for %d bins, probability %.3f", name, chi2, len(edges) - 1, probability)

n_simulations = len(simulations)
expose(["nside", "n_simulations", "tests"])
write_table(get_data_fn("bandpowers.txt"), edges, results)
figure = draw_spectra(edges, spectrum, results, nside)
figure.savefig(get_data_fn("spectra.png"))
figure.savefig(get_data_fn("spectra.pdf"))
plt.close(figure)

set_output(nside)
