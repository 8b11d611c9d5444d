"""Another name of :mod:`art_multimodal.models.families.mmbt.model` and of ``saving`` beside it."""

from art_multimodal.models.families.mmbt.model import MMBT
from art_multimodal.models.families.mmbt.saving import load_mmbt, save_mmbt

__all__ = ["MMBT", "load_mmbt", "save_mmbt"]
