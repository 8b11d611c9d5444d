"""The contract of an objective of training."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from art_multimodal.defences.trainer import METHODS
from art_multimodal.defences.trainer.methods import QUANTITIES, Method
from art_multimodal.errors import InputError
from art_multimodal.testing.asked import equal, wants_gradients
from art_multimodal.testing.comparing import ProcessState, in_other_memory
from art_multimodal.testing.contract import Contract, ContractReport, NotChecked, all_of
from art_multimodal.testing.slopes import wrong_slopes

OBJECTIVE = Contract("an objective")
_COUNT, _CLASSES, _WIDTH, _VIEWS = 6, 3, 5, 2
_MODALITIES = ("a", "b")
#: Labels of the samples; each class is there.
_LABELS = (0, 1, 0, 2, 1, 0)
#: Lengths of gradient steps that are tried; one of them makes the objective smaller.
_STEPS = (1e-1, 1e-2, 1e-3, 1e-4)
#: What has a row for each class, or a column.
_OF_CLASSES = ("class_texts", "original_class_texts")

#: Names of quantities that may have any size end in one of these.
_UNBOUNDED = ("_images", "_texts", "scores", "features", "projected", "fused")
#: A quantity: a tensor, or tensors by the name of a modality; ``turn`` is a name.
Given = dict[str, Any]
#: Which tensor of the quantities: a name, and of those by modality, the modality.
Key = tuple[str, str | None]


class _Case:
    """An objective, and random quantities of those it asks for.

    :param further: Quantities of the user's own.
    """

    def __init__(self, objective: Callable[..., Tensor], options: Mapping[str, Any], further: Given) -> None:
        self.objective, self.options, self.further = objective, dict(options), further
        parameters = inspect.signature(objective).parameters.values()
        self.needs = [one.name for one in parameters if one.default is one.empty]
        self.settings = {one.name: one.default for one in parameters if one.default is not one.empty}

    def given(self, seed: int = 0, rows: tuple[int, ...] = tuple(range(_COUNT))) -> Given:
        """What the objective asks for, in float64, of some of the samples."""
        drawn = _quantities(seed)
        return {
            name: self.further[name] if name in self.further else _taken(name, drawn[name], rows)
            for name in self.needs
            if name in self.further or name in drawn
        }

    def value(self, given: Given) -> Tensor:
        return self.objective(**given, **self.options)

    def trained(self, given: Given) -> Iterator[Key]:
        """Which tensors training changes: those of the model, and not of the original one, labels or memory."""
        for name, of in given.items():
            if name.startswith(("original", "targets", "positives", "present", "history", "turn")):
                continue
            for key in of if isinstance(of, dict) else (None,):
                tensor = of if key is None else of[key]
                if isinstance(tensor, Tensor) and tensor.is_floating_point():
                    yield name, key


def check_objective(
    objective: str | Method | Callable[..., Tensor],
    but: Mapping[str, str] | None = None,
    further: Mapping[str, Any] | None = None,
    **options: Any,
) -> ContractReport:
    """Check that an objective keeps its contract: embeddings or scores in, one number out.

    :param objective: A function whose parameters without a default are among those of
        :data:`art_multimodal.defences.trainer.methods.QUANTITIES`; or a method, of which each stage is checked, or its
        name.
    :param but: Names of properties that are not demanded, each with the reason; the report repeats it.
    :param further: Of what an inner attack of one's own provides, a value for each name.
    :param options: Settings of the objective.
    :return: Which properties hold, and which were not looked at.
    :raises ContractError: With all properties that do not hold.
    """
    if isinstance(objective, str):
        objective = METHODS[objective]
    stages = [stage.objective for stage in objective.stages] if isinstance(objective, Method) else [objective]
    reports = []
    for one in stages:
        name = getattr(one, "__name__", type(one).__name__)
        own = {key: value for key, value in options.items() if key in inspect.signature(one).parameters}
        if unknown := set(options) - {key for stage in stages for key in inspect.signature(stage).parameters}:
            raise InputError(f"{name} has no option {min(unknown)!r}.")
        reports.append(OBJECTIVE.check(name, _Case(one, own, dict(further or {})), but))
    if len(reports) == 1:
        return reports[0]
    held = [name for name in reports[0].held if all(name in report.held for report in reports)]
    skipped = {name: why for report in reports for name, why in report.skipped.items()}
    return ContractReport(", then ".join(report.subject for report in reports), tuple(held), skipped)


@OBJECTIVE.holds(
    "it asks for known quantities and returns one finite number",
    "name parameters as art_multimodal.functional.objectives lists them, give settings a default, take the mean",
    gate=True,
)
def _works(case: _Case) -> Iterator[str]:
    if unknown := [name for name in case.needs if name not in (*QUANTITIES, *case.further)]:
        yield f"it asks for {', '.join(unknown)}, which nobody provides."
        return
    for seed in (0, 1):
        value = case.value(case.given(seed))
        if not isinstance(value, Tensor) or value.ndim != 0:
            yield f"it returns {tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__}."
            return
        if not value.isfinite():
            yield f"it is {float(value)}."


@OBJECTIVE.holds(
    "gradients by what is trained are those of finite differences",
    "no detach() on the way, except where a paper says so: then but={'gradient': ...}",
)
def _gradient(case: _Case) -> Iterator[str]:
    given = case.given()

    def look(key: Key) -> Iterator[str]:
        return wrong_slopes(lambda of: case.value(_with(given, key, of)), _tensor(given, key), _said(key), flat=True)

    yield from all_of(map(look, case.trained(given)))


@OBJECTIVE.holds(
    "something that is trained has a gradient, and a small step along it makes the objective smaller",
    "return what is to be made smaller: a loss, not a score",
)
def _decreases(case: _Case) -> Iterator[str]:
    given = case.given()
    keys = [key for key in case.trained(given) if key[0] != "scale"]
    at = {key: _tensor(given, key).clone().requires_grad_(True) for key in keys}
    with torch.enable_grad():
        value = case.value(_with_all(given, at))
        slopes = dict(
            zip(keys, torch.autograd.grad(value, list(at.values()), allow_unused=True), strict=True)
            if value.requires_grad and keys
            else []
        )
    slopes = {key: of for key, of in slopes.items() if of is not None and bool(of.abs().sum() > 0)}
    if not slopes:
        yield "nothing that is trained has a gradient."
        return
    with torch.no_grad():
        for step in _STEPS:
            moved = {key: at[key].detach() - step * of / of.norm() for key, of in slopes.items()}
            if case.value(_with_all(given, moved)) < value:
                return
    yield f"it is {float(value):.5g}, and no smaller after a step of {_STEPS[-1]:g} against its gradient."


@OBJECTIVE.holds(
    "it does not depend on the order of the samples",
    "take means over samples; what compares neighbours says so in but={'batch-order': ...}",
)
def _batch_order(case: _Case) -> Iterator[str]:
    value, turned = case.value(case.given()), case.value(case.given(rows=(4, 2, 5, 0, 1, 3)))
    if not abs(float(value - turned)) <= 1e-9 * max(1.0, abs(float(value))):
        yield f"in another order it is {float(turned):.7g} instead of {float(value):.7g}."


@OBJECTIVE.holds(
    "it does not depend on the order of the classes",
    "treat all classes alike: targets, class texts and scores in another order are the same problem",
)
def _class_order(case: _Case) -> Iterator[str]:
    given, order = case.given(), torch.tensor([2, 0, 1])

    def turned(name: str, of: Any) -> Any:
        if isinstance(of, dict):
            return {key: turned(name, tensor) for key, tensor in of.items()}
        if name in _OF_CLASSES:
            return of[order]
        return of[..., order] if name == "targets" or name.endswith("scores") else of

    other = {name: turned(name, of) for name, of in given.items()}
    if all(other[name] is given[name] for name in given if not isinstance(given[name], dict)) and not any(
        name.endswith("scores") for name in given
    ):
        raise NotChecked("it knows no classes")
    value, found = case.value(given), case.value(other)
    if not abs(float(value - found)) <= 1e-9 * max(1.0, abs(float(value))):
        yield f"with the classes in another order it is {float(found):.7g} instead of {float(value):.7g}."


@OBJECTIVE.holds(
    "a batch of one sample gives a finite number with finite gradients, or is refused with InputError",
    "mind variances and ranks of a single sample; the last batch of an epoch may have one",
)
def _one_sample(case: _Case) -> Iterator[str]:
    try:
        yield from _not_finite(case, case.given(rows=(1,)), "of one sample")
    except InputError:
        return


@OBJECTIVE.holds(
    "it is the same however the quantities lie in memory",
    "reshape() and flatten() instead of view(), which wants neighbours side by side",
)
def _memory_layout(case: _Case) -> Iterator[str]:
    given = case.given()
    others = {
        name: _mapped(of, lambda one: in_other_memory(one) if _has_rows(one) else one) for name, of in given.items()
    }
    value, found = case.value(given), case.value(others)
    if not abs(float(value - found)) <= 1e-9 * max(1.0, abs(float(value))):
        yield f"of transposed quantities it is {float(found):.7g} instead of {float(value):.7g}."


@OBJECTIVE.holds(
    "of large embeddings and scores it is finite, and so are its gradients",
    "use log_softmax, logsumexp and F.normalize instead of logarithms, exponentials and divisions of one's own",
)
def _borders(case: _Case) -> Iterator[str]:
    for scale in (1e3, 1e-6):
        given = {name: _mapped(of, _as_single) for name, of in case.given().items()}
        for name, of in given.items():
            if name.endswith(_UNBOUNDED):
                given[name] = _mapped(of, lambda one, scale=scale: scale * one)  # type: ignore[misc]
        yield from _not_finite(case, given, f"of quantities times {scale:g}")


@OBJECTIVE.holds(
    "in float32 it is in float32, and the same but for rounding",
    "make constants with new_zeros, and no Python number of numpy in between",
)
def _dtypes(case: _Case) -> Iterator[str]:
    given = case.given()
    single = {name: _mapped(of, _as_single) for name, of in given.items()}
    found, wanted = case.value(single), case.value(given)
    if found.dtype != torch.float32 or wanted.dtype != torch.float64:
        yield f"quantities in float32 give {found.dtype}, in float64 {wanted.dtype}."
    if not abs(float(found) - float(wanted)) <= 1e-3 * max(1.0, abs(float(wanted))):
        yield f"in float32 it is {float(found):.6g}, in float64 {float(wanted):.6g}."


@OBJECTIVE.holds(
    "the same quantities give the same number, none is changed in place, no global random number drawn",
    "write no += on what was given; random numbers come in as a quantity",
)
def _leaves_no_trace(case: _Case) -> Iterator[str]:
    given, untouched, before = case.given(), case.given(), ProcessState.now()
    first, second = case.value(given), case.value(given)
    if float(first) != float(second):
        yield f"asked twice it is {float(first):.9g} and {float(second):.9g}."
    for name, of in given.items():
        if not equal(of, untouched[name]):
            yield f"{name} was changed in place."
        elif wants_gradients(of):
            yield f"requires_grad of {name} was changed."
    yield from before.changes()


@OBJECTIVE.holds(
    "every setting is documented with its name, and its default is a finite value",
    "write ':param NAME:' for each setting in the docstring: the listing and the pages read it",
)
def _settings(case: _Case) -> Iterator[str]:
    said = set(re.findall(r":param (\w+):", case.objective.__doc__ or ""))
    for name, default in case.settings.items():
        if name not in said:
            yield f"the setting {name} is not documented."
        if isinstance(default, float) and default != default:
            yield f"the default of {name} is NaN."


def _not_finite(case: _Case, given: Given, when: str) -> Iterator[str]:
    """Yield that the objective, or a gradient by what is trained, is not finite."""
    at = {key: _tensor(given, key).clone().requires_grad_(True) for key in case.trained(given)}
    with torch.enable_grad():
        value = case.value(_with_all(given, at))
        if not value.isfinite():
            yield f"{when} it is {float(value.detach())}."
            return
        if not value.requires_grad:
            return
        slopes = torch.autograd.grad(value, list(at.values()), allow_unused=True)
    for key, slope in zip(at, slopes, strict=True):
        if slope is not None and not slope.isfinite().all():
            yield f"{when} the gradient by {_said(key)} holds NaN or infinite values."


def _quantities(seed: int) -> Given:
    """Random values of everything that the package's training provides."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def by_modality(*shape: int) -> dict[str, Tensor]:
        return {name: draw(*shape) for name in _MODALITIES}

    labels = torch.tensor(_LABELS)
    embeddings = (
        *("clean_images", "adversarial_images", "original_images", "original_adversarial_images"),
        *("clean_texts", "adversarial_texts", "original_texts", "reference_texts", "original_reference_texts"),
    )
    return {
        **{name: draw(_COUNT, _WIDTH) for name in embeddings},
        **{name: draw(_CLASSES, _WIDTH) for name in _OF_CLASSES},
        **{name: draw(_COUNT, _CLASSES) for name in ("scores", "clean_scores", "adversarial_scores")},
        "ablated_images": draw(_VIEWS, _COUNT, _WIDTH),
        "ablated_scores": draw(_VIEWS, _COUNT, _CLASSES),
        "unimodal_scores": by_modality(_COUNT, _CLASSES),
        **{name: by_modality(_COUNT, _WIDTH) for name in ("features", "projected", "fused_projected")},
        "fused": draw(_COUNT, _WIDTH),
        "weights": {name: of.sigmoid() for name, of in by_modality(_COUNT).items()},
        "history": {name: of.sigmoid() for name, of in by_modality(_COUNT).items()},
        **{name: draw(_COUNT).sigmoid() for name in ("radius", "steepness")},
        "present": {
            _MODALITIES[0]: torch.ones(_COUNT, dtype=torch.bool),
            _MODALITIES[1]: torch.tensor([True, True, False, True, True, True]),
        },
        "turn": _MODALITIES[1],
        "targets": torch.eye(_CLASSES, dtype=torch.float64)[labels],
        "positives": labels[:, None] == labels,
        "scale": torch.tensor(7.0, dtype=torch.float64),
        "original_scale": torch.tensor(5.0, dtype=torch.float64),
    }


