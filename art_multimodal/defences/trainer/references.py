"""Texts about anything: what a model understands by them is held where it was."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from art_multimodal.defences.trainer.methods import Method
from art_multimodal.defences.trainer.samples import Estimator
from art_multimodal.errors import InputError
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.language.words import english_words
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.prompts import DEFAULT_TEMPLATES
from art_multimodal.texts import as_texts


def reference_texts_of(estimator: Estimator, method: Method, given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the texts to hold a model to: those given, or English words in the templates of the classifier.

    :return: ``None`` where the method asks for none.
    :raises InputError: If the ones given cannot be used.
    """
    if not method.needs_references:
        if given is not None:
            raise InputError("This method asks for no reference texts: leave out reference_texts.")
        return None
    if given is not None:
        texts = tuple(as_texts(given))
        if not texts:
            raise InputError("reference_texts is empty. Give texts, or leave it out: English words are taken then.")
        estimator.dual_encoder.tokenize(texts)
        return texts
    templates: Sequence[str] = DEFAULT_TEMPLATES
    if isinstance(estimator, ZeroShotClassifier) and estimator.templates is not None:
        templates = estimator.templates
    # In turn, so that there are as many texts as words.
    words = sorted(english_words())
    texts = tuple(templates[n % len(templates)].replace("{}", word) for n, word in enumerate(words))
    texts = tuple(text for text in texts if _fits(estimator.dual_encoder, text))
    if not texts:
        raise InputError("No English word in the templates fits into the model's context. Give reference_texts.")
    return texts


def _fits(encoder: DualEncoder, text: str) -> bool:
    # A token is a byte at least, apart from those that begin and end a text.
    if len(text.encode()) + 4 <= encoder.context_length:
        return True
    try:
        encoder.tokenize([text])
    except InputError:
        return False
    return True


def digest_of_texts(texts: Sequence[str]) -> dict[str, Any]:
    """How many texts there are, and what is equal for equal ones."""
    digest = blake2b(repr(list(texts)).encode("utf-8", "surrogatepass"), digest_size=16)
    return {"count": len(texts), "digest": digest.hexdigest()}
