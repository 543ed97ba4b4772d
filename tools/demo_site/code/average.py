# For each frequency the mean spectrum of all skies, and how much they differ.
#multiplex cross_prod group_by "spectrum[0]"
#depend flatsky.py figures.py
import figures
import numpy as np

frequency = get_input()
spectra = np.array([np.load(path) for path in glob_parent("spectrum.npy")])
skies = len(spectra)
expose(["frequency", "skies"])
ell, mean = spectra[0, 0], spectra[:, 1].mean(axis=0)
error = spectra[:, 1].std(axis=0) / np.sqrt(skies)

np.savez(get_data_fn("average.npz"), ell=ell, mean=mean, error=error)
np.savetxt(
    get_data_fn("average.csv"), np.stack([ell, mean, error], 1), "%.3f", ",", header="ell,D_ell,error", comments=""
)
save_products("average.pkl", globals(), ["frequency", "skies", "mean", "error"])

figure, axes = figures.spectrum_axes()
axes.errorbar(ell, mean, error, fmt="o", color=figures.COLOURS[frequency], label=f"mean of {skies} skies")
axes.set(title=f"{frequency} GHz", ylim=(-300, 6500))
axes.legend()
figures.save(figure, get_data_fn("average.png"))
set_output(frequency)