def _taken(name: str, of: Any, rows: tuple[int, ...]) -> Any:
    """The quantity of some of the samples."""
    if isinstance(of, dict):
        return {key: _taken(name, tensor, rows) for key, tensor in of.items()}
    if not isinstance(of, Tensor) or not of.ndim or name in _OF_CLASSES:
        return of
    chosen = list(rows)
    if name == "positives":
        return of[chosen][:, chosen]
    return of[:, chosen].clone() if name.startswith("ablated") else of[chosen].clone()


def _tensor(given: Given, key: Key) -> Tensor:
    of = given[key[0]]
    return of if key[1] is None else of[key[1]]


def _with(given: Given, key: Key, of: Tensor) -> Given:
    name, modality = key
    return {**given, name: of if modality is None else {**given[name], modality: of}}


def _with_all(given: Given, tensors: Mapping[Key, Tensor]) -> Given:
    for key, of in tensors.items():
        given = _with(given, key, of)
    return given


def _said(key: Key) -> str:
    return key[0] if key[1] is None else f"{key[0]} of {key[1]}"


def _mapped(of: Any, change: Callable[[Any], Any]) -> Any:
    return {key: change(tensor) for key, tensor in of.items()} if isinstance(of, dict) else change(of)


def _has_rows(of: Any) -> bool:
    return isinstance(of, Tensor) and of.ndim > 0


def _as_single(of: Any) -> Any:
    return of.float() if isinstance(of, Tensor) and of.is_floating_point() else of
