"""Another name of :mod:`art_multimodal.models.families.custom.fusion`."""

from art_multimodal.moved import moved

__getattr__ = moved(__name__, "art_multimodal.models.families.custom.fusion")
