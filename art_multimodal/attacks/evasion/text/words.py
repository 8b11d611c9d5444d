"""Another name of :mod:`art_multimodal.language.words`."""

from art_multimodal.language.words import ProtectedWords

__all__ = ["ProtectedWords"]
