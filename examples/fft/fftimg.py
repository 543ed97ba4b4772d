"""Reads one field and computes its Fourier transform. Runs once for each number that main.py pushes."""
#depend fields.py

import numpy as np
from fields import read_field

img = get_input()

title, quantity, colours, image = read_field(img)
spectrum = np.fft.fft2(image)
logger.info("field %d, %s: %d x %d pixels", img, title, *image.shape)

expose(["title"])
save_products("field.pkl", globals(), ["title", "quantity", "colours", "image"])
np.save(get_data_fn("spectrum.npy"), spectrum)

set_output(img)
