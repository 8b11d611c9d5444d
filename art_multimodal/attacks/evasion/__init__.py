"""Evasion attacks."""

from art_multimodal.attacks.evasion.alarm_evasion import AlarmEvasion
from art_multimodal.attacks.evasion.decoupling import DecouplingAttack, DecouplingRecord
from art_multimodal.attacks.evasion.for_each_sample import ImageAttackOnPairs, for_each_pair, for_each_sample
from art_multimodal.attacks.evasion.image_scaling import ImageScalingAttack, ScalingRecord
from art_multimodal.attacks.evasion.multimodal import (
    CoAttack,
    IndependentAttack,
    ModalitySwapAttack,
    ProjectedGradientDescentMultimodal,
    SetLevelGuidanceAttack,
    SlowDownAttack,
    SurrogateGradient,
    TimeShift,
    unrolled_classifiers,
    with_fusion_options,
)
from art_multimodal.attacks.evasion.projected_gradient_descent import ProjectedGradientDescentDualEncoder
from art_multimodal.attacks.evasion.text import (
    BertAttack,
    CharacterAttack,
    ExhaustiveTextAttack,
    TextRecord,
    WordChange,
)
from art_multimodal.attacks.evasion.transfer import TransferAttack
from art_multimodal.attacks.evasion.typographic import TypographicAttack, TypographicRecord
from art_multimodal.attacks.evasion.universal import (
    UniversalPatch,
    UniversalPatchAttack,
    UniversalPerturbation,
    UniversalPerturbationAttack,
)
from art_multimodal.attacks.evasion.vote_flipping import VoteFlippingAttack

__all__ = [
    "AlarmEvasion",
    "BertAttack",
    "CharacterAttack",
    "CoAttack",
    "DecouplingAttack",
    "DecouplingRecord",
    "ExhaustiveTextAttack",
    "ImageAttackOnPairs",
    "ImageScalingAttack",
    "IndependentAttack",
    "ModalitySwapAttack",
    "ProjectedGradientDescentDualEncoder",
    "ProjectedGradientDescentMultimodal",
    "ScalingRecord",
    "SetLevelGuidanceAttack",
    "SlowDownAttack",
    "SurrogateGradient",
    "TextRecord",
    "TimeShift",
    "TransferAttack",
    "TypographicAttack",
    "TypographicRecord",
    "UniversalPatch",
    "UniversalPatchAttack",
    "UniversalPerturbation",
    "UniversalPerturbationAttack",
    "VoteFlippingAttack",
    "WordChange",
    "for_each_pair",
    "for_each_sample",
    "unrolled_classifiers",
    "with_fusion_options",
]
