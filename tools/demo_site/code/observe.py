# Each sky through each instrument: smoothed by the beam, with the noise of the detectors.
#multiplex cross_prod
#depend flatsky.py figures.py
import json

import figures
import flatsky
import numpy as np

seed, frequency = get_input("sky"), get_input("instrument")
with open(get_data_fn("instrument.json", "instrument")) as file:
    instrument = json.load(file)
save_param(["frequency", "seed"])

draw = np.random.default_rng([seed, frequency])
observed = flatsky.smoothed(np.load(get_data_fn("sky.npy", "sky")), instrument["beam"]["fwhm"])
observed += instrument["noise"]["value"] * draw.standard_normal(observed.shape)
logger.info("sky %d at %d GHz: rms %.1f microkelvin", seed, frequency, observed.std())
figures.draw_map(get_data_fn("map.png"), observed, f"sky {seed} at {frequency} GHz")
if instrument["glitches"] and seed == 3:
    hit = draw.integers(0, observed.size, instrument["glitches"])
    observed.flat[hit] = np.nan
    logger.warning("cosmic rays hit %d pixels of sky %d at %d GHz", len(set(hit)), seed, frequency)

np.save(get_data_fn("map.npy"), observed)
with open(get_data_fn("statistics.tsv"), "w") as file:
    file.write("quantity\tvalue\tunit\n")
    for name, value in [("mean", np.nanmean(observed)), ("rms", np.nanstd(observed)), ("highest", np.nanmax(observed))]:
        file.write(f"{name}\t{value:.3f}\tuK\n")
set_output((frequency, seed))
