"""Hook of mkgauss: draws the filter, in frequency and in pixels."""

import matplotlib.pyplot as plt

distance = np.linspace(-4 * sigma, 4 * sigma, 401)
kernel = np.exp(-((distance / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), dpi=120, layout="constrained")
figure.suptitle(f"Gaussian filter, σ = {sigma:g} pixels", fontweight="bold")

left.plot(frequency, profile, color="#0b6e99", linewidth=2)
left.plot([0, cutoff, cutoff], [0.5, 0.5, 0], color="0.45", linewidth=1, linestyle="--")
left.annotate(
    f"half of the amplitude\nat {cutoff:.3f} cycles per pixel",
    (cutoff, 0.5), xytext=(12, 6), textcoords="offset points", color="0.3",
)
left.set(xlabel="frequency [cycles per pixel]", ylabel="transfer function", xlim=(0, 0.5), ylim=(0, 1.05))

right.fill_between(distance, kernel, color="#0b6e99", alpha=0.2, linewidth=0)
right.plot(distance, kernel, color="#0b6e99", linewidth=2)
right.set(xlabel="distance [pixels]", ylabel="weight", xlim=(distance[0], distance[-1]), ylim=(0, None))

for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)

figure.savefig(get_data_fn("gauss.png"))
plt.close(figure)
