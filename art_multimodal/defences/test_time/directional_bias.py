"""Directional bias-guided defence (DBD)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.defences.test_time.contract import (
    Passes,
    TestTimeDefence,
    drawn,
    entropies,
    number_between,
    whole_number,
)
from art_multimodal.defences.test_time.views import cropped, resized
from art_multimodal.estimators.test_time import BareModel

#: Crops and noises, each a random one; scales, mirror images, shades, qualities and filters are the same for all.
CROPS, NOISES = 8, (0.02, 0.04, 0.06, 0.08)
SCALES, BITS, QUALITIES = (0.75, 0.5), (2, 3, 4, 5), (30, 50, 70, 90)
GAUSSIANS, MEANS, MEDIANS = (0.5, 0.75, 1.0, 1.5), (3, 5), (3, 5)
VIEWS = CROPS + 1 + sum(map(len, (NOISES, SCALES, BITS, QUALITIES, GAUSSIANS, MEANS, MEDIANS)))


class DirectionalBiasDefence(TestTimeDefence):
    """Move the embedding along the direction in which transformations of the image move it (DBD).

    With unit embeddings ``f_0`` of the image and ``f_i`` of the ``kept`` transformed images with the lowest entropies,
    ``d`` is the mean of ``f_i - f_0`` and the DB-score the mean cosine of ``f_i - f_0`` and ``d``. The embedding
    becomes ``f_0 + d`` where the score is at most ``threshold``, and ``f_0 + amplification * d`` above it: embeddings
    of attacked images move together, back to where they came from.

    The sources give 31 transformations in three domains (space, pixels, frequencies), 16 of them kept, and do not list
    them. Chosen here: 8 random crops of at least half the area, a mirror image and two scales; 2 to 5 bits, JPEG at 4
    qualities and 4 strengths of noise; 4 Gaussian, 2 mean and 2 median filters. Embeddings have unit length.

    As far as we know it was published without an attack that knows of it.

    | Paper link: https://arxiv.org/abs/2606.06186

    >>> defended = classifier.with_test_time_defence(DirectionalBiasDefence(kept=8))
    >>> defended.predict(images[:2]).shape, DirectionalBiasDefence().passes().forward
    ((2, 10), 32)
    """

    defence_params = ["kept", "threshold", "amplification", *TestTimeDefence.defence_params]
    random = True
    has_alarm = True

    def __init__(
        self,
        kept: int = 16,
        threshold: float = 0.8,
        amplification: float = 2.5,
        seed: int = 0,
        draws: int = 1,
        gradient: str = "unrolled",
        softness: float = 0.5,
    ) -> None:
        """
        :param kept: How many of the 31 transformed images count.
        :param threshold: DB-score above which an image counts as attacked.
        :param amplification: How much further its embedding is moved then.
        """
        super().__init__(seed, draws, gradient, softness)
        self.kept, self.threshold, self.amplification = kept, threshold, amplification
        self._check_params()

    def passes(self) -> Passes:
        return Passes(VIEWS + 1)

    def one_answer(
        self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        own, shift, score = self._bias(bare, images, classes, generators)
        amplified = self.above(score, self.threshold, 1 - self.threshold)[:, None]
        moved = own + shift * (1 + (self.amplification - 1) * amplified)
        return bare.logits(moved, classes)

    def alarm(self, bare: BareModel, images: Tensor, classes: Tensor) -> Tensor:
        return self._bias(bare, images, classes, self.generators(images))[2] - self.threshold

    def _bias(
        self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The unit embedding ``[N, D]``, the mean shift of those that are kept ``[N, D]``, and the DB-score ``[N]``."""
        views = [self.transformed(images, view(images).clamp(0, 1)) for view in self._views(generators)]
        features = F.normalize(bare.embed(torch.cat([images, *views])), dim=-1).unflatten(0, (-1, len(images)))
        logits = torch.stack([bare.logits(one, classes) for one in features[1:]], dim=1)
        weights = self.lowest(entropies(logits), self.kept) / self.kept
        shifts = (features[1:] - features[:1]).transpose(0, 1)
        shift = (weights[:, :, None] * shifts).sum(dim=1)
        score = (weights * F.cosine_similarity(shifts, shift[:, None], dim=-1)).sum(dim=1)
        return features[0], shift, score

    def _views(self, generators: Sequence[torch.Generator]) -> list[Callable[[Tensor], Tensor]]:
        found: list[Callable[[Tensor], Tensor]] = [
            *(partial(cropped, smallest=0.5, generators=generators) for _ in range(CROPS)),
            lambda images: images.flip(-1),
            *(partial(_scaled, share=share) for share in SCALES),
            *(partial(self._shades, bits=bits) for bits in BITS),
            *(partial(_jpeg, quality=quality) for quality in QUALITIES),
            *(partial(_noisy, sigma=sigma, generators=generators) for sigma in NOISES),
            *(partial(_gaussian, sigma=sigma) for sigma in GAUSSIANS),
            *(partial(_mean, side=side) for side in MEANS),
            *(partial(_median, side=side) for side in MEDIANS),
        ]
        return found

    def _shades(self, images: Tensor, bits: int) -> Tensor:
        """Colours in so many bits; the stand-in for rounding is the identity."""
        levels = 2**bits - 1
        return self.soft((images * levels).round() / levels, lambda: images)

    def _check_params(self) -> None:
        super()._check_params()
        whole_number(self, "kept", 1, VIEWS)
        number_between(self, "threshold", -1, 1 - 1e-6)
        number_between(self, "amplification", 0, 100)


def _scaled(images: Tensor, share: float) -> Tensor:
    height, width = images.shape[-2:]
    small = resized(images, max(1, round(share * height)), max(1, round(share * width)))
    return resized(small, height, width)


def _noisy(images: Tensor, sigma: float, generators: Sequence[torch.Generator]) -> Tensor:
    return images + sigma * drawn(generators, images, normal=True)


def _jpeg(images: Tensor, quality: int) -> Tensor:
    from art_multimodal.defences.with_gradient import JpegCompressionWithGradient
    from art_multimodal.estimators.straight_through import straight_through

    return straight_through(JpegCompressionWithGradient(quality=quality, clip_values=(0.0, 1.0), channels_first=True))(
        images
    )


def _filtered(images: Tensor, weights: Tensor) -> Tensor:
    """Images under the same filter ``[k]`` along both axes; beyond the border the last pixel goes on."""
    side, channels = len(weights), images.shape[1]
    half = side // 2
    images = F.pad(images, (half, half, half, half), mode="replicate")
    across = weights.to(images).view(1, 1, 1, side).expand(channels, 1, 1, side)
    return F.conv2d(F.conv2d(images, across, groups=channels), across.transpose(2, 3), groups=channels)


def _gaussian(images: Tensor, sigma: float) -> Tensor:
    half = max(1, round(2.5 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-half, half + 1, dtype=torch.float64) / sigma) ** 2)
    return _filtered(images, weights / weights.sum())


def _mean(images: Tensor, side: int) -> Tensor:
    return _filtered(images, torch.full((side,), 1 / side, dtype=torch.float64))


def _median(images: Tensor, side: int) -> Tensor:
    half = side // 2
    padded = F.pad(images, (half, half, half, half), mode="replicate")
    windows = padded.unfold(2, side, 1).unfold(3, side, 1).flatten(4)
    return windows.median(dim=-1).values
