"""What attacks are checked on: a tiny estimator for each task, samples, and a budget that runs in a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from art_multimodal import FusionClassifier, ImageTextRetriever, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.budget import Ball, Budget
from art_multimodal.attacks.evasion.universal.perturbation import UniversalPerturbation
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT, Attacked, AttackEntry
from art_multimodal.evaluations.suite.entry import EACH, EACH_SURROGATE
from art_multimodal.testing.comparing import ModelState
from art_multimodal.testing.tiny import TinyEncoder, TinyFusion
from art_multimodal.testing.tiny_samples import tiny_modular, tiny_samples

_TEXTS = ("a cat on a hill", "the red dog", "a cat on a hill", "two birds and a boat", "a photo of the sea")
_CLASSES = ("cat", "dog", "bird", "boat")
_SIDE, _EPS = 8, 0.1
#: Sides of images that are tried: the second where an attack needs larger ones, to write a word on for example.
SIDES = (_SIDE, 32)


@dataclass(frozen=True)
class Victim:
    """What is attacked.

    :param task: What the model is asked to do.
    :param estimator: In float64, so that results do not depend on the order of sums.
    :param x: Samples as it takes them.
    :param y: What it says of them; in retrieval places in the gallery.
    :param tower: A module that sees each image once whenever the model is asked; ``None`` where nobody counts.
    """

    task: str
    estimator: Any
    x: np.ndarray
    y: np.ndarray
    tower: nn.Module | None = None

    @property
    def text_names(self) -> list[str]:
        """Fields that hold texts."""
        return [name for name in self.x.dtype.names or () if self.x[name].dtype == object]


def _images(side: int) -> np.ndarray:
    return np.random.default_rng(0).random((len(_TEXTS), 3, side, side), dtype=np.float32)


def _zero_shot(side: int, seed: int = 0) -> Victim:
    model = TinyEncoder(side, seed=seed).double().eval()
    estimator = ZeroShotClassifier(model, _CLASSES, ("a photo of a {}.",), device_type="cpu")
    x = _images(side)
    return Victim(ZERO_SHOT, estimator, x, estimator.predict_labels(x), model.visual)


def _pairs(side: int) -> Victim:
    model = TinyFusion(side).double().eval()
    estimator = FusionClassifier(model, device_type="cpu")
    x = image_text_pairs(_images(side), list(_TEXTS))
    return Victim(PAIRS, estimator, x, estimator.predict_labels(x), model.visual)


def _samples(side: int) -> Victim:
    model = tiny_modular("consensus").double().eval()
    estimator = FusionClassifier(model, device_type="cpu")
    # A sequence that is missing is none that an attack could be checked on; an empty text is one.
    x = tiny_samples(lengths=(5, 2, 3, 1, 5), notes=(*_TEXTS[:4], ""))
    return Victim(SAMPLES, estimator, x, estimator.predict_labels(x), model.towers["rgb"])


def _retrieval(side: int) -> Victim:
    model = TinyEncoder(side).double().eval()
    estimator = ImageTextRetriever(model, device_type="cpu")
    estimator.gallery = [(f"{text}, {place}",) for place, text in enumerate(_TEXTS)]
    x = image_text_pairs(_images(side), [own[0] for own in estimator.gallery])
    return Victim(RETRIEVAL, estimator, x, np.arange(len(x)), model.visual)


#: For each task what makes a victim, with images of a side; samples of several modalities have sizes of their own.
VICTIMS: dict[str, Callable[[int], Victim]] = {
    ZERO_SHOT: _zero_shot,
    PAIRS: _pairs,
    SAMPLES: _samples,
    RETRIEVAL: _retrieval,
}


def small_budget(norm: str) -> Budget:
    """A budget for every kind of attack.

    :param norm: ``"inf"`` or ``"2"``.
    """
    eps = _EPS if norm == "inf" else 5 * _EPS
    values = np.random.default_rng(3).uniform(-_EPS, _EPS, (3, _SIDE, _SIDE)).astype(np.float32)
    return Budget(
        norm,
        eps,
        eps / 2,
        max_iter=3,
        max_queries=30,
        batch_size=4,
        balls={name: Ball(eps, eps / 2) for name in ("rgb", "audio", "lab")},
        universal=UniversalPerturbation(values, "inf", _EPS),
        surrogates={"other": _zero_shot(_SIDE, seed=1).estimator},
    )


@dataclass
class Run:
    """An attack on a victim, and what it did.

    :param entry: Of the attack; of one that there is for each modality, on one of them.
    :param victim: What is attacked.
    :param budget: What may be spent.
    """

    entry: AttackEntry
    victim: Victim
    budget: Budget
    _found: Attacked | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        estimator = self.victim.estimator
        #: The model and the attributes of the estimator before anything was asked.
        self.before = ModelState.of(estimator.model), dict(vars(estimator))

    def __str__(self) -> str:
        return f"{self.entry.name} on {self.victim.task}, norm {self.budget.norm}"

    def again(self, x: np.ndarray | None = None, y: np.ndarray | None = None, seed: int = 5, **spent: Any) -> Attacked:
        """Attack once more.

        :param spent: Parts of the budget that are others.
        """
        x = self.victim.x if x is None else x
        y = self.victim.y if y is None else y
        return self.entry.run(self.victim.estimator, x.copy(), y.copy(), replace(self.budget, **spent), seed)

    @property
    def found(self) -> Attacked:
        """What it did the first time."""
        if self._found is None:
            self._found = self.again()
        return self._found


def runs_of(entry: AttackEntry, victims: list[Victim], budgets: list[Budget]) -> list[Run]:
    """The runs that an entry allows: for each task, budget and modality that it fits."""
    runs = []
    for victim in victims:
        for budget in budgets if entry.within_radius else budgets[:1]:
            shape = victim.x.shape[1:] if not victim.x.dtype.names else victim.x[victim.x.dtype.names[0]].shape[1:]
            if victim.task != SAMPLES and not entry.applies(shape, budget):
                continue
            if entry.name.endswith(EACH):
                names = [name for name in victim.estimator.modalities if entry.fits(victim.estimator, name, budget)]
            elif entry.name.endswith(EACH_SURROGATE):
                names = list(budget.surrogates)
            else:
                runs.append(Run(entry, victim, budget))
                continue
            runs += [Run(entry.on(name), victim, budget) for name in names]
    return runs
