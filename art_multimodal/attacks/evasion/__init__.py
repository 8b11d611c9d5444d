"""Evasion attacks."""

from art_multimodal.attacks.evasion.decoupling import DecouplingAttack, DecouplingRecord
from art_multimodal.attacks.evasion.for_each_pair import ImageAttackOnPairs, for_each_pair
from art_multimodal.attacks.evasion.projected_gradient_descent import ProjectedGradientDescentDualEncoder

__all__ = [
    "DecouplingAttack",
    "DecouplingRecord",
    "ImageAttackOnPairs",
    "ProjectedGradientDescentDualEncoder",
    "for_each_pair",
]
