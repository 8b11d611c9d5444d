"""Images made on each model, scored on every model: who is misled by whose gradients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.transfer import TransferAttack
from art_multimodal.errors import InputError
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.suite.image import inside_budget
from art_multimodal.evaluations.suite.noise import noise
from art_multimodal.functional.statistics import proportion_ci95

#: Sources that are no single model: noise of the largest size that is allowed, and of each target all other models.
NOISE, OTHERS = "noise", "all others"
_WRONG, _LEFT, _FOOLED = "-", "0", "1"

#: Makes the attack on some of the models.
MakeAttack = Callable[[Sequence[ZeroShotClassifier]], TransferAttack]


@dataclass(frozen=True)
class TransferCell:
    """What images made on a source do to a target.

    >>> cell = TransferCell("demo:digits", "demo:digits/robust", outcomes="1100-")
    >>> cell.n, cell.fooled, cell.rate
    (4, 2, 0.5)

    :param source: Name of a model, :data:`NOISE` or :data:`OTHERS`.
    :param target: Name of a model.
    :param outcomes: Of each sample a letter: ``-`` where the target was wrong before, ``1`` where it is misled, ``0``
        where it is not.
    """

    source: str
    target: str
    outcomes: str

    @property
    def white_box(self) -> bool:
        """Whether source and target are one model."""
        return self.source == self.target

    @property
    def n(self) -> int:
        """Samples that the target had right before."""
        return len(self.outcomes) - self.outcomes.count(_WRONG)

    @property
    def fooled(self) -> int:
        """Those of them that it is misled on."""
        return self.outcomes.count(_FOOLED)

    @property
    def rate(self) -> float | None:
        """The attack success rate; ``None`` without samples."""
        return self.fooled / self.n if self.n else None

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Its 95 % interval, Wilson's with continuity correction."""
        return proportion_ci95(self.fooled, self.n)

    def as_json(self) -> dict[str, Any]:
        """In JSON types, with its numbers."""
        ends = self.ci95
        return {
            "source": self.source,
            "target": self.target,
            "white_box": self.white_box,
            "n": self.n,
            "fooled": self.fooled,
            "rate": self.rate,
            "ci95": None if ends is None else list(ends),
            "outcomes": self.outcomes,
        }


@dataclass
class TransferMatrix:
    """Sources by targets.

    :param models: Names of the models.
    :param right: Of each model, which samples it has right before, ``(N,)``.
    :param cells: By source and target.
    """

    models: tuple[str, ...]
    right: Mapping[str, np.ndarray]
    cells: dict[tuple[str, str], TransferCell] = field(default_factory=dict)

    @property
    def sources(self) -> list[str]:
        """Rows in their order: noise, each model, and of three models or more all others."""
        return sources_of(self.models)

    @property
    def complete(self) -> bool:
        """Whether every cell is there."""
        return all((source, target) in self.cells for source in self.sources for target in self.models)

    def accuracy(self, model: str) -> float:
        """Share of the samples that a model has right before."""
        return float(self.right[model].mean())


def sources_of(models: Sequence[str]) -> list[str]:
    """Rows of a matrix."""
    return [NOISE, *models, *([OTHERS] if len(models) > 2 else [])]


def transfer_matrix(
    classifiers: Mapping[str, ZeroShotClassifier],
    groups: Sequence[tuple[np.ndarray, np.ndarray]],
    attack: MakeAttack,
    budget: Budget,
    seed: int = 0,
    done: Collection[TransferCell] = (),
) -> Iterator[TransferMatrix]:
    """Attack every model, and all but one, and ask every model about what comes out.

    Attacks are made on all samples, with the true labels, whoever has them right. What comes out is projected into the
    budget before it is scored. Noise is one draw at a corner of the ball, or as long as it may be.

    >>> from art_multimodal.attacks.evasion import TransferAttack
    >>> from art_multimodal.attacks.budget import Budget
    >>> robust = ZeroShotClassifier(load_model("demo:digits/robust"), digits.class_names, digits.templates)
    >>> def attack(surrogates):
    ...     return TransferAttack(surrogates, eps=8 / 255, max_iter=1, seed=0, verbose=False)
    ...
    >>> models = {"plain": classifier, "robust": robust}
    >>> for matrix in transfer_matrix(models, [(images, labels)], attack, Budget(eps=8 / 255)):
    ...     pass
    ...
    >>> isinstance(matrix, TransferMatrix), matrix.complete, matrix.cells["plain", "robust"].n
    (True, True, 8)

    :param classifiers: By name, at least two, with the same class names.
    :param groups: Images ``(N, 3, H, W)`` of one size with labels ``(N,)``; several where there are several sizes.
    :param attack: Makes it.
    :param budget: What it keeps to: norm and radius. Also how many images are asked about at once.
    :param seed: Of the noise.
    :param done: Cells that are known already, of the same samples.
    :return: The matrix, once before any attack and again after each source that was not known: one object, ever fuller.
    :raises InputError: For fewer than two models, or models with other classes than the first.
    """
    if len(classifiers) < 2:
        raise InputError("A matrix of transfer needs two models at least: from one to the other.")
    first = next(iter(classifiers.values()))
    for name, one in classifiers.items():
        if one.class_names != first.class_names:
            raise InputError(f"{name} knows other classes than the first model; a matrix is over the same ones.")
    labels = np.concatenate([y for _, y in groups]) if groups else np.zeros(0, dtype=np.int64)
    clean = [x for x, _ in groups]
    right = {name: _said(one, clean, budget) == labels for name, one in classifiers.items()}
    matrix = TransferMatrix(tuple(classifiers), right, {(one.source, one.target): one for one in done})
    yield matrix
    for source in matrix.sources:
        before = len(matrix.cells)
        for members, targets in _made_on(source, tuple(classifiers)):
            left = [target for target in targets if (source, target) not in matrix.cells]
            if not left:
                continue
            images = [
                _made(attack, [classifiers[name] for name in members], x, y, budget, (seed, number))
                for number, (x, y) in enumerate(groups)
            ]
            for target in left:
                fooled = _said(classifiers[target], images, budget) != labels
                letters = np.where(right[target], np.where(fooled, _FOOLED, _LEFT), _WRONG)
                matrix.cells[source, target] = TransferCell(source, target, "".join(letters.tolist()))
        if len(matrix.cells) > before:
            yield matrix


def _made_on(source: str, models: tuple[str, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """On which models the images of a row are made, and for which targets."""
    if source == OTHERS:
        return [(tuple(name for name in models if name != target), (target,)) for target in models]
    return [(() if source == NOISE else (source,), models)]


def _made(
    attack: MakeAttack,
    members: Sequence[ZeroShotClassifier],
    x: np.ndarray,
    y: np.ndarray,
    budget: Budget,
    seed: tuple[int, int],
) -> np.ndarray:
    if members:
        return inside_budget(attack(members).generate(x, y), x, budget)
    # An odd draw lies at a corner of the ball.
    return inside_budget(x + noise(np.random.default_rng(seed), x.shape, budget, draw=1), x, budget)


def _said(classifier: ZeroShotClassifier, images: Sequence[np.ndarray], budget: Budget) -> np.ndarray:
    parts = [classifier.predict_labels(x, batch_size=budget.batch_size) for x in images]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
