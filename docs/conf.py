"""Sphinx: Markdown pages (MyST) with mathematics, the furo theme. Built by `make docs`, warnings as errors."""

from polyseme import __version__

project = "Polyseme"
author = "The Polyseme developers"
copyright = f"2026, {author}"
release = __version__

extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Polyseme {release}"
