"""Accuracy with its interval as a metric of MAITE, alone or beside that of another run on the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from art_multimodal.errors import InputError
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.evaluations.audit.rows import accuracy_of, robustness
from art_multimodal.functional.statistics import paired_difference_ci95
from art_multimodal.interop.maite.batches import check_counts, labels_in, rows_of
from art_multimodal.shown import quoted

if TYPE_CHECKING:
    from maite.protocols import DatumMetadata, MetricMetadata


class RobustAccuracy:
    """Accuracy and its 95 % interval, as an audit computes them, as a ``Metric`` of MAITE.

    With an augmentation that attacks it is robust accuracy. It holds one label per sample, and no images.

    :param clean: Such a metric after a run without the attack. Both are then paired by the ids of samples: one that was
        wrong before is not robust, and there are a success rate and a difference, each with its interval.
    :raises InputError: If ``clean`` is something else, or is paired itself.
    """

    def __init__(self, clean: RobustAccuracy | None = None) -> None:
        if clean is not None and (not isinstance(clean, RobustAccuracy) or clean.clean is not None):
            raise InputError("clean must be a RobustAccuracy of a run without an attack, which is not paired itself.")
        self.clean: RobustAccuracy | None = clean
        self.metadata: MetricMetadata = {"id": "robust accuracy"}
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._ids: list[int | str] = []
        self._right: list[bool] = []

    def update(
        self,
        pred_batch: Sequence[ArrayLike],
        target_batch: Sequence[ArrayLike],
        metadata_batch: Sequence[DatumMetadata],
        /,
    ) -> None:
        """Take in a batch.

        :param pred_batch: For each sample a row of class scores ``(K,)``; the largest is the answer.
        :param target_batch: For each a one-hot row or probabilities ``(K,)``.
        :param metadata_batch: For each at least an ``id``.
        :raises InputError: For unequal counts, rows of different lengths, scores that are not finite, a target that
            names several classes or none.
        """
        count = check_counts(predictions=pred_batch, targets=target_batch, metadata=metadata_batch)
        if not count:
            return
        scores = rows_of(pred_batch, "predictions")
        right = finite_labels(scores) == labels_in(target_batch, scores.shape[1])
        ids = [one["id"] for one in metadata_batch]
        self._ids += ids
        self._right += right.tolist()

    def compute(self) -> dict[str, Any]:
        """The numbers so far, by the names that they have in ``report.json``.

        :return: ``n``, ``accuracy``, ``accuracy_ci95``. Paired also ``clean_accuracy``, ``clean_accuracy_ci95``,
            ``attacked`` (samples that were right before), ``attack_success_rate`` with its interval, and ``lost``, how
            much accuracy the attack takes, with the interval of the paired difference.
        :raises InputError: Before any sample; paired, if the samples are not those of the clean run.
        """
        if not self._right:
            raise InputError("No sample was seen yet: call update() first.")
        if self.clean is None:
            return accuracy_of(sum(self._right), len(self._right))
        before, after = self.clean.by_id(), self.by_id()
        if before.keys() != after.keys():
            apart = sorted(map(str, before.keys() ^ after.keys()))
            raise InputError(
                f"{len(before)} samples of the clean run and {len(after)} of this one are not the same, such as "
                f"{quoted(apart[0], 60)}: run both on the same data."
            )
        kept = [right and after[one] for one, right in before.items()]
        attacked, survived = sum(before.values()), sum(kept)
        numbers = accuracy_of(attacked, len(before))
        return {
            **robustness(survived, attacked, len(before) - attacked),
            "clean_accuracy": numbers["accuracy"],
            "clean_accuracy_ci95": numbers["accuracy_ci95"],
            "lost": (attacked - survived) / len(before),
            "lost_ci95": paired_difference_ci95(list(before.values()), kept),
        }

    def by_id(self) -> Mapping[int | str, bool]:
        """Of each sample, by its id, whether the answer was right.

        :raises InputError: If two samples have one id.
        """
        found = dict(zip(self._ids, self._right, strict=True))
        if len(found) < len(self._ids):
            names, counts = np.unique(np.array(list(map(str, self._ids))), return_counts=True)
            raise InputError(
                f"{counts.max()} samples have the id {quoted(names[counts.argmax()], 60)}: pairs need their own."
            )
        return found

    def __repr__(self) -> str:
        return f"RobustAccuracy({len(self._right)} samples{', paired' if self.clean else ''})"
