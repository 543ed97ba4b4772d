# One random sky, as it would be seen with perfect eyes.
#depend flatsky.py figures.py
import figures
import flatsky
import numpy as np

seed = get_input()
ell, cl = np.load(get_data_fn("cl.npy", "theory"))
sky = flatsky.random_sky(ell, cl, seed)
rms = float(round(sky.std(), 2))
expose(["rms"])
print(f"sky {seed}: {sky.size} pixels, rms {rms} microkelvin, from {sky.min():.0f} to {sky.max():.0f}")

np.save(get_data_fn("sky.npy"), sky)
figures.draw_map(get_data_fn("sky.png"), sky, f"sky {seed}")
hook("fits", globals())
set_output(seed)
