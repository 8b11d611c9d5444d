"""Projected gradient descent in plain torch that shares no code with the package: what its headline is compared with.

Every image that is tried is looked at, so a sample counts as broken as soon as any of them misleads the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

#: Maps images ``[n, C, H, W]`` and the numbers of their samples to scores ``[n, K]``, differentiably.
Scores = Callable[[Tensor, Tensor], Tensor]
#: Maps scores and labels to what is raised, ``[n]``.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PlainPGD:
    """A strong attack: random restarts of three losses, on what is left.

    :param norm: ``inf`` or ``2.0``.
    :param eps: Radius of the ball.
    :param steps: Of each start.
    :param starts: Random starts of the cross-entropy and of the margin.
    :param targets: Other classes, the most likely ones, that are aimed at, with one start each.
    :param batch_size: Images per forward pass.
    """

    norm: float
    eps: float
    steps: int = 100
    starts: int = 5
    targets: int = 9
    batch_size: int = 128
    seed: int = 0

    def broken(self, scores: Scores, images: Tensor, labels: Tensor) -> Tensor:
        """Which samples some image in the ball misleads, ``[N]``."""
        generator = torch.Generator().manual_seed(self.seed)
        fallen = torch.zeros(len(images), dtype=torch.bool)
        for start in range(0, len(images), self.batch_size):
            rows = torch.arange(start, min(start + self.batch_size, len(images)))
            with torch.no_grad():
                others = scores(images[rows], rows).scatter(1, labels[rows, None], -math.inf)
            order = others.argsort(dim=1, descending=True)
            for make_loss in self._losses(order.shape[1] - 1):
                left = ~fallen[rows]
                if not left.any():
                    break
                loss = make_loss(order[left])
                fallen[rows[left]] = self._run(scores, loss, images, labels, rows[left], generator)
        return fallen

    def _losses(self, others: int) -> Iterator[Callable[[Tensor], Loss]]:
        for number in range(self.starts):
            if number < min(self.targets, others):
                yield lambda order, number=number: _towards(order[:, number])
            yield lambda order: _margin
            yield lambda order: _cross_entropy
        for number in range(self.starts, min(self.targets, others)):
            yield lambda order, number=number: _towards(order[:, number])

    def _run(
        self, scores: Scores, loss: Loss, images: Tensor, labels: Tensor, rows: Tensor, generator: torch.Generator
    ) -> Tensor:
        clean, own = images[rows], labels[rows]
        noise = torch.randn(clean.shape, generator=generator)
        moved = self._inside(clean + (noise.sign() * self.eps if self.norm == math.inf else noise), clean)
        fallen = torch.zeros(len(rows), dtype=torch.bool)
        for step in range(self.steps + 1):
            moved.requires_grad_(True)
            said = scores(moved, rows)
            fallen |= said.detach().argmax(dim=1) != own
            if step == self.steps or bool(fallen.all()):
                break
            (gradient,) = torch.autograd.grad(loss(said.double(), own).sum(), moved)
            # From the radius down to a fiftieth of it.
            length = self.eps * (0.02 + 0.98 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            with torch.no_grad():
                if self.norm == math.inf:
                    moved = moved + length * gradient.sign()
                else:
                    flat = gradient.flatten(1).double()
                    flat = flat / flat.abs().amax(dim=1, keepdim=True).clamp_min(1e-300)
                    moved = moved + length * F.normalize(flat, dim=1).view_as(gradient).to(moved.dtype)
                moved = self._inside(moved, clean)
        return fallen

    def _inside(self, moved: Tensor, clean: Tensor) -> Tensor:
        with torch.no_grad():
            if self.norm == math.inf:
                return torch.minimum(torch.maximum(moved, clean - self.eps), clean + self.eps).clamp(0, 1)
            apart = moved - clean
            length = apart.flatten(1).double().norm(dim=1).view(-1, 1, 1, 1)
            # A hair inside, so that rounding leaves nothing outside.
            return (clean + apart * (self.eps * (1 - 1e-6) / length.clamp_min(self.eps)).to(apart.dtype)).clamp(0, 1)


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(scores, labels, reduction="none")


def _margin(scores: Tensor, labels: Tensor) -> Tensor:
    own = scores.gather(1, labels[:, None])[:, 0]
    return scores.scatter(1, labels[:, None], -math.inf).amax(dim=1) - own


def _towards(targets: Tensor) -> Loss:
    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        return (scores.gather(1, targets[:, None]) - scores.gather(1, labels[:, None]))[:, 0]

    return loss


def survivors(fallen: Sequence[bool] | Tensor) -> int:
    """How many were not broken."""
    return int((~torch.as_tensor(fallen)).sum())
