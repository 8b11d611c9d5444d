"""A defence of our own: the model sees a coarse grid of few greys, so that what attackers can reach can be counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from art_multimodal.defences.test_time.contract import Passes, TestTimeDefence, whole_number
from art_multimodal.defences.test_time.views import resized
from art_multimodal.errors import InputError
from art_multimodal.estimators.test_time import BareModel


class CoarseGrid(TestTimeDefence):
    """Show the model the mean brightness of ``side * side`` cells, rounded to a few greys, and nothing else.

    Other defences at test time leave the attacker a choice among images without number, and a gradient, a lucky draw or
    a threshold to find the bad ones by. This one takes the choice away:

    - A cell's brightness is a mean, so in an l_inf ball it moves by ``eps`` at the most, whatever pixels do.
    - Rounding forgets a change unless the brightness lies within ``eps`` of the border between two greys. Most cells do
      not, so they cannot change at all. The others take one of two greys, if ``eps`` is below half the distance of
      greys.
    - Cells share no pixel, so the pictures that the model can be made to see are all combinations of these, and no
      others. Often they are few enough to ask for every one: :func:`reachable_answers` does.

    The worst case is then no matter of a good attack: it is exact, for each image. Nothing is random.

    The price is detail. Colour, and everything finer than a cell, is lost for clean images, too; a model has to
    recognise what is left. The embedded digits were scanned at 8 by 8 pixels, which suits the grid. Photos do not. A
    lower resolution and fewer bits are old defences (feature squeezing); alone, unlike together, they leave no set
    that could be counted.

    It holds where ``eps`` is small beside the distance of greys, and falls where it is not: ``docs/test_time.md``.

    | Paper link: https://arxiv.org/abs/1704.01155 (feature squeezing; the counting is ours)

    >>> defence = CoarseGrid(side=8, levels=3)
    >>> defended = classifier.with_test_time_defence(defence)
    >>> bool((defended.predict(np.clip(images + 1e-4, 0, 1)).argmax(axis=1) == labels).mean() > 0.5)
    True
    """

    defence_params = ["side", "levels", *TestTimeDefence.defence_params]

    def __init__(
        self,
        side: int = 8,
        levels: int = 3,
        seed: int = 0,
        draws: int = 1,
        gradient: str = "unrolled",
        softness: float = 0.5,
    ) -> None:
        """
        :param side: Number of cells along each side of the grid. They differ by a pixel where it does not divide the
            image's side.
        :param levels: Number of greys, evenly from black to white.
        """
        super().__init__(seed, draws, gradient, softness)
        self.side, self.levels = side, levels
        self._check_params()

    def passes(self) -> Passes:
        return Passes(1)

    def one_answer(self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        scaled = self.brightness(images) * (self.levels - 1)

        def stairs() -> Tensor:
            borders = torch.arange(self.levels - 1).to(images) + 0.5
            return ((scaled[..., None] - borders) / self.softness).sigmoid().sum(dim=-1)

        greys = self.soft(self.grey_of(scaled), stairs)
        seen = self.picture(greys, images)
        return bare.logits(bare.embed(self.transformed(images, seen)), classes)

    def brightness(self, images: Tensor) -> Tensor:
        """Mean of each cell over pixels and channels, ``[N, side, side]``.

        :raises InputError: If images have fewer pixels than the grid has cells along a side.
        """
        down, across = (self._shares(size).to(images) for size in images.shape[-2:])
        return down @ images.mean(dim=1) @ across.T

    def grey_of(self, scaled: Tensor) -> Tensor:
        """Numbers of the greys, 0 to ``levels - 1``, of brightness times ``levels - 1``."""
        return (scaled + 0.5).floor().clamp(0, self.levels - 1)

    def picture(self, greys: Tensor, like: Tensor) -> Tensor:
        """What the model sees of greys ``[N, side, side]``: images as large as others, interpolated between cells."""
        fine = resized((greys / (self.levels - 1))[:, None], *like.shape[-2:])
        return fine.expand(-1, like.shape[1], -1, -1)

    def cells_of(self, size: int) -> Tensor:
        """The cell that each of so many pixels along a side belongs to.

        :raises InputError: If there are fewer pixels than cells.
        """
        if size < self.side:
            raise InputError(f"side must be at most the images' side of {size} pixels, not {self.side}.")
        return torch.arange(size) * self.side // size

    def _shares(self, size: int) -> Tensor:
        """What each pixel counts in the mean of each cell, ``[side, size]``."""
        inside = (self.cells_of(size) == torch.arange(self.side)[:, None]).double()
        return inside / inside.sum(dim=1, keepdim=True)

    def _check_params(self) -> None:
        super()._check_params()
        whole_number(self, "side", 1, 1000)
        whole_number(self, "levels", 2, 256)
