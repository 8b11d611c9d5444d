"""Fusions in which each embedding counts as it is: concatenated, gated, multiplied, or as scores of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.models.fusions.fusion import FUSIONS, Fusion, Heads, mlp, modules_by_name
from art_multimodal.models.multimodal import Features


class Concat(Fusion):
    """Embeddings side by side, and a perceptron on them.

    >>> fusion = Concat({"rgb": 8, "depth": 4}, classes=3, hidden=16)
    >>> features, there = {"rgb": torch.ones(5, 8), "depth": torch.ones(5, 4)}, torch.ones(5, dtype=torch.bool)
    >>> fusion.predict(fusion(features, {"rgb": there, "depth": there})).shape
    torch.Size([5, 3])

    :param hidden: Width of the perceptron's hidden layer; ``0`` for none.
    """

    summary = "embeddings side by side, and a perceptron on them"

    def __init__(self, widths: Mapping[str, int], classes: int, hidden: int = 64) -> None:
        super().__init__(widths, classes)
        self.hidden = hidden
        width = sum(self.widths.values())
        self.head = mlp([width, *([_positive(hidden)] if hidden else []), classes])

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        return torch.cat(self._there(features, present), dim=1)

    def predict(self, fused: Tensor) -> Tensor:
        return self.head(fused)


class ConcatWithHeads(Concat):
    """Embeddings side by side, and heads that also predict from each modality alone (UniS-MMC).

    The heads take part in training only: which modalities are right by themselves says what the contrast between them
    pulls together. Answers are those of :class:`Concat`.

    | Paper link: https://arxiv.org/abs/2305.09299

    >>> fusion = ConcatWithHeads({"rgb": 8, "depth": 8}, classes=3)
    >>> alone = fusion.unimodal_scores({"rgb": torch.ones(5, 8), "depth": torch.ones(5, 8)})
    >>> {name: tuple(scores.shape) for name, scores in alone.items()}
    {'rgb': (5, 3), 'depth': (5, 3)}

    :param hidden: As for :class:`Concat`.
    """

    summary = "as concat, with heads on each modality for its training"
    paper = "UniS-MMC, arXiv:2305.09299"

    def __init__(self, widths: Mapping[str, int], classes: int, hidden: int = 64) -> None:
        super().__init__(widths, classes, hidden)
        self.heads = Heads(self.widths, classes)

    def unimodal_scores(self, features: Features) -> dict[str, Tensor]:
        return self.heads(features)


class Bilinear(Fusion):
    """Products of projections, a multilinear map of low rank; a modality that a sample lacks is a factor of one.

    | Paper link: https://arxiv.org/abs/1610.04325 (Hadamard product for low-rank bilinear pooling)

    >>> fusion = Bilinear({"rgb": 8, "depth": 4}, classes=3, hidden=16)
    >>> features, there = {"rgb": torch.ones(5, 8), "depth": torch.ones(5, 4)}, torch.ones(5, dtype=torch.bool)
    >>> fusion.predict(fusion(features, {"rgb": there, "depth": there})).shape
    torch.Size([5, 3])

    :param hidden: Rank: the width of every projection.
    """

    summary = "products of projections"
    paper = "arXiv:1610.04325"

    def __init__(self, widths: Mapping[str, int], classes: int, hidden: int = 64) -> None:
        super().__init__(widths, classes)
        self.hidden = _positive(hidden)
        self.factors = modules_by_name({name: nn.Linear(width, hidden) for name, width in self.widths.items()})
        self.head = nn.Linear(hidden, classes)

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        factors = [
            torch.where(present[name][:, None], torch.tanh(self.factors[name](features[name])), 1.0)
            for name in self.widths
        ]
        return torch.stack(factors).prod(dim=0)

    def predict(self, fused: Tensor) -> Tensor:
        return self.head(fused)


class Gated(Fusion):
    """Embeddings of one width, each weighed feature by feature by a gate that sees all of them.

    | Paper link: https://arxiv.org/abs/1702.01992 (gated multimodal units)

    >>> fusion = Gated({"rgb": 8, "depth": 4}, classes=3, hidden=16)
    >>> features, there = {"rgb": torch.ones(5, 8), "depth": torch.ones(5, 4)}, torch.ones(5, dtype=torch.bool)
    >>> sorted(fusion.weights(features, {"rgb": there, "depth": there}))
    ['depth', 'rgb']

    :param hidden: Width that every embedding is brought to.
    """

    summary = "embeddings weighed by gates that see all of them"
    paper = "arXiv:1702.01992"

    def __init__(self, widths: Mapping[str, int], classes: int, hidden: int = 64) -> None:
        super().__init__(widths, classes)
        self.hidden = _positive(hidden)
        self.into = modules_by_name({name: nn.Linear(width, hidden) for name, width in self.widths.items()})
        self.gates = modules_by_name({name: nn.Linear(sum(self.widths.values()), hidden) for name in self.widths})
        self.head = nn.Linear(hidden, classes)

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        gates = self._gates(features, present)
        # What is missing may be NaN, of which a gate of zero makes NaN.
        return sum(  # type: ignore[return-value]
            torch.where(present[name][:, None], gates[name] * torch.tanh(self.into[name](features[name])), 0.0)
            for name in self.widths
        )

    def predict(self, fused: Tensor) -> Tensor:
        return self.head(fused)

    def weights(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean gate of each modality, ``[N]``."""
        return {name: gate.mean(dim=1) for name, gate in self._gates(features, present).items()}

    def _gates(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        seen = torch.cat(self._there(features, present), dim=1)
        return {
            name: torch.where(present[name][:, None], torch.sigmoid(self.gates[name](seen)), 0.0)
            for name in self.widths
        }


class Late(Fusion):
    """Scores of each modality alone, and their mean over the modalities that a sample has.

    >>> fusion = Late({"rgb": 8, "depth": 4}, classes=3)
    >>> features, there = {"rgb": torch.ones(2, 8), "depth": torch.ones(2, 4)}, torch.ones(2, dtype=torch.bool)
    >>> fusion.weights(features, {"rgb": there, "depth": ~there})["rgb"].tolist()
    [1.0, 1.0]
    """

    summary = "the mean of each modality's own scores"
    weighs = True

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__(widths, classes)
        self.heads = Heads(self.widths, classes)

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        scores = torch.stack(list(self.unimodal_scores(features).values()), dim=1)
        weights = torch.stack(list(self.weights(features, present).values()), dim=1).to(scores.dtype)
        there = torch.stack([present[name] for name in self.widths], dim=1)
        return torch.where(there[:, :, None], scores * weights[:, :, None], 0.0).sum(dim=1)

    def predict(self, fused: Tensor) -> Tensor:
        return fused

    def unimodal_scores(self, features: Features) -> dict[str, Tensor]:
        return self.heads(features)

    def weights(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        counts = torch.stack([present[name] for name in self.widths]).sum(dim=0).clamp_min(1)
        return {name: present[name] / counts for name in self.widths}


def _positive(hidden: int) -> int:
    if hidden < 1:
        raise InputError(f"hidden must be at least 1, the width of the hidden layer, not {hidden}.")
    return hidden


FUSIONS.add("concat", Concat)
FUSIONS.add("gated", Gated)
FUSIONS.add("bilinear", Bilinear)
FUSIONS.add("late", Late)
FUSIONS.add("unis_mmc", ConcatWithHeads)
