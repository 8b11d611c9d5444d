"""What it costs to trust each modality: one of them is attacked, and one is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.evaluations.evaluation import Evaluation
from tqdm.auto import tqdm

from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.attacks.evasion.multimodal.raising import losses_for
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.functional.statistics import paired_difference_ci95, proportion_ci95
from art_multimodal.labels import label_indices
from art_multimodal.sample_arrays import with_field

#: Makes an attack on samples in which only one modality changes.
AttackFactory = Callable[[FusionClassifier], EvasionAttack]


@dataclass(frozen=True)
class SourceResult:
    """What happens when one modality cannot be trusted.

    :param attacked: For each sample whether it is still right after all attacks on this modality alone, ``(N,)``.
    :param left_out: Whether it is right where the modality is missing and the model is told; ``None`` where the model
        takes no missing modality.
    :param removed: Whether it is right where all points of the modality are filled in and the model is not told.
    """

    attacked: np.ndarray
    left_out: np.ndarray | None
    removed: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of the samples that are right under attack."""
        return float(self.attacked.mean())

    @property
    def accuracy_ci95(self) -> tuple[float, float] | None:
        """95 % interval of :attr:`accuracy` over samples."""
        return proportion_ci95(int(self.attacked.sum()), len(self.attacked))

    @property
    def cost_of_trust(self) -> float | None:
        """Accuracy when an oracle leaves the attacked modality out, less accuracy under attack.

        Positive where the model would do better without the modality than with it attacked.
        """
        return None if self.left_out is None else float(self.left_out.mean() - self.attacked.mean())

    @property
    def cost_of_trust_ci95(self) -> tuple[float, float] | None:
        """95 % interval of :attr:`cost_of_trust` over samples, in pairs."""
        if self.left_out is None:
            return None
        return paired_difference_ci95(self.left_out.tolist(), self.attacked.tolist())


@dataclass(frozen=True)
class SingleSourceResult:
    """What :class:`SingleSource` found.

    :param clean: For each sample whether it is right, ``(N,)``.
    :param sources: By the name of the attacked modality.
    """

    clean: np.ndarray
    sources: dict[str, SourceResult]

    @property
    def worst(self) -> np.ndarray:
        """Whether each sample is right whichever single modality is attacked, ``(N,)``."""
        return np.all([source.attacked for source in self.sources.values()], axis=0)


class SingleSource(Evaluation):
    """The worst of the attacks on each modality alone, and the cost of trusting it.

    A fusion of several sensors should survive the failure of one. This attacks each modality by itself, with the others
    intact, and compares with what the model says where an oracle leaves the attacked modality out.

    | Paper link: https://arxiv.org/abs/2206.12714 (single-source attacks)

    >>> attack = SingleSource(sensors, {"pix": 0.1, "fou": 0.1}, max_iter=1, num_random_init=0, verbose=False)
    >>> result = attack.evaluate(x, y)
    >>> isinstance(result, SingleSourceResult), isinstance(result.sources["pix"], SourceResult)
    (True, True)
    >>> bool(result.worst.mean() <= result.clean.mean())
    True
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        eps: Mapping[str, float],
        attacks: Mapping[str, AttackFactory] | None = None,
        max_iter: int = 50,
        num_random_init: int = 2,
        batch_size: int = 128,
        seed: int = 0,
        verbose: bool = True,
    ) -> None:
        """
        :param classifier: The classifier of samples.
        :param eps: Radius of the l_inf ball of each modality that is attacked, by name, in its own units.
        :param attacks: Further attacks by name, each with a factory ``lambda classifier: ...`` that makes an attack on
            samples; such as change more than one modality are refused.
        :param max_iter: Steps of the gradient attacks: PGD on cross-entropy, on the margin, and on what the modality
            votes itself where the fusion weighs votes (``confidence``, ``agreement``).
        :param num_random_init: Of their random starts.
        :param batch_size: Samples per forward pass.
        :param seed: Of the random starts.
        :param verbose: Show a progress bar.
        :raises InputError: If there is no modality, or one that the model does not have or that holds texts.
        """
        if not eps:
            raise InputError("Name at least one modality: eps={'rgb': 2/255, ...}.")
        for name in eps:
            classifier.numeric_modality(name)
        self.classifier = classifier
        self.eps = dict(eps)
        self.attacks = dict(attacks or {})
        self.max_iter = max_iter
        self.num_random_init = num_random_init
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> SingleSourceResult:
        """Attack each modality alone.

        :param x: Samples ``(N,)``, at least one.
        :param y: Labels, as indices or one-hot rows.
        :raises InputError: For samples or labels that cannot be used.
        """
        x = self.classifier.checked(x)
        labels = label_indices(y, self.classifier.nb_classes, len(x))
        if labels is None or not len(x):
            raise InputError("Samples with labels are needed, at least one.")
        clean = self._right(x, labels)
        sources = {}
        for name in tqdm(self.eps, desc="Modalities", disable=not self.verbose):
            modality = self.classifier.modalities[name]
            standing = clean.copy()
            for attack in self._attacks_on(name):
                rows = np.flatnonzero(standing)
                if len(rows):
                    attacked = attack(x[rows], labels[rows])
                    self._check_alone(name, x[rows], attacked)
                    standing[rows] = self._right(attacked, labels[rows])
            left_out = None
            if self.classifier.multimodal.takes_missing:
                left_out = self._right(with_field(x, name, modality.left_out(x[name])), labels)
            everything = np.ones((len(x), *modality.point_shape(x[name])), dtype=bool)
            removed = self._right(with_field(x, name, modality.remove(x[name], everything)), labels)
            sources[name] = SourceResult(standing, left_out, removed)
        return SingleSourceResult(clean, sources)

    def _attacks_on(self, name: str) -> list[Callable[[np.ndarray, np.ndarray], np.ndarray]]:
        settings: dict[str, Any] = {"max_iter": self.max_iter, "num_random_init": self.num_random_init}
        settings |= {"batch_size": self.batch_size, "seed": self.seed, "verbose": False}
        own = [
            ProjectedGradientDescentMultimodal(self.classifier, {name: self.eps[name]}, loss=loss, **settings)
            for loss in losses_for(self.classifier.multimodal)
        ]
        further = [self.attacks[name](self.classifier)] if name in self.attacks else []
        return [attack.generate for attack in (*own, *further)]

    def _right(self, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self.classifier.predict_labels(x, batch_size=self.batch_size) == labels

    def _check_alone(self, name: str, x: np.ndarray, attacked: np.ndarray) -> None:
        for other in x.dtype.names or ():
            if other != name and not _equal(x[other], attacked[other]):
                raise InputError(f"The attack on {name} has changed {other}, too: it is no attack on a single source.")


def _equal(field: np.ndarray, other: np.ndarray) -> bool:
    if field.dtype.names:
        return all(np.array_equal(field[name], other[name]) for name in field.dtype.names)
    return np.array_equal(field, other, equal_nan=field.dtype != object)
