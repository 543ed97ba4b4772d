# A hook of melt.py: the coat of arms.
try:
    import matplotlib.pyplot as plt
except ImportError:
    logger.warning("no coat of arms without matplotlib")
else:
    figure, axes = plt.subplots(figsize=(3, 3.6))
    axes.fill(*heraldry.shield(), facecolor=colour, edgecolor="black", linewidth=3)
    axes.text(0, 0.1, knight[0], fontsize=60, color="white", ha="center", va="center")
    axes.set_title(title)
    axes.set_aspect("equal")
    axes.axis("off")
    figure.savefig(get_data_fn("arms.png"))
    plt.close(figure)
