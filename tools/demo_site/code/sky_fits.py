# A hook of sky.py: the map as astronomers exchange it.
try:
    from astropy.io import fits
except ImportError:
    logger.warning("no FITS file without astropy")
else:
    header = fits.Header({"OBJECT": f"sky {seed}", "BUNIT": "uK", "CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR"})
    header["CDELT1"] = header["CDELT2"] = float(np.degrees(flatsky.PIXEL))
    fits.PrimaryHDU(sky.astype("float32"), header).writeto(get_data_fn("sky.fits"))
