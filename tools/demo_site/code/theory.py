# The power spectrum of a flat universe, sketched: a plateau, acoustic peaks, and the damping at small scales.
#depend flatsky.py figures.py
import csv

import figures
import numpy as np

tilt = 0.965
damping_scale = 1300.0
realisations = 3
expose(["tilt", "damping_scale"])
save_param(["realisations"])

ell = np.arange(2, 2600)
peaks = [(220, 4300, 95), (537, 1750, 85), (812, 2050, 95), (1125, 1150, 100), (1425, 900, 105), (1730, 500, 110)]
base = 950 * (ell / 60.0) ** (tilt - 1) * (1 + 0.0006 * ell)
dl = base + sum(height * np.exp(-0.5 * ((ell - at) / width) ** 2) for at, height, width in peaks)
dl *= np.exp(-((ell / damping_scale) ** 2) / 2)
cl = 2 * np.pi * dl / (ell * (ell + 1.0))
logger.info("the first peak is at ell = %d, with %.0f microkelvin squared", ell[np.argmax(dl)], dl.max())

np.save(get_data_fn("cl.npy"), np.stack([ell, cl]))
with open(get_data_fn("theory.csv"), "w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["ell", "D_ell [uK^2]", "C_ell [uK^2]"])
    table.writerows([at, f"{d:.3f}", f"{c:.6e}"] for at, d, c in zip(ell, dl, cl, strict=True))

figure, axes = figures.spectrum_axes()
axes.fill_between(ell, dl, color="0.9")
axes.plot(ell, dl, color="black", linewidth=1.4)
axes.set(title="theory", ylim=(0, None))
figures.save(figure, get_data_fn("theory.png"), get_data_fn("theory.svg"))

# One sky for each of these seeds.
set_output(list(range(1, realisations + 1)))
