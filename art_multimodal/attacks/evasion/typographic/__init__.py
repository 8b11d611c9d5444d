"""The typographic attack: a written word pasted into the image."""

from art_multimodal.attacks.evasion.typographic.attack import TypographicAttack
from art_multimodal.attacks.evasion.typographic.search import TypographicRecord

__all__ = ["TypographicAttack", "TypographicRecord"]
