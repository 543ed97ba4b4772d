"""Hook of noise: draws the hits, the mask and the weights."""

import matplotlib.pyplot as plt
from maps import draw_maps

figure = draw_maps(hits, mask, weights)
figure.savefig(get_data_fn("maps.png"))
plt.close(figure)
