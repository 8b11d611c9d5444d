"""ART's attacks on one modality of samples: each is attacked with its own others, whatever the attack does."""

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
from art_multimodal.estimators.bound import BoundModule, RowMismatch, distinct_rows
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.views import ModalityView
from art_multimodal.labels import label_indices
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.image_text import ImageText
from art_multimodal.pairs import is_pairs
from art_multimodal.sample_arrays import check_samples, with_field
from art_multimodal.shown import quoted
from art_multimodal.texts import check_strings

#: Builds an attack on the view that it is given.
AttackFactory = Callable[[Any], EvasionAttack]

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
    """Attack the images of pairs with an ART image attack; texts stay as they are. See :func:`for_each_sample`.

    >>> from art.attacks.evasion import FastGradientMethod
    >>> attacked = for_each_pair(lambda view: FastGradientMethod(view, eps=4 / 255), fusion, pairs, answers)
    >>> attacked["text"].tolist() == pairs["text"].tolist(), attacked["image"].shape
    (True, (8, 3, 32, 32))

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
    return for_each_sample(attack_factory, estimator, pairs, y, "image", verbose, **kwargs)


def for_each_sample(
    attack_factory: AttackFactory,
    estimator: FusionClassifier,
    x: np.ndarray,
    y: np.ndarray | None = None,
    modality: str = "image",
    verbose: bool = False,
    **kwargs: Any,
) -> np.ndarray:
    """Attack one modality of samples with an ART attack; the others stay as they are.

    Samples whose others are equal (and, of sequences, whose lengths are) are attacked together, on a view of the
    estimator that has only these bound: so no attack, however it picks, repeats or orders rows, can meet wrong ones.
    Attacks that are known to keep rows in order (:data:`ALIGNED`) get whole batches; should they send other rows after
    all, they are run group by group instead. A sample that lacks the modality stays as it is.

    >>> from art.attacks.evasion import FastGradientMethod
    >>> attacked = for_each_sample(lambda view: FastGradientMethod(view, eps=0.1), sensors, x, y, modality="pix")
    >>> bool((attacked["fou"] == x["fou"]).all()), bool(np.abs(attacked["pix"] - x["pix"]).max() <= 0.1 + 1e-6)
    (True, True)

    :param attack_factory: Makes the attack, for example ``lambda view: SquareAttack(view, eps=8/255)``. Called once per
        group or batch, and once before to see what it makes.
    :param estimator: The classifier.
    :param x: Samples ``(N,)``.
    :param y: Labels as indices or one-hot rows, as the attack takes them.
    :param modality: Name of the modality that is attacked.
    :param verbose: Show a progress bar.
    :param kwargs: Further arguments of the attack's ``generate``. A ``mask`` is broadcast to the modality; arrays with
        one row per sample (``x_adv_init``) are split like it.
    :return: Samples ``(N,)`` in which the modality is changed; behind the length of a sequence it stays zero.
    :raises InputError: If these are no samples of the model, labels do not fit, or the attack does not return as many.
    """
    # NaN in an image of pairs is no sign that it is missing; they are taken as they are.
    pairs = isinstance(estimator.multimodal, ImageText) and is_pairs(x)
    if not pairs:
        x = check_samples(x, estimator.modalities.values())
    label_indices(y, estimator.nb_classes, len(x))
    adversarial = x.copy()
    kind = estimator.modalities.get(modality)
    if kind is None or not kind.numeric:
        numeric = [one.name for one in estimator.modalities.values() if one.numeric]
        raise InputError(f"modality must be one that holds numbers, {', '.join(numeric)}, not {quoted(modality)}.")
    own, given = kind.values(x[modality]), kind.values(adversarial[modality])
    if kwargs.get("mask") is not None:
        # Which shapes broadcast differs from attack to attack.
        kwargs["mask"] = np.broadcast_to(kwargs["mask"], own.shape)
    per_sample = {
        name
        for name, value in kwargs.items()
        if isinstance(value, np.ndarray) and value.ndim == own.ndim and len(value) == len(x)
    }

    def attack_on(rows: np.ndarray) -> EvasionAttack:
        # In the shape that the samples have: Square, ZOO and others work in arrays of it.
        view = estimator.modality_view(modality, x[rows])
        attack = attack_factory(view)
        _check_what_is_bound(attack, view)
        return attack

    def run(rows: np.ndarray, bound: np.ndarray) -> None:
        attack = attack_on(bound)
        options = {name: value[rows] if name in per_sample else value for name, value in kwargs.items()}
        labels = None if y is None else np.asarray(y)[rows]
        changed = attack.generate(np.ascontiguousarray(own[rows]), labels, **options)
        if getattr(changed, "shape", None) != own[rows].shape:
            raise InputError(
                f"{type(attack).__name__} does not return one {kind.kind} per {kind.kind}, which "
                f"{'for_each_pair' if pairs else 'for_each_sample'} needs. Wrap it in an attack that does."
            )
        given[rows] = changed

    _, row_of = distinct_rows(*bound_to(x, modality, kind))

    def run_by_group(rows: np.ndarray) -> None:
        for group in tqdm(dict.fromkeys(row_of[rows].tolist()), desc="Groups", disable=not verbose):
            of_group = rows[row_of[rows] == group]
            run(of_group, of_group[:1])

    # A sample that lacks the modality has nothing to attack.
    there = np.arange(len(x)) if pairs else np.flatnonzero(~kind.missing(x[modality]))
    if not len(there):
        return adversarial
    batch_size = _aligned_batch_size(attack_on(there[:1]))
    if batch_size == 1:
        run_by_group(there)
    else:
        for start in tqdm(range(0, len(there), batch_size), desc="Batches", disable=not verbose):
            rows = there[start : start + batch_size]
            try:
                run(rows, rows)
            except RowMismatch:
                run_by_group(rows)
    return adversarial if not kind.variable else with_field(x, modality, kind.with_values(x[modality], given))


def bound_to(x: np.ndarray, modality: str, kind: Modality) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What a view of one modality holds of each sample: the others, and the length of a sequence."""
    lengths = {modality: kind.lengths(x[modality])} if kind.variable else {}
    return x[[name for name in x.dtype.names or () if name != modality]], lengths


def _aligned_batch_size(attack: EvasionAttack) -> int:
    """How many pairs an attack may get at once: 1 where it is not known to keep its rows in order."""
    return int(attack.batch_size) if type(attack) in ALIGNED else 1


def _check_what_is_bound(attack: EvasionAttack, view: ModalityView) -> None:
    """Refuse an attack that was not made for these rows: one that a factory made before and hands out again."""
    module = getattr(getattr(attack, "estimator", None), "model", None)
    if isinstance(module, BoundModule) and not module.fusion.binds_as(view.model.fusion):
        raise InputError("The attack is bound to other texts: make a new one in every call of the attack_factory.")


class ImageAttackOnPairs(EvasionAttack):
    """An ART image attack as an attack on pairs, for what wants an attack object: ``AdversarialTrainer``, for example.

    Random numbers are those of the image attack. See :func:`for_each_pair`.

    >>> from art.attacks.evasion import FastGradientMethod
    >>> attack = ImageAttackOnPairs(fusion, lambda view: FastGradientMethod(view, eps=4 / 255))
    >>> attack.generate(pairs, answers).dtype == pairs.dtype
    True
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
