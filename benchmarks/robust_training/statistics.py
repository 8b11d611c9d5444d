"""From cells that are right to shares with intervals, and to differences between methods."""

from __future__ import annotations

import numpy as np

RESAMPLES = 2000


class Resamples:
    """Draws of images, templates and training seeds, the same ones for every method: differences are paired.

    :param images: How many images there are.
    :param templates: How many templates.
    :param seeds: How many training seeds.
    """

    def __init__(self, images: int, templates: int, seeds: int, count: int = RESAMPLES, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        # The first row is what was measured: everything once.
        self.images = _counts(rng, images, count)
        self.templates = _counts(rng, templates, count)
        self.seeds = _counts(rng, seeds, count)

    def shares(self, right: np.ndarray) -> np.ndarray:
        """The share of right cells in what was measured, then in each resample.

        :param right: Boolean ``[S, N, T]``: training seeds, images, templates. Or ``[S, N]``: image ``n`` in its cell
            with template ``n % T`` alone.
        :return: ``[1 + count]``.
        """
        right = np.asarray(right, dtype=np.float32)
        if right.ndim == 3:
            of_seed = np.stack([np.einsum("bt,bt->b", self.images @ cells, self.templates) for cells in right])
            of_seed /= (self.images.sum(axis=1) * self.templates.sum(axis=1))[None]
        else:
            weights = self.images * self.templates[:, np.arange(right.shape[1]) % self.templates.shape[1]]
            of_seed = right @ weights.T / weights.sum(axis=1)
        return (self.seeds * of_seed.T).sum(axis=1) / self.seeds.sum(axis=1)


def _counts(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=count)
    return np.concatenate([np.ones((1, n)), drawn]).astype(np.float32)


def estimate(shares: np.ndarray) -> dict[str, float | list[float]]:
    """What was measured with its 95 % interval."""
    low, high = np.quantile(shares[1:], [0.025, 0.975])
    return {"value": round(float(shares[0]), 4), "ci95": [round(float(low), 4), round(float(high), 4)]}


def balanced_accuracy(said: np.ndarray, labels: np.ndarray) -> float:
    """The mean over the classes of the share that is right."""
    return float(np.mean([(said[labels == label] == label).mean() for label in np.unique(labels)]))


def balanced_shares(said: np.ndarray, labels: np.ndarray, count: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Balanced accuracy of what was measured, then of resamples of images within each class and of training seeds.

    :param said: Predictions ``[S, N]``.
    """
    rng = np.random.default_rng(seed)
    seeds = _counts(rng, len(said), count)
    right = (said == labels).astype(np.float32)
    total = np.zeros((count + 1, len(said)), dtype=np.float32)
    classes = np.unique(labels)
    for label in classes:
        rows = np.flatnonzero(labels == label)
        weights = _counts(rng, len(rows), count)
        total += weights @ right[:, rows].T / len(rows)
    return (seeds * total / len(classes)).sum(axis=1) / seeds.sum(axis=1)
