"""Tiny models over an image, a sequence, a table and a text, and what they say of one sample, computed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal import FusionClassifier
from art_multimodal.demo.towers import PAD
from art_multimodal.models.fusions import Equilibrium
from art_multimodal.models.multimodal import Inputs, MultimodalModel, Part
from art_multimodal.testing.tiny import TINY_ANSWERS as ANSWERS
from art_multimodal.testing.tiny import fill_at_random, tiny_tokens
from art_multimodal.testing.tiny_samples import (
    COLUMNS,
    FEATURES,
    LENGTHS,
    NOTES,
    SIDE,
    STEPS,
    WIDTH,
    MaskedMean,
    NoteTower,
)
from art_multimodal.testing.tiny_samples import tiny_modalities as modalities
from art_multimodal.testing.tiny_samples import tiny_modular as separate
from art_multimodal.testing.tiny_samples import tiny_samples as make_samples
from art_multimodal.testing.tiny_samples import tiny_sequences as sequences

__all__ = [
    "ANSWERS",
    "COLUMNS",
    "FEATURES",
    "LENGTHS",
    "MODELS",
    "NOTES",
    "OF_FUSIONS",
    "SIDE",
    "STEPS",
    "WIDTH",
    "Joint",
    "MaskedMean",
    "NoteTower",
    "by_hand",
    "classifier",
    "contracting",
    "make",
    "make_samples",
    "modalities",
    "one_hot",
    "separate",
    "sequences",
]

#: Which fusion a method of training is for, where it does not train any.
OF_FUSIONS = {
    **{name: name for name in ("qmf", "unis_mmc", "mla", "deq")},
    **{"auxiliary": "late", "crmt": "orthogonal", "mmlora": "late"},
}
#: The separate models, by the name of their fusion, and the one whose modalities meet at once.
MODELS = ("concat", "gated", "late", "joint")


class Joint(MultimodalModel):
    """All modalities meet in the first layer."""

    def __init__(self, channels: int = 3, seed: int = 0) -> None:
        super().__init__(modalities(channels), ANSWERS)
        self.rgb = nn.Linear(channels * SIDE**2, WIDTH)
        self.audio = nn.Linear(FEATURES, WIDTH)
        self.lab = nn.Linear(COLUMNS, WIDTH)
        self.note = nn.EmbeddingBag(259, WIDTH, padding_idx=PAD)
        self.answer = nn.Linear(WIDTH, len(ANSWERS))
        fill_at_random(self, seed, {"rgb.weight": 0.2, "note.weight": 1.0, "answer.weight": 1.0})

    def tokenize(self, name: str, texts: Sequence[str]) -> Tensor:
        return tiny_tokens(texts)

    def fuse(self, inputs: Inputs) -> Tensor:
        met = torch.zeros((), dtype=self.dtype)
        for name, part in inputs.items():
            met = met + torch.where(part.present[:, None], self._embedded(name, part), 0.0)
        return torch.tanh(met)

    def _embedded(self, name: str, part: Part) -> Tensor:
        if name == "rgb":
            return self.rgb(part.values.flatten(1))
        if name == "audio":
            return (self.audio(part.values) * part.mask.unsqueeze(2).to(self.dtype)).sum(dim=1)
        return getattr(self, name)(part.values)

    def predict(self, fused: Tensor) -> Tensor:
        return self.answer(fused)


def make(kind: str, channels: int = 3, seed: int = 0) -> MultimodalModel:
    return Joint(channels, seed).eval() if kind == "joint" else separate(kind, channels, seed)


def classifier(kind: str = "concat", channels: int = 3, **settings) -> FusionClassifier:
    return FusionClassifier(make(kind, channels), device_type="cpu", **settings)


def contracting(of: Equilibrium, gain: float = 0.1) -> Equilibrium:
    """The same where the layer contracts, whatever it is given: it is reached to the last bits, and soon."""
    for norm in (of.norm, *(cell.norms[2] for cell in of.cells.values())):
        nn.init.constant_(norm.weight, gain)
    return of


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(len(ANSWERS), dtype=np.float32)[labels]


def by_hand(model: MultimodalModel, sample: np.void) -> np.ndarray:
    """Scores ``(K,)`` of one sample: no batch, no padding, no view; a modality that is missing is not computed."""
    values = torch.from_numpy
    length = int(sample["audio"]["length"])
    steps = values(sample["audio"]["values"][:length].copy())
    gone = {"rgb": bool(np.isnan(sample["rgb"]).all()), "lab": bool(np.isnan(sample["lab"]).all())}
    gone |= {"audio": length == 0, "note": not sample["note"].strip()}
    pixels, columns = values(sample["rgb"].ravel().copy()), values(sample["lab"].copy())
    with torch.no_grad():
        tokens = tiny_tokens([sample["note"]])
        if isinstance(model, Joint):
            found = {"rgb": model.rgb(pixels), "lab": model.lab(columns), "note": model.note(tokens)[0]}
            found["audio"] = model.audio(steps).sum(dim=0)
            met = sum(found[name] for name in found if not gone[name])
            return model.answer(torch.tanh(met)).numpy()
        towers = {name: tower.module for name, tower in model.towers.items()}
        found = {
            "rgb": torch.tanh(towers["rgb"][1](pixels)),
            "audio": torch.tanh(towers["audio"].step(steps)).mean(dim=0),
            "lab": torch.tanh(towers["lab"][0](columns)),
            "note": towers["note"](tokens)[0],
        }
        there = [name for name in found if not gone[name]]
        fusion, kind = model.fusion, type(model.fusion).__name__
        if kind == "Late":
            return torch.stack([fusion.heads[name](found[name]) for name in there]).mean(dim=0).numpy()
        seen = torch.cat([found[name] if name in there else torch.zeros(WIDTH) for name in found])
        if kind == "Concat":
            return fusion.head(seen).numpy()
        gated = [torch.sigmoid(fusion.gates[n](seen)) * torch.tanh(fusion.into[n](found[n])) for n in there]
        return fusion.head(torch.stack(gated).sum(dim=0)).numpy()
