"""Evasion attacks on multimodal models."""

from art_multimodal.attacks.evasion.decoupling import DecouplingAttack, DecouplingRecord
from art_multimodal.attacks.evasion.projected_gradient_descent import ProjectedGradientDescentDualEncoder

__all__ = ["DecouplingAttack", "DecouplingRecord", "ProjectedGradientDescentDualEncoder"]
