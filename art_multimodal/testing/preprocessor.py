"""The contract of a preprocessor: of texts, or one of ART's of images or other arrays."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import Preprocessor, PreprocessorPyTorch

from art_multimodal.defences.preprocessor import TextPreprocessor
from art_multimodal.errors import InputError, one_line
from art_multimodal.pairs import image_text_pairs
from art_multimodal.testing.asked import OTHER_SCRIPTS, TEXTS, equal
from art_multimodal.testing.comparing import ProcessState, not_writable, read_only_is_allowed
from art_multimodal.testing.contract import Contract, ContractReport, NotChecked
from art_multimodal.testing.slopes import wrong_slopes

PREPROCESSOR = Contract("a preprocessor")
#: Texts with typing errors, invisible characters, letters of other scripts, and nothing.
_TEXTS = (*TEXTS, "a phtoo of a cta", "a pho\u200bto", "a c\u0430t", " ".join(OTHER_SCRIPTS), "", " ", "x" * 40)


class _Case:
    """A preprocessor and what it is given."""

    def __init__(self, own: Preprocessor, x: np.ndarray | None, idempotent: bool | None) -> None:
        self.own = own
        self.of_texts = isinstance(own, TextPreprocessor)
        self.idempotent = self.of_texts if idempotent is None else idempotent
        if x is None:
            x = _texts(_TEXTS) if self.of_texts else np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)
        self.x = x

    def result(self, x: np.ndarray) -> np.ndarray:
        return self.own(x)[0]

    def demand_texts(self) -> None:
        """:raises NotChecked: If the preprocessor is not of texts."""
        if not self.of_texts:
            raise NotChecked("it is no TextPreprocessor")


def check_preprocessor(
    preprocessor: Preprocessor,
    x: np.ndarray | None = None,
    idempotent: bool | None = None,
    but: Mapping[str, str] | None = None,
) -> ContractReport:
    """Check that a preprocessor keeps its contract.

    >>> from art_multimodal.defences.preprocessor import UnicodeNormalisation
    >>> len(check_preprocessor(UnicodeNormalisation()).held) > 3
    True

    :param preprocessor: A :class:`TextPreprocessor`, or a preprocessor of ART, fitted if it needs to be.
    :param x: What it is given, ``(N, ...)``; ``None`` for texts, or images ``(4, 3, 8, 8)`` in [0, 1].
    :param idempotent: Whether it is to change nothing more when it is applied twice; ``None`` for those of texts alone.
    :param but: Names of properties that are not demanded, each with the reason; the report repeats it.
    :return: Which properties hold, and which were not looked at.
    :raises ContractError: With all properties that do not hold.
    """
    return PREPROCESSOR.check(type(preprocessor).__name__, _Case(preprocessor, x, idempotent), but)


@PREPROCESSOR.holds(
    "it returns as many samples of the same shape, and labels as they were",
    "return (x, y) from __call__; estimators go on with the shape of their input",
    gate=True,
)
def _works(case: _Case) -> Iterator[str]:
    y = np.eye(len(case.x), dtype=np.float32)
    returned = case.own(case.x.copy(), y.copy())
    if not isinstance(returned, tuple) or len(returned) != 2:
        yield f"it returns {type(returned).__name__}, not a pair of samples and labels."
        return
    found, labels = returned
    if not isinstance(found, np.ndarray) or found.shape != case.x.shape:
        yield f"shape {case.x.shape} becomes {getattr(found, 'shape', type(found).__name__)}."
        return
    if labels is None or not np.array_equal(labels, y):
        yield "labels were changed."
    if (one := case.result(case.x[:1].copy())).shape != case.x[:1].shape:
        yield f"a single sample of shape {case.x[:1].shape} becomes {one.shape}."
    if case.own(case.x.copy())[1] is not None:
        yield "without labels it returns some."
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        yield "it returns NaN or infinite values."
    if found.dtype == object and not all(isinstance(text, str) for text in found.flat):
        yield "a text becomes something that is no string."


@PREPROCESSOR.holds("the dtype stays", "cast what is returned: x.astype(given.dtype)")
def _dtype(case: _Case) -> Iterator[str]:
    if (found := case.result(case.x.copy()).dtype) != case.x.dtype:
        yield f"{case.x.dtype} becomes {found}."


@PREPROCESSOR.holds("what it is given stays as it is", "work on a copy: x = x.copy()")
def _leaves_no_trace(case: _Case) -> Iterator[str]:
    x, before = case.x.copy(), ProcessState.now()
    case.own(x)
    if not equal(x, case.x):
        yield "the samples were changed in place."
    yield from before.changes()


@PREPROCESSOR.holds(
    "the same samples become the same",
    "draw from a generator of its own that is seeded by what it is given; or but={'repeatable': 'it draws'}",
)
def _repeatable(case: _Case) -> Iterator[str]:
    if not equal(case.result(case.x.copy()), case.result(case.x.copy())):
        yield "the second call returns something else."


@PREPROCESSOR.holds(
    "a sample becomes what it becomes alone",
    "compute nothing over the batch; what is learned from data belongs into fit()",
)
def _batch_independence(case: _Case) -> Iterator[str]:
    whole = case.result(case.x.copy())
    for row in range(len(case.x)):
        alone = case.result(case.x[row : row + 1].copy())[0]
        close = alone == whole[row] if whole.dtype == object else np.allclose(alone, whole[row], atol=1e-5)
        if not close:
            yield f"sample {row} becomes something else alone."


@PREPROCESSOR.holds(
    "samples become the same however they lie in memory, and where nobody may write",
    "index and copy instead of writing, reshape() instead of setting shape or strides",
)
def _memory_layout(case: _Case) -> Iterator[str]:
    wanted = case.result(case.x.copy())
    with read_only_is_allowed():
        found = case.result(not_writable(case.x))
    for row in range(len(wanted)):
        if not equal(np.ascontiguousarray(found[row : row + 1]), np.ascontiguousarray(wanted[row : row + 1])):
            yield f"sample {row} becomes something else in an array that is a view, and not to be written to."


@PREPROCESSOR.holds("no samples become no samples", "return an empty array of the same shape")
def _empty(case: _Case) -> Iterator[str]:
    found = case.result(case.x[:0].copy())
    if found.shape != case.x[:0].shape:
        yield f"no samples become an array of shape {found.shape}."


@PREPROCESSOR.holds(
    "applied twice it changes nothing more",
    "repeat a step until nothing moves; an attacker's text is repaired as often as an estimator is asked",
)
def _idempotent(case: _Case) -> Iterator[str]:
    if not case.idempotent:
        raise NotChecked("it is not said to be idempotent")
    once = case.result(case.x.copy())
    twice = case.result(once.copy())
    for row in range(len(once)):
        if not (once[row] == twice[row] if once.dtype == object else np.allclose(once[row], twice[row], atol=1e-5)):
            told = f": {once[row]!r} becomes {twice[row]!r}" if once.dtype == object else ""
            yield f"sample {row} is changed once more{told}."


@PREPROCESSOR.holds(
    "values stay within the smallest and the largest that are allowed",
    "clip what is returned, as clip_values of ART's preprocessors say",
)
def _range(case: _Case) -> Iterator[str]:
    if case.x.dtype.kind != "f":
        raise NotChecked("samples hold no numbers")
    clip = getattr(case.own, "clip_values", None)
    low, high = (0.0, 1.0) if clip is None else (np.min(clip[0]), np.max(clip[1]))
    if clip is None and not (case.x.min() >= 0 and case.x.max() <= 1):
        raise NotChecked("it has no clip_values, and samples are not in [0, 1]")
    found = case.result(case.x.copy())
    for row in range(len(found)):
        least, most = float(found[row].min()), float(found[row].max())
        if least < low - 1e-6 or most > high + 1e-6:
            yield f"sample {row} becomes values in [{least:.6g}, {most:.6g}], beyond [{low:g}, {high:g}]."


@PREPROCESSOR.holds(
    "estimate_gradient returns a gradient of the shape of its input; a differentiable forward has the true one",
    "return an array of x.shape from estimate_gradient(), of texts the gradient as it came",
)
def _gradient(case: _Case) -> Iterator[str]:
    x = case.x if case.x.dtype.kind == "f" else np.random.default_rng(0).random((2, 3, 4, 4), dtype=np.float32)
    if isinstance(case.own, PreprocessorPyTorch) and x is case.x:
        yield from wrong_slopes(lambda at: case.own.forward(at)[0], torch.from_numpy(x), "what it is given", flat=True)
        return
    gradient = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    at, along = x.copy(), gradient.copy()
    try:
        found = case.own.estimate_gradient(at, along)
    except NotImplementedError:
        raise NotChecked("it estimates no gradient") from None
    if not isinstance(found, np.ndarray) or found.shape != x.shape or not np.isfinite(found).all():
        yield f"a gradient of shape {x.shape} becomes {getattr(found, 'shape', 'something else')}, or not finite."
    if not (np.array_equal(at, x) and np.array_equal(along, gradient)):
        yield "estimate_gradient() writes into what it is given."
    elif case.of_texts and not np.array_equal(found, gradient):
        yield "the gradient of images is changed, which texts have no part in."


@PREPROCESSOR.holds(
    "of pairs, texts are repaired and images stay; an array of images comes back as it is",
    "fill in _repaired(text) alone, and leave __call__ to TextPreprocessor",
)
def _pairs(case: _Case) -> Iterator[str]:
    case.demand_texts()
    images = np.random.default_rng(0).random((len(case.x), 3, 4, 4), dtype=np.float32)
    pairs = image_text_pairs(images.copy(), [str(text) for text in case.x.ravel()], allow_empty=True)
    found = case.result(pairs)
    if found.dtype != pairs.dtype or not np.array_equal(found["image"], images):
        yield "images of pairs were changed."
    if found["text"].tolist() != case.result(case.x.copy()).ravel().tolist():
        yield "texts of pairs become something else than texts by themselves."
    if not np.array_equal(case.result(images.copy()), images):
        yield "an array of images was changed."


@PREPROCESSOR.holds(
    "a string is one text, and what is no string is refused with InputError",
    "let repair() be that of TextPreprocessor",
)
def _strings(case: _Case) -> Iterator[str]:
    case.demand_texts()
    own: Any = case.own
    if own.repair("a cat") != own.repair(["a cat"]):
        yield "repair('a cat') is not repair(['a cat'])."
    for wrong in ([3], None, [None]):
        try:
            own.repair(wrong)
        except InputError:
            continue
        except Exception as error:
            yield f"repair({wrong!r}) raises {type(error).__name__} instead of InputError."
            continue
        yield f"repair({wrong!r}) is taken."


@PREPROCESSOR.holds(
    "a deep copy and a pickled one do the same",
    "keep no lambda or open file on it: estimators are copied with their preprocessors",
)
def _copies(case: _Case) -> Iterator[str]:
    wanted = case.result(case.x.copy())
    for how, make in (
        ("copy.deepcopy", copy.deepcopy),
        ("pickle", lambda own: pickle.loads(pickle.dumps(own))),  # noqa: S301 - the user's own
    ):
        try:
            made = make(case.own)
        except Exception as error:
            yield f"{how} fails with {type(error).__name__}: {one_line(error)}."
            continue
        if not equal(made(case.x.copy())[0], wanted):
            yield f"after {how} it returns something else."


def _texts(texts: Sequence[str]) -> np.ndarray:
    found = np.empty(len(texts), dtype=object)
    found[:] = texts
    return found
