"""The contract of a fusion."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.errors import InputError
from art_multimodal.models.fusions import FUSIONS, Fusion
from art_multimodal.models.fusions.fusion import option_names, with_options
from art_multimodal.testing.asked import Asked
from art_multimodal.testing.comparing import in_other_memory, not_finite, unequal
from art_multimodal.testing.contract import Contract, ContractReport, NotChecked, all_of
from art_multimodal.testing.slopes import wrong_slopes

FUSION = Contract("a fusion")
#: Names and widths of the modalities; where a fusion wants towers of one width, all have the first.
_WIDTHS = {"a": 6, "b": 4, "c": 5}
_CLASSES, _COUNT = 3, 5

Features = dict[str, Tensor]
#: Makes a fusion of widths and a number of classes.
Make = Callable[[Mapping[str, int], int], Fusion]


class _Case(Asked):
    """A fusion with random weights, and random embeddings in float64."""

    model: Fusion

    def __init__(self, make: Make) -> None:
        self.make = make
        # Equal widths if the fusion says that it needs them.
        self.widths = dict(_WIDTHS)
        with global_seed(1):
            try:
                fusion = make(self.widths, _CLASSES)
            except InputError:
                self.widths = dict.fromkeys(_WIDTHS, _WIDTHS["a"])
                fusion = make(self.widths, _CLASSES)
        super().__init__(_drawn(fusion))

    def features(self, count: int = _COUNT, seed: int = 0) -> Features:
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.randn(count, of, generator=generator).double() for name, of in self.widths.items()}

    def present(self, count: int = _COUNT, without: str = "", rows: slice = slice(None)) -> dict[str, Tensor]:
        there = {name: torch.ones(count, dtype=torch.bool) for name in self.widths}
        if without:
            there[without][rows] = False
        return there

    def scores(self, features: Features, present: Mapping[str, Tensor], fusion: Fusion | None = None) -> Tensor:
        fusion = self.double if fusion is None else fusion
        return fusion.predict(fusion(features, present))


def check_fusion(
    fusion: str | type[Fusion] | Make, but: Mapping[str, str] | None = None, **options: Any
) -> ContractReport:
    """Check that a fusion keeps its contract, with random weights, on three modalities.

    :param fusion: A name of the registry, a class, or a function of widths by name and a number of classes.
    :param but: Names of properties that are not demanded, each with the reason; the report repeats it.
    :param options: Of the fusion: what iterates needs a tolerance near that of float64.
    :return: Which properties hold, and which were not looked at.
    :raises ContractError: With all properties that do not hold.
    """
    kind: Any = FUSIONS[fusion] if isinstance(fusion, str) else fusion
    name = fusion if isinstance(fusion, str) else getattr(fusion, "__name__", type(fusion).__name__)
    return FUSION.check(name, _Case(lambda widths, classes: kind(widths, classes, **options)), but)


@FUSION.holds(
    "embeddings of three modalities become scores [N, K]",
    "take widths (by name) and classes in the constructor; forward(features, present) fuses, predict(fused) scores",
    gate=True,
)
@torch.no_grad()
def _works(case: _Case) -> Iterator[str]:
    for count in (_COUNT, 1, 0):
        fused = case.double(case.features(count), case.present(count))
        if fused.ndim != 2 or len(fused) != count:
            yield f"forward returns {tuple(fused.shape)} instead of ({count}, D)."
        scores = case.double.predict(fused)
        if scores.shape != (count, _CLASSES):
            yield f"predict returns {tuple(scores.shape)} instead of ({count}, {_CLASSES})."
        else:
            yield from not_finite(scores, "the score of sample")


@FUSION.holds(
    "it works for any number of modalities",
    "loop over self.widths instead of naming modalities; refuse a number that makes no sense with InputError",
)
@torch.no_grad()
def _any_number(case: _Case) -> Iterator[str]:
    width, taken = case.widths["a"], 0
    for number in (1, 2, 4):
        widths = {f"m{place}": width for place in range(number)}
        try:
            fusion = _drawn(case.make(widths, 2)).double()
        except InputError:
            continue
        taken += 1
        x = {name: torch.randn(2, width, dtype=torch.float64) for name in widths}
        scores = fusion.predict(fusion(x, {name: torch.ones(2, dtype=torch.bool) for name in widths}))
        if scores.shape != (2, 2) or not scores.isfinite().all():
            yield f"{number} modalities, 2 classes and 2 samples give {tuple(scores.shape)}, {scores.flatten()[:3]}."
    if not taken:
        yield "1, 2 and 4 modalities are all refused."


@FUSION.holds(
    "no modality, or a single class, is refused with InputError",
    "call super().__init__(widths, classes) first",
)
def _refuses(case: _Case) -> Iterator[str]:
    for what, widths, classes in (("no modality", {}, 3), ("a single class", case.widths, 1)):
        try:
            case.make(widths, classes)
        except InputError:
            continue
        yield f"{what} is taken."


@FUSION.holds(
    "gradients by every embedding are those of finite differences, also where a modality is missing",
    "no detach() in evaluation mode; torch.where on both sides of a division, or a fixed point with implicit gradients",
)
def _gradient(case: _Case) -> Iterator[str]:
    def look(name: str, missing: str) -> Iterator[str]:
        # Of two samples, the second lacks another modality.
        features, present = case.features(2), case.present(2, missing, slice(1, 2))

        def scores(values: Tensor) -> Tensor:
            return case.scores({**features, name: values}, present)

        # A median of two that is flat in one of them is none of its faults: each-matters asks.
        yield from wrong_slopes(scores, features[name], f"the embedding {name}", flat=True)

    names = list(case.widths)
    yield from all_of(look(*pair) for pair in zip(names, names[1:] + names[:1], strict=True))


@FUSION.holds(
    "every modality changes the scores",
    "use the embedding of each modality; one that is left out should not be a tower's",
)
@torch.no_grad()
def _each_matters(case: _Case) -> Iterator[str]:
    features, present = case.features(), case.present()
    scores = case.scores(features, present)
    for name in case.widths:
        other = case.scores({**features, name: case.features(seed=1)[name]}, present)
        if not float((other - scores).abs().max()) > 1e-6 * float(scores.abs().max()):
            yield f"other embeddings {name} change no score."


@FUSION.holds(
    "a sample is scored as it is alone, in whatever order samples come",
    "take softmax, mean and norm over modalities or features, never over the batch (dim 0)",
)
@torch.no_grad()
def _batch_independence(case: _Case) -> Iterator[str]:
    features, present = case.features(), case.present(without="c", rows=slice(None, None, 2))
    whole = case.scores(features, present)
    alone = [case.scores(_rows(features, slice(row, row + 1)), _rows(present, slice(row, row + 1))) for row in range(5)]
    yield from unequal(torch.cat(alone), whole, "alone, sample", 1e-8)
    order = torch.arange(_COUNT - 1, -1, -1)
    turned = case.scores(_rows(features, order), _rows(present, order))
    yield from unequal(turned[order], whole, "in reverse order, sample", 1e-8)


@FUSION.holds(
    "embeddings give the same scores however they lie in memory",
    "reshape() and flatten() instead of view(), which wants neighbours side by side",
)
@torch.no_grad()
def _memory_layout(case: _Case) -> Iterator[str]:
    features, present = case.features(), case.present(without="b", rows=slice(0, 2))
    others = {name: in_other_memory(of) for name, of in features.items()}
    there = {name: in_other_memory(of) for name, of in present.items()}
    yield from unequal(case.scores(others, there), case.scores(features, present), "transposed, sample", 1e-8)


@FUSION.holds(
    "embeddings are found by name, in whatever order they come",
    "read features[name] for name in self.widths, not features.values()",
)
@torch.no_grad()
def _modality_order(case: _Case) -> Iterator[str]:
    features, present = case.features(), case.present()
    turned = {name: features[name] for name in reversed(features)}
    there = {name: present[name] for name in reversed(present)}
    yield from unequal(case.scores(turned, there), case.scores(features, present), "in another order, sample", 1e-8)


@FUSION.holds(
    "the embedding of a modality that a sample lacks changes nothing in that sample, and has no gradient",
    "mask with torch.where(present[name][:, None], ...), weights too; 0 * NaN is NaN",
)
def _missing(case: _Case) -> Iterator[str]:
    for name in case.widths:
        features, present = case.features(), case.present(without=name, rows=slice(0, 2))
        given = features[name].clone().requires_grad_(True)
        scores = case.scores({**features, name: given}, present)
        other = features[name].clone()
        other[:2] = 100 * case.features(seed=2)[name][:2]
        yield from unequal(
            case.scores({**features, name: other}, present),
            scores,
            f"with another {name}, which it lacks, sample",
            1e-8,
        )
        yield from not_finite(scores, f"without {name}, the score of sample")
        # What a tower makes of nothing may be NaN.
        other[:2] = torch.nan
        yield from not_finite(
            case.scores({**features, name: other}, present), f"where {name} is missing and NaN, the score of sample"
        )
        (slope,) = torch.autograd.grad(scores.square().sum(), given, allow_unused=True)
        if slope is not None and not bool((slope[:2] == 0).all()):
            yield f"without {name}, a sample has a gradient by it of up to {float(slope[:2].abs().max()):.2g}."
        everything = case.scores(features, case.present())
        if not float((everything - scores).detach()[:2].abs().max()) > 1e-9:
            yield f"a sample without {name} is scored as with it."


@FUSION.holds(
    "a sample that lacks everything has finite scores and weights",
    "clamp a sum of weights away from zero; let a softmax over nothing look at something, in vain",
)
@torch.no_grad()
def _nothing(case: _Case) -> Iterator[str]:
    present = {name: torch.zeros(_COUNT, dtype=torch.bool) for name in case.widths}
    yield from not_finite(case.scores(case.features(), present), "the score of sample")
    for name, of in (case.double.weights(case.features(), present) or {}).items():
        yield from not_finite(of.double()[:, None], f"the weight of {name} of sample")


@FUSION.holds(
    "large and small embeddings have finite scores",
    "use logsumexp, log_softmax and an epsilon where something is divided",
)
@torch.no_grad()
def _borders(case: _Case) -> Iterator[str]:
    for scale in (0.0, 1e4):
        features = {name: scale * of for name, of in case.features().items()}
        yield from not_finite(case.scores(features, case.present()), f"embeddings times {scale:g}: score of sample")


@FUSION.holds(
    "scores of a modality alone are [N, K], by name, and depend on that modality only",
    "return a dictionary with all modalities, or None from unimodal_scores()",
)
@torch.no_grad()
def _unimodal_scores(case: _Case) -> Iterator[str]:
    features = case.features()
    scores = case.double.unimodal_scores(features)
    if scores is None:
        raise NotChecked("unimodal_scores() says that it has none")
    if set(scores) != set(case.widths):
        yield f"there are scores of {', '.join(scores)}, the modalities are {', '.join(case.widths)}."
        return
    for name in case.widths:
        if scores[name].shape != (_COUNT, _CLASSES):
            yield f"the scores of {name} have shape {tuple(scores[name].shape)}."
            continue
        other = {of: values if of == name else -values for of, values in features.items()}
        again = (case.double.unimodal_scores(other) or {})[name]
        yield from unequal(again, scores[name], f"beside other embeddings, {name} of sample", 1e-8)


@FUSION.holds(
    "weights are [N], finite, and zero where a modality is missing; weighs says whether there are both",
    "mask weights as scores are masked, and set weighs = True where there are unimodal_scores() and weights()",
)
@torch.no_grad()
def _weights(case: _Case) -> Iterator[str]:
    features, present = case.features(), case.present(without="a", rows=slice(0, 2))
    weights = case.double.weights(features, present)
    both = weights is not None and case.double.unimodal_scores(features) is not None
    if case.double.weighs != both:
        there = "are there" if both else "are not both there"
        yield f"weighs is {case.double.weighs}, where weights and scores of each modality {there}."
    if weights is None:
        return
    if set(weights) != set(case.widths):
        yield f"there are weights of {', '.join(weights)}, the modalities are {', '.join(case.widths)}."
        return
    for name, of in weights.items():
        if of.shape != (_COUNT,) or not of.double().isfinite().all():
            yield f"the weights of {name} have shape {tuple(of.shape)}, or are not finite."
    if weights["a"][:2].any():
        yield f"the weight of a is {float(weights['a'][:2].abs().max()):.3g} in samples that lack it."


@FUSION.holds(
    "of sequences, what is behind their steps changes nothing",
    "mask steps by present[name] of shape [N, T], in attention and in means",
)
@torch.no_grad()
def _steps(case: _Case) -> Iterator[str]:
    if not case.double.takes_steps:
        raise NotChecked("it takes embeddings of whole modalities only (takes_steps)")
    features, present = case.features(), case.present()
    steps = torch.randn(_COUNT, 4, case.widths["a"], dtype=torch.float64)
    there = torch.arange(4) < torch.tensor([4, 2, 1, 3, 4])[:, None]
    scores = case.scores({**features, "a": steps}, {**present, "a": there})
    behind = torch.where(there[:, :, None], steps, 50.0)
    again = case.scores({**features, "a": behind}, {**present, "a": there})
    yield from unequal(again, scores, "with other padding, sample", 1e-8)
    longer = torch.cat([behind, behind], dim=1)
    none = torch.zeros_like(there)
    again = case.scores({**features, "a": longer}, {**present, "a": torch.cat([there, none], dim=1)})
    yield from unequal(again, scores, "with more padding, sample", 1e-8)


@FUSION.holds(
    "scores are in the dtype of the weights, in float32 as in float64",
    "make constants with new_zeros or torch.where(..., 0.0), not torch.zeros without a dtype",
)
@torch.no_grad()
def _dtypes(case: _Case) -> Iterator[str]:
    features, present = case.features(), case.present()
    single = {name: of.float() for name, of in features.items()}
    scores = case.scores(single, present, copy.deepcopy(case.double).float())
    precise = case.scores(features, present)
    for found, wanted in ((scores, torch.float32), (precise, torch.float64)):
        if found.dtype != wanted:
            yield f"weights and embeddings of {wanted} give scores of {found.dtype}."


@FUSION.holds(
    "in evaluation mode the same embeddings have the same scores",
    "turn dropout and noise off where self.training is false",
)
@torch.no_grad()
def _repeatable(case: _Case) -> Iterator[str]:
    features, present = case.features(), case.present()
    yield from unequal(case.scores(features, present), case.scores(features, present), "sample", 0.0)


@FUSION.holds(
    "asking changes nothing: weights, modes, what is frozen, gradients, inputs, global random numbers",
    "do not write into features or weights; keep what is remembered off the state_dict",
)
def _leaves_no_trace(case: _Case) -> Iterator[str]:
    features, present = {name: of.float() for name, of in case.features().items()}, case.present(without="b")
    yield from case.left_behind(lambda model: case.scores(features, present, model), features, present)


@FUSION.holds(
    "options are attributes of their names, and the weights of one fusion fit another with the same options",
    "keep every option under its name; register each parameter, buffer and module",
)
@torch.no_grad()
def _saved(case: _Case) -> Iterator[str]:
    features, present = case.features(), case.present()
    if option_names(case.double):
        # Makes the fusion again from its attributes.
        again = with_options(case.double)
        yield from unequal(case.scores(features, present, again.eval()), case.scores(features, present), "sample", 1e-9)
    other = _drawn(case.make(case.widths, _CLASSES), seed=1).double()
    other.load_state_dict(case.double.state_dict())
    # What it makes of the first that it sees is to be no part of its answers.
    case.scores(case.features(seed=1), present, other)
    scores = case.scores(features, present, other)
    yield from unequal(scores, case.scores(features, present), "after load_state_dict, sample", 1e-9)


@FUSION.holds(
    "a deep copy and a pickled one score as the fusion does, with weights of their own",
    "keep no lambda on the fusion",
)
def _copies(case: _Case) -> Iterator[str]:
    features, present = {name: of.float() for name, of in case.features().items()}, case.present()
    yield from case.wrong_copies(lambda model: case.scores(features, present, model))


def _drawn(fusion: Fusion, seed: int = 0) -> Fusion:
    """The fusion in evaluation mode, with weights moved at random: nothing hides behind a zero or a one."""
    generator = torch.Generator().manual_seed(seed)
    for name, weights in fusion.named_parameters():
        # The gains of a normalisation keep an iteration from wandering off.
        if "norm" not in name:
            weights.data += 0.05 * torch.randn(weights.shape, generator=generator).to(weights)
    return fusion.eval()


def _rows(parts: Mapping[str, Tensor], rows: Any) -> dict[str, Tensor]:
    return {name: of[rows] for name, of in parts.items()}
