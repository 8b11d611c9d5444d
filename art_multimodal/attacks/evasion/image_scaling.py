"""The image-scaling attack: large pictures that become others where the model resizes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from torch import Tensor
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.errors import InputError
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.image_scaling import hide, least_change, price, seen, share_seen
from art_multimodal.pairs import check_images


@dataclass(frozen=True)
class ScalingRecord:
    """What it took to hide one picture in another.

    >>> from art_multimodal.attacks.evasion import ImageScalingAttack
    >>> attack = ImageScalingAttack(classifier, verbose=False)
    >>> large = np.full((1, 3, 64, 64), 0.5, np.float32)
    >>> hidden = attack.generate(large, targets=large[:, :, :32, :32])
    >>> isinstance(attack.records[0], ScalingRecord), attack.records[0].change < 1 / 255
    (True, True)

    :param change: Root mean square over all pixels of the large picture, in the units of images in [0, 1].
    :param closed_form: The same of the least change that does not mind [0, 1]: nothing smaller hides the picture.
    :param difference: Root mean square of what is hidden: the target less the resized original.
    :param share: Of the pixels of the large picture, those that the resize looks at.
    :param residual: The largest difference between what the model sees and the target.
    """

    change: float
    closed_form: float
    difference: float
    share: float
    residual: float


class ImageScalingAttack(EvasionAttack):
    """Change large pictures as little as can be, so that the model sees others once it has resized them.

    Of all changes that keep to [0, 1] and give the targets after the resize, the one of least Euclidean norm: in closed
    form, by pseudo-inverses, where that stays in [0, 1], and by the dual of the quadratic programme elsewhere; see
    :func:`~art_multimodal.functional.image_scaling.hide`. No gradient of the model is needed, only its resize, which is
    that of ``estimator.image_text_model.preprocess``: of a model as it was deployed, see
    :func:`~art_multimodal.models.resized.with_resize`.

    An antialiased resize looks at every pixel, so that a change must be as large as what it hides (:meth:`price` is 1
    or more), and everybody sees it. One that is not antialiased looks at few.

    | Paper link: https://www.usenix.org/conference/usenixsecurity19/presentation/xiao

    >>> from art_multimodal.models.resized import with_resize
    >>> deployed = ZeroShotClassifier(with_resize(load_model("demo:digits"), "opencv_linear"), digits.class_names)
    >>> attack = ImageScalingAttack(deployed, verbose=False)
    >>> large = np.full((1, 3, 128, 128), 0.5, np.float32)
    >>> hidden = attack.generate(large, targets=images[:1])
    >>> hidden.shape, attack.records[0].share < 1, attack.price(128, 128) < 1
    ((1, 3, 128, 128), True, True)
    """

    attack_params = EvasionAttack.attack_params + ["max_iter", "tolerance", "eight_bit", "verbose"]
    _estimator_requirements = (BaseEstimator, ZeroShotClassifier)

    def __init__(
        self,
        estimator: ZeroShotClassifier,
        max_iter: int = 2000,
        tolerance: float = 0.1 / 255,
        eight_bit: bool = True,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: Whose resize is attacked.
        :param max_iter: Most steps back into [0, 1].
        :param tolerance: How far a pixel that the model sees may be from the target, in units of [0, 1], before
            rounding.
        :param eight_bit: Round what comes out to 255 steps, as a file keeps it.
        :param verbose: Show a progress bar.
        """
        super().__init__(estimator=estimator)
        self.max_iter, self.tolerance = max_iter, tolerance
        self.eight_bit, self.verbose = eight_bit, verbose
        #: Of each picture of the last call of :meth:`generate`.
        self.records: list[ScalingRecord] = []
        self._check_params()

    def price(self, height: int, width: int) -> float:
        """How large a change of a picture of that size must be for each unit that it hides, as root mean squares.

        Of white noise; see :func:`~art_multimodal.functional.image_scaling.price`.
        """
        return price(self._matrices(height, width))

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return pictures, ``float32`` of the shape of ``x``, in which the targets are hidden; see :attr:`records`.

        :param x: Pictures ``(N, 3, H, W)`` in [0, 1], of another size than the model's.
        :param y: Not used.
        :param targets: (keyword) What the model is to see: ``(N, 3, h, w)`` in [0, 1], as large as the model works on,
            or ``(1, 3, h, w)``, the same for all.
        :raises InputError: For pictures that the model does not resize, and targets that are missing or of another
            size.
        """
        x = check_images(x)
        height, width = x.shape[2:]
        matrices = self._matrices(height, width)
        size = (matrices[0].shape[0], matrices[1].shape[0])
        if kwargs.get("targets") is None:
            raise InputError("Give the pictures that the model is to see: generate(x, targets=...).")
        targets = check_images(kwargs["targets"])
        if targets.shape[2:] != size or len(targets) not in (1, len(x)):
            raise InputError(
                f"targets has shape {targets.shape}, but this model makes {size[0]} x {size[1]} pixels of these "
                f"pictures: give one, or {len(x)}, of that size."
            )
        if (height, width) == tuple(self.estimator.image_text_model.image_size):
            raise InputError(f"The model takes {height} x {width} pixels as they are: nothing is resized.")
        self.records = []
        found = np.empty_like(x)
        share = share_seen(matrices)
        for row in tqdm(range(len(x)), desc="Scaling", disable=not self.verbose):
            clean = torch.from_numpy(x[row : row + 1])
            wanted = torch.from_numpy(targets[row % len(targets)][None])
            hidden = hide(clean, wanted, matrices, self.max_iter, self.tolerance).images
            hidden = (hidden * 255).round() / 255 if self.eight_bit else hidden
            found[row] = hidden[0].float().numpy()
            difference = wanted.double() - seen(clean.double(), matrices)
            self.records.append(
                ScalingRecord(
                    change=_rms(hidden - clean),
                    closed_form=_rms(least_change(difference, matrices)),
                    difference=_rms(difference),
                    share=share,
                    residual=float((seen(hidden, matrices) - wanted).abs().max()),
                )
            )
        return found

    def _matrices(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        return self.estimator.image_text_model.preprocess.matrices(height, width)

    def _check_params(self) -> None:
        check_whole_number(self, "max_iter", 0)
        if not (np.isfinite(self.tolerance) and self.tolerance > 0):
            raise ValueError(f"tolerance must be a finite number greater than 0, not {self.tolerance!r}.")


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())
