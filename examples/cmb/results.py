"""Binned spectra of simulations beside what they are expected to be."""

from typing import NamedTuple

import numpy as np
from scipy import stats


class Result(NamedTuple):
    """What an estimator gave for S simulations in B bins, all as D_l in µK²."""

    samples: np.ndarray  # shape (S, B)
    expectation: np.ndarray  # shape (B,): the input, seen through the bandpower windows
    covariance: np.ndarray  # shape (B, B), of one simulation: the Gaussian approximation

    @property
    def mean(self):
        """The mean of the simulations, shape (B,)."""
        return self.samples.mean(axis=0)

    @property
    def sigma(self):
        """The error of one simulation, shape (B,): the scatter of many, or of a single one what is expected."""
        return self.samples.std(axis=0, ddof=1) if len(self.samples) > 1 else self.expected_sigma

    @property
    def expected_sigma(self):
        """The error of one simulation in the Gaussian approximation, shape (B,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def deviation(self):
        """The mean minus what is expected, in units of the expected error of that mean; shape (B,)."""
        return (self.mean - self.expectation) / (self.expected_sigma / np.sqrt(len(self.samples)))

    def chi_squared(self):
        """Compare the mean with what is expected, by the expected covariance of the mean.

        Returns
        -------
        tuple of two floats
            chi2, for as many degrees of freedom as there are bins, and the probability of a larger one.
        """
        difference = self.mean - self.expectation
        chi2 = len(self.samples) * difference @ np.linalg.solve(self.covariance, difference)
        return float(chi2), float(stats.chi2.sf(chi2, len(difference)))


def write_table(path, edges, results):
    """Write the bins, and for each result the mean, the error of one simulation and what is expected, as text.

    Parameters
    ----------
    path
        The file to write.
    edges
        Shape (B + 1,): bin b holds the multipoles edges[b] <= l < edges[b + 1].
    results
        Names, and a `Result` for each.
    """
    titles, columns = ["l_first", "l_last"], [edges[:-1], edges[1:] - 1]
    for name, result in results.items():
        titles += [name, f"{name}_sigma", f"{name}_expected"]
        columns += [result.mean, result.sigma, result.expectation]
    simulations = len(results["pure"].samples)
    about = f"D_l = l (l + 1) C_l / 2 pi in uK^2; mean of {simulations}, sigma of one, expected mean\n"
    header = about + " ".join(f"{title:>17}" for title in titles)[2:]
    np.savetxt(path, np.column_stack(columns), fmt=["%17d"] * 2 + ["%17.4f"] * (len(columns) - 2), header=header)
