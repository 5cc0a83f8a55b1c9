"""How Sphinx builds these pages."""

import poolder_trio

project = "poolder_trio"
copyright = "the poolder_trio developers"
version = release = poolder_trio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 2
napoleon_custom_sections = [
    ("Options", "params_style"),
    ("Args that all methods share", "params_style"),
    ("Errors that all methods share", "params_style"),
]
napoleon_use_ivar = True  # else a property that is listed as an attribute is described twice
exclude_patterns = ["_build"]
html_theme = "furo"

autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
