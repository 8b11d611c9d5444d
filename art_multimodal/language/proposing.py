"""The masked language models that are in use: each is loaded once, whoever asks it for words."""

from __future__ import annotations

from functools import lru_cache

from art_multimodal.language.masked_language_model import MaskedLanguageModel, load_masked_language_model
from art_multimodal.shown import shown


@lru_cache(maxsize=2)
def language_model(name: str) -> MaskedLanguageModel:
    """A masked language model, loaded once: what it proposes for a text is kept with it.

    :param name: As for ``load_masked_language_model``.
    """
    return load_masked_language_model(name)


def notes_on_words(name: str) -> tuple[str, ...]:
    """What a reader of results must know about how the language model that proposes words was loaded."""
    return tuple(f"the language model {shown(name)}: {note}" for note in language_model(name).notes)
