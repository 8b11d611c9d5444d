"""Training of fusion models over any modalities: methods, attacks on samples, and what training remembers."""

from art_multimodal.registry import import_all

# A method of one's own may stand in a further module of this folder.
import_all(__name__, __path__)
