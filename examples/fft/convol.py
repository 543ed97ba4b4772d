"""Filters one field in the Fourier domain, and transforms it back. Runs once for each pair of a filter and a field."""
#depend spectral.py panels.py

import numpy as np
from spectral import frequency_grid, gaussian

img = get_input('fftimg')

load_products(get_data_fn("gauss.pkl", "mkgauss"), globals(), ["sigma", "cutoff"])
load_products(get_data_fn("field.pkl", "fftimg"), globals(), ["title", "quantity", "colours", "image"])
spectrum = np.load(get_data_fn("spectrum.npy", "fftimg"))

transfer = gaussian(frequency_grid(spectrum.shape), sigma)
# A real field times a symmetric filter is real again: what is left in the imaginary part is rounding.
filtered = np.fft.ifft2(spectrum * transfer).real

kept = float(filtered.var() / image.var())
logger.info("field %d, %s: the filter keeps %.1f %% of the variance", img, title, 100 * kept)

expose(["title", "kept"])
np.save(get_data_fn("filtered.npy"), filtered)
hook("plot", globals())

set_output(img)
