"""Attacks on images and texts together."""

from art_multimodal.attacks.evasion.multimodal.co_attack import CoAttack
from art_multimodal.attacks.evasion.multimodal.independent import IndependentAttack
from art_multimodal.attacks.evasion.multimodal.modality_swap import ModalitySwapAttack
from art_multimodal.attacks.evasion.multimodal.projected_gradient_descent import ProjectedGradientDescentMultimodal
from art_multimodal.attacks.evasion.multimodal.set_level_guidance import SetLevelGuidanceAttack

__all__ = [
    "CoAttack",
    "IndependentAttack",
    "ModalitySwapAttack",
    "ProjectedGradientDescentMultimodal",
    "SetLevelGuidanceAttack",
]
