"""Is a model hiding its gradients? An attack that follows them would then fail, and the model look robust.

| Paper link: https://arxiv.org/abs/1802.00420 (obfuscated gradients)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.attacks.evasion.image_ascent import own_score
from art_multimodal.estimators.defences import score_and_gradient
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.losses import margin_loss
from art_multimodal.functional.perturbations import ascent_step, norm_of
from art_multimodal.modalities.modality import Modality
from art_multimodal.pairs import is_pairs
from art_multimodal.sample_arrays import are_samples, with_field

#: Most samples of a batch that are looked at: some 20 evaluations each, against hundreds for the attacks.
CHECKED_SAMPLES = 8
#: Lengths of steps along the gradient, as shares of eps: one to see through rounding, one to be local. An honest
#: gradient is a guide for at least one of them.
STEP_SHARES = (0.25, 0.05)
#: Random directions that the gradient has to beat. In thousands of dimensions an honest one beats them by far.
RANDOM_DIRECTIONS = 8
#: So many of them are asked about first. Where a step along the gradient raises the margin by so many times what any of
#: these changes it, the others are left out: of gradients that point anywhere, less than one in 1,000 gets so far.
FIRST_DIRECTIONS, CLEARLY = 3, 8
#: What ART's PGD and APGD add to the length of a gradient in l_2: shorter ones give next to no step.
ART_SMALLEST_LENGTH = 1e-7
#: Answers to one input differ when scores are further apart than this, relative to the largest; rounding is not.
SCORE_TOLERANCE = 1e-4

#: Margins that differ by less, relative to the largest score, are equal: a few roundings of float32.
ROUNDING = 8 * float(np.finfo(np.float32).eps)

#: How often a defence that computes at test time is asked about one image, each time with other random draws.
ASKS = 10

#: In flags, in front of the name of an attack: how many samples it could not work on.
NOT_TRIED_BY = "not_tried_by:"

#: Shares from which a count is suspicious. Zero gradients: an honest float32 model has none, but for a rare sample
#: whose loss underflows. No guide: an honest model that is curved within the steps may have a few. Square: now and then
#: a borderline sample falls to it by luck, so a single one says nothing.
ZERO_SHARE = 0.05
NO_GUIDE_SHARE = 0.1
SQUARE_SHARE = 0.05
SQUARE_LEAST = 2


@dataclass(frozen=True)
class GradientChecks:
    """What was seen on a few samples.

    :param checked: Samples that were looked at.
    :param gradient_zero: Those whose margin, the best other score less the label's, has a gradient of zero: no attack
        along gradients gets anywhere.
    :param loss_saturated: Of the others those whose cross-entropy has none that ART's attacks could follow: scores are
        so far apart that it is lost in rounding. Attacks on the margin still work.
    :param gradient_not_finite: Those for which one of the two gradients holds NaN or infinity.
    :param random: Those that are answered otherwise when asked again.
    :param random_verdicts: Those about which a defence that computes at test time gives different labels in
        :data:`ASKS` asks, each with other random draws.
    :param gradient_no_guide: Those whose gradient is neither zero nor broken, and yet small steps along it mislead the
        model no more than steps in random directions.
    """

    checked: int = 0
    gradient_zero: int = 0
    loss_saturated: int = 0
    gradient_not_finite: int = 0
    random: int = 0
    gradient_no_guide: int = 0
    random_verdicts: int = 0

    def flags(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


def check_gradients(
    estimator: ZeroShotClassifier | FusionClassifier,
    x: np.ndarray,
    y: np.ndarray,
    norm: float | str,
    eps: float,
    seed: int = 0,
    batch_size: int = 32,
    modality: str = "image",
) -> GradientChecks:
    """Look at the gradients of a few samples.

    What counts is what an attack meets: the gradient through the estimator's preprocessing, as ART estimates it.

    >>> checks = check_gradients(classifier, images, labels, "inf", 8 / 255)
    >>> isinstance(checks, GradientChecks), checks.gradient_zero
    (True, 0)

    :param estimator: A classifier of images, of pairs or of samples.
    :param x: Images ``(N, 3, H, W)``, pairs ``(N,)``, or samples ``(N,)``.
    :param y: Labels ``(N,)``, as indices.
    :param norm: Of the budget: ``"inf"`` or ``"2"``.
    :param eps: Radius of the budget.
    :param seed: Of the choice of at most :data:`CHECKED_SAMPLES` samples, and of random directions.
    :param batch_size: Images per forward pass.
    :param modality: Of samples, the one that is looked at, by its name; those that lack it are passed over.
    """
    generator, y = np.random.default_rng(seed), np.asarray(y)
    kind = estimator.modalities[modality]
    if are_samples(x) and not is_pairs(x):
        there = ~kind.missing(x[modality])
        x, y = x[there], y[there]
    rows = np.sort(generator.permutation(len(x))[:CHECKED_SAMPLES])
    if not len(rows):
        return GradientChecks()
    x, y = x[rows], y[rows]
    of_one: dict[str, Any] = {} if estimator.texts_are_prompts else {"modality": modality}
    one_hot = np.eye(estimator.nb_classes, dtype=np.float32)[y]
    with global_seed(seed):
        of_loss = np.asarray(estimator.loss_gradient(x, one_hot, batch_size=batch_size, **of_one))
        of_margin = _margin_gradient(estimator, x, y, kind)
        broken = ~(_finite(of_loss) & _finite(of_margin))
        zero = ~broken & ~_flat(of_margin).any(axis=1)
        saturated = ~broken & ~zero & _lost(of_loss, norm_of(norm))
        verdicts = _verdicts(estimator, x, batch_size)
        first, second = (estimator.predict(x, batch_size=batch_size) for _ in range(2))
        largest = np.maximum(1, np.abs(first).max(axis=1, keepdims=True))
        apart = (np.abs(first - second) > SCORE_TOLERANCE * largest).any(axis=1)
        unguided = np.zeros(len(x), dtype=bool)
        if eps > 0:
            unguided = ~broken & ~zero
            for share in STEP_SHARES:
                left = np.flatnonzero(unguided)
                if not len(left):
                    break
                steps = _Steps(estimator, x[left], y[left], kind, norm_of(norm), share * eps, batch_size)
                unguided[left] = ~steps.guided(of_margin[left], first[left], generator, draws=bool(apart.any()))
    return GradientChecks(
        checked=len(x),
        gradient_zero=int(zero.sum()),
        loss_saturated=int(saturated.sum()),
        gradient_not_finite=int(broken.sum()),
        random=int(apart.sum()),
        gradient_no_guide=int(unguided.sum()),
        random_verdicts=int((verdicts != verdicts[0]).any(axis=0).sum()),
    )


def _verdicts(estimator: Any, x: np.ndarray, batch_size: int) -> np.ndarray:
    """Labels ``(A, N)`` of several asks, of which there is one where nothing computes at test time."""
    if getattr(estimator, "test_time_defence", None) is None:
        return np.zeros((1, len(x)), dtype=np.int64)
    return estimator.verdicts(x, ASKS, batch_size)


def _margin_gradient(
    estimator: ZeroShotClassifier | FusionClassifier, x: np.ndarray, y: np.ndarray, kind: Modality
) -> np.ndarray:
    """The gradient of the margin of the scores with respect to a modality, ``(N, *shape)``, as attacks follow it."""
    asking = estimator.asking(len(x))
    fields = asking.fields(x)
    held: dict[str, Any] = {
        name: asking.see_field(name, fields[name]) if other.numeric else asking.see_texts(name, list(fields[name]))
        for name, other in asking.modalities.items()
        if name != kind.name
    }
    numbers = np.ascontiguousarray(kind.values(fields[kind.name]), dtype=np.float32)
    lengths = torch.from_numpy(np.array(kind.lengths(fields[kind.name]))).to(asking.device) if kind.variable else None
    values = torch.from_numpy(numbers).to(asking.device)
    labels = torch.from_numpy(np.asarray(y, dtype=np.int64)).to(asking.device)

    def margins(inputs: torch.Tensor) -> torch.Tensor:
        # Those of pairs and images stand in front of this.
        behind = inputs if estimator.preprocessing_operations else asking.through_defences(kind.name, inputs)
        return margin_loss(
            asking.scores(asking.fused({**held, kind.name: asking.see(kind.name, behind, lengths)})), labels
        )

    return score_and_gradient(estimator, values, own_score(margins))[1].cpu().numpy()


def _flat(gradients: np.ndarray) -> np.ndarray:
    return gradients.reshape(len(gradients), -1)


def _finite(gradients: np.ndarray) -> np.ndarray:
    return np.isfinite(_flat(gradients)).all(axis=1)


def _lost(gradients: np.ndarray, norm: float) -> np.ndarray:
    """For which samples ART's attacks stand still: they add a small number to the length of a gradient."""
    if norm == np.inf:
        return np.logical_not(_flat(gradients).any(axis=1))
    return np.linalg.norm(_flat(gradients).astype(np.float64), axis=1) <= ART_SMALLEST_LENGTH


