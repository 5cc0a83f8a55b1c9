"""How Sphinx builds these pages."""

import poolder_trio

project = "poolder_trio"
copyright = "the poolder_trio developers"
version = release = poolder_trio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
napoleon_custom_sections = [("Options", "params_style")]
exclude_patterns = ["_build"]
html_theme = "furo"

autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
