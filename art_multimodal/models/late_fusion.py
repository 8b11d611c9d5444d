"""Another name of :mod:`art_multimodal.models.families.late_fusion.model`."""

from art_multimodal.moved import moved

__getattr__ = moved(__name__, "art_multimodal.models.families.late_fusion.model")
