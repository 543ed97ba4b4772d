"""The four fields that the example filters: real measurements that come with matplotlib, so nothing is downloaded."""

import gzip
from typing import NamedTuple

import numpy as np
from matplotlib import cbook, image


class Field(NamedTuple):
    """One field, and what a person must know to look at it."""

    title: str
    quantity: str  # what the values are, with the unit
    colours: str  # the name of a matplotlib colour map
    values: np.ndarray  # two dimensions, float64, first row on top


def read_field(number):
    """Read field 1, 2, 3 or 4."""
    readers = {1: photograph, 2: mountain, 3: coast, 4: head}
    return readers[number]()


def photograph():
    """Give the portrait of Rear Admiral Grace Hopper (US Navy, public domain)."""
    red, green, blue = np.moveaxis(image.imread(sample("grace_hopper.jpg")) / 255.0, -1, 0)
    # the weights of television (Rec. 709): the eye finds green brighter than red, and red brighter than blue
    return Field("Grace Hopper, photograph", "brightness", "gray", 0.2126 * red + 0.7152 * green + 0.0722 * blue)


def mountain():
    """Give the heights around the Jacksboro fault in the Appalachians (SRTM, three seconds of arc)."""
    with np.load(sample("jacksboro_fault_dem.npz")) as archive:
        return Field("Jacksboro fault, Tennessee", "height [m]", "cividis", archive["elevation"].astype(float))


def coast():
    """Give the heights and depths around Vancouver Island (two minutes of arc)."""
    with np.load(sample("topobathy.npz")) as archive:
        # the rows of the file go from south to north
        return Field("Vancouver Island, land and sea", "height [m]", "BrBG_r", archive["topo"][::-1].astype(float))


def head():
    """Give a slice through a head, from magnetic resonance imaging."""
    with gzip.open(sample("s1045.ima.gz")) as file:
        values = np.frombuffer(file.read(), dtype="<u2").reshape(256, 256)
    return Field("Head, magnetic resonance", "signal [thousands]", "bone", values / 1000.0)


def sample(name):
    """Give the path of one of matplotlib's own sample files."""
    return cbook.get_sample_data(name, asfileobj=False)
