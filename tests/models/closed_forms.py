"""Fusions in double precision with weights that are drawn, and what they are given."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.models.fusions import Fusion, new_fusion

WIDTHS, CLASSES, COUNT = {"a": 4, "b": 4, "c": 4}, 3, 7


def drawn(seed: int = 0, count: int = COUNT) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Embeddings in double precision, and all of them present."""
    generator = torch.Generator().manual_seed(seed)
    features = {n: torch.randn(count, w, generator=generator, dtype=torch.float64) for n, w in WIDTHS.items()}
    return features, {name: torch.ones(count, dtype=torch.bool) for name in WIDTHS}


def made(name: str, seed: int = 0, **options: object) -> Fusion:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fusion = new_fusion(name, WIDTHS, CLASSES, **options).double().eval()
        for key, weights in fusion.named_parameters():
            # The gains of an equilibrium keep it from wandering off.
            if "norm" not in key:
                torch.nn.init.normal_(weights)
    return fusion


def saying(fusion: Fusion, scores: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Let the heads of a fusion of votes say exactly these scores ``[N, K]``: they become identities."""
    for head in fusion.heads.values():  # type: ignore[union-attr, operator]
        with torch.no_grad():
            head.weight.copy_(torch.eye(CLASSES, 4))
            head.bias.zero_()
    features = {name: F.pad(of.double(), (0, 1)) for name, of in scores.items()}
    return features, {name: torch.ones(len(of), dtype=torch.bool) for name, of in scores.items()}


def answer(fusion: Fusion, features: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
    return fusion.predict(fusion(features, present))
