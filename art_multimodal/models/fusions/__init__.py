"""How the embeddings of modalities become one: a registry of fusions, each usable with any towers."""

from art_multimodal.models.fusions.fusion import FUSIONS, WHOLE_MODELS, Fusion, new_fusion

# Registered in this order.
from art_multimodal.models.fusions.simple import Bilinear, Concat, ConcatWithHeads, Gated, Late  # isort: skip
from art_multimodal.models.fusions.attention import CrossAttention  # isort: skip
from art_multimodal.models.fusions.quality import QualityAware  # isort: skip
from art_multimodal.models.fusions.shared_head import SharedHead  # isort: skip
from art_multimodal.models.fusions.orthogonal import Orthogonal  # isort: skip
from art_multimodal.models.fusions.consensus import Consensus, Median  # isort: skip
from art_multimodal.models.fusions.equilibrium import Equilibrium  # isort: skip
from art_multimodal.models.fusions.multiscale import MultiScale  # isort: skip
from art_multimodal.models.fusions.unified_stream import UnifiedStream  # isort: skip

__all__ = [
    "FUSIONS",
    "WHOLE_MODELS",
    "Bilinear",
    "Concat",
    "ConcatWithHeads",
    "Consensus",
    "CrossAttention",
    "Equilibrium",
    "Fusion",
    "Gated",
    "Late",
    "Median",
    "MultiScale",
    "Orthogonal",
    "QualityAware",
    "SharedHead",
    "UnifiedStream",
    "new_fusion",
]
