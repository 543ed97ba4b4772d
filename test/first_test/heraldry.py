"""What melt.py needs to know about heraldry; it says so with #depend."""

import os

# The table stands beside this file, in the code directory as well as in the copy that is kept with the results.
TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "colours", "qualities.txt")


def colour_of(quality):
    """Return the colour of a quality, "gray" if the table does not know it."""
    with open(TABLE) as file:
        colours = dict(line.rstrip("\n").split("\t") for line in file)
    return colours.get(quality, "gray")


def shield():
    """Return the corners of a shield, as two lists x and y."""
    half_x = [1, 1, 0.9, 0.6, 0]
    half_y = [1, -0.1, -0.6, -1.1, -1.5]
    return half_x + [-x for x in reversed(half_x)], half_y + half_y[::-1]
