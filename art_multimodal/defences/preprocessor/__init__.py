"""Preprocessors of texts, for where ART has those of images."""

from art_multimodal.defences.preprocessor.spelling_repair import SpellingRepair
from art_multimodal.defences.preprocessor.text_preprocessor import TextPreprocessor
from art_multimodal.defences.preprocessor.unicode_normalisation import UnicodeNormalisation

__all__ = ["SpellingRepair", "TextPreprocessor", "UnicodeNormalisation"]
