"""The contract of a defence that computes at test time."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from art_multimodal.defences.test_time import Passes, TestTimeDefence
from art_multimodal.errors import InputError, one_line
from art_multimodal.estimators import ZeroShotClassifier
from art_multimodal.estimators.test_time import TestTimeHead
from art_multimodal.evaluations.audit.subject import counted_queries
from art_multimodal.testing.asked import equal
from art_multimodal.testing.at_test_time_case import Case, counted_texts, slope_behind
from art_multimodal.testing.comparing import ProcessState, in_other_memory, not_finite, unequal
from art_multimodal.testing.contract import Contract, ContractReport, NotChecked
from art_multimodal.testing.slopes import wrong_slopes

TEST_TIME_DEFENCE = Contract("a test-time defence")
#: A change of a pixel that no answer shows, but draws that belong to the pixels.
_UNSEEN = 1e-7
#: Values that no parameter of this name takes.
_REFUSED: Mapping[str, Any] = {"seed": -1, "draws": 0, "softness": 0.0, "gradient": "exact"}


def check_test_time_defence(
    defence: TestTimeDefence,
    classifier: ZeroShotClassifier | None = None,
    images: Tensor | None = None,
    but: Mapping[str, str] | None = None,
) -> ContractReport:
    """Check that a defence that computes at test time keeps its contract, in front of a small classifier.

    >>> from art_multimodal.defences.test_time import Purification
    >>> report = check_test_time_defence(Purification(max_iter=1))
    >>> "passes" in report.held, sorted(report.skipped)
    (True, ['alarm'])

    :param defence: What is checked.
    :param classifier: One that it works with, without a defence; ``None`` for a small one with random weights.
    :param images: At least three, all different, ``[N, C, H, W]`` in [0, 1]; ``None`` to draw them.
    :param but: Names of properties that are not demanded, each with the reason; the report repeats it.
    :return: Which properties hold, and which were not looked at.
    :raises ContractError: With all properties that do not hold.
    """
    return TEST_TIME_DEFENCE.check(type(defence).__name__, Case(defence, classifier, images), but)


@TEST_TIME_DEFENCE.holds(
    "images become finite logits [N, K], also a single one",
    "derive from TestTimeDefence, and return bare.logits(...) or logarithms of probabilities from one_answer()",
    gate=True,
)
def _works(case: Case) -> Iterator[str]:
    if not isinstance(case.own, TestTimeDefence):
        yield f"{type(case.own).__name__} is no TestTimeDefence."
        return
    for images in (case.images, case.images[:1]):
        found, wanted = case.answers(images), (len(images), len(case.classes))
        if tuple(found.shape) != wanted:
            yield f"{len(images)} images give logits of shape {tuple(found.shape)} instead of {wanted}."
        else:
            yield from not_finite(found, "the answer to image")


@TEST_TIME_DEFENCE.holds(
    "equal parameters, seed and pixels give equal answers",
    "draw from generators alone, which one_answer() is given; keep nothing from the last call",
)
def _repeatable(case: Case) -> Iterator[str]:
    first = case.answers()
    torch.rand(3)
    case.answers(case.images.flip(0))
    yield from unequal(case.answers(), first, "asked again, image", 0.0)


@TEST_TIME_DEFENCE.holds(
    "an answer depends on its own image alone",
    "one generator for each image, and no mean, sort or norm over the batch (dim 0)",
)
def _batch_independence(case: Case) -> Iterator[str]:
    whole = case.answers()
    alone = [case.answers(case.images[row : row + 1]) for row in range(len(case.images))]
    yield from unequal(torch.cat(alone), whole, "alone, image")
    yield from unequal(case.answers(case.images.flip(0)).flip(0), whole, "in reverse order, image")


@TEST_TIME_DEFENCE.holds(
    "what is random belongs to the pixels, the seed and the number of the draw; random says whether anything is",
    "set random = True, draw with drawn(generators, ...), and leave generators(), scores() and asked_again() alone",
)
def _draws(case: Case) -> Iterator[str]:
    own, first = case.own, case.answers()
    others = {
        "another seed": case.answers(defence=own.with_params(seed=own.seed + 1)),
        "asked_again(1)": case.answers(defence=own.asked_again(1)),
    }
    if not own.random:
        for what, other in others.items():
            yield from unequal(other, first, f"random is False, and with {what} image", 1e-9)
        return
    spread = {what: float((other - first).abs().max()) for what, other in others.items()}
    for what, size in spread.items():
        if size <= 1e-9 * float(first.abs().max()):
            yield f"random is True, and {what} changes no answer."
    touched = case.images.clone()
    touched[:, 0, 0, 0] += _UNSEEN
    moved = float((case.answers(touched) - first).abs().max())
    if moved <= 1e-3 * max(spread.values()):
        yield f"where a pixel differs by {_UNSEEN:g} the draws are the same: answers move by {moved:.2g}."
    both = torch.stack([case.one_answer(own, case.images, number) for number in (0, 1)])
    wanted = both.log_softmax(dim=-1).logsumexp(dim=0) - math.log(2)
    found = case.answers(defence=own.with_params(draws=2)).log_softmax(dim=-1)
    yield from unequal(found, wanted, "with draws=2, which are means of probabilities, image")


@TEST_TIME_DEFENCE.holds(
    "parameters are attributes, with_params() leaves the original alone, and refuses with InputError what is none",
    "list all in defence_params, and check them in _check_params(), super()._check_params() included",
)
def _parameters(case: Case) -> Iterator[str]:
    own, before = case.own, case.answers()
    params = dict(own.params)
    if lacking := sorted(set(TestTimeDefence.defence_params) - set(params)):
        yield f"defence_params lacks {', '.join(lacking)}."
    other = own.with_params(seed=own.seed + 1)
    case.answers(defence=other)
    if own.params != params or other.params != {**params, "seed": own.seed + 1}:
        yield "with_params(seed=...) changes the original, or more than the seed."
    yield from unequal(case.answers(), before, "after with_params(seed=...) of another, image", 0.0)
    for name, value in {**_REFUSED, "no_such_parameter": 1}.items():
        tried = copy.copy(own)
        try:
            tried.set_params(**{name: value})
        except InputError:
            if tried.params != params:
                yield f"{name}={value!r} is refused, and changes parameters all the same."
            continue
        except Exception as error:
            yield f"{name}={value!r} raises {type(error).__name__} instead of InputError."
            continue
        yield f"{name}={value!r} is taken."


@TEST_TIME_DEFENCE.holds(
    "what the model is shown lies in [0, 1]",
    "clamp(0, 1) whatever was added to images",
)
def _range(case: Case) -> Iterator[str]:
    shown: list[Tensor] = []
    handle = case.encoder.preprocess.register_forward_pre_hook(lambda module, given: shown.append(given[0].detach()))
    try:
        case.answers(torch.cat([case.images, _black_and_white(case.images)]))
    finally:
        handle.remove()
    if not shown:
        raise NotChecked("nothing passes the preprocessing of the model")
    low, high = min(float(of.min()) for of in shown), max(float(of.max()) for of in shown)
    if low < -1e-6 or high > 1 + 1e-6:
        yield f"the model is shown values in [{low:.6g}, {high:.6g}]."


@TEST_TIME_DEFENCE.holds(
    "black and white images have finite answers and gradients",
    "clamp a length or a deviation away from zero before something is divided by it",
)
def _borders(case: Case) -> Iterator[str]:
    images = _black_and_white(case.images)
    yield from not_finite(case.answers(images), "all black, all white: the answer to image")
    yield from not_finite(slope_behind(case, case.own, images)[1], "all black, all white: the gradient of image")


@TEST_TIME_DEFENCE.holds(
    "an answer costs exactly the passes that passes() says",
    "count each image that is embedded, those for a gradient as backward ones, too: plans and budgets rest on it",
)
def _passes(case: Case) -> Iterator[str]:
    said, count = case.own.passes(), len(case.images)
    if not isinstance(said, Passes):
        yield f"passes() returns {type(said).__name__}."
        return
    one = case.own.with_params(draws=1)
    with counted_queries(case.encoder) as seen, counted_texts(case) as texts:
        case.answers(defence=one)
    found = {"forward": seen["queries"], "backward": seen["gradients"], **texts}
    for name, number in found.items():
        if number != count * getattr(said, name):
            yield f"{count} images take {number} {name} passes, where passes() says {getattr(said, name)} for each."


@TEST_TIME_DEFENCE.holds(
    "gradients come back: attacks meet the very answers; with 'smooth' they are those of finite differences",
    "no detach() but for soft(), above(), lowest() and transformed(), which know how gradients come back",
)
def _gradient(case: Case) -> Iterator[str]:
    wanted = case.answers()
    for gradient in ("unrolled", "bpda"):
        defence = case.own.with_params(gradient=gradient)
        found, slope = slope_behind(case, defence, case.images)
        yield from unequal(found, wanted, f"gradient={gradient!r}: with a gradient, image")
        yield from not_finite(slope, f"gradient={gradient!r}: the gradient of image")
        if not bool(slope.abs().flatten(1).sum(dim=1).gt(0).all()):
            yield f"gradient={gradient!r}: an image has no gradient."
    defence = case.own.with_params(gradient="smooth", softness=2.0)

    def answers(images: Tensor) -> Tensor:
        # Stand-ins are used where gradients are; draws must not change with the pixels meanwhile.
        generators = [torch.Generator().manual_seed(row) for row in range(len(images))] if defence.random else ()
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            at = images if images.requires_grad else images.detach().requires_grad_(True)
            return defence.one_answer(case.bare, at, case.classes, generators)

    yield from wrong_slopes(answers, case.images[:2], "images, gradient='smooth',")


@TEST_TIME_DEFENCE.holds(
    "with the classes in another order the answers are those in that order",
    "treat all classes alike, and return a logit for each in the order of classes",
)
def _class_order(case: Case) -> Iterator[str]:
    order = torch.arange(len(case.classes)).roll(1)
    try:
        turned = case.answers(classes=case.classes[order])
    except InputError as error:
        raise NotChecked(f"it takes no other classes: {one_line(error)}") from None
    yield from unequal(turned, case.answers()[:, order], "with the classes in another order, image")


@TEST_TIME_DEFENCE.holds(
    "images have the same answers however they lie in memory",
    "reshape() and flatten() instead of view(), which wants neighbours side by side",
)
def _memory_layout(case: Case) -> Iterator[str]:
    yield from unequal(case.answers(in_other_memory(case.images)), case.answers(), "transposed, image")


@TEST_TIME_DEFENCE.holds(
    "answers are in the dtype of the model, in float32 as in float64",
    "make constants with new_zeros and .to(images); drawn() does it",
)
def _dtypes(case: Case) -> Iterator[str]:
    single = TestTimeHead(copy.deepcopy(case.encoder).float(), case.prompts, case.own).eval()
    with torch.no_grad():
        found = single.behind(case.own, case.images.float(), single.class_features())
    for of, wanted in ((found, torch.float32), (case.answers(), torch.float64)):
        if of.dtype != wanted:
            yield f"a model and images of {wanted} give answers of {of.dtype}."


@TEST_TIME_DEFENCE.holds(
    "where has_alarm, alarm() says of each image by itself how sure it is, with a gradient; else it raises InputError",
    "return [N], above 0 where the defence acts, or leave alarm() to TestTimeDefence and has_alarm = False",
)
def _alarm(case: Case) -> Iterator[str]:
    if not case.own.has_alarm:
        try:
            found = case.alarm()
        except InputError:
            raise NotChecked("it treats all images alike: has_alarm is False") from None
        yield f"has_alarm is False, and alarm() returns {type(found).__name__}: attacks that go by it pass it over."
        return
    with torch.no_grad():
        found = case.alarm()
        if tuple(found.shape) != (len(case.images),):
            yield f"of {len(case.images)} images it has the shape {tuple(found.shape)}."
            return
        yield from not_finite(found[:, None], "the alarm of image")
        yield from unequal(case.alarm(), found, "asked again, image", 0.0)
        alone = [case.alarm(case.images[row : row + 1]) for row in range(len(case.images))]
        yield from unequal(torch.cat(alone), found, "alone, image")
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        at = case.images.clone().requires_grad_(True)
        total = case.alarm(at).sum()
        slope = torch.autograd.grad(total, at, allow_unused=True)[0] if total.requires_grad else None
    if slope is None or not slope.isfinite().all() or not bool(slope.abs().sum() > 0):
        yield "it has no gradient, which attacks that silence it go by, or none that is finite."


@TEST_TIME_DEFENCE.holds(
    "asking changes nothing: the model, images, the defence itself, global random numbers and settings",
    "work on copies; what is tuned is tuned for one image, and keeps in no attribute",
)
def _leaves_no_trace(case: Case) -> Iterator[str]:
    images, classes = case.images.clone(), case.classes.clone()
    of_process = ProcessState.now()
    case.answers(images, classes=classes)
    slope_behind(case, case.own, images, classes)
    yield from case.before.changes(case.encoder)
    yield from of_process.changes()
    if not equal(images, case.images) or not equal(classes, case.classes):
        yield "the images or the classes were changed in place."
    now, attributes = vars(case.own), case.attributes
    for name in sorted({*now, *attributes}):
        if name not in now or name not in attributes or not _unchanged(now[name], attributes[name]):
            yield f"the defence keeps something in {name}."


@TEST_TIME_DEFENCE.holds(
    "a deep copy and a pickled one answer as the defence does",
    "keep no lambda, open file or generator on it: audits send it to other processes",
)
def _copies(case: Case) -> Iterator[str]:
    wanted = case.answers()
    for how, make in _COPIES:
        try:
            made = make(case.own)
        except Exception as error:
            yield f"{how} fails with {type(error).__name__}: {one_line(error)}."
            continue
        yield from unequal(case.answers(defence=made), wanted, f"after {how} image", 0.0)


_COPIES: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("copy.deepcopy", copy.deepcopy),
    ("pickle", lambda own: pickle.loads(pickle.dumps(own))),  # noqa: S301 - the user's own defence
)


def _black_and_white(like: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(like[0]), torch.ones_like(like[0])])


def _unchanged(one: Any, other: Any) -> bool:
    if is_dataclass(one) and type(one) is type(other):
        # Some are equal to nothing but themselves; a copy is told by what it holds.
        return all(_unchanged(getattr(one, of.name), getattr(other, of.name)) for of in fields(one))
    try:
        return one is other or equal(one, other)
    except Exception:  # what cannot be compared
        return type(one) is type(other)
