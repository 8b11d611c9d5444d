"""Another name of :mod:`art_multimodal.attacks.budget`."""

from art_multimodal.moved import moved

__getattr__ = moved(__name__, "art_multimodal.attacks.budget")
