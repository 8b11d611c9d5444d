"""Late fusion with orthonormal heads, whose weights by class and modality stand apart (CRMT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

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

    >>> fusion = Orthogonal({"rgb": 8, "depth": 8}, classes=3)
    >>> features, there = {"rgb": torch.ones(5, 8), "depth": torch.ones(5, 8)}, torch.ones(5, dtype=torch.bool)
    >>> fused = fusion(features, {"rgb": there, "depth": there})
    >>> fusion.radius(fused, torch.zeros(5, dtype=torch.int64), constants=torch.ones(2)).shape
    torch.Size([5])
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

    def radius(self, fused: Tensor, labels: Tensor, constants: Tensor) -> Tensor:
        """The l_2 radius over all modalities together within which no change takes the answer from the label, ``[N]``.

        ``min_j gap_j / sqrt(sum_m T_m^2)``, where ``gap_j`` is the label's score less that of class ``j``, and
        ``T_m = ||a_y w_y - a_j w_j|| L_m`` (the pairwise constant, never larger than the published sum of both). It is
        negative where the answer is another one, and a certificate only where the constants are bounds.

        :param fused: Fused vectors ``[N, D]``.
        :param labels: Class indices ``[N]``.
        :param constants: Lipschitz constants ``L_m`` of the towers, ``[M]``.
        """
        return self._least(fused, labels, self._squared_constants(constants).sum(dim=0))

    def radii(self, fused: Tensor, labels: Tensor, constants: Tensor) -> Tensor:
        """The l_2 radius of each modality within which no change of it alone takes the answer from the label.

        ``r_m = min_j gap_j / T_m``. Together they bound budgets of all modalities: no change within ``eps_1, ...,
        eps_M`` takes the answer from the label where ``sum_m eps_m / r_m < 1``, since ``sum_m T_m eps_m`` is then less
        than ``gap_j`` for every class ``j``.

        :param fused: Fused vectors ``[N, D]``.
        :param labels: Class indices ``[N]``.
        :param constants: Lipschitz constants ``L_m`` of the towers, ``[M]``.
        :return: ``[N, M]``; negative where the answer is another one.
        """
        squares = self._squared_constants(constants)
        return torch.stack([self._least(fused, labels, of) for of in squares], dim=1)

    def covers(self, fused: Tensor, labels: Tensor, constants: Tensor, eps: Tensor) -> Tensor:
        """Whether no change within ``eps_1, ..., eps_M`` takes the answer from the label, booleans ``[N]``.

        ``sum_m T_m eps_m < gap_j`` for every class ``j``: all budgets for which that holds are a polytope, which is
        larger than what :meth:`radii` bound where different classes are near in different modalities.

        :param fused: Fused vectors ``[N, D]``.
        :param labels: Class indices ``[N]``.
        :param constants: Lipschitz constants ``L_m`` of the towers, ``[M]``.
        :param eps: l_2 radius of each modality, ``[M]``, 0 or more.
        """
        lengths = self._squared_constants(constants).sqrt()
        lost = (eps.to(lengths)[:, None, None] * lengths).sum(dim=0)[labels]
        scores = self.predict(fused)
        gaps = scores.gather(1, labels[:, None]) - scores
        return ((gaps > lost) | F.one_hot(labels, self.classes).bool()).all(dim=1)

    def _least(self, fused: Tensor, labels: Tensor, squares: Tensor) -> Tensor:
        """``min_j gap_j / sqrt(square_yj)``, ``[N]``.

        :param squares: Of each pair of classes, ``[K, K]``.
        """
        scores = self.predict(fused)
        gaps = scores.gather(1, labels[:, None]) - scores
        own = F.one_hot(labels, self.classes).bool()
        # Of classes that nothing tells apart, or a tower that says always the same, a number that is not 0.
        squares = squares.clamp_min(torch.finfo(squares.dtype).tiny)[labels]
        return (gaps / torch.where(own, 1.0, squares).sqrt()).masked_fill(own, float("inf")).min(dim=1).values

    def _squared_constants(self, constants: Tensor) -> Tensor:
        """``T_m^2`` of each modality and each pair of classes, ``[M, K, K]``."""
        found = []
        for number, name in enumerate(self.widths):
            weighed = self.scales[number, :, None] * cast(_Rows, self.directions[name]).rows
            gram = weighed @ weighed.T
            lengths = gram.diagonal()
            apart = (lengths[:, None] + lengths[None] - 2 * gram).clamp_min(torch.finfo(gram.dtype).tiny)
            found.append(constants[number].to(gram) ** 2 * apart)
        return torch.stack(found)


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
        # Torch has none of halves.
        orthonormal, upper = torch.linalg.qr(self.free.to(torch.promote_types(torch.float32, self.free.dtype)))
        return (orthonormal * torch.where(upper.diagonal() < 0, -1.0, 1.0)).T.to(self.free)

    def forward(self, values: Tensor) -> Tensor:
        return values @ self.rows.T


FUSIONS.add("orthogonal", Orthogonal)
