"""ART's image attacks on image-text pairs: every image is attacked with its own text, whatever the attack does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import (
    DeepFool,
    FastGradientMethod,
    MomentumIterativeMethod,
    ProjectedGradientDescent,
    ProjectedGradientDescentPyTorch,
)
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.text_bound import RowMismatch, TextBoundClassifier, TextBoundModule
from art_multimodal.labels import label_indices
from art_multimodal.pairs import is_pairs
from art_multimodal.texts import check_strings

#: Builds an attack on the classifier of images that it is given.
AttackFactory = Callable[[TextBoundClassifier], EvasionAttack]

#: ART's attacks that keep the rows of a batch in order and complete in every call: they may get several texts at once.
#: Exactly these classes; a subclass may do otherwise.
ALIGNED = (
    DeepFool,
    FastGradientMethod,
    MomentumIterativeMethod,
    ProjectedGradientDescent,
    ProjectedGradientDescentPyTorch,
)


def for_each_pair(
    attack_factory: AttackFactory,
    estimator: FusionClassifier,
    pairs: np.ndarray,
    y: np.ndarray | None = None,
    verbose: bool = False,
    **kwargs: Any,
) -> np.ndarray:
    """Attack the images of pairs with an ART image attack; texts stay as they are.

    Samples that share a text are attacked together, on a view of the estimator that has only this text: so no attack,
    however it picks, repeats or orders rows, can meet a wrong one. Attacks that are known to keep rows in order
    (:data:`ALIGNED`) get whole batches; should they send other rows after all, they are run text by text instead.

    :param attack_factory: Makes the attack, for example ``lambda view: SquareAttack(view, eps=8/255)``. Called once per
        distinct text or batch, and once before to see what it makes.
    :param estimator: The classifier of pairs.
    :param pairs: Shape ``(N,)``, from :func:`image_text_pairs`.
    :param y: Labels as indices or one-hot rows, as the attack takes them.
    :param verbose: Show a progress bar over texts.
    :param kwargs: Further arguments of the attack's ``generate``. A ``mask`` is broadcast to the images; arrays with
        one image per pair (``x_adv_init``) are split like them.
    :return: Pairs ``(N,)`` with other images.
    :raises InputError: If ``pairs`` are not pairs, labels do not fit, or the attack does not return images.
    """
    if not is_pairs(pairs):
        raise InputError("for_each_pair takes pairs, made by image_text_pairs(images, texts).")
    check_strings(pairs["text"])
    label_indices(y, estimator.nb_classes, len(pairs))
    adversarial = pairs.copy()
    if kwargs.get("mask") is not None:
        # Which shapes broadcast differs from attack to attack.
        kwargs["mask"] = np.broadcast_to(kwargs["mask"], pairs["image"].shape)
    per_pair = {
        name
        for name, value in kwargs.items()
        if isinstance(value, np.ndarray) and value.ndim == 4 and len(value) == len(pairs)
    }

    def attack_on(texts: str | list[str]) -> EvasionAttack:
        view = estimator.image_view(texts)
        # Square, ZOO and others work in arrays of this shape.
        view.set_params(input_shape=pairs.dtype["image"].shape)
        attack = attack_factory(view)
        _check_texts_of(attack, view)
        return attack

    def run(rows: np.ndarray, texts: str | list[str]) -> None:
        attack = attack_on(texts)
        options = {name: value[rows] if name in per_pair else value for name, value in kwargs.items()}
        labels = None if y is None else np.asarray(y)[rows]
        images = attack.generate(np.ascontiguousarray(pairs["image"][rows]), labels, **options)
        if getattr(images, "shape", None) != pairs["image"][rows].shape:
            raise InputError(
                f"{type(attack).__name__} does not return one image per image, which for_each_pair needs. Wrap it in "
                "an attack that does."
            )
        adversarial["image"][rows] = images

    def run_by_text(rows: np.ndarray) -> None:
        texts = pairs["text"][rows]
        for text in tqdm(dict.fromkeys(texts), desc="Texts", disable=not verbose):
            run(rows[texts == text], text)

    everything = np.arange(len(pairs))
    if not len(pairs):
        return adversarial
    batch_size = _aligned_batch_size(attack_on(pairs["text"][0]))
    if batch_size == 1:
        run_by_text(everything)
        return adversarial
    for start in tqdm(range(0, len(pairs), batch_size), desc="Batches", disable=not verbose):
        rows = everything[start : start + batch_size]
        try:
            run(rows, pairs["text"][rows].tolist())
        except RowMismatch:
            run_by_text(rows)
    return adversarial


def _aligned_batch_size(attack: EvasionAttack) -> int:
    """How many pairs an attack may get at once: 1 where it is not known to keep its rows in order."""
    return int(attack.batch_size) if type(attack) in ALIGNED else 1


def _check_texts_of(attack: EvasionAttack, view: TextBoundClassifier) -> None:
    """Refuse an attack that was not made for these texts: one that a factory made before and hands out again."""
    module = getattr(getattr(attack, "estimator", None), "model", None)
    if isinstance(module, TextBoundModule) and module.fusion.texts != view.texts:
        raise InputError("The attack is bound to other texts: make a new one in every call of the attack_factory.")


class ImageAttackOnPairs(EvasionAttack):
    """An ART image attack as an attack on pairs, for what wants an attack object: ``AdversarialTrainer``, for example.

    Random numbers are those of the image attack. See :func:`for_each_pair`.
    """

    attack_params = EvasionAttack.attack_params + ["attack_factory", "verbose"]
    _estimator_requirements = (BaseEstimator, FusionClassifier)

    def __init__(self, estimator: FusionClassifier, attack_factory: AttackFactory, verbose: bool = False) -> None:
        """
        :param estimator: The classifier of pairs.
        :param attack_factory: Makes the attack on a classifier of images.
        :param verbose: Show progress bars.
        """
        super().__init__(estimator=estimator)
        self.attack_factory = attack_factory
        self.verbose = verbose

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return pairs with attacked images.

        :param x: Pairs ``(N,)``.
        :param y: Labels as indices or one-hot rows.
        """
        return for_each_pair(self.attack_factory, self.estimator, x, y, verbose=self.verbose, **kwargs)
