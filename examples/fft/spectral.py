"""The Gaussian filter as a function of frequency, shared by the segments that make it, use it and draw it.

Frequencies are in cycles per pixel: 0 is the mean of the field, 0.5 the finest ripple that the grid can hold. As a
function of frequency the filter is the same for every field, whatever the shape of its grid.
"""

import numpy as np


def gaussian(frequency, sigma):
    """Give what the filter lets through at each frequency, between 0 and 1.

    It is the Fourier transform of a Gaussian of unit area whose standard deviation is `sigma` pixels. That transform is
    a Gaussian as well: what is wide in pixels is narrow in frequency.
    """
    return np.exp(-2 * (np.pi * sigma * frequency) ** 2)


def cutoff_frequency(sigma):
    """Give the frequency at which the filter lets half of the amplitude through."""
    return np.sqrt(np.log(2) / 2) / (np.pi * sigma)


def frequency_grid(shape):
    """Give the distance from the origin of each point of ``numpy.fft.fft2``, in cycles per pixel."""
    rows, columns = np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1])
    return np.hypot(rows[:, np.newaxis], columns[np.newaxis, :])
