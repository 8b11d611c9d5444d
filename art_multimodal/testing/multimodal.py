"""The contract of a model over several modalities."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.image_text import ImageText
from art_multimodal.models.multimodal import MultimodalModel, Part
from art_multimodal.sample_arrays import samples, with_field
from art_multimodal.testing.asked import OTHER_SCRIPTS, Asked, cut_silently, in_evaluation
from art_multimodal.testing.comparing import in_other_memory, not_finite, unequal
from art_multimodal.testing.contract import Contract, ContractReport, NotChecked, all_of
from art_multimodal.testing.multimodal_case import Case
from art_multimodal.testing.slopes import wrong_slopes

MULTIMODAL_MODEL = Contract("a multimodal model")
#: Words of a text that is longer than a model reads; one that reads more is not asked.
_LONG = 2048


def check_multimodal_model(
    model: MultimodalModel | FusionModel, x: np.ndarray | None = None, but: Mapping[str, str] | None = None
) -> ContractReport:
    """Check that a model over several modalities, or of image-text pairs, keeps its contract.

    >>> report = check_multimodal_model(sensors.multimodal, x)
    >>> "batch-independence" in report.held
    True

    :param model: In either mode; it comes back as it was.
    :param x: At least three samples, complete and all different, made by :func:`~art_multimodal.samples`; ``None`` to
        draw them. A model that reads a language of its own needs texts of it.
    :param but: Names of properties that are not demanded, each with the reason; the report repeats it.
    :return: Which properties hold, and which were not looked at.
    :raises ContractError: With all properties that do not hold.
    """
    with in_evaluation(model):
        return MULTIMODAL_MODEL.check(type(model).__name__, Case(model, x), but)


@MULTIMODAL_MODEL.holds(
    "samples become scores [N, K], one for each class name",
    "fill in encode() and combine(), or fuse(); and predict()",
    gate=True,
)
@torch.no_grad()
def _works(case: Case) -> Iterator[str]:
    for x in (case.x, case.x[:1]):
        scores = case.model(case.batch(x))
        wanted = len(x), len(case.model.class_names)
        if tuple(scores.shape) != wanted:
            yield f"{len(x)} samples give scores of shape {tuple(scores.shape)} instead of {wanted}."
        else:
            yield from not_finite(scores, "the score of sample")


@MULTIMODAL_MODEL.holds(
    "every modality changes the scores",
    "use every part; for a modality that may change nothing, say so in but={'each-matters': ...}",
)
@torch.no_grad()
def _each_matters(case: Case) -> Iterator[str]:
    scores = case.scores(case.x)
    for name in case.model.modalities:
        other = case.scores(with_field(case.x, name, case.x[name][::-1].copy()))
        if not float((other - scores).abs().max()) > 1e-6 * float(scores.abs().max()):
            yield f"{name}: that of another sample changes no score."


@MULTIMODAL_MODEL.holds(
    "a sample is scored as it is alone, in whatever order samples come",
    "no mean, softmax or norm over the batch (dim 0); mask the padding of texts and sequences",
)
@torch.no_grad()
def _batch_independence(case: Case) -> Iterator[str]:
    whole = case.scores(case.x)
    alone = torch.cat([case.scores(case.x[row : row + 1]) for row in range(len(case.x))])
    yield from unequal(alone, whole, "alone, sample")
    yield from unequal(case.scores(case.x[::-1].copy()).flip(0), whole, "in reverse order, sample")


@MULTIMODAL_MODEL.holds(
    "a sample has the same scores however its numbers lie in memory",
    "reshape() and flatten() instead of view(), which wants neighbours side by side",
)
@torch.no_grad()
def _memory_layout(case: Case) -> Iterator[str]:
    inputs = case.batch(case.x, case.double)
    others = {name: _elsewhere(part) for name, part in inputs.items()}
    yield from unequal(case.double(others), case.double(inputs), "transposed, sample")


@MULTIMODAL_MODEL.holds(
    "modalities are found by name, in whatever order they come",
    "read inputs[name] for name in self.modalities, not inputs.values()",
)
@torch.no_grad()
def _modality_order(case: Case) -> Iterator[str]:
    inputs = case.batch(case.x, case.double)
    turned = dict(reversed(inputs.items()))
    yield from unequal(case.double(turned), case.double(inputs), "with modalities in reverse order, sample")


@MULTIMODAL_MODEL.holds(
    "gradients by each modality of numbers are those of finite differences",
    "no detach(), rounding or numpy on the way; a hand-made backward pass must be that of its forward pass",
)
def _gradient(case: Case) -> Iterator[str]:
    model = case.double
    inputs = case.batch(case.x[:2], model)

    def look(name: str) -> Iterator[str]:
        part = inputs[name]
        assert isinstance(part.values, Tensor)

        def scores(values: Tensor) -> Tensor:
            return model({**inputs, name: model.numbers(name, values, part.lengths)})

        yield from wrong_slopes(scores, part.values, name, flat=True)

    yield from all_of(map(look, case.numbers))


@MULTIMODAL_MODEL.holds(
    "what a sample lacks changes nothing in it, and has no gradient",
    "leave out what part.present says is missing: torch.where(present[:, None], features, 0.0), in weights, too",
)
def _missing(case: Case) -> Iterator[str]:
    case.demand_missing()
    model = case.double
    whole = case.scores(case.x).detach()
    for name, of in case.model.modalities.items():
        field = case.x[name].copy()
        field[:1] = of.left_out(field[:1])
        x = with_field(case.x, name, field)
        inputs = case.batch(x, model)
        scores = model(inputs)
        yield from not_finite(scores, f"without {name}, the score of sample")
        yield from unequal(scores[1:], whole[1:], f"where the first lacks {name}, of the others sample")
        part, full = inputs[name], case.batch(case.x, model)[name]
        if bool(part.present[0]):
            yield f"{name}: collate() says that a sample has it which lacks it."
            continue
        if of.variable or not of.numeric:
            # Nothing is there that could be another value.
            continue
        assert isinstance(full.values, Tensor)
        other = full.values.clone().requires_grad_(True)
        again = model({**inputs, name: replace(part, values=other)})
        yield from unequal(again[:1], scores[:1], f"with another {name}, which it lacks, sample")
        (slope,) = torch.autograd.grad(again[0].square().sum(), other, allow_unused=True)
        if slope is not None and not bool((slope[0] == 0).all()):
            yield f"a sample without {name} has a gradient by it of up to {float(slope[0].abs().max()):.2g}."


@MULTIMODAL_MODEL.holds(
    "a sample that lacks everything has finite scores",
    "clamp a sum of weights away from zero",
)
@torch.no_grad()
def _nothing(case: Case) -> Iterator[str]:
    case.demand_missing()
    fields = {name: of.left_out(case.x[name]) for name, of in case.model.modalities.items()}
    yield from not_finite(case.model(case.batch(samples(**fields))), "the score of sample")


@MULTIMODAL_MODEL.holds(
    "a text that is longer than the model reads is refused, never cut; empty ones and other scripts are read",
    "raise InputError in tokenize() where a text does not fit; a mean over no token is NaN",
)
@torch.no_grad()
def _texts(case: Case) -> Iterator[str]:
    if not case.texts:
        raise NotChecked("the model reads no texts")
    for name in case.texts:
        yield from cut_silently(lambda texts, name=name: case.model.tokenize(name, texts), _LONG)  # type: ignore[misc]
        for what, own in (("empty", [""]), ("in other scripts", OTHER_SCRIPTS)):
            x = with_field(case.x, name, np.array([own[row % len(own)] for row in range(len(case.x))], dtype=object))
            yield from not_finite(case.model(case.batch(x)), f"{name} {what}: score of sample")


@MULTIMODAL_MODEL.holds(
    "samples that lack a field, or hold single NaN, are refused with InputError",
    "let collate() be that of MultimodalModel, or call check_samples() first",
)
def _refuses(case: Case) -> Iterator[str]:
    names, wrong = list(case.model.modalities), {}
    if len(names) > 1:
        wrong[f"samples without {names[0]}"] = samples(**{n: case.x[n] for n in names[1:]})
    for name in case.numbers:
        of = case.model.modalities[name]
        field = case.x[name].copy()
        of.values(field).reshape(len(field), -1)[0, 0] = np.nan
        wrong[f"a single NaN in {name}"] = with_field(case.x, name, field)
    for what, x in wrong.items():
        try:
            case.model.collate(x)
        except InputError:
            continue
        except Exception as error:
            yield f"{what} raises {type(error).__name__} instead of InputError."
            continue
        yield f"{what} is taken."


@MULTIMODAL_MODEL.holds(
    "the smallest and the largest values that clip_values allow have finite scores",
    "add an epsilon where something is divided by a deviation or a length",
)
@torch.no_grad()
def _borders(case: Case) -> Iterator[str]:
    for name in case.numbers:
        of = case.model.modalities[name]
        for bound in of.clip_values:
            field = of.with_values(case.x[name], np.broadcast_to(bound, of.values(case.x[name]).shape))
            x = with_field(case.x, name, field)
            yield from not_finite(case.model(case.batch(x)), f"{name} at {np.max(bound):.3g}: score of sample")


@MULTIMODAL_MODEL.holds(
    "a removed point becomes the fill, and no other changes",
    "remove() of a modality sets fill where its points are, within the length",
)
def _removal(case: Case) -> Iterator[str]:
    for name in case.numbers:
        of, field = case.model.modalities[name], case.x[name]
        there = of.present(field)
        removed = (np.arange(there.size) % 3 == 0).reshape(there.shape)
        after, before = (np.asarray(of.values(one)) for one in (of.remove(field, removed), field))
        where = np.broadcast_to(of.spread(removed & there, before.ndim), before.shape)
        fill = np.broadcast_to(np.asarray(of.fill, dtype=before.dtype), before.shape)
        if not np.array_equal(after[where], fill[where]):
            yield f"{name}: removed points are not the fill."
        if not np.array_equal(after[~where], before[~where]):
            yield f"{name}: points that stay were changed."
        case.model.collate(with_field(case.x, name, of.remove(field, removed)))


@MULTIMODAL_MODEL.holds(
    "scores of each modality alone are [N, K], by name; weights [N], zero for what is missing",
    "return a dictionary with all modalities, or None from unimodal_scores() and weights()",
)
@torch.no_grad()
def _unimodal_scores(case: Case) -> Iterator[str]:
    if not case.model.separate_towers:
        raise NotChecked("the modalities meet before each has an embedding")
    inputs = case.inputs
    features: dict[str, Any] = {name: case.model.see(name, part).values for name, part in inputs.items()}
    present = {name: part.present for name, part in inputs.items()}
    first = next(iter(present))
    present[first] = torch.zeros_like(present[first])
    scores, weights = case.model.unimodal_scores(features), case.model.weights(features, present)
    for what, found, shape in (
        ("unimodal_scores", scores, (len(case.x), len(case.model.class_names))),
        ("weights", weights, (len(case.x),)),
    ):
        if found is None:
            continue
        if set(found) != set(inputs):
            yield f"{what} has {', '.join(found)}, the modalities are {', '.join(inputs)}."
        for name, of in found.items():
            if tuple(of.shape) != shape:
                yield f"{what} of {name} has shape {tuple(of.shape)} instead of {shape}."
    if case.model.weighs != (scores is not None and weights is not None):
        yield f"weighs is {case.model.weighs}, which does not say whether both are there."
    if weights is not None and first in weights and bool(weights[first].any()):
        yield f"{first} weighs {float(weights[first].abs().max()):.3g} where it is missing."


@MULTIMODAL_MODEL.holds(
    "scores are those of predict(fuse(inputs)), and of what each modality is seen as",
    "leave forward(), see() and meet() as they are: attacks call the parts by themselves",
)
@torch.no_grad()
def _parts(case: Case) -> Iterator[str]:
    model = case.double
    inputs = case.batch(case.x, model)
    scores = model(inputs)
    yield from unequal(model.predict(model.fuse(inputs)), scores, "by predict(fuse()), sample")
    seen = {name: model.see(name, part) for name, part in inputs.items()}
    yield from unequal(model.predict(model.meet(seen)), scores, "by predict(meet(see())), sample")


@MULTIMODAL_MODEL.holds(
    "scores are in the dtype of the weights, in float32 as in float64",
    "make constants with new_zeros or torch.where(..., 0.0); a buffer of float32 must not bring float64 down",
)
@torch.no_grad()
def _dtypes(case: Case) -> Iterator[str]:
    own = case.own.dtype
    for found, wanted in ((case.model(case.inputs), own), (case.scores(case.x), torch.float64)):
        if found.dtype != wanted:
            yield f"weights of {wanted} give scores of {found.dtype}."
    yield from unequal(case.model(case.inputs), case.scores(case.x), "in float64, sample", 1e-2)


@MULTIMODAL_MODEL.holds(
    "in evaluation mode the same sample has the same scores",
    "turn dropout and noise off where self.training is false",
)
@torch.no_grad()
def _repeatable(case: Case) -> Iterator[str]:
    yield from unequal(case.model(case.inputs), case.model(case.inputs), "sample", 0.0)


@MULTIMODAL_MODEL.holds(
    "asking changes nothing: weights, modes, what is frozen, gradients, samples, global random numbers",
    "collate() shares the samples' memory: write into no part in place",
)
def _leaves_no_trace(case: Case) -> Iterator[str]:
    x = copy.deepcopy(case.x)
    yield from case.left_behind(lambda model: model(case.batch(x, model)), x)


@MULTIMODAL_MODEL.holds(
    "a deep copy and a pickled one score as the model does, with weights of their own",
    "keep no lambda, open file or thread on the model; or say in but={'copies': ...} why it has one",
)
def _copies(case: Case) -> Iterator[str]:
    yield from case.wrong_copies(lambda model: model(case.batch(case.x, model)))


@MULTIMODAL_MODEL.holds(
    "a model that was saved and loaded scores as before",
    "save everything that a score depends on: all weights, the preprocessing, the tokenizer, the modalities",
)
def _saved(case: Case) -> Iterator[str]:
    def scores(model: Any) -> Tensor:
        model = ImageText(model) if isinstance(model, FusionModel) else model
        return model(case.batch(case.x, model))

    yield from Asked(case.own).wrong_saved(scores)


def _elsewhere(part: Part) -> Part:
    """The same part, whose numbers lie otherwise in memory; tokens lie as their tokenizer laid them."""
    if not isinstance(part.values, Tensor) or not part.values.is_floating_point():
        return part
    return replace(part, values=in_other_memory(part.values))
