"""What runs an attack on an array of samples: one of the suite by its name, or an attack of ART as it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.universal import UniversalPerturbation
from art_multimodal.errors import InputError, noting, unknown_name
from art_multimodal.estimators.answers import AnsweringClassifier
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.evaluations.audit.passes import goes_on_after
from art_multimodal.evaluations.audit.radii import within_a_radius
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.work import seed_of
from art_multimodal.evaluations.budget_settings import settings
from art_multimodal.evaluations.suite import SAMPLES, ZERO_SHOT, AttackEntry, PreparedAttack, entry_of
from art_multimodal.evaluations.suite.entry import task_of
from art_multimodal.evaluations.suite.image import inside_budget
from art_multimodal.evaluations.suite.selection import selected
from art_multimodal.images import image_array
from art_multimodal.shown import brief

#: Of a zero-shot classifier these change class prompts, too, besides all attacks on text and on both.
ON_PROMPTS = ("worst_text", "worst_multimodal", "decoupling_guided", "decoupling_exhaustive")


@dataclass(frozen=True)
class Ran:
    """What an attack made of some samples.

    :param x: The samples afterwards, in their order.
    :param labels: What the classifier says of them.
    :param attacked: On which it was run.
    :param seed: That it was drawn from.
    """

    x: np.ndarray
    labels: np.ndarray
    attacked: np.ndarray
    seed: int


class Runner(ABC):
    """Runs an attack on a classifier.

    :param classifier: What is attacked.
    :param name: Of the attack.
    :param seed: Of all random numbers.
    """

    #: The ball that samples stay in; ``None`` where the budget is no radius.
    norm: str | None = None
    eps: float | dict[str, float] | None = None

    def __init__(self, classifier: Any, name: str, seed: int, batch_size: int) -> None:
        self.classifier, self.name, self.seed, self.batch_size = classifier, name, seed, batch_size

    def labels(self, x: np.ndarray) -> np.ndarray:
        """What the classifier says of samples, ``(N,)``."""
        if hasattr(self.classifier, "predict_labels"):
            return self.classifier.predict_labels(x, batch_size=self.batch_size)
        return finite_labels(np.asarray(self.classifier.predict(x, batch_size=self.batch_size)))

    def run(
        self, x: np.ndarray, y: np.ndarray, said: np.ndarray, shape: tuple[int, ...], number: int, group: int
    ) -> Ran:
        """Attack those samples of an array that are right.

        :param x: Samples of one shape.
        :param y: Their labels ``(N,)``.
        :param said: What the classifier says of them before.
        :param shape: Of each.
        :param number: Of the group of samples that are attacked together, and of those of this shape among them: an
            audit draws the same seed from the two.
        """
        seed = seed_of(self.seed, self.name, number, group)
        rows = np.flatnonzero(self.to_attack(said == y, shape))
        after, labels = x.copy(), said.copy()
        if len(rows):
            with noting(f"in the attack {self.name}"):
                after[rows], labels[rows] = self.attacked(x[rows], y[rows], number, group)
        return Ran(after, labels, np.isin(np.arange(len(x)), rows), seed)

    def to_attack(self, right: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Which samples are attacked, ``(N,)``: those that are right."""
        return right

    @abstractmethod
    def attacked(self, x: np.ndarray, y: np.ndarray, number: int, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples after the attack, and what the classifier says of them."""


class SuiteRunner(Runner):
    """Runs an attack of the suite as an audit does.

    :param budget: As options of an audit: ``eps``, ``norm``, ``steps``, ...
    :param surrogates: Models that attackers have of their own, by name, for ``transfer@NAME``.
    :param universal: One perturbation for all images, for ``universal``.
    :raises InputError: For a name or a budget that cannot be used, or an attack that the classifier does not allow.
    """

    def __init__(
        self,
        classifier: Any,
        name: str,
        seed: int,
        batch_size: int,
        budget: Mapping[str, Any],
        surrogates: Mapping[str, Any] | None = None,
        universal: UniversalPerturbation | None = None,
    ) -> None:
        super().__init__(classifier, name, seed, batch_size)
        if not hasattr(classifier, "texts_are_prompts") or not classifier.classifies:
            raise InputError(
                f"{brief(name)} by its name is made on a ZeroShotClassifier, FusionClassifier or AnsweringClassifier, "
                f"not on {type(classifier).__name__}. Give an attack of ART instead, such as "
                "AutoProjectedGradientDescent(classifier, eps=...)."
            )
        self.task = task_of(classifier)
        self.budget = _budget(classifier, self.task, budget, batch_size)
        self.budget = replace(self.budget, surrogates=dict(surrogates or {}), universal=universal)
        self._ready: dict[str, PreparedAttack] = {}
        # Whether a function answers with scores is known when it has been asked.
        if not isinstance(classifier, AnsweringClassifier):
            self._prepare()
        if within_a_radius([name], self.budget) if "@" in name else entry_of(name).within_radius:
            self.norm, self.eps = self.budget.norm, self._radius()

    def _radius(self) -> float | dict[str, float]:
        if self.task != SAMPLES:
            return float(self.budget.eps)
        alone = self.name.partition("@")[2]
        return {name: float(ball.eps) for name, ball in self.budget.balls.items() if alone in ("", name)}

    def _prepare(self) -> dict[str, PreparedAttack]:
        """The attack, behind those that it goes on after."""
        if not self._ready:
            entry_of(self.name)
            chosen = selected(self.name, self.classifier.nb_classes, self.task, self.classifier, self.budget).names
            if self.name not in chosen:
                raise InputError(f"{self.name} names several attacks: give one of {', '.join(chosen)}.")
            if self.task == ZERO_SHOT and changes_prompts(entry_of(self.name)):
                raise _of_prompts(self.name)
            names = (*goes_on_after(self.name, chosen), self.name)
            self._ready = {one: entry_of(one).prepare(self.classifier, self.budget) for one in names}
        return self._ready

    def to_attack(self, right: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        entry = entry_of(self.name)
        if not entry.applies(shape, self.budget):
            return np.zeros_like(right)
        return np.ones_like(right) if entry.of_everyone else right

    def attacked(self, x: np.ndarray, y: np.ndarray, number: int, group: int) -> tuple[np.ndarray, np.ndarray]:
        after, labels = x.copy(), y.copy()
        for name, prepared in self._prepare().items():
            # What this one goes on after is run on all; it has what those before left standing.
            rows = np.flatnonzero(labels == y) if name == self.name else np.arange(len(x))
            if not len(rows):
                continue
            found = prepared(x[rows], y[rows], seed_of(self.seed, name, number, group))
            if found.prompts is not None and not self._are_own(found.prompts):
                raise _of_prompts(self.name)
            assert found.labels is not None
            new = (labels[rows] == y[rows]) & ((found.labels != y[rows]) | (name == self.name))
            after[rows[new]], labels[rows[new]] = found.x[new], found.labels[new]
        return after, labels

    def _are_own(self, prompts: np.ndarray) -> bool:
        """Whether prompts ``(N, K)`` are those of the classifier."""
        own = [tuple(of) for of in self.classifier.prompts]
        return all([(one,) if isinstance(one, str) else tuple(one) for one in row] == own for row in prompts)


class ArtRunner(Runner):
    """Runs an attack of ART on images, and keeps what comes back in [0, 1] and in the ball that the attack names.

    :param attack: Not targeted; on a classifier of images.
    :raises InputError: For a targeted one.
    """

    def __init__(self, attack: EvasionAttack, seed: int, batch_size: int) -> None:
        super().__init__(attack.estimator, type(attack).__name__, seed, batch_size)
        if getattr(attack, "targeted", False):
            raise InputError(
                f"{self.name} is targeted, and the targets of a data set are the truth: make it with targeted=False."
            )
        self.attack = attack
        eps, norm = getattr(attack, "eps", None), getattr(attack, "norm", None)
        if isinstance(eps, int | float) and norm in (np.inf, "inf", 2):
            self.norm, self.eps = ("2" if norm == 2 else "inf"), float(eps)

    def attacked(self, x: np.ndarray, y: np.ndarray, number: int, group: int) -> tuple[np.ndarray, np.ndarray]:
        with global_seed(seed_of(self.seed, self.name, number, group)):
            rows = np.eye(self.classifier.nb_classes, dtype=np.float32)[y]
            found = image_array(self.attack.generate(x.copy(), rows))
        if found.shape != x.shape:
            raise InputError(f"{self.name} made images of shape {found.shape} of {x.shape}: it is no attack on images.")
        if self.norm is not None and isinstance(self.eps, float):
            found = inside_budget(found, x, Budget(norm=self.norm, eps=self.eps))
        found = np.clip(np.where(np.isfinite(found), found, x), 0, 1)
        return found, self.labels(found)


def _budget(classifier: Any, task: str, given: Mapping[str, Any], batch_size: int) -> Budget:
    """The budget of an audit with these options."""
    known = settings()
    for name in given:
        if name not in known:
            raise unknown_name("part of a budget", name, known)
    asked = AuditSettings(type(classifier).__name__, "a data set of MAITE", batch_size=batch_size, **given)
    if task != SAMPLES:
        asked = asked.for_task(task)
    return asked.budget((), classifier.modalities if task == SAMPLES else {})


def changes_prompts(entry: AttackEntry) -> bool:
    """Whether an attack on a zero-shot classifier changes the prompts of classes, which no data set holds."""
    return entry.modality in ("text", "multimodal") or entry.name in ON_PROMPTS


def _of_prompts(name: str) -> InputError:
    return InputError(
        f"{name} changes the prompts of classes, which no sample of a data set holds. Use attacks on images, such as "
        "pgd, apgd, square or worst_image; or audit it: art-multimodal audit."
    )
