"""Projected gradient descent on several modalities at once, each within a budget of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from torch import Tensor
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.image_ascent import CLASS_LOSSES, Unsaturated, class_loss, own_generators
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.functional.losses import embedding_l2
from art_multimodal.functional.perturbations import ascent_step, norm_of, random_start, within_budget
from art_multimodal.labels import label_indices
from art_multimodal.sample_arrays import fields_of, samples

LOSSES = (*CLASS_LOSSES, "fused")


class ProjectedGradientDescentMultimodal(EvasionAttack):
    """PGD over the product of balls: all named modalities take a step at once, each in its own norm and units.

    The budget is a guarantee: every modality lies within its ``eps`` and its ``clip_values``, up to one rounding of
    float32. What is not named, what is behind the length of a sequence, and what a sample lacks stay as
    they are. With ``norm=inf`` and without random starts it takes the steps that ART's PGD takes on
    :meth:`FusionClassifier.packed_view`. Random starts belong to a sample: they depend neither on ``batch_size`` nor on
    what stands beside it.

    | Paper link: https://arxiv.org/abs/1706.06083 (PGD)
    """

    attack_params = EvasionAttack.attack_params + [
        "eps",
        "norm",
        "eps_step",
        "max_iter",
        "loss",
        "targeted",
        "num_random_init",
        "batch_size",
        "seed",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, FusionClassifier)

    def __init__(
        self,
        estimator: FusionClassifier,
        eps: Mapping[str, float],
        norm: Mapping[str, float | str] | float | str = np.inf,
        eps_step: Mapping[str, float] | None = None,
        max_iter: int = 10,
        loss: str = "cross_entropy",
        targeted: bool = False,
        num_random_init: int = 1,
        batch_size: int = 32,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier to attack.
        :param eps: Radius of the ball of each modality that is attacked, by name, in its own units.
        :param norm: ``np.inf``, ``"inf"`` or ``2``, for all or by name.
        :param eps_step: Length of a step of each, by name; default: a quarter of ``eps``.
        :param max_iter: Number of steps; one forward and one backward pass each.
        :param loss: What is raised: ``"cross_entropy"``, ``"margin"`` (the best other score less the label's), or
            ``"fused"``, the squared distance of the fused vector from the clean one (labels are not used then).
        :param targeted: Lower the loss of the given labels instead; not with ``"fused"``.
        :param num_random_init: 0 starts at the clean samples; otherwise the number of random starts. Of several the one
            with the largest loss is returned, for each sample.
        :param batch_size: Samples per forward pass.
        :param seed: Of the random starts; ``None`` draws a new one in every call.
        :param verbose: Show a progress bar.
        :raises InputError: For a modality that the model does not have, or that holds texts.
        """
        super().__init__(estimator=estimator)
        self.eps = eps
        self.norm = norm
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.loss = loss
        self._targeted = targeted
        self.num_random_init = num_random_init
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return adversarial samples ``(N,)``.

        :param x: Samples ``(N,)`` of the classifier.
        :param y: Labels as indices or one-hot rows: the true ones, or the wanted ones when targeted. Without them the
            model's own predictions are used.
        :raises InputError: For samples or labels that cannot be used.
        """
        x = self.estimator.checked(x)
        labels = label_indices(y, self.estimator.nb_classes, len(x))
        if labels is None:
            if self.targeted:
                raise ValueError("A targeted attack needs the wanted labels in `y`.")
            labels = self.estimator.predict(x, batch_size=self.batch_size).argmax(axis=1)
        modalities = self.estimator.modalities
        found: dict[str, list[np.ndarray]] = {name: [] for name in self.eps}
        for start in tqdm(range(0, len(x), self.batch_size), desc="PGD", disable=not self.verbose):
            rows = slice(start, start + self.batch_size)
            attacked = self._attack_batch(x[rows], labels[rows])
            for name, values in attacked.items():
                found[name].append(values)
        if not len(x):
            return x.copy()
        fields = fields_of(x)
        for name, parts in found.items():
            values, own = np.concatenate(parts), modalities[name].values(x[name])
            gone = modalities[name].missing(x[name]).reshape(-1, *[1] * (own.ndim - 1))
            fields[name] = modalities[name].with_values(x[name], np.where(gone, own, values))
        return samples(**fields)

    def _attack_batch(self, x: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        asking = self.estimator.asking(self.batch_size)
        fields, modalities = asking.fields(x), asking.modalities
        held = {
            name: asking.see_field(name, fields[name]) if one.numeric else asking.see_texts(name, fields[name])
            for name, one in modalities.items()
            if name not in self.eps
        }
        lengths = {
            name: torch.from_numpy(np.array(modalities[name].lengths(fields[name]))).to(asking.device)
            for name in self.eps
            if modalities[name].variable
        }
        clean = {
            name: torch.from_numpy(np.ascontiguousarray(modalities[name].values(fields[name]))).to(asking.device)
            for name in self.eps
        }
        wanted = torch.from_numpy(labels).to(asking.device)

        def fused(parts: dict[str, Tensor]) -> Tensor:
            seen = {
                name: asking.see(name, asking.through_defences(name, part), lengths.get(name))
                for name, part in parts.items()
            }
            return asking.fused({**held, **seen})

        with torch.no_grad():
            reference = fused(clean)
        scale = Unsaturated(wanted, reference.dtype)

        def raised(parts: dict[str, Tensor]) -> Tensor:
            moved = fused(parts)
            if self.loss == "fused":
                return embedding_l2(reference, moved)
            scores = asking.scores(moved)
            scores = scale(scores) if self.loss == "cross_entropy" else scores
            return class_loss(self.loss, scores, wanted, self.targeted)

        ball = _Ball(self, clean, {name: _within(part, lengths.get(name)) for name, part in clean.items()})
        kept, most = dict(clean), torch.full((len(x),), -torch.inf, device=asking.device)
        for number in range(max(1, self.num_random_init)):
            last = self._ascend(ball, raised, self._starts(ball, number))
            if self.num_random_init > 1:
                with torch.no_grad():
                    values = raised(last).to(most)
                better = values > most
                most = torch.where(better, values, most)
                for name, part in last.items():
                    kept[name] = torch.where(better.reshape(-1, *[1] * (part.ndim - 1)), part, kept[name])
            else:
                kept = last
        return {name: part.cpu().numpy() for name, part in kept.items()}

    def _ascend(self, ball: _Ball, raised: Any, current: dict[str, Tensor]) -> dict[str, Tensor]:
        for _ in range(self.max_iter):
            parts = {name: part.detach().requires_grad_(True) for name, part in current.items()}
            total = raised(parts).sum()
            gradients = torch.autograd.grad(total, list(parts.values()), allow_unused=True)
            moved = {}
            for (name, part), gradient in zip(parts.items(), gradients, strict=True):
                step = torch.zeros_like(part) if gradient is None else gradient
                moved[name] = part.detach() + ascent_step(step, self.norm_of(name), self._step(name))
            current = {name: ball.inside(name, part) for name, part in moved.items()}
        return current

    def _starts(self, ball: _Ball, number: int) -> dict[str, Tensor]:
        if not self.num_random_init:
            return dict(ball.clean)
        started = {}
        for place, (name, clean) in enumerate(ball.clean.items()):
            seed = None if self.seed is None else (self.seed, number, place)
            generators = own_generators(seed, clean.cpu().numpy())
            deltas = [
                random_start(one[None], self.norm_of(name), self.eps[name], generator)
                for one, generator in zip(clean, generators, strict=True)
            ]
            started[name] = ball.inside(name, clean + torch.cat(deltas) * ball.within[name])
        return started

    def norm_of(self, name: str) -> float:
        """The norm of a modality's ball: ``inf`` or ``2.0``."""
        return norm_of(self.norm[name] if isinstance(self.norm, Mapping) else self.norm)

    def _step(self, name: str) -> float:
        return self.eps[name] / 4 if self.eps_step is None else self.eps_step[name]

    def _check_params(self) -> None:
        if not isinstance(self.eps, Mapping) or not self.eps:
            raise InputError(
                f"eps names the modalities that are attacked: {{'rgb': 2/255, ...}}, not {self.eps!r:.80}."
            )
        for what, given in (("eps_step", self.eps_step), ("norm", self.norm)):
            if isinstance(given, Mapping) and given.keys() != self.eps.keys():
                raise InputError(f"{what} must name the same modalities as eps: {', '.join(self.eps)}.")
        for name, eps in self.eps.items():
            self.estimator.numeric_modality(name)
            norm_of(self.norm_of(name))
            if not (np.isfinite(eps) and eps >= 0):
                raise ValueError(f"eps of {name} must be a finite number of at least 0, not {eps!r}.")
            if not (np.isfinite(self._step(name)) and self._step(name) >= 0):
                raise ValueError(f"eps_step of {name} must be a finite number of at least 0, not {self._step(name)!r}.")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.")
        if self.loss == "fused" and (self.targeted or not self.num_random_init):
            raise ValueError(
                "loss='fused' has no wanted label and no gradient at the clean samples: untargeted, with at least one "
                "random start."
            )
        for whole, least in (("max_iter", 0), ("num_random_init", 0), ("batch_size", 1)):
            check_whole_number(self, whole, least)


