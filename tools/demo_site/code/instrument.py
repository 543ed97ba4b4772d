# What is known of the detectors at one frequency.
#depend flatsky.py figures.py
import json

import figures
import flatsky
import numpy as np

frequency = get_input()
fwhm = 12.0
noise = {100: 28.0, 143: 16.0, 217: 24.0}[frequency]
glitches = 0
expose(["frequency", "fwhm", "noise"])

ell = np.arange(0, 1751)
window = flatsky.beam(fwhm, ell)
with open(get_data_fn("instrument.json"), "w") as file:
    json.dump(
        {
            "frequency": {"value": frequency, "unit": "GHz"},
            "beam": {"shape": "gaussian", "fwhm": fwhm, "unit": "arcmin"},
            "noise": {"value": noise, "unit": "uK per pixel", "white": True},
            "glitches": glitches,
            "detectors": [f"{frequency}-{number}{arm}" for number in range(1, 5) for arm in "ab"],
        },
        file,
        indent=1,
    )
np.save(get_data_fn("window.npy"), window)

figure, axes = figures.plt.subplots(figsize=(5.2, 3.4))
axes.plot(ell, window, color=figures.COLOURS[frequency], linewidth=2)
axes.set(title=f"{frequency} GHz, beam of {fwhm:g} arcmin", xlabel="multipole ℓ", ylabel="window", ylim=(0, 1.02))
figures.save(figure, get_data_fn("window.png"))
set_output(frequency)
