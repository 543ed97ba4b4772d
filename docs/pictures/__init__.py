"""Makes the pictures of the manual that are not of web pages, each from a real run: ``make pictures``."""
