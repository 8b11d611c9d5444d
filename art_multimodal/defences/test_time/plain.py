"""Plain baselines: random resize and pad, a vote over random views, and purification by denoising."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.defences.test_time.contract import Passes, TestTimeDefence, drawn, number_between, whole_number
from art_multimodal.defences.test_time.views import cropped, resized_and_padded
from art_multimodal.estimators.test_time import BareModel


class RandomResizePad(TestTimeDefence):
    """Shrink the image to a random size and put it at a random place of a canvas of the mean colour.

    Chosen here: the paper enlarges images of 299 pixels to between 310 and 331; a model's own resize would undo that,
    so the canvas is as large as the image, and the image smaller.

    | Paper link: https://arxiv.org/abs/1711.01991

    >>> defended = classifier.with_test_time_defence(RandomResizePad(smallest=0.9, draws=2))
    >>> bool((defended.predict(images) == defended.predict(images)).all())
    True
    """

    defence_params = ["smallest", *TestTimeDefence.defence_params]
    random = True

    def __init__(
        self, smallest: float = 0.8, seed: int = 0, draws: int = 1, gradient: str = "unrolled", softness: float = 0.5
    ) -> None:
        """
        :param smallest: Least side of the shrunken image, as a share of the side that it had.
        """
        super().__init__(seed, draws, gradient, softness)
        self.smallest = smallest
        self._check_params()

    def passes(self) -> Passes:
        return Passes(1)

    def one_answer(
        self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        fill = bare.dual_encoder.preprocess.mean.view(-1, 1, 1).to(images)
        changed = torch.stack(
            [
                resized_and_padded(image, self.smallest, fill, generator)
                for image, generator in zip(images, generators, strict=True)
            ]
        )
        return bare.logits(bare.embed(self.transformed(images, changed)), classes)

    def _check_params(self) -> None:
        super()._check_params()
        number_between(self, "smallest", 0.1, 1)


class ViewVoting(TestTimeDefence):
    """Average the probabilities of the image and of random views of it: crops that are resized back, with noise.

    :class:`~art_multimodal.defences.test_time.RobustPromptTuning` without prompts and weights; the plain baseline of
    all defences with views (test-time augmentation).

    >>> defended = classifier.with_test_time_defence(ViewVoting(views=4))
    >>> defended.verdicts(images[:2], asks=3).shape
    (3, 2)
    """

    defence_params = ["views", "smallest", "sigma", *TestTimeDefence.defence_params]
    random = True

    def __init__(
        self,
        views: int = 8,
        smallest: float = 0.7,
        sigma: float = 0.03,
        seed: int = 0,
        draws: int = 1,
        gradient: str = "unrolled",
        softness: float = 0.5,
    ) -> None:
        """
        :param views: Number of views, the image itself among them.
        :param smallest: Least area of a crop, as a share of the image's.
        :param sigma: Standard deviation of the noise on each view.
        """
        super().__init__(seed, draws, gradient, softness)
        self.views, self.smallest, self.sigma = views, smallest, sigma
        self._check_params()

    def passes(self) -> Passes:
        return Passes(self.views)

    def one_answer(
        self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        logits = [bare.logits(bare.embed(images), classes)]
        for _ in range(self.views - 1):
            view = cropped(images, self.smallest, generators) + self.sigma * drawn(generators, images, normal=True)
            logits.append(bare.logits(bare.embed(self.transformed(images, view.clamp(0, 1))), classes))
        return torch.stack(logits).log_softmax(dim=-1).logsumexp(dim=0) - math.log(self.views)

    def _check_params(self) -> None:
        super()._check_params()
        whole_number(self, "views", 1, 1000)
        number_between(self, "smallest", 0.01, 1)
        number_between(self, "sigma", 0, 10)


class Purification(TestTimeDefence):
    """Denoise the image by a few gradient steps on its total variation, which asks the model nothing.

    ``x_t = x_{t-1} - step * grad(|x - x_0|^2 / 2 + strength * TV(x))`` with ``TV(x)`` the sum of
    ``sqrt(d^2 + edge^2)`` over the differences ``d`` of neighbouring pixels: the smoothed model of Rudin, Osher and
    Fatemi (1992). It stands here for purification by generative models, which the models here do not have.

    | Paper link: https://doi.org/10.1016/0167-2789(92)90242-F

    >>> defended = classifier.with_test_time_defence(Purification(strength=0.02))
    >>> bool((defended.predict(images).argmax(axis=1) == labels).mean() > 0.5)
    True
    """

    defence_params = ["strength", "max_iter", *TestTimeDefence.defence_params]
    #: Below it a difference of pixels counts as noise rather than as an edge.
    edge = 0.02

    def __init__(
        self,
        strength: float = 0.05,
        max_iter: int = 5,
        seed: int = 0,
        draws: int = 1,
        gradient: str = "unrolled",
        softness: float = 0.5,
    ) -> None:
        """
        :param strength: Weight of the total variation.
        :param max_iter: Number of steps.
        """
        super().__init__(seed, draws, gradient, softness)
        self.strength, self.max_iter = strength, max_iter
        self._check_params()

    def passes(self) -> Passes:
        return Passes(1)

    def one_answer(self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        changed = images
        # No step is longer than the curvature of the objective allows: 1 of the first term, 8 / edge of the second.
        step = 1 / (1 + 8 * self.strength / self.edge)
        for _ in range(self.max_iter):
            changed = changed - step * (changed - images + self.strength * _variation_gradient(changed, self.edge))
        return bare.logits(bare.embed(self.transformed(images, changed.clamp(0, 1))), classes)

    def _check_params(self) -> None:
        super()._check_params()
        number_between(self, "strength", 0, 100)
        whole_number(self, "max_iter", 0, 1000)


def _variation_gradient(images: Tensor, edge: float) -> Tensor:
    """The gradient of the smoothed total variation, in closed form."""
    total = torch.zeros_like(images)
    for axis in (-1, -2):
        difference = images.diff(dim=axis)
        slope = difference / (difference.square() + edge**2).sqrt()
        before, after = ((1, 0), (0, 1)) if axis == -1 else ((0, 0, 1, 0), (0, 0, 0, 1))
        total = total + F.pad(slope, before) - F.pad(slope, after)
    return total
