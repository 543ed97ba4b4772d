"""Draws one sky from the LCDM spectrum, and observes it without noise. Runs once for each simulation."""
#depend instrument.py lcdm.py skies.py

import healpy as hp
import numpy as np
from instrument import beam_fwhm, sky_lmax, transfer_function
from lcdm import lcdm_spectrum
from skies import CMB, cmb_map, generator

nside, sim_id = get_input()

spectrum = lcdm_spectrum(sky_lmax(nside))
sky = cmb_map(spectrum, transfer_function(nside), nside, generator(sim_id, CMB))
beam = float(np.degrees(beam_fwhm(nside)))
logger.info("sky %d at nside %d: %.1f µK rms through a beam of %.2f degrees", sim_id, nside, sky.std(), beam)

expose(["nside", "sim_id", "beam"])
np.save(get_data_fn("spectrum.npy"), spectrum)
hp.write_map(
    get_data_fn("cmb.fits"), sky, coord="G", column_names=["TEMPERATURE"], column_units="uK", dtype=np.float64
)

set_output((nside, sim_id))
