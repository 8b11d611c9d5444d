"""A family of models: ``pooled:SIDE``, a dual encoder on pixels that are averaged to SIDE x SIDE, and words that are
taken for bags of letters; untrained until it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.family import FAMILIES, Family
from art_multimodal.models.loading import MODEL_SOURCES
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.models.source import ModelSource
from art_multimodal.models.weight_files import fill_exactly, write_weights

NAME, _SIZE, _WIDTH, _WEIGHTS = "pooled", 32, 32, "model.safetensors"


class Pooled(DualEncoder):
    """Two linear towers.

    :param side: Of the grid that pixels are averaged to.
    """

    family = NAME

    def __init__(self, side: int) -> None:
        super().__init__(ImagePreprocessing((_SIZE, _SIZE), (0.5,) * 3, (0.25,) * 3), context_length=64)
        self.side = side
        self.of_images = nn.Linear(3 * side * side, _WIDTH)
        self.of_texts = nn.Embedding(128, _WIDTH, padding_idx=0)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "side": self.side}

    def image_tower(self, images: Tensor) -> Tensor:
        return self.of_images(adaptive_avg_pool2d(images, self.side).flatten(1))

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.of_texts(tokens).sum(dim=1)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        tokens = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in enumerate(texts):
            letters = [1 + ord(letter) % 127 for letter in text][:length]
            tokens[row, : len(letters)] = torch.tensor(letters)
        return tokens


def _made(side: str) -> Pooled:
    if not (side.isascii() and side.isdigit() and 1 <= int(side) <= _SIZE):
        raise InputError(f"{NAME}:SIDE takes a whole number from 1 to {_SIZE}, such as {NAME}:4, not {side!r:.40}.")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Pooled(int(side)).eval()


def _save(model: Pooled, folder: Path) -> None:
    write_weights(model, folder / _WEIGHTS)


def _load(folder: Path, facts: Mapping[str, Any]) -> Pooled:
    model = _made(str(facts["side"]))
    fill_exactly(model, folder / _WEIGHTS, "the model")
    return model.eval()


FAMILIES.add(NAME, Family(lambda model: {"side": model.side}, _save, _load))
MODEL_SOURCES.add(NAME, ModelSource(f"{NAME}:SIDE", "averaged pixels against letters, untrained", _made))
