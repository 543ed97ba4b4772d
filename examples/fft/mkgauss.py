"""Makes the one filter that all the fields go through: a Gaussian low-pass."""
#depend spectral.py

import numpy as np
from spectral import cutoff_frequency, gaussian

# The one number to play with: the standard deviation of the smoothing, in pixels.
sigma = 4.0

# The filter depends on the frequency alone, so its profile says all about it: convol, which knows
# the grid of its field, takes sigma from here and evaluates the same function there.
frequency = np.linspace(0, 0.5, 501)
profile = gaussian(frequency, sigma)
cutoff = float(cutoff_frequency(sigma))
logger.info("sigma = %g pixels: half of the amplitude passes at %.4f cycles per pixel", sigma, cutoff)

expose(["sigma", "cutoff"])
save_products("gauss.pkl", globals(), ["sigma", "cutoff", "frequency", "profile"])
hook("plot", globals())

set_output("gauss")
