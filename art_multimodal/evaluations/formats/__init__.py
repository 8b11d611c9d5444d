"""Formats that other tools read: each is a name, the name of its file, and a pure function from a report to text.

Another format is a module of this folder that registers one; command line, docs and tests read it from here.
"""

from art_multimodal.evaluations.formats.format import FORMATS, NOTHING, Format, Options, Report, register
from art_multimodal.registry import import_all

# In the order of listings, and then whatever else there is.
import_all(__name__, __path__, ("junit", "sarif", "cyclonedx", "model_card", "eval_results"))

__all__ = ["FORMATS", "NOTHING", "Format", "Options", "Report", "register"]
