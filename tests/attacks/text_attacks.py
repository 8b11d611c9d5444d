"""What tests of text attacks share: a language model of a few words, and slow, plain ways to the same results."""

from __future__ import annotations

import functools
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from models.language_models import save_bert
from tiny import TinyEncoder, TinyFusion, TinyJointFusion
from torch.nn import functional as F

from art_multimodal import ZeroShotClassifier
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.language.masked_language_model import MaskedLanguageModel, load_masked_language_model
from art_multimodal.language.words import STOP_WORDS
from art_multimodal.pairs import image_text_pairs

#: More than the vocabulary: every word of it is a candidate everywhere.
ALL = 100
TEXTS = ("a photo of the red car", "Small boat on a hill", "the dog, like a cat!", "hill", "unlike dog of the hill")


@functools.cache
def language_model() -> MaskedLanguageModel:
    with tempfile.TemporaryDirectory() as folder:
        return load_masked_language_model(save_bert(Path(folder)))


# In double precision: what is compared are scores of one text in a batch and by itself, and which one is the largest.


def zero_shot(templates=("a photo of a {}.", "the small {} on a hill")) -> ZeroShotClassifier:
    return ZeroShotClassifier(TinyEncoder(seed=3).double().eval(), ("cat", "dog", "boat"), templates, device_type="cpu")


def fusion(joint: bool = False) -> FusionClassifier:
    return FusionClassifier((TinyJointFusion if joint else TinyFusion)(seed=5).double().eval(), device_type="cpu")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).random((count, 3, 8, 8), dtype=np.float32)


def pairs(texts=TEXTS) -> np.ndarray:
    return image_text_pairs(images(len(texts)), texts)


def kl(clean: torch.Tensor, moved: torch.Tensor) -> float:
    p, q = (F.normalize(vector.double().flatten(), dim=0).softmax(0) for vector in (clean, moved))
    return float((p * (p / q).log()).sum())


def embedding(estimator: ZeroShotClassifier | FusionClassifier, text: str, image: np.ndarray | None) -> torch.Tensor:
    """Of one text, by itself, straight from the model."""
    with torch.no_grad():
        if isinstance(estimator, ZeroShotClassifier):
            return estimator.dual_encoder.encode_text(estimator.dual_encoder.tokenize([text]))[0]
        if image is None:
            return estimator.model.encode_text(estimator.model.tokenize([text]))[0]
        return estimator.model.fuse(torch.from_numpy(image)[None], estimator.model.tokenize([text]))[0]


def spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"[A-Za-z]+", text)]


def replacements(text: str, taken: set[str]) -> dict[int, list[str]]:
    """For each free word, by its start, every text that has another word there."""
    found = {}
    for start, end in spans(text):
        word = text[start:end]
        if word.lower() not in taken:
            [candidates] = language_model().candidates([(text, start, end)], ALL)
            allowed = [c.word for c in candidates if c.word not in taken | STOP_WORDS]
            written = [w.capitalize() if word[0].isupper() else w for w in allowed if len(w) > 1]
            found[start] = [text[:start] + other + text[end:] for other in written]
    return found


def slow_best(score, text: str, taken: set[str], words: int | None) -> str:
    """The result of one change, from scores of texts one at a time; a word at a time, or all words together."""
    options = replacements(text, taken)
    masked = {start: text[:start] + "[MASK]" + text[end:] for start, end in spans(text) if start in options}
    order = sorted(options, key=lambda start: -score(masked[start]))
    groups = [[start] for start in order] if words == 1 else [order]
    for group in groups:
        candidates = [text, *(other for start in group for other in options[start])]
        best = max(candidates, key=score)
        if score(best) > score(text) + 1e-9:
            return best
    return text
