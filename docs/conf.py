"""Settings of the documentation: `make docs` builds it, warnings are errors."""

from pipelet._version import __version__

project = "Pipelet"
author = "The Pipelet developers"
copyright = "The Pipelet developers"
version = release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["_build"]
nitpicky = False
html_theme = "alabaster"
html_theme_options = {"description": "A pipeline engine for scientists", "fixed_sidebar": True, "page_width": "1000px"}
html_show_sourcelink = False
napoleon_google_docstring = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
