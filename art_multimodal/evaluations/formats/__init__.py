"""Formats that other tools read: each is a name, the name of its file, and a pure function from a report to text.

Another format is a module of this folder that registers one; command line, docs and tests read it from here.
"""

from art_multimodal.evaluations.formats.format import FORMATS, Format, Options, register
from art_multimodal.registry import import_all

# Imported in the order of listings.
from art_multimodal.evaluations.formats import junit, sarif, cyclonedx, model_card, eval_results  # isort: skip

# And whatever else there is.
import_all(__name__, __path__)

__all__ = [
    "FORMATS",
    "Format",
    "Options",
    "cyclonedx",
    "eval_results",
    "junit",
    "model_card",
    "register",
    "sarif",
]
