# Runs once for each pair of a knight and a quality: that is what cross_prod means.
#multiplex cross_prod
# When one of these files changes, this segment runs again.
#depend heraldry.py colours/*.txt
import heraldry

knight, quality = get_input("knights"), get_input("quality")

separator = " "
title = knight + separator + quality
colour = heraldry.colour_of(quality)
save_param(["separator"])
expose(["title", "colour"])
logger.info("%s wears %s", title, colour)

with open(get_data_fn("result.txt"), "w") as file:
    file.write(title + "\n")

# Counts the characters of the title; what wc prints goes to wc.log, beside result.txt.
logged_subprocess(["wc", "-c", "result.txt"])

# The figure is drawn by melt_figure.py, which sees the variables of this script.
hook("figure", globals())

set_output(title)
