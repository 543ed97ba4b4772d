# All frequencies in one figure, and the numbers for the paper.
#multiplex cross_prod group_by "'all'"
#depend flatsky.py figures.py
import html
import json

import figures
import numpy as np

frequencies = sorted(get_input("average"))
load_param("theory", globals(), ["tilt"])
expose(["frequencies"])

theory = np.load(get_data_fn("cl.npy", "theory"))
averages = {}
for path in glob_parent("average.npz"):
    with np.load(path) as archive:
        averages[path] = {name: archive[name] for name in archive.files}
ell, expected = theory[0], theory[0] * (theory[0] + 1) * theory[1] / (2 * np.pi)
model = np.interp(next(iter(averages.values()))["ell"], ell, expected)

figure, axes = figures.spectrum_axes((8.4, 4.8))
axes.plot(ell, expected, color="0.6", linewidth=1.2, label="theory")
for at, (frequency, item) in enumerate(zip(frequencies, averages.values(), strict=True)):
    axes.errorbar(
        item["ell"] + 8 * (at - 1), item["mean"], item["error"], fmt="o", markersize=4, linewidth=1,
        color=figures.COLOURS[frequency], label=f"{frequency} GHz",
    )
axes.set(title="the spectrum at all frequencies", ylim=(-300, 6500))
axes.legend()
figures.save(figure, get_data_fn("poster.png"), get_data_fn("poster.pdf"))

numbers = {
    str(frequency): {"scatter": round(float(np.std(item["mean"] - model)), 1), "bins": len(item["ell"])}
    for frequency, item in zip(frequencies, averages.values(), strict=True)
}
with open(get_data_fn("numbers.json"), "w") as file:
    json.dump({"tilt": tilt, "unit": "uK^2", "frequencies": numbers}, file, indent=1)
rows = "".join(
    f"<tr><th>{html.escape(name)} GHz</th><td>{item['scatter']}</td><td>{item['bins']}</td></tr>"
    for name, item in numbers.items()
)
with open(get_data_fn("report.html"), "w") as file:
    file.write(
        "<!doctype html><title>The spectrum at all frequencies</title><h1>The spectrum at all frequencies</h1>"
        f"<table><tr><th></th><th>scatter [µK²]</th><th>bins</th></tr>{rows}</table>"
        '<p><img src="poster.png" alt="the spectrum at all frequencies" width="640">'
    )
with open(get_data_fn("notes.txt"), "w") as file:
    file.write(f"Frequencies: {', '.join(map(str, frequencies))} GHz. The tilt of the theory is {tilt}.\n")
set_output(numbers)
