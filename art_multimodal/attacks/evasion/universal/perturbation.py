"""One perturbation for all images: what it is, at any size, and what images become with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.functional.perturbations import INF, norm_of, project
from art_multimodal.pairs import check_images

#: Longest side of one that is read, and of what it is brought to.
LARGEST_SIDE = 8192
#: A length in float32 may exceed its radius by so much: rounding of as many numbers as a large image has.
ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class UniversalPerturbation:
    """One perturbation, inside a ball, for all images.

    >>> brighter = UniversalPerturbation(np.full((3, 32, 32), 0.125, np.float32), norm="inf", eps=0.125)
    >>> brighter.length(), brighter.at(64, 64).shape, bool(brighter.applied(images).max() <= 1)
    (0.125, (3, 64, 64), True)

    :param values: Shape ``(3, H, W)``, float32, added to images in [0, 1].
    :param norm: ``"inf"`` or ``"2"``.
    :param eps: Radius of the ball, in the units of images in [0, 1].
    :param surrogates: Names of the models that it was learned on; none where that is not known.
    :param target: The text that images are to be taken for; empty where there is none.
    :param notes: What a user should know about how it was read.
    :raises InputError: If the values are no such array, or leave the ball.
    """

    values: np.ndarray
    norm: str
    eps: float
    surrogates: tuple[str, ...] = ()
    target: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        norm_of(self.norm)
        shape = self.values.shape
        if self.values.dtype != np.float32 or len(shape) != 3 or shape[0] != 3 or not all(shape):
            raise InputError(
                f"A universal perturbation has shape (3, H, W) in float32, not {shape} in {self.values.dtype}."
            )
        if max(shape) > LARGEST_SIDE:
            raise InputError(f"A universal perturbation of {shape[1]} x {shape[2]} pixels is too large.")
        if not np.isfinite(self.values).all():
            raise InputError("The universal perturbation holds NaN or infinite values.")
        if not (np.isfinite(self.eps) and self.eps >= 0):
            raise InputError(f"The eps of a universal perturbation is a finite number of at least 0, not {self.eps!r}.")
        if (length := self.length()) > self.eps * (1 + ROUNDING):
            raise InputError(
                f"The universal perturbation has the length {length:.6g} in norm {self.norm}, and says {self.eps:.6g}."
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that it was made for."""
        return self.values.shape[1], self.values.shape[2]

    def length(self, norm: str | float | None = None) -> float:
        """How far an image of its size moves at most.

        :param norm: ``inf`` or ``2``; ``None`` for its own.
        """
        values = self.values.astype(np.float64)
        return float(np.abs(values).max() if norm_of(norm or self.norm) == INF else np.sqrt((values**2).sum()))

    def at(self, height: int, width: int) -> np.ndarray:
        """The perturbation for images of another size: bilinear, then projected back into its ball; ``(3, H, W)``.

        Bilinear weights are positive and add up to 1, so that l_inf never grows; l_2 grows with the number of pixels,
        and is cut.
        """
        if (height, width) == self.size:
            return self.values
        if max(height, width) > LARGEST_SIDE:
            raise InputError(f"A universal perturbation is brought to {LARGEST_SIDE} pixels a side at most.")
        resized = F.interpolate(torch.from_numpy(self.values)[None], (height, width), mode="bilinear")
        return project(resized, norm_of(self.norm), self.eps)[0].numpy()

    def applied(self, x: np.ndarray) -> np.ndarray:
        """Images with the perturbation, in [0, 1], ``float32`` of their shape.

        :param x: Images ``(N, 3, H, W)`` in [0, 1], of any size.
        :raises InputError: For what is no such array.
        """
        x = check_images(x)
        return np.clip(x + self.at(*x.shape[2:]), 0.0, 1.0)
