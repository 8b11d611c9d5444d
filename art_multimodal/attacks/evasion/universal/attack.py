"""Learning one perturbation, or one patch, for all images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.universal.learning import LearnedOnce
from art_multimodal.attacks.evasion.universal.patch import UniversalPatch, fitting, pasted
from art_multimodal.attacks.evasion.universal.perturbation import UniversalPerturbation
from art_multimodal.errors import InputError
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.perturbations import INF, ascent_step, norm_of, project, random_start


class UniversalPerturbationAttack(LearnedOnce):
    """One perturbation in a ball for all images, learned on unlabelled ones over an ensemble of surrogates.

    As in X-Transfer, a bandit chooses in each step on which surrogates the perturbation is to become better: see
    :class:`LearnedOnce` for losses and rewards. A step is one of steepest ascent, followed by the exact projection onto
    the ball; images are clipped to [0, 1] in front of the surrogates. The perturbation has the size of the images that
    it was learned on, and is brought to others bilinearly, inside its ball.

    As ART's ``UniversalPerturbation``, :meth:`generate` learns first if nothing was learned yet, and :attr:`noise` is
    what was learned. Equal seeds give equal perturbations. A step costs a forward and a backward pass of a batch for
    each surrogate that is chosen, and a forward pass for each image that it has not seen before.

    | Paper link: https://arxiv.org/abs/2505.05528 (X-Transfer)
    | Paper link: https://arxiv.org/abs/1610.08401 (universal perturbations)

    >>> attack = UniversalPerturbationAttack(classifier, eps=8 / 255, max_iter=3, verbose=False).fit(images)
    >>> attack.noise.shape, bool(np.abs(attack.generate(images) - images).max() <= 8 / 255 + 1e-6)
    ((3, 32, 32), True)
    """

    attack_params = LearnedOnce.attack_params + ["norm", "eps", "eps_step"]

    def __init__(
        self,
        estimator: ZeroShotClassifier,
        surrogates: Sequence[ZeroShotClassifier] | None = None,
        norm: int | float | str = np.inf,
        eps: float = 8 / 255,
        eps_step: float = 1 / 255,
        max_iter: int = 200,
        arms: int = 1,
        exploration: float = 1.0,
        loss: str = "similarity",
        target: str | None = None,
        batch_size: int = 32,
        seed: int = 0,
        surrogate_names: Sequence[str] | None = None,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: Whose images are perturbed; the only surrogate if none are given.
        :param surrogates: What the perturbation is learned on.
        :param norm: ``np.inf``, ``"inf"`` or ``2``.
        :param eps: Radius of the ball, in the units of images in [0, 1].
        :param eps_step: Length of a step.
        :param max_iter: Number of steps.
        :param arms: Surrogates that are chosen for each step.
        :param exploration: Of the bandit: weight of what is not known.
        :param loss: ``"similarity"`` of embeddings, or ``"cross_entropy"`` over the class prompts.
        :param target: What all images are to be taken for: a text, or with ``"cross_entropy"`` the name of a class;
            ``None`` for anything but what they are.
        :param batch_size: Images of a step.
        :param seed: Of the random start and of the batches.
        :param surrogate_names: Kept with the perturbation.
        :param verbose: Show a progress bar.
        """
        self.norm, self.eps, self.eps_step = norm, eps, eps_step
        #: What was learned; ``None`` before.
        self.perturbation: UniversalPerturbation | None = None
        super().__init__(
            estimator, surrogates, surrogate_names, arms, exploration, loss, target, max_iter, batch_size, seed, verbose
        )

    @property
    def noise(self) -> np.ndarray | None:
        """The values of what was learned, ``(3, H, W)``; ``None`` before."""
        return None if self.perturbation is None else self.perturbation.values

    def fit(self, x: np.ndarray) -> UniversalPerturbationAttack:
        """Learn the perturbation on unlabelled images ``(N, 3, H, W)`` in [0, 1].

        :raises InputError: For what is no such array, or a target that a surrogate does not know.
        """
        values = self.learn(x)[0].numpy()
        name = "inf" if norm_of(self.norm) == INF else "2"
        # Rounded to float32 once more in the file: the radius holds up to that.
        self.perturbation = UniversalPerturbation(
            values, name, float(self.eps), self.surrogate_names, self.target or ""
        )
        return self

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Images with the perturbation, ``float32`` of the shape of ``x``; it is learned on them if none was before.

        :param x: Images ``(N, 3, H, W)`` in [0, 1].
        :param y: Not used.
        :raises InputError: For what is no such array.
        """
        if self.perturbation is None:
            self.fit(x)
        assert self.perturbation is not None
        return self.perturbation.applied(x)

    def begin(self, shape: tuple[int, ...]) -> Tensor:
        # An embedding has no gradient where nothing has moved yet.
        generator = torch.Generator().manual_seed(self.seed)
        return random_start(torch.zeros(1, *shape), norm_of(self.norm), self.eps, generator)

    def changed(self, images: Tensor, learned: Tensor, draw: np.random.Generator) -> Tensor:
        return (images + learned).clamp(0, 1)

    def stepped(self, learned: Tensor, gradient: Tensor) -> Tensor:
        norm = norm_of(self.norm)
        return project(learned + ascent_step(gradient, norm, self.eps_step), norm, self.eps)

    def _check_params(self) -> None:
        norm_of(self.norm)
        if not (np.isfinite(self.eps) and self.eps > 0):
            raise ValueError(f"eps must be a finite number greater than 0, not {self.eps!r}.")
        if not (np.isfinite(self.eps_step) and self.eps_step > 0):
            raise ValueError(f"eps_step must be a finite number greater than 0, not {self.eps_step!r}.")
        super()._check_params()


class UniversalPatchAttack(LearnedOnce):
    """One patch for all images, learned to work wherever it lies and at several sizes (expectation over transforms).

    In each step the patch lies at a random place of each batch, and covers a random share of it. Surrogates, bandit and
    losses are those of :class:`UniversalPerturbationAttack`. ART's ``AdversarialPatchPyTorch`` runs on the same
    classifiers, with rotations, and knows class labels alone.

    | Paper link: https://arxiv.org/abs/1712.09665

    >>> attack = UniversalPatchAttack(classifier, side=8, max_iter=2, verbose=False).fit(images)
    >>> attack.generate(images).shape
    (8, 3, 32, 32)
    """

    attack_params = LearnedOnce.attack_params + ["side", "share_min", "share_max", "eps_step"]

    def __init__(
        self,
        estimator: ZeroShotClassifier,
        surrogates: Sequence[ZeroShotClassifier] | None = None,
        side: int = 32,
        share_min: float = 0.05,
        share_max: float = 0.15,
        eps_step: float = 8 / 255,
        max_iter: int = 200,
        arms: int = 1,
        exploration: float = 1.0,
        loss: str = "similarity",
        target: str | None = None,
        batch_size: int = 32,
        seed: int = 0,
        surrogate_names: Sequence[str] | None = None,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: As for :class:`UniversalPerturbationAttack`, like all that is not said here.
        :param surrogates: Likewise.
        :param side: Height and width of the patch as it is kept.
        :param share_min: Least share of an image that it covers in learning, in (0, 1].
        :param share_max: Largest share, in (0, 1].
        :param eps_step: How far each colour moves in a step.
        :param max_iter: Number of steps.
        :param arms: Surrogates that are chosen for each step.
        :param exploration: Of the bandit.
        :param loss: ``"similarity"`` or ``"cross_entropy"``.
        :param target: What all images are to be taken for.
        :param batch_size: Images of a step.
        :param seed: Of the first patch, of places and sizes, and of the batches.
        :param surrogate_names: Kept with the patch.
        :param verbose: Show a progress bar.
        """
        self.side, self.share_min, self.share_max, self.eps_step = side, share_min, share_max, eps_step
        #: What was learned; ``None`` before.
        self.patch: UniversalPatch | None = None
        super().__init__(
            estimator, surrogates, surrogate_names, arms, exploration, loss, target, max_iter, batch_size, seed, verbose
        )

    def fit(self, x: np.ndarray) -> UniversalPatchAttack:
        """Learn the patch on unlabelled images ``(N, 3, H, W)`` in [0, 1].

        :raises InputError: For what is no such array, or a target that a surrogate does not know.
        """
        self.patch = UniversalPatch(self.learn(x).numpy(), self.surrogate_names, self.target or "")
        return self

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Images with the patch, ``float32`` of the shape of ``x``; it is learned on them if none was before.

        :param x: Images ``(N, 3, H, W)`` in [0, 1].
        :param y: Not used.
        :param share: (keyword) Of an image that the patch covers; ``share_max`` by default.
        :param place: (keyword) Row and column of its corner in all images; drawn by default.
        :raises InputError: For images or a place that cannot be used.
        """
        if self.patch is None:
            self.fit(x)
        assert self.patch is not None
        return self.patch.applied(x, kwargs.get("share", self.share_max), self.seed, kwargs.get("place"))

    def begin(self, shape: tuple[int, ...]) -> Tensor:
        # Already now, not in some step: the largest must fit.
        fitting(self.share_max, (self.side, self.side), shape[1:])
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(3, self.side, self.side, generator=generator)

    def changed(self, images: Tensor, learned: Tensor, draw: np.random.Generator) -> Tensor:
        share = float(draw.uniform(self.share_min, self.share_max))
        side = fitting(share, tuple(learned.shape[1:]), tuple(images.shape[2:]))
        room = [whole - own + 1 for whole, own in zip(images.shape[2:], side, strict=True)]
        row, column = (int(place) for place in draw.integers(0, room))
        return pasted(images, learned, side, (row, column))

    def stepped(self, learned: Tensor, gradient: Tensor) -> Tensor:
        return (learned + self.eps_step * gradient.sign()).clamp(0, 1)

    def _check_params(self) -> None:
        check_whole_number(self, "side", 1)
        if not 0 < self.share_min <= self.share_max <= 1:
            raise ValueError(
                f"share_min and share_max must be shares with 0 < share_min <= share_max <= 1, not {self.share_min!r} "
                f"and {self.share_max!r}."
            )
        if not (np.isfinite(self.eps_step) and self.eps_step > 0):
            raise ValueError(f"eps_step must be a finite number greater than 0, not {self.eps_step!r}.")
        super()._check_params()


def random_perturbation(like: UniversalPerturbation, seed: int) -> UniversalPerturbation:
    """Noise that goes as far as a universal perturbation may: what that has to beat.

    A corner of the l_inf ball, or a random direction of length eps.

    >>> from art_multimodal.attacks.evasion.universal import UniversalPerturbation
    >>> like = UniversalPerturbation(np.zeros((3, 32, 32), np.float32), norm="inf", eps=0.25)
    >>> np.unique(np.abs(random_perturbation(like, seed=0).values)).tolist()
    [0.25]
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(1, *like.values.shape, generator=generator)
    norm = norm_of(like.norm)
    values = like.eps * drawn.sign() if norm == INF else project(drawn * 1e6, norm, like.eps)
    if not like.values.size:
        raise InputError("There is no perturbation to compare with.")
    return UniversalPerturbation(values[0].numpy(), like.norm, like.eps)
