"""The worst case of an ensemble of attacks on images, on texts and on both: robust accuracy that is to be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from art.evaluations.evaluation import Evaluation
from tqdm.auto import tqdm

from art_multimodal.attacks.gradient_checks import suspicions
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.suite import ATTACKS, Budget
from art_multimodal.evaluations.suite.cascade import member_seed
from art_multimodal.evaluations.suite.entry import SAMPLES, SAMPLES_TOGETHER, task_of
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.labels import label_indices
from art_multimodal.pairs import check_images, is_pairs

#: What may be changed, in the order of evaluation.
MODALITIES = ("image", "text", "multimodal")


@dataclass(frozen=True)
class ModalityResult:
    """What is left when a modality is attacked.

    :param robust: Whether each sample was right and none of the attacks broke it, ``(N,)``.
    :param attacked: Samples that were right before: those that were attacked.
    :param broken_by: For each sample the attack that broke it; ``None`` where none did, or where it was wrong before.
    :param flags: What makes the numbers suspicious, and how many samples show it.
    """

    robust: np.ndarray
    attacked: int
    broken_by: tuple[str | None, ...]
    flags: dict[str, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.robust)

    @property
    def accuracy(self) -> float | None:
        """Robust accuracy, over all samples; ``None`` without any."""
        return float(self.robust.mean()) if self.n else None

    @property
    def accuracy_ci95(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy."""
        return proportion_ci95(int(self.robust.sum()), self.n)

    @property
    def broken_by_counts(self) -> dict[str, int]:
        """How many samples each attack broke that those before it had left; the most first."""
        return dict(Counter(name for name in self.broken_by if name is not None).most_common())

    @property
    def suspicions(self) -> list[str]:
        """Why the numbers should not be trusted, in sentences; nothing where nothing is suspicious."""
        return suspicions(self.flags, self.attacked)


@dataclass(frozen=True)
class WorstCaseResult:
    """What :class:`WorstCase` found.

    :param right: Whether each sample was right before any attack, ``(N,)``.
    :param modalities: The results of ``"image"``, ``"text"`` and ``"multimodal"``, as far as they were evaluated.
    """

    right: np.ndarray
    modalities: dict[str, ModalityResult]

    @property
    def clean_accuracy(self) -> float | None:
        """Accuracy without an attack; ``None`` without samples."""
        return float(self.right.mean()) if len(self.right) else None

    @property
    def clean_accuracy_ci95(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy without an attack."""
        return proportion_ci95(int(self.right.sum()), len(self.right))

    def __getitem__(self, modality: str) -> ModalityResult:
        return self.modalities[modality]


class WorstCase(Evaluation):
    """Robust accuracy against ensembles of attacks: a sample counts only if it was right and survives all of them.

    The ensembles are ``worst_image``, ``worst_text`` and ``worst_multimodal`` of the registry. What falls to an attack
    on images alone or on texts alone falls to one on both, so the multimodal accuracy is never above the others.

    Equal seeds give equal results, whatever the batch size of the budget. Images of one shape are taken; of several,
    evaluate each by itself.

    >>> from art_multimodal.attacks.budget import Budget
    >>> worst = WorstCase(fusion, Budget(max_queries=10), modalities=["text"], verbose=False)
    >>> result = worst.evaluate(pairs[:2], answers[:2])
    >>> isinstance(result, WorstCaseResult), isinstance(result.modalities["text"], ModalityResult)
    (True, True)
    >>> result.modalities["text"].accuracy <= result.clean_accuracy
    True
    """

    def __init__(
        self,
        estimator: ZeroShotClassifier | FusionClassifier,
        budget: Budget | None = None,
        modalities: Sequence[str] = MODALITIES,
        seed: int = 0,
        verbose: bool = True,
    ) -> None:
        """Prepare the attacks, so that settings that cannot be used are found before any work.

        :param estimator: A classifier of images, whose texts are the class prompts, or one of pairs.
        :param budget: What an attack may spend; ``Budget()`` by default. At least 50 gradient steps are taken.
        :param modalities: What is attacked; ``"multimodal"`` brings the two others along.
        :param seed: Of all random numbers, at least 0.
        :param verbose: Show a progress bar.
        :raises InputError: For unknown modalities, or another estimator.
        """
        if not getattr(estimator, "classifies", False):
            raise InputError(
                f"WorstCase evaluates classifiers of images or of pairs, not a {type(estimator).__name__}."
            )
        if task_of(estimator) == SAMPLES:
            raise InputError(
                "WorstCase evaluates classifiers of images or of pairs. On other modalities use SingleSource, or an "
                "audit with attacks='worst'."
            )
        if isinstance(modalities, str) or not modalities or not set(modalities) <= set(MODALITIES):
            raise InputError(f"modalities must be some of {', '.join(MODALITIES)}, in a tuple, not {modalities!r}.")
        if seed < 0:
            raise InputError(f"The seed must be at least 0, not {seed}.")
        self.estimator = estimator
        self.budget = budget or Budget()
        self.seed = seed
        self.verbose = verbose
        names = {f"worst_{modality}" for modality in modalities}
        names |= {other for name in names for other in ATTACKS[name].goes_on_after}
        self.modalities = tuple(modality for modality in MODALITIES if f"worst_{modality}" in names)
        self._runs = {
            modality: ATTACKS[f"worst_{modality}"].prepare(estimator, self.budget) for modality in self.modalities
        }

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> WorstCaseResult:
        """Attack the samples that are right, batch by batch.

        :param x: Images ``(N, 3, H, W)`` in [0, 1], or pairs ``(N,)``.
        :param y: Labels, as indices or one-hot rows.
        :raises InputError: For samples or labels that cannot be used.
        """
        if self.estimator.texts_are_prompts and not is_pairs(x):
            x = check_images(x)
        labels = label_indices(y, self.estimator.nb_classes, len(x))
        if labels is None:
            raise InputError("Labels are needed: one per sample.")
        size = self.budget.batch_size
        right = self.estimator.predict_labels(x, batch_size=size) == labels
        broken_by: dict[str, list[str | None]] = {modality: [None] * len(x) for modality in self.modalities}
        flags: dict[str, Counter[str]] = {modality: Counter() for modality in self.modalities}
        # By their place: what is drawn for samples depends neither on the batch size nor on which others are right.
        starts = range(0, len(x), SAMPLES_TOGETHER)
        for batch, start in enumerate(tqdm(starts, desc="Worst case", disable=not self.verbose)):
            rows = start + np.flatnonzero(right[start : start + SAMPLES_TOGETHER])
            for modality in self.modalities:
                fallen = broken_by[modality]
                after = ATTACKS[f"worst_{modality}"].goes_on_after
                before = [other for other in self.modalities if f"worst_{other}" in after]
                for row in rows:
                    fallen[row] = next((broken_by[other][row] for other in before if broken_by[other][row]), None)
                left = np.array([row for row in rows if fallen[row] is None], dtype=np.int64)
                if not len(left):
                    continue
                attacked = self._runs[modality](x[left], labels[left], member_seed(self.seed, f"{modality} {batch}"))
                for row, detail in zip(left, attacked.details, strict=True):
                    fallen[row] = detail.broken_by
                flags[modality].update(attacked.flags)
        results = {
            modality: ModalityResult(
                right & np.array([name is None for name in broken_by[modality]], dtype=bool),
                int(right.sum()),
                tuple(broken_by[modality]),
                dict(flags[modality]),
            )
            for modality in self.modalities
        }
        return WorstCaseResult(right, results)
