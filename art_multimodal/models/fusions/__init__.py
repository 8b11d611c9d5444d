"""How the embeddings of modalities become one: a registry of fusions, each usable with any towers."""

from art_multimodal.models.fusions.fusion import FUSIONS, Fusion, new_fusion
from art_multimodal.models.fusions.simple import Concat, Gated, Late

__all__ = ["FUSIONS", "Concat", "Fusion", "Gated", "Late", "new_fusion"]
