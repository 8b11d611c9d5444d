"""Another name of :mod:`art_multimodal.models.families.custom.fusion`."""

from art_multimodal.models.families.custom.fusion import CustomFusion, CustomLateFusion

__all__ = ["CustomFusion", "CustomLateFusion"]
