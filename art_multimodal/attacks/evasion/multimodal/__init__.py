"""Attacks on images and texts together, and on samples of other modalities."""

from art_multimodal.attacks.evasion.multimodal.co_attack import CoAttack
from art_multimodal.attacks.evasion.multimodal.independent import IndependentAttack
from art_multimodal.attacks.evasion.multimodal.modality_swap import ModalitySwapAttack
from art_multimodal.attacks.evasion.multimodal.projected_gradient_descent import ProjectedGradientDescentMultimodal
from art_multimodal.attacks.evasion.multimodal.set_level_guidance import SetLevelGuidanceAttack
from art_multimodal.attacks.evasion.multimodal.slow_down import SlowDownAttack
from art_multimodal.attacks.evasion.multimodal.surrogate import (
    SurrogateGradient,
    unrolled_classifiers,
    with_fusion_options,
)
from art_multimodal.attacks.evasion.multimodal.time_shift import TimeShift

__all__ = [
    "CoAttack",
    "IndependentAttack",
    "ModalitySwapAttack",
    "ProjectedGradientDescentMultimodal",
    "SetLevelGuidanceAttack",
    "SlowDownAttack",
    "SurrogateGradient",
    "TimeShift",
    "unrolled_classifiers",
    "with_fusion_options",
]
