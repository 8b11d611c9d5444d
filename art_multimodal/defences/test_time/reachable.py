"""The exact worst case of a coarse grid: every picture that an attacker can make the model see is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
import torch
from torch import Tensor

from art_multimodal.defences.test_time.coarse_grid import CoarseGrid
from art_multimodal.errors import InputError
from art_multimodal.estimators.zero_shot import ZeroShotClassifier

#: Brightness that rounding may add to a cell's, and how far an answer must be ahead to count as one, in logits.
ROUNDING, AHEAD = 1e-6, 1e-4


@dataclass(frozen=True)
class ReachableAnswers:
    """What an attacker within ``eps`` can make of the answers to images behind a :class:`CoarseGrid`.

    >>> from art_multimodal.defences.test_time import CoarseGrid
    >>> defended = classifier.with_test_time_defence(CoarseGrid(side=8, levels=2))
    >>> found = reachable_answers(defended, images, eps=2 / 255, max_queries=512)
    >>> isinstance(found, ReachableAnswers), bool((found.certified(labels) <= found.attacked(labels)).all())
    (True, True)

    :param labels: Answers to the images themselves, ``[N]``.
    :param pictures: How many pictures the model can be made to see of each, ``[N]``.
    :param complete: Whether all of them were asked for, ``[N]``.
    :param stable: Whether that gave the same answer each time, ``[N]``: no attack within ``eps`` changes it.
    :param misled: Whether an image with another answer was found, ``[N]``.
    :param x: Such images, and else the images as they were, ``[N, C, H, W]``.
    """

    labels: np.ndarray
    pictures: np.ndarray
    complete: np.ndarray
    stable: np.ndarray
    misled: np.ndarray
    x: np.ndarray

    def certified(self, y: np.ndarray) -> np.ndarray:
        """Which samples are right whatever an attacker does, ``[N]``: their share bounds accuracy from below."""
        return self.stable & (self.labels == y)

    def attacked(self, y: np.ndarray) -> np.ndarray:
        """Which samples nobody has misled yet, ``[N]``: their share bounds accuracy from above."""
        return ~self.misled & (self.labels == y)


@torch.no_grad()
def reachable_answers(
    classifier: ZeroShotClassifier,
    x: np.ndarray,
    eps: float,
    max_queries: int = 4096,
    restarts: int = 2,
    batch_size: int = 256,
    seed: int = 0,
) -> ReachableAnswers:
    """Ask a classifier behind a :class:`CoarseGrid` for all pictures that an l_inf ball around images can lead to.

    Where they are more than ``max_queries``, the picture is searched instead that the answer is worst at: of all
    single cells that can change the one that costs most is changed, until none does, from the image and from random
    pictures. Such a search misleads or proves nothing.

    >>> from art_multimodal.defences.test_time import CoarseGrid
    >>> defended = classifier.with_test_time_defence(CoarseGrid(side=8, levels=2))
    >>> found = reachable_answers(defended, images, eps=2 / 255, max_queries=512)
    >>> bool((defended.predict_labels(found.x) != found.labels)[found.misled].all())
    True

    :param x: Images ``[N, C, H, W]`` in [0, 1].
    :param eps: Radius of the l_inf ball, in the units of images.
    :param max_queries: Largest number of pictures of an image that are all asked for.
    :param restarts: Random pictures that a search begins with, besides the image's own.
    :param batch_size: Pictures in a forward pass.
    :param seed: Of the random pictures.
    :raises InputError: If the classifier has another defence, eps is not between 0 and 1, or max_queries below 1.
    """
    defence = classifier.test_time_defence
    if not isinstance(defence, CoarseGrid):
        raise InputError("Only what a CoarseGrid shows can be counted: give a classifier with this test_time_defence.")
    if not 0 <= eps <= 1:
        raise InputError(f"eps must be a number from 0 to 1, not {eps!r}.")
    if max_queries < 1:
        raise InputError(f"max_queries must be at least 1, not {max_queries!r}.")
    images = torch.as_tensor(x, dtype=torch.float32)
    answers = classifier.predict_labels(x, batch_size=batch_size)
    found = []
    for row, (image, label) in enumerate(zip(images, answers, strict=True)):
        ball = _Ball(classifier, defence, image[None], eps, batch_size)
        complete = ball.pictures <= max_queries
        tried = ball.all_pictures() if complete else ball.searched(int(label), restarts, seed + row)
        holds, bad = _looked_at(ball, tried, int(label))
        changed = images[row : row + 1] if bad is None else ball.image_of(bad)
        misled = bad is not None and int(classifier.predict_labels(changed.numpy())[0]) != label
        found.append((ball.pictures, complete, complete and holds, misled, changed[0] if misled else image))
    pictures, complete_, stable, misled_, changed_ = zip(*found, strict=True)
    as_numbers = (np.array(pictures), np.array(complete_), np.array(stable), np.array(misled_))
    return ReachableAnswers(answers, *as_numbers, torch.stack(changed_).numpy())


class _Ball:
    """What the grid can show of the images around one, ``[1, C, H, W]``."""

    def __init__(
        self, classifier: ZeroShotClassifier, defence: CoarseGrid, image: Tensor, eps: float, batch_size: int
    ) -> None:
        self.head, self.defence, self.image, self.batch_size = classifier.model.head, defence, image, batch_size
        self.device, self.classes = classifier.device, classifier.model.head.class_features()
        self.low, self.high = (image - eps).clamp(0, 1), (image + eps).clamp(0, 1)
        steps = defence.levels - 1
        self.own, low, high = (defence.brightness(of)[0] * steps for of in (image, self.low, self.high))
        self.least = defence.grey_of(low - steps * ROUNDING).flatten()
        self.most = defence.grey_of(high + steps * ROUNDING).flatten()
        self.greys = defence.grey_of(self.own).flatten()
        self.reach = low.flatten(), high.flatten()
        self.open = (self.most > self.least).nonzero().flatten()
        self.pictures = float((self.most - self.least + 1).double().prod())

    def all_pictures(self) -> Iterator[Tensor]:
        """All greys ``[B, side * side]`` that can be reached, in batches."""
        choices = product(*(range(int(self.least[cell]), int(self.most[cell]) + 1) for cell in self.open))
        while some := list(islice(choices, self.batch_size)):
            greys = self.greys.repeat(len(some), 1)
            greys[:, self.open] = torch.tensor(some, dtype=greys.dtype).view(len(some), len(self.open))
            yield greys

    def searched(self, label: int, restarts: int, seed: int) -> Iterator[Tensor]:
        """What searches end with, ``[1, side * side]``, each as soon as one does."""
        generator = torch.Generator().manual_seed(seed)
        for start in range(restarts + 1):
            greys = self.greys.clone()
            if start:
                share = torch.rand(greys.shape, generator=generator)
                greys = self.least + (share * (self.most - self.least + 1)).floor()
            ahead = float(self.ahead(greys[None], label))
            while ahead > 0:
                cells = [(c, g) for c in self.open for g in range(int(self.least[c]), int(self.most[c]) + 1)]
                others = greys.repeat(len(cells), 1)
                for row, (cell, grey) in enumerate(cells):
                    others[row, cell] = grey
                margins = self.ahead(others, label)
                if float(margins.min()) >= ahead:
                    break
                greys, ahead = others[margins.argmin()], float(margins.min())
            yield greys[None]

    def ahead(self, greys: Tensor, label: int) -> Tensor:
        """How far a label is ahead of all others where the model sees these greys, ``[B]``, in logits."""
        side, bare = self.defence.side, self.head.bare
        found = []
        for some in greys.split(self.batch_size):
            seen = self.defence.picture(some.view(-1, side, side), self.image).to(self.device)
            logits = bare.logits(bare.embed(seen), self.classes).float().cpu()
            own = logits[:, label].clone()
            logits[:, label] = -torch.inf
            found.append(own - logits.max(dim=1).values)
        return torch.cat(found)

    def image_of(self, greys: Tensor) -> Tensor:
        """An image of the ball whose cells have these greys, ``[side * side]``, as near to it as the middle of each."""
        side, low, high = self.defence.side, *self.reach
        aim = (torch.maximum(low, greys - 0.5) + torch.minimum(high, greys + 0.5)) / 2
        own = self.own.flatten()
        aim = torch.where(greys == self.greys, own, aim)
        tiny = torch.finfo(own.dtype).tiny
        up = ((aim - own) / (high - own).clamp_min(tiny)).clamp(0, 1).view(side, side)
        down = ((own - aim) / (own - low).clamp_min(tiny)).clamp(0, 1).view(side, side)
        rows, columns = (self.defence.cells_of(size) for size in self.image.shape[-2:])
        up, down = (share[rows][:, columns] for share in (up, down))
        changed: Tensor = self.image + up * (self.high - self.image) + down * (self.low - self.image)
        # Sums of rounded numbers may pass the ball's border by a rounding.
        return torch.minimum(torch.maximum(changed, self.low), self.high)


def _looked_at(ball: _Ball, tried: Iterator[Tensor], label: int) -> tuple[bool, Tensor | None]:
    """Whether a label is ahead in all pictures, and the first where it is not, if another one is."""
    holds = True
    for greys in tried:
        ahead = ball.ahead(greys, label)
        holds = holds and bool((ahead > AHEAD).all())
        if float(ahead.min()) < 0:
            return False, greys[ahead.argmin()]
    return holds, None
