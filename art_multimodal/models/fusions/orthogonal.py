"""Late fusion with orthonormal heads, whose weights by class and modality stand apart (CRMT)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.models.fusions.fusion import FUSIONS, Fusion, modules_by_name
from art_multimodal.models.multimodal import Features

#: What weights begin at.
_START = 0.1


class Orthogonal(Fusion):
    """Scores ``h_k = sum_m a_mk s_mk + b_k`` with ``s_m = W_m x_m`` and orthonormal rows of ``W_m``.

    Directions and weights stand apart, so a margin can be raised for the modality that needs it. Rows are those of a QR
    decomposition, with signs fixed; where there are more classes than a tower's width they are unit rows, and not
    orthogonal. The published code normalises every row by itself, so that nothing is orthogonal.

    The fused vector holds ``(s_1, ..., s_M)``; what a sample lacks is zero in it.

    | Paper link: https://arxiv.org/abs/2402.06244
    """

    summary = "orthonormal heads, weighed by class and modality"
    paper = "CRMT, arXiv:2402.06244"

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__(widths, classes)
        self.directions = modules_by_name({name: _Rows(width, classes) for name, width in self.widths.items()})
        # softplus(raw) is positive, as the bound on margins needs.
        start = float(torch.log(torch.expm1(torch.tensor(_START, dtype=torch.float64))))
        self.raw = nn.Parameter(torch.full((len(self.widths), classes), start))
        self.bias = nn.Parameter(torch.zeros(classes))

    @property
    def scales(self) -> Tensor:
        """The weights ``a``, positive, ``[M, K]``."""
        return F.softplus(self.raw)

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        there = zip(self.widths, self._there(features, present), strict=True)
        return torch.cat([self.directions[name](values) for name, values in there], dim=1)

    def predict(self, fused: Tensor) -> Tensor:
        scores = fused.unflatten(1, (len(self.widths), self.classes))
        return (self.scales * scores).sum(dim=1) + self.bias

    def unimodal_scores(self, features: Features) -> dict[str, Tensor]:
        """The scores ``s_m`` of each modality, which training keeps apart from each other by their margins."""
        return {name: self.directions[name](features[name]) for name in self.widths}


class _Rows(nn.Module):
    """Multiplies by unit rows, orthonormal where there are no more than columns."""

    def __init__(self, width: int, rows: int) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.randn(width, rows) / width**0.5)

    @property
    def rows(self) -> Tensor:
        """``[K, width]``."""
        width, count = self.free.shape
        if count > width:
            return F.normalize(self.free.T, dim=1)
        # A QR decomposition is unique but for signs.
        orthonormal, upper = torch.linalg.qr(self.free)
        return (orthonormal * torch.where(upper.diagonal() < 0, -1.0, 1.0)).T

    def forward(self, values: Tensor) -> Tensor:
        return values @ self.rows.T


FUSIONS.add("orthogonal", Orthogonal)
