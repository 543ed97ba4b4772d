# A hook of spectrum.py: the spectrum beside the theory.
import figures

theory = np.load(get_data_fn("cl.npy", "theory"))
figure, axes = figures.spectrum_axes()
axes.plot(theory[0], theory[0] * (theory[0] + 1) * theory[1] / (2 * np.pi), color="0.6", label="theory")
axes.plot(ell, dl, "o", color=figures.COLOURS[frequency], label=f"sky {seed} at {frequency} GHz")
axes.set(title=f"sky {seed} at {frequency} GHz", ylim=(-300, 6500))
axes.legend()
figures.save(figure, get_data_fn("spectrum.png"))
