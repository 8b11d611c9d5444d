"""Sphinx configuration. Pages under ``generated/`` are made from the registries and the benchmark results."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import generate

project = "art_multimodal"
author = "the art_multimodal authors"
copyright = "2026, the art_multimodal authors"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_nb"]
html_theme = "furo"
html_title = "art_multimodal"
exclude_patterns = [
    "_build",
    *(f"generated/{stem}.md" for stem in generate.INCLUDED),
]
# What the notebooks show was committed with them; `make test-slow` runs them.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
suppress_warnings = ["ref.python"]


def setup(app):
    generate.write_all(Path(__file__).parent / "generated")
