"""Many simulations of the example in examples/cmb, at once: `cmb_simulations.py EXAMPLE NOISE SPECTRUM OUTPUT`.

This is a program, so that it can have one thread, however many its caller has: a map of a few thousand pixels is done
before the threads of healpy have met.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

MANY = 2000
LOUD = 1000
LOUDNESS = 10.0
NOISES = 400


def gather(number: int, simulate: Callable[[int], list[Any]]) -> np.ndarray:
    """The pseudo-spectra of simulations, shape (cases, number, lmax + 1)."""
    return np.array([simulate(seed) for seed in range(1, number + 1)]).swapaxes(0, 1)


def main(example: str, noise: str, spectrum: str, output: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, example)
    import healpy
    import instrument
    import skies
    from estimators import pseudo_spectrum

    sigma, weights = (healpy.read_map(f"{noise}/{name}.fits") for name in ("sigma", "weights"))
    nside = healpy.get_nside(sigma)
    lmax, transfer, sky = instrument.analysis_lmax(nside), instrument.transfer_function(nside), np.load(spectrum)

    def crosses(seed: int, loudness: float = 1.0) -> list[Any]:
        clean = skies.cmb_map(sky, transfer, nside, skies.generator(seed, skies.CMB))
        one, two = (
            clean + skies.noise_map(loudness * sigma, skies.generator(seed, what))
            for what in (skies.NOISE_FIRST, skies.NOISE_SECOND)
        )
        return [pseudo_spectrum(weight * one, weight * two, lmax) for weight in (1.0, weights)]

    def autos(seed: int) -> list[Any]:
        one = skies.noise_map(sigma, skies.generator(seed, skies.NOISE_ALONE))
        return [pseudo_spectrum(weight * one, weight * one, lmax) for weight in (1.0, weights)]

    np.savez(
        output, many=gather(MANY, crosses), loud=gather(LOUD, lambda seed: crosses(seed, LOUDNESS)),
        noise=gather(NOISES, autos),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
