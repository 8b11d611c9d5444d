"""Shapes by day and by night, drawn from a model whose Bayes rule is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import logsumexp, softmax

from art_multimodal.datasets.source import LabelledSamples
from art_multimodal.demo.night import NIGHT, SHAPES, SIZE
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.sample_arrays import samples

#: Of each split the seed, and how many samples it has.
SPLITS = {"train": (1, 2000), "test": (0, 1000)}


@dataclass(frozen=True, eq=False)
class Scenes:
    """A generator of samples, and the rule that no classifier of them beats.

    A label, a *condition* (light, heat) and a sign for each channel are drawn: whether the object is brighter than the
    ground in it, or darker; in the thermal channel, warmer or colder. A pixel counts ``levels`` photons, each of which
    arrives with a probability that depends on where the pixel lies, and the pixel's value is the share that arrives:

    =========  =========================  ====================================
    sensor     on the ground              on the object
    =========  =========================  ====================================
    rgb        ``0.1 + 0.4 light``        that ``± 0.24 light²``, each channel
    thermal    ``0.5``                    that ``± heat``
    =========  =========================  ====================================

    So values are exact steps of ``1 / levels`` in [0, 1], nothing is ever clipped, and every value can occur under
    every label. All methods that take samples work on values between the steps, too, such as those of an attack: the
    logarithms of the probabilities are linear in them.

    >>> templates = np.zeros((2, 8, 8), dtype=bool)
    >>> templates[0, 2:6, 2:6] = templates[1, ::2] = True
    >>> scenes = Scenes(templates, levels=255, conditions=np.array([[1.0, 0.3, 1.0]]))
    >>> drawn, labels, _ = scenes.draw(4, np.random.default_rng(0))
    >>> scenes.bayes(drawn).argmax(axis=1).tolist() == labels.tolist()
    True

    :param templates: Where the object of each class lies, booleans ``(K, H, W)``.
    :param levels: Photons that a pixel counts.
    :param conditions: Rows of light in [0, 1], heat in [0, 0.5), and probability, ``(C, 3)``.
    :raises InputError: If these are none.
    """

    templates: np.ndarray
    levels: int
    conditions: np.ndarray

    def __post_init__(self) -> None:
        light, heat, share = self.conditions.T
        if not (light.min() >= 0 and light.max() <= 1 and heat.min() >= 0 and heat.max() < 0.5):
            raise InputError("Light must lie in [0, 1], and heat in [0, 0.5).")
        if share.min() < 0 or not np.isclose(share.sum(), 1):
            raise InputError("The probabilities of the conditions must sum to 1.")

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw samples.

        :return: Samples ``(count,)``, their labels, and the rows of their conditions.
        """
        labels = rng.integers(len(self.templates), size=count)
        rows = rng.choice(len(self.conditions), size=count, p=self.conditions[:, 2])
        fields = {}
        for name, channels in (("rgb", 3), ("thermal", 1)):
            ground, contrast = (each[rows, None, None, None] for each in self._sensor(name))
            sign = rng.choice((-1.0, 1.0), size=(count, channels, 1, 1))
            arrives = ground + sign * contrast * self.templates[labels][:, None]
            fields[name] = (rng.binomial(self.levels, arrives) / self.levels).astype(np.float32)
        return samples(**fields), labels, rows

    def log_likelihoods(self, x: np.ndarray, sensor: str) -> np.ndarray:
        """Logarithms of the probability of what one sensor saw, for each class and condition, ``(N, K, C)``.

        The number of ways in which photons can arrive is left out: it is the same for all classes and conditions.

        :param x: Samples with a field ``sensor``.
        :param sensor: ``"rgb"`` or ``"thermal"``.
        """
        ground, contrast = self._sensor(sensor)
        values = np.asarray(x[sensor], dtype=np.float64)
        counts = self.levels * values.reshape(len(values), values.shape[1], -1)
        objects = self.templates.reshape(len(self.templates), -1).astype(np.float64)
        on = np.einsum("ncp,kp->nck", counts, objects)[..., None]
        off = counts.sum(axis=2)[:, :, None, None] - on
        size = self.levels * objects.sum(axis=1)[:, None]
        rest = self.levels * objects.shape[1] - size
        of_signs = [
            _log_probability(on, size, ground + sign * contrast) + _log_probability(off, rest, ground)
            for sign in (-1, 1)
        ]
        # Channels have signs of their own, so their probabilities are multiplied.
        return (np.logaddexp(*of_signs) - np.log(2)).sum(axis=1)

    def bayes(self, x: np.ndarray, sensors: tuple[str, ...] = ("rgb", "thermal")) -> np.ndarray:
        """Probabilities of the classes given what was seen, ``(N, K)``; light and heat are not told.

        :param x: Samples with a field for each of the sensors.
        :param sensors: What is looked at: one of them, or both.
        """
        joint = sum((self.log_likelihoods(x, sensor) for sensor in sensors), np.log(self.conditions[:, 2]))
        return softmax(logsumexp(joint, axis=2), axis=1)

    def evidence(self, sensor: str) -> np.ndarray:
        """What a sensor says on the average about one class against another, ``(C,)``, in nats, for each condition.

        This is the divergence of Kullback and Leibler between what two classes look like, its mean over all ordered
        pairs of them, the signs given.
        """
        ground, contrast = self._sensor(sensor)
        objects = self.templates.reshape(len(self.templates), -1).astype(np.float64)
        # Pixels that are in the object of one class and not in that of the other, which is as often the other way.
        only = (objects @ (1 - objects).T).sum() / (len(objects) * (len(objects) - 1))
        channels = 3 if sensor == "rgb" else 1
        both_ways = [
            _divergence(ground + sign * contrast, ground) + _divergence(ground, ground + sign * contrast)
            for sign in (-1, 1)
        ]
        return channels * self.levels * only * np.mean(both_ways, axis=0)

    def oracle_weights(self, rows: np.ndarray) -> np.ndarray:
        """The share that each sensor has in the evidence, ``(N, 2)``: first that of rgb, then that of thermal.

        :param rows: Conditions of the samples, as :meth:`draw` returns them.
        """
        evidence = np.stack([self.evidence("rgb"), self.evidence("thermal")], axis=1)[rows]
        return evidence / evidence.sum(axis=1, keepdims=True)

    def _sensor(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Probability of a photon from the ground, and how far that of the object lies from it, by condition."""
        light, heat, _ = self.conditions.T
        if name == "rgb":
            return 0.1 + 0.4 * light, 0.24 * light**2
        if name == "thermal":
            return np.full_like(heat, 0.5), heat
        raise unknown_name("sensor of demo:night", name, ("rgb", "thermal"))


def _log_probability(arrived: np.ndarray, sent: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The logarithm of the probability that certain photons arrive, and the others of those sent do not."""
    return arrived * np.log(share) + (sent - arrived) * np.log1p(-share)


def _divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """How much a photon says on the average for ``p`` against ``q``, if it arrives with the probability ``p``."""
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def _templates() -> np.ndarray:
    """The shapes in the middle of the image, of about 200 pixels each."""
    row, column = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) / (SIZE / 2)
    up = -row
    return np.stack(
        [
            row**2 + column**2 < 0.5**2,
            np.maximum(abs(row), abs(column)) < 0.44,
            (up > -0.5) & (2 * abs(column) + up < 0.72),
            (np.minimum(abs(row), abs(column)) < 0.17) & (np.maximum(abs(row), abs(column)) < 0.63),
        ]
    )


