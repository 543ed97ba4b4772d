# The power spectrum of one map, corrected for the beam and the noise.
#depend flatsky.py figures.py
import json

import flatsky
import numpy as np

frequency, seed = get_input()
width = 90
weights = None
expose(["frequency", "width"])

with open(get_data_fn("instrument.json", "instrument")) as file:
    instrument = json.load(file)
edges = np.arange(20, 1700, width)
power = flatsky.binned_spectrum(np.load(get_data_fn("map.npy", "observe")), edges, weights)
ell = (edges[:-1] + edges[1:]) / 2
noise = (instrument["noise"]["value"] * flatsky.PIXEL) ** 2
cl = (power - noise) / flatsky.beam(instrument["beam"]["fwhm"], ell) ** 2
dl = ell * (ell + 1) * cl / (2 * np.pi)
print(f"{len(ell)} bins, the highest at ell = {ell[np.argmax(dl[:8])]:.0f}")

np.save(get_data_fn("spectrum.npy"), np.stack([ell, dl]))
np.savetxt(get_data_fn("spectrum.csv"), np.stack([ell, dl], 1), "%.3f", ",", header="ell,D_ell", comments="")
hook("figure", globals())
set_output((frequency, seed))
