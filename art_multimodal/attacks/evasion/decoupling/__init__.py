"""The decoupling attack of MUROAN (arXiv:2112.12792)."""

from art_multimodal.attacks.evasion.decoupling.attack import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling.search import DecouplingRecord

__all__ = ["DecouplingAttack", "DecouplingRecord"]