def _conditions() -> np.ndarray:
    """By day there is light and the ground is as warm as the object, at night the reverse, and at dusk some of both."""
    times = [
        (0.4, [5, 6, 7, 8], [0.0, 0.01]),
        (0.4, [0, 1], [0.06, 0.12, 0.24]),
        (0.2, [2, 3, 4], [0.02, 0.04, 0.06]),
    ]
    return np.array(
        [
            (light / 8, heat, share / (len(lights) * len(heats)))
            for share, lights, heats in times
            for light in lights
            for heat in heats
        ]
    )


#: Those of ``demo:night``.
SCENES = Scenes(_templates(), 15, _conditions())


@cache
def _drawn(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seed, count = SPLITS[split]
    return SCENES.draw(count, np.random.default_rng(seed))


class NightData(LabelledSamples):
    """``demo:night``: an object of one of four shapes, in colours (``rgb``) and by its heat (``thermal``), 32 x 32.

    By day colours show it, at night heat, at dusk often both. The best possible rule is :func:`bayes`.

    >>> data = NightData()
    >>> data.class_names, data.samples(slice(0, 4)).dtype.names
    (('disc', 'square', 'triangle', 'cross'), ('rgb', 'thermal'))

    :param split: ``"test"``, or ``"train"``; each is the same whenever it is opened.
    :raises InputError: For another split.
    """

    def __init__(self, split: str = "test") -> None:
        if split not in SPLITS:
            raise unknown_name("split of demo:night", split, SPLITS)
        self.class_names = SHAPES
        self.modalities = {modality.name: modality for modality in NIGHT.modalities}
        self._samples, self.labels, rows = (drawn.copy() for drawn in _drawn(split))
        #: Light of each sample in [0, 1], and how much warmer or colder the object is, in [0, 0.5), ``(N,)``.
        self.light, self.heat = SCENES.conditions[rows, 0], SCENES.conditions[rows, 1]
        #: The share that rgb and thermal have in the evidence about each sample, ``(N, 2)``.
        self.oracle_weights = SCENES.oracle_weights(rows)

    def samples(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        return self._samples[slice(None) if rows is None else rows].copy()


def bayes(x: np.ndarray) -> np.ndarray:
    """Probabilities of the four shapes given both images of samples of ``demo:night``, ``(N, 4)``: the Bayes rule.

    No classifier is right more often on the average over samples that are drawn so, whatever it was trained on. It
    knows how samples are made, and is told neither light nor heat.

    >>> data = NightData()
    >>> bool((bayes(data.samples(slice(0, 100))).argmax(axis=1) == data.labels[:100]).mean() > 0.8)
    True
    """
    return SCENES.bayes(x)


def bayes_alone(x: np.ndarray, sensor: str) -> np.ndarray:
    """Probabilities of the four shapes given one image alone, ``(N, 4)``.

    >>> bayes_alone(NightData().samples(slice(0, 4)), "thermal").shape
    (4, 4)

    :param sensor: ``"rgb"`` or ``"thermal"``.
    :raises InputError: For another one.
    """
    return SCENES.bayes(x, (sensor,))
