"""The contact sheet: the pictures of all the fields on one page."""

import numpy as np
from matplotlib import image


def make_contact_sheet(pictures, path):
    """Put pictures of equal width below each other.

    Parameters
    ----------
    pictures
        Paths of PNG files, from the top down.
    path
        The PNG file to write.
    """
    image.imsave(path, np.vstack([image.imread(picture) for picture in pictures]))
