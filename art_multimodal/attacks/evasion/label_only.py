"""Attacks that see labels alone, for exactly so many questions: whatever a search does, it is stopped there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from art.attacks.evasion import HopSkipJump, SignOPTAttack
from art.estimators.classification import BlackBoxClassifierNeuralNetwork

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.functional.perturbations import within_budget

#: Maps images ``(M, 3, H, W)`` to scores or rows of the identity ``(M, K)``.
Predict = Callable[[np.ndarray], np.ndarray]
#: Most random images of which one is to mislead the model, before a search begins.
_STARTS = 100


class _Stop(Exception):
    """The search has found what it was for, or may not ask any more."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    :param image: Shape ``(3, H, W)``, inside the ball.
    :param label: What the model says of it.
    :param queries: Images that the model was asked about.
    """

    image: np.ndarray
    label: int
    queries: int


class QueriesOfOne(BlackBoxClassifierNeuralNetwork):
    """A classifier of images around one sample, which is asked about exactly so many of them and not one more.

    It keeps the nearest image that misled the model, and ends the search as soon as one lies inside the ball. Nothing
    is asked that would not count: what a search asks beyond is cut off, and the search stopped.

    :param predict: Asks the model.
    :param clean: The sample, ``(3, H, W)`` in [0, 1].
    :param label: The class that the model says of it.
    :param norm: ``inf`` or ``2.0``.
    :param eps: Radius of the ball.
    :param most: Most images that are asked about.
    :param nb_classes: Number of classes.
    """

    def __init__(
        self, predict: Predict, clean: np.ndarray, label: int, norm: float, eps: float, most: int, nb_classes: int
    ) -> None:
        super().__init__(
            predict,
            clean.shape,
            # ART's Sign-OPT takes two classes for a single score, and refuses them; it looks at the largest one alone.
            max(3, nb_classes),
            channels_first=True,
            clip_values=(0.0, 1.0),
            preprocessing=None,
        )
        self.clean, self.label, self.norm, self.eps, self.most = clean, label, norm, eps, most
        self.asked = 0
        self.nearest: tuple[float, np.ndarray, int] | None = None

    def predict(self, x: np.ndarray, batch_size: int = 128, **kwargs: object) -> np.ndarray:
        """Ask about images, of which only so many are asked about as there are questions left."""
        part = np.asarray(x[: max(0, self.most - self.asked)], dtype=np.float32)
        if not len(part) or not np.isfinite(part).all():
            raise _Stop
        self.asked += len(part)
        scores = self._predict_fn(part)
        for image, said in zip(part, scores.argmax(axis=1).tolist(), strict=True):
            if said != self.label and (self.nearest is None or self.distance(image) < self.nearest[0]):
                self.nearest = (self.distance(image), image.copy(), said)
        if len(part) < len(x) or self.inside:
            raise _Stop
        return scores

    def distance(self, image: np.ndarray) -> float:
        """How far an image is from the sample."""
        moved = image.astype(np.float64) - self.clean
        return float(np.abs(moved).max() if self.norm == np.inf else np.sqrt((moved**2).sum()))

    @property
    def inside(self) -> bool:
        """Whether the nearest image that misled the model is inside the ball."""
        return self.nearest is not None and self.nearest[0] <= self.eps


#: Searches with a classifier until it is stopped; the rest says how many questions there are, and in which norm.
Search = Callable[[QueriesOfOne, int, float], None]


def hop_skip_jump(classifier: QueriesOfOne, queries: int, norm: float) -> None:
    """ART's HopSkipJump, from the first random image that misleads the model, until the questions are used up.

    | Paper link: https://arxiv.org/abs/1904.02144
    """
    start = _random_start(classifier)
    attack = HopSkipJump(
        classifier,
        norm=np.inf if norm == np.inf else 2,
        max_iter=queries,
        max_eval=max(10, queries // 4),
        init_eval=max(10, min(100, queries // 10)),
        verbose=False,
    )
    attack.generate(classifier.clean[None], np.array([classifier.label]), x_adv_init=start[None])


def sign_opt(classifier: QueriesOfOne, queries: int, norm: float) -> None:
    """ART's Sign-OPT, which shortens the Euclidean distance whatever the norm, until the questions are used up.

    | Paper link: https://arxiv.org/abs/1909.10773
    """
    attack = SignOPTAttack(
        classifier,
        targeted=False,
        num_trial=max(2, min(100, queries // 10)),
        k=max(10, min(200, queries // 10)),
        max_iter=queries,
        query_limit=queries,
        verbose=False,
    )
    attack.generate(classifier.clean[None], np.array([classifier.label]))


def _random_start(classifier: QueriesOfOne) -> np.ndarray:
    """The first of some random images that misleads the model.

    ART's own start is drawn from no seed, and could not be repeated.
    """
    generator = np.random.default_rng(torch.initial_seed())
    for _ in range(_STARTS):
        drawn = generator.uniform(0.0, 1.0, classifier.clean.shape).astype(np.float32)
        if int(classifier.predict(drawn[None]).argmax()) != classifier.label:
            return drawn
    raise _Stop


SEARCHES: dict[str, Search] = {"hop_skip_jump": hop_skip_jump, "sign_opt": sign_opt}


def search_labels(
    search: Search,
    predict: Predict,
    clean: np.ndarray,
    label: int,
    norm: float,
    eps: float,
    queries: int,
    nb_classes: int,
    seed: int,
) -> Found:
    """Look for an image inside the ball that misleads a model of which labels alone are seen.

    At most ``queries`` images are asked about, all included. A search minimises a distance, and is over when what it
    found is inside the ball. Where it is not when the questions are used up, the nearest image that misled the model
    is brought into the ball, and the last question is what the model says of that.

    >>> from art_multimodal.attacks.evasion.label_only import SEARCHES
    >>> search = SEARCHES["sign_opt"]
    >>> budget = {"norm": float("inf"), "eps": 32 / 255, "queries": 60}
    >>> found = search_labels(search, classifier.predict, images[0], int(labels[0]), **budget, nb_classes=10, seed=0)
    >>> isinstance(found, Found), found.queries <= 60, bool(np.abs(found.image - images[0]).max() <= 32 / 255 + 1e-6)
    (True, True, True)

    :param search: One of :data:`SEARCHES`.
    :param predict: Asks the model; only the largest score of each row is looked at.
    :param clean: The sample, ``(3, H, W)`` in [0, 1].
    :param label: What the model says of it, which is not asked again but by the search.
    :param norm: ``inf`` or ``2.0``.
    :param eps: Radius of the ball.
    :param queries: Most images that are asked about, at least 2.
    :param nb_classes: Number of classes.
    :param seed: Of all random numbers.
    """
    classifier = QueriesOfOne(predict, clean, label, norm, eps, queries - 1, nb_classes)
    with global_seed(seed), suppress(_Stop):
        search(classifier, queries - 1, norm)
    if classifier.nearest is None:
        return Found(clean, label, classifier.asked)
    _, image, said = classifier.nearest
    if classifier.inside:
        return Found(image, said, classifier.asked)
    image = within_budget(torch.from_numpy(image)[None], torch.from_numpy(clean)[None], norm, eps)[0].numpy()
    return Found(image, int(predict(image[None]).argmax(axis=1)[0]), classifier.asked + 1)