class _Ball:
    """The product of the balls around a batch of samples.

    :param attack: Has the radii and norms.
    :param clean: What changes, as it is in the samples: numbers ``[N, *shape]`` by name.
    :param within: Where it may: 1 within the length of a sequence, 0 behind it, shaped to broadcast.
    """

    def __init__(
        self, attack: ProjectedGradientDescentMultimodal, clean: dict[str, Tensor], within: dict[str, Tensor]
    ) -> None:
        self.attack, self.clean, self.within = attack, clean, within

    def inside(self, name: str, part: Tensor) -> Tensor:
        """Within the ball and the clip values; behind the length of a sequence as it was."""
        attack, clean = self.attack, self.clean[name]
        low, high = (torch.as_tensor(bound).to(part) for bound in attack.estimator.modalities[name].clip_values)
        moved = within_budget(part, clean, attack.norm_of(name), attack.eps[name], low, high)
        return torch.where(self.within[name] > 0, moved, clean)


def _within(clean: Tensor, lengths: Tensor | None) -> Tensor:
    """1 within the length of sequences and 0 behind it, or 1 everywhere, shaped to broadcast."""
    ones = [1] * (clean.ndim - 1)
    if lengths is None:
        return torch.ones((len(clean), *ones), device=clean.device)
    steps = torch.arange(clean.shape[1], device=clean.device) < lengths[:, None]
    return steps.to(clean.dtype).reshape(*steps.shape, *ones[1:])
