"""ART estimators for multimodal models."""

from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier

__all__ = ["FusionClassifier", "ImageTextRetriever", "ZeroShotClassifier"]