class _Steps:
    """Steps of one length from samples, and how much each misleads the model.

    Measured by the margin of the scores, since the cross-entropy of a sure answer is lost in rounding.
    """

    def __init__(
        self,
        estimator: ZeroShotClassifier | FusionClassifier,
        x: np.ndarray,
        y: np.ndarray,
        kind: Modality,
        norm: float,
        length: float,
        batch_size: int,
    ) -> None:
        self.estimator, self.x, self.y, self.kind = estimator, x, np.asarray(y, dtype=np.int64), kind
        self.norm, self.length, self.batch_size = norm, length, batch_size

    def guided(
        self, gradients: np.ndarray, scores: np.ndarray, generator: np.random.Generator, draws: bool
    ) -> np.ndarray:
        """Whether a step along the gradient misleads more than one in each random direction, ``(N,)``.

        :param gradients: Of the images' shape.
        :param scores: Those of the samples as they are, ``(N, K)``.
        :param generator: Of the random directions.
        :param draws: Whether the model draws random numbers: each direction then meets draws of its own, and a single
            answer says nothing for sure, so all are asked about, one after the other.
        """
        everyone = np.arange(len(self.x))
        count = RANDOM_DIRECTIONS if draws else FIRST_DIRECTIONS
        random = generator.standard_normal((count, *gradients.shape), dtype=np.float32)
        along, *luck = self._margins([gradients, *random], everyone, 1 if draws else None)
        best = np.max(luck, axis=0)
        rounding = ROUNDING * np.maximum(1, np.abs(scores).max(axis=1))
        if draws:
            return along > best + rounding
        before = self._margin(scores, self.y)
        clear = along - before > CLEARLY * np.max(np.abs(np.array(luck) - before), axis=0) + rounding
        if len(rest := np.flatnonzero(~clear)):
            shape = (RANDOM_DIRECTIONS - count, *gradients.shape)
            random = generator.standard_normal(shape, dtype=np.float32)
            luck = self._margins([direction[rest] for direction in random], rest)
            best[rest] = np.maximum(best[rest], np.max(luck, axis=0))
        return along > best + rounding

    def _margins(
        self, directions: Sequence[np.ndarray], rows: np.ndarray, together: int | None = None
    ) -> list[np.ndarray]:
        """The margin ``(R,)`` after a step along each direction.

        :param directions: Each of the images' shape, of some samples.
        :param rows: Which samples.
        :param together: So many directions are asked about at once; ``None`` for as many as a pass holds.
        """
        x, y = self.x[rows], self.y[rows]
        together, found = together or max(1, self.batch_size // len(x)), []
        for start in range(0, len(directions), together):
            moved = [self._moved(x, direction) for direction in directions[start : start + together]]
            scores = self.estimator.predict(np.concatenate(moved), batch_size=self.batch_size)
            found += list(self._margin(scores, np.tile(y, len(moved))).reshape(len(moved), -1))
        return found

    @staticmethod
    def _margin(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return margin_loss(torch.from_numpy(scores.astype(np.float64)), torch.from_numpy(labels)).numpy()

    def _moved(self, x: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Samples after a step along a direction of the images' shape."""
        step = ascent_step(torch.from_numpy(direction), self.norm, self.length).numpy()
        low, high = self.kind.clip_values
        if not are_samples(x):
            return np.clip(x + step, low, high).astype(np.float32, copy=False)
        field = x[self.kind.name]
        moved = np.clip(self.kind.values(field) + step, low, high).astype(np.float32, copy=False)
        return with_field(x, self.kind.name, self.kind.with_values(field, moved))


def suspicions(flags: Mapping[str, int], attacked: int) -> list[str]:
    """Say in sentences why the numbers of an attack should not be trusted, and what to do.

    >>> suspicions({"gradient_zero": 0, "checked": 8}, attacked=8)
    []
    >>> suspicions({"gradient_zero": 8, "checked": 8}, attacked=8)[0].split(",")[0]
    'The gradient is zero for 8 of 8 samples'

    :param flags: Counts, summed over batches: those of :class:`GradientChecks`; ``square_beats_gradients`` out of
        ``left_by_gradients``; ``not_tried_by:NAME`` for attacks that could not work on samples.
    :param attacked: Samples that were attacked.
    :return: Nothing where nothing is suspicious.
    """
    checked, left = flags.get("checked", 0), flags.get("left_by_gradients", 0)
    lottery = flags.get("random_verdicts", 0)
    zero, broken = flags.get("gradient_zero", 0), flags.get("gradient_not_finite", 0)
    random, unguided = flags.get("random", 0), flags.get("gradient_no_guide", 0)
    square = flags.get("square_beats_gradients", 0)
    distrust = "do not read this as robust"
    said = []
    if random:
        said.append(
            f"The model answers {random} of {checked} inputs otherwise when asked again: {distrust}. Attack with the "
            "expectation over its random choices, or switch them off."
        )
    if lottery:
        said.append(
            f"Asked {ASKS} times, the defence gives {lottery} of {checked} images more than one label: their verdicts "
            "are a matter of luck, and an attacker may ask until he has it. Read accuracy with that in mind."
        )
    if zero and zero >= ZERO_SHARE * checked:
        said.append(
            f"The gradient is zero for {zero} of {checked} samples, so attacks that follow it stand still: {distrust}. "
            "Attack through the defence (with a differentiable stand-in for it), and raise the queries of square."
        )
    saturated = flags.get("loss_saturated", 0)
    if saturated and saturated >= ZERO_SHARE * checked:
        said.append(
            f"For {saturated} of {checked} samples the scores are so far apart that the cross-entropy has no gradient "
            "left: do not read the rows of art_pgd and apgd, which follow it, as robust. Attacks on the margin of the "
            "scores (apgd_dlr, pgd_targeted, worst_image; of samples pgd) are not kept from anything by that."
        )
    if broken:
        said.append(
            f"The gradient is NaN or infinite for {broken} of {checked} samples, so attacks that follow it go astray: "
            f"{distrust}. Mend the model's backward pass, and raise the queries of square."
        )
    if unguided and unguided >= NO_GUIDE_SHARE * checked:
        said.append(
            f"For {unguided} of {checked} samples a small step along the gradient misleads the model no more than "
            f"random steps do: {distrust}. Attack through the defence (with a differentiable stand-in for it), and "
            "raise the queries of square."
        )
    if square >= SQUARE_LEAST and square >= SQUARE_SHARE * left:
        said.append(
            f"Random search (square) misleads the model on {square} of {left} samples that attacks with gradients left "
            f"right, so the gradients seem to be hidden: {distrust}. Raise the queries, and attack through the defence."
        )
    for flag, number in flags.items():
        if flag.startswith(NOT_TRIED_BY):
            name = flag.removeprefix(NOT_TRIED_BY)
            said.append(f"{name} could not be run on {number} of {attacked} samples; the ensemble went without it.")
    return said
