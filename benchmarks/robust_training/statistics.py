"""From cells that are right to shares with intervals, and to differences between methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from art_multimodal.functional.statistics import mean_ci95, with_runs_ci95


@dataclass(frozen=True)
class Share:
    """A share of cells that are right, or a difference of two of them, with all that its interval needs.

    :param groups: Values of images, the mean over seeds and templates: of all images ``[(N,)]``, or of those of each
        class, which count alike.
    :param seeds: Means of the training seeds; of a difference of methods with different numbers of seeds, of both.
    :param templates: Means of the templates; empty where there are none.
    :param nested: Whether an image was asked with one template alone, so that templates are clusters of images.
    :param bounds: Between which the share can lie.
    """

    groups: tuple[np.ndarray, ...]
    seeds: tuple[np.ndarray, ...]
    templates: np.ndarray
    nested: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def value(self) -> float:
        """What was measured."""
        return float(np.mean([group.mean() for group in self.groups]))

    def __sub__(self, other: Share) -> Share:
        """The difference on the same images and templates; seeds are paired where there are as many of either."""
        paired = [len(part) for part in self.seeds] == [len(part) for part in other.seeds]
        return replace(
            self,
            groups=tuple(one - two for one, two in zip(self.groups, other.groups, strict=True)),
            seeds=tuple(a - b for a, b in zip(self.seeds, other.seeds, strict=True))
            if paired
            else (*self.seeds, *other.seeds),
            templates=self.templates - other.templates,
            bounds=(-1.0, 1.0),
        )

    def estimate(self) -> dict[str, float | list[float]]:
        """What was measured with its 95 % interval: over images, widened by templates and training seeds."""
        middle = self.value
        # Classes are drawn from by themselves: lengths add up as variances do.
        ends = np.array([mean_ci95(group, self.bounds) for group in self.groups])
        lengths = ends - [[group.mean()] for group in self.groups]
        low, high = np.sqrt((lengths**2).sum(axis=0)) / len(self.groups)
        templates = [self.templates] if len(self.templates) else []
        if self.nested and templates:
            of_clusters = with_runs_ci95((middle, middle), templates, self.bounds)
            low, high, templates = max(low, middle - of_clusters[0]), max(high, of_clusters[1] - middle), []
        # Of each kind of run the deviations alone count.
        deviations = [part - part.mean() + middle for part in (*templates, *self.seeds)]
        interval = with_runs_ci95((middle - low, middle + high), deviations, self.bounds)
        return {"value": round(middle, 4), "ci95": [round(float(end), 4) for end in interval]}


def share_of(right: np.ndarray, templates: int) -> Share:
    """The share of cells that are right.

    :param right: Boolean ``[S, N, T]``: training seeds, images, templates. Or ``[S, N]``: image ``n`` in its cell with
        template ``n % T`` alone.
    :param templates: How many there are.
    """
    right = np.asarray(right, dtype=float)
    if right.ndim == 3:
        return Share((right.mean(axis=(0, 2)),), (right.mean(axis=(1, 2)),), right.mean(axis=(0, 1)))
    of_template = [right[:, number::templates].mean() for number in range(min(templates, right.shape[1]))]
    return Share((right.mean(axis=0),), (right.mean(axis=1),), np.array(of_template), nested=True)


def balanced_share(said: np.ndarray, labels: np.ndarray) -> Share:
    """Balanced accuracy: the mean over the classes of the share that is right.

    :param said: Predictions ``[S, N]``.
    """
    right = (said == labels).astype(float)
    of_classes: Sequence[np.ndarray] = [right[:, labels == label] for label in np.unique(labels)]
    seeds = np.mean([rows.mean(axis=1) for rows in of_classes], axis=0)
    return Share(tuple(rows.mean(axis=0) for rows in of_classes), (seeds,), np.array([]))
