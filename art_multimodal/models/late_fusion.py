"""Another name of :mod:`art_multimodal.models.families.late_fusion.model`."""

from art_multimodal.models.families.late_fusion.model import LateFusion

__all__ = ["LateFusion"]
