"""Another name of :mod:`art_multimodal.models.families.mmbt.model` and of ``saving`` beside it."""

from art_multimodal.moved import moved

__getattr__ = moved(__name__, "art_multimodal.models.families.mmbt.model", "art_multimodal.models.families.mmbt.saving")
