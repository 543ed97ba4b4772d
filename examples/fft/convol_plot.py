"""Hook of convol: draws the field before, its spectrum, and the field after."""

import matplotlib.pyplot as plt
from panels import draw_panels

figure = draw_panels(title, quantity, colours, image, spectrum, filtered, sigma, cutoff)
figure.savefig(get_data_fn("panels.png"))
plt.close(figure)
