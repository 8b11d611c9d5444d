"""What gradient attacks on samples share that move several modalities at once, each within a ball of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from torch import Tensor
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.image_ascent import own_generators
from art_multimodal.attacks.evasion.multimodal.raising import Look, Raised
from art_multimodal.errors import InputError
from art_multimodal.estimators.asking.fusion import FusionAsking
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.modules import frozen
from art_multimodal.functional.perturbations import ascent_step, norm_of, random_start, within_budget
from art_multimodal.sample_arrays import fields_of, samples


class AttackInBalls(EvasionAttack):
    """Base of attacks over the product of balls: all named modalities take a step at once, each in its own units.

    The budget is a guarantee: every modality lies within its ``eps`` and its ``clip_values``, up to one rounding of
    float32. What is not named, what is behind the length of a sequence, and what a sample lacks stay as they are.
    Random starts belong to a sample: they depend neither on ``batch_size`` nor on what stands beside it.

    A subclass has the parameters below and says in :meth:`raised` what grows.
    """

    attack_params = EvasionAttack.attack_params + [
        "eps",
        "eps_step",
        "max_iter",
        "num_random_init",
        "batch_size",
        "seed",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, FusionClassifier)

    eps: Mapping[str, float]
    norm: Mapping[str, float | str] | float | str = np.inf
    eps_step: Mapping[str, float] | None
    max_iter: int
    num_random_init: int
    batch_size: int
    seed: int | None
    verbose: bool

    @abstractmethod
    def raised(self, clean: Look, labels: Tensor) -> Sequence[Raised]:
        """What is raised on a batch: one thing after the other, each from every start.

        :param clean: A look at the samples before the attack.
        :param labels: Class indices ``[N]``.
        """

    def norm_of(self, name: str) -> float:
        """The norm of a modality's ball: ``inf`` or ``2.0``."""
        return norm_of(self.norm[name] if isinstance(self.norm, Mapping) else self.norm)

    def moved(self, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Samples after the attack.

        :param x: Samples ``(N,)``, checked.
        :param labels: Class indices ``(N,)``.
        """
        if not len(x):
            return x.copy()
        found: dict[str, list[np.ndarray]] = {name: [] for name in self.eps}
        for start in tqdm(range(0, len(x), self.batch_size), desc=type(self).__name__, disable=not self.verbose):
            rows = slice(start, start + self.batch_size)
            for name, values in self._attack_batch(x[rows], labels[rows]).items():
                found[name].append(values)
        fields = fields_of(x)
        for name, parts in found.items():
            modality = self.estimator.modalities[name]
            values, own = np.concatenate(parts), modality.values(x[name])
            gone = modality.missing(x[name]).reshape(-1, *[1] * (own.ndim - 1))
            fields[name] = modality.with_values(x[name], np.where(gone, own, values))
        return samples(**fields)

    def _attack_batch(self, x: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        batch = Batch(self, x)
        with torch.no_grad():
            clean = batch.look(batch.clean)
            goals = self.raised(clean, torch.from_numpy(labels).to(batch.asking.device))
        rounds = max(1, self.num_random_init) * len(goals)
        keeps = any(goal.keeps_best for goal in goals)
        best = _Best(batch.clean, len(x))
        if keeps:
            with torch.no_grad():
                best.offer(batch.clean, goals[0].harm(clean))
        for number in range(rounds):
            goal = goals[number % len(goals)]
            # Once for all steps: the passes inside find nothing left to freeze.
            with frozen(self.estimator.model):
                last = self._ascend(batch, goal, self._starts(batch, number), best if keeps else None)
            if keeps or rounds > 1:
                with torch.no_grad():
                    best.offer(last, goal.harm(batch.look(last)))
            else:
                best.parts = last
        return {name: part.cpu().numpy() for name, part in best.parts.items()}

    def _ascend(self, batch: Batch, goal: Raised, current: dict[str, Tensor], best: _Best | None) -> dict[str, Tensor]:
        for _ in range(self.max_iter):
            parts = {name: part.detach().requires_grad_(True) for name, part in current.items()}
            look = batch.look(parts)
            total = goal(look).sum()
            if best is not None:
                with torch.no_grad():
                    best.offer(current, goal.harm(look))
            gradients = torch.autograd.grad(total, list(parts.values()), allow_unused=True)
            moved = {}
            for (name, part), gradient in zip(parts.items(), gradients, strict=True):
                step = torch.zeros_like(part) if gradient is None else gradient
                moved[name] = part.detach() + ascent_step(step, self.norm_of(name), self._step(name))
            current = {name: batch.inside(name, part) for name, part in moved.items()}
        return current

    def _starts(self, batch: Batch, number: int) -> dict[str, Tensor]:
        if not self.num_random_init:
            return dict(batch.clean)
        started = {}
        for place, (name, clean) in enumerate(batch.clean.items()):
            seed = None if self.seed is None else (self.seed, number, place)
            generators = own_generators(seed, clean.cpu().numpy())
            deltas = [
                random_start(one[None], self.norm_of(name), self.eps[name], generator)
                for one, generator in zip(clean, generators, strict=True)
            ]
            started[name] = batch.inside(name, clean + torch.cat(deltas) * batch.within[name])
        return started

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
        for whole, least in (("max_iter", 0), ("num_random_init", 0), ("batch_size", 1)):
            check_whole_number(self, whole, least)


class Batch:
    """Samples under attack, and the product of the balls around them.

    :param attack: Has the radii and norms.
    :param x: Samples ``(N,)``.
    """

    def __init__(self, attack: AttackInBalls, x: np.ndarray) -> None:
        self.attack = attack
        self.asking: FusionAsking = attack.estimator.asking(attack.batch_size)
        asking, fields, modalities = self.asking, self.asking.fields(x), self.asking.modalities
        #: What the model makes of what stays.
        self.held = {
            name: asking.see_field(name, fields[name]) if one.numeric else asking.see_texts(name, fields[name])
            for name, one in modalities.items()
            if name not in attack.eps
        }
        self.lengths = {
            name: torch.from_numpy(np.array(modalities[name].lengths(fields[name]))).to(asking.device)
            for name in attack.eps
            if modalities[name].variable
        }
        #: What changes, as it is in the samples: numbers ``[N, *shape]`` by name.
        self.clean = {
            name: torch.from_numpy(np.ascontiguousarray(modalities[name].values(fields[name]))).to(asking.device)
            for name in attack.eps
        }
        #: Where it may change: 1 within the length of a sequence, 0 behind it, shaped to broadcast.
        self.within = {name: _within(part, self.lengths.get(name)) for name, part in self.clean.items()}

    def look(self, parts: Mapping[str, Tensor]) -> Look:
        """What the model makes of the samples with other numbers."""
        asking = self.asking
        seen = {
            name: asking.see(name, asking.through_defences(name, part), self.lengths.get(name))
            for name, part in parts.items()
        }
        return Look(asking, {**self.held, **seen})

    def inside(self, name: str, part: Tensor) -> Tensor:
        """Within the ball and the clip values; behind the length of a sequence as it was."""
        attack, clean = self.attack, self.clean[name]
        low, high = (torch.as_tensor(bound).to(part) for bound in self.asking.modalities[name].clip_values)
        moved = within_budget(part, clean, attack.norm_of(name), attack.eps[name], low, high)
        return torch.where(self.within[name] > 0, moved, clean)


class _Best:
    """Of each sample what did the most harm so far."""

    def __init__(self, parts: Mapping[str, Tensor], count: int) -> None:
        device = next(iter(parts.values())).device
        self.parts = dict(parts)
        self.harm = torch.full((count,), -torch.inf, dtype=torch.float64, device=device)

    def offer(self, parts: Mapping[str, Tensor], harm: Tensor) -> None:
        """Keep what does more harm than what there is."""
        better = harm.double() > self.harm
        self.harm = torch.where(better, harm.double(), self.harm)
        for name, part in parts.items():
            self.parts[name] = torch.where(better.reshape(-1, *[1] * (part.ndim - 1)), part, self.parts[name])


def _within(clean: Tensor, lengths: Tensor | None) -> Tensor:
    """1 within the length of sequences and 0 behind it, or 1 everywhere, shaped to broadcast."""
    ones = [1] * (clean.ndim - 1)
    if lengths is None:
        return torch.ones((len(clean), *ones), device=clean.device)
    steps = torch.arange(clean.shape[1], device=clean.device) < lengths[:, None]
    return steps.to(clean.dtype).reshape(*steps.shape, *ones[1:])
