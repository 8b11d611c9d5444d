"""A tiny model over an image, a sequence, a table and a text, with random weights, and samples for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.demo.towers import PAD
from art_multimodal.modalities import image, sequence, table, text
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.sample_arrays import samples
from art_multimodal.testing.tiny import TINY_ANSWERS, fill_at_random, tiny_tokens

SIDE, STEPS, FEATURES, COLUMNS, WIDTH = 6, 5, 3, 4, 5
NOTES = ("a cat", "red", "what is this?", "a cat", "blue", "")
LENGTHS = (5, 2, 3, 1, 5, 4)


class MaskedMean(nn.Module):
    """A mean over steps, which divides by their number: no step gives NaN, as in many towers."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(FEATURES, WIDTH)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        kept = mask.unsqueeze(2).to(values.dtype)
        return (torch.tanh(self.step(values)) * kept).sum(dim=1) / kept.sum(dim=1)


class NoteTower(Tower):
    """A bag of bytes."""

    def __init__(self, modality: Modality) -> None:
        super().__init__(modality, nn.EmbeddingBag(259, WIDTH, padding_idx=PAD), WIDTH)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        return tiny_tokens(texts)


def tiny_modalities(channels: int = 3) -> list[Modality]:
    """An image ``rgb``, a sequence ``audio``, a table ``lab`` and a text ``note``."""
    low = np.linspace(-1, 0, COLUMNS, dtype=np.float32)
    return [
        image("rgb", channels, SIDE, SIDE, fill=0.4),
        sequence("audio", STEPS, FEATURES, clip_values=(-2.0, 2.0), fill=0.1),
        table("lab", COLUMNS, clip_values=(low, low + 2), fill=low + 1),
        text("note"),
    ]


def tiny_modular(fusion: str = "concat", channels: int = 3, seed: int = 0, dropout: float = 0.0) -> ModularModel:
    """A tower for each modality, and a fusion of them; in evaluation mode.

    :param fusion: A name of the registry.
    """
    rgb, audio, lab, note = tiny_modalities(channels)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(channels * SIDE**2, WIDTH), nn.Tanh(), nn.Dropout(dropout))
    columns = nn.Sequential(nn.Linear(COLUMNS, WIDTH), nn.Tanh())
    towers = [Tower(rgb, flat, WIDTH), Tower(audio, MaskedMean(), WIDTH), Tower(lab, columns, WIDTH), NoteTower(note)]
    model = ModularModel(towers, fusion, TINY_ANSWERS)
    fill_at_random(model, seed, {"towers.rgb.module.1.weight": 0.2, "towers.note.module.weight": 1.0})
    return model.eval()


def tiny_sequences(lengths: Sequence[int] = LENGTHS, seed: int = 1) -> list[np.ndarray]:
    """Random sequences of these lengths."""
    generator = np.random.default_rng(seed)
    return [generator.uniform(-1.5, 1.5, (length, FEATURES)).astype(np.float32) for length in lengths]


def tiny_samples(
    channels: int = 3,
    lengths: Sequence[int] = LENGTHS,
    notes: Sequence[str] = NOTES,
    seed: int = 0,
) -> np.ndarray:
    """Random samples, as many as there are lengths and notes."""
    generator = np.random.default_rng(seed)
    count = len(lengths)
    low = np.linspace(-1, 0, COLUMNS)
    return samples(
        rgb=generator.random((count, channels, SIDE, SIDE)),
        audio=tiny_sequences(lengths, seed + 1),
        lab=low + 2 * generator.random((count, COLUMNS)),
        note=list(notes),
    )
