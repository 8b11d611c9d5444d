"""Attacks on texts."""

from art_multimodal.attacks.evasion.text.bert_attack import BertAttack
from art_multimodal.attacks.evasion.text.character_attack import CharacterAttack
from art_multimodal.attacks.evasion.text.exhaustive import ExhaustiveTextAttack
from art_multimodal.attacks.evasion.text.search import TextRecord, WordChange

__all__ = ["BertAttack", "CharacterAttack", "ExhaustiveTextAttack", "TextRecord", "WordChange"]
