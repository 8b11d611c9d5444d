"""Evasion attacks: what makes a row of one, and attacks that want more than images and labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from interop.row import Row, named
from interop.subjects import CLASSES, Subject, make_images

INF = float("inf")
#: Rounding, at the edge of a budget.
MARGIN = 1e-5
#: On the border between two answers, in scores; the right answers lead by several.
EDGE = 1e-3


def attack_row(
    name: str,
    covers: object,
    factory: Callable[[PyTorchClassifier], EvasionAttack],
    budget: tuple[float, float] | None = None,
    at_least: float = 0.6,
    count: int = 6,
    targets: bool = False,
    edge: float = 0.0,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Row:
    """A row of an attack, which has to flip answers and to stay in its budget and in [0, 1].

    :param budget: A norm and the most that a perturbation may have in it.
    :param at_least: The fraction of answers that must flip; all of them had been right. For targeted attacks, that
        must become the target.
    :param count: How many images are attacked.
    :param targets: The attack gets labels to reach.
    :param edge: What the lead of the right answer has to fall below. Above 0 for attacks that end on the border
        between two answers, where rounding decides.
    :param options: Further arguments of ``generate``.
    """

    def run(subject: Subject) -> str:
        attacked = subject.attack(factory, count, targets=targets, **(options or {}))
        done = attacked.answers == (attacked.labels + 1) % CLASSES if targets else attacked.lead < edge
        assert attacked.after.shape == attacked.before.shape
        assert attacked.after.min() >= -MARGIN
        assert attacked.after.max() <= 1 + MARGIN
        assert done.mean() >= at_least, f"{done.sum()} of {count} answers flipped"
        if budget is not None:
            assert attacked.size(budget[0]) <= budget[1] + MARGIN, f"the perturbation is {attacked.size(budget[0]):.3g}"
        return f"{done.sum()} of {count} {'reach their target' if targets else 'flip'}"

    covers = covers if isinstance(covers, tuple) else (covers,)
    return Row(name, "evasion attacks", named(*covers), run, **settings)


class Wrapper(EvasionAttack):
    """An attack that hands another one what it wants besides images and labels."""

    _estimator_requirements = ()

    def __init__(
        self, estimator: PyTorchClassifier, work: Callable[[PyTorchClassifier, np.ndarray, np.ndarray], np.ndarray]
    ) -> None:
        super().__init__(estimator=estimator)
        self.work = work

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        return self.work(self.estimator, x, y)


def wrapped(
    work: Callable[[PyTorchClassifier, np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[PyTorchClassifier], EvasionAttack]:
    """A factory of attacks that do ``work(classifier, x, y)``."""
    return lambda classifier: Wrapper(classifier, work)


def with_probabilities(classifier: PyTorchClassifier) -> PyTorchClassifier:
    """The same classifier with probabilities as predictions, which some attacks want."""
    if hasattr(classifier, "with_probabilities"):
        return classifier.with_probabilities()
    return Subject("control").classifier(probabilities=True)


def guides(classifier: PyTorchClassifier, count: int, y: np.ndarray) -> np.ndarray:
    """For each label an image that the classifier answers otherwise."""
    images, _ = make_images(24, seed=4)
    answers = classifier.predict(images).argmax(axis=1)
    return np.stack([images[answers != label][index] for index, label in enumerate(y.argmax(axis=1))])
