"""Functions as models: what they may answer, how they are asked, and a line for everything else."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_multimodal import InputError, load_model
from art_multimodal.estimators.answers import AnsweringClassifier
from art_multimodal.models.families.custom.answers import AnsweringModel, Limits
from art_multimodal.pairs import image_text_pairs

NAMES = ("cat", "dog", "bird")
X = np.random.default_rng(0).random((5, 3, 4, 4), dtype=np.float32)
SCORES = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)


def ask(answer: Any, **limits: Any) -> np.ndarray:
    return AnsweringModel(lambda images: answer, Limits(**limits)).ask(X, None, NAMES)


@pytest.mark.parametrize(
    "answer",
    [
        SCORES,
        SCORES.tolist(),
        SCORES.astype(np.float64),
        torch.from_numpy(SCORES),
        torch.from_numpy(SCORES).requires_grad_(True),
        torch.from_numpy(SCORES).bfloat16(),
    ],
)
def test_scores(answer: Any) -> None:
    np.testing.assert_allclose(ask(answer), SCORES, rtol=1e-2)


@pytest.mark.parametrize(
    "answer",
    [
        [2, 0, 1, 1, 0],
        np.array([2, 0, 1, 1, 0], dtype=np.uint8),
        torch.tensor([2, 0, 1, 1, 0]),
        ["bird", "cat", "dog", "dog", "cat"],
        np.array(["bird", "cat", "dog", "dog", "cat"], dtype=object),
    ],
)
def test_labels(answer: Any) -> None:
    found = ask(answer)
    np.testing.assert_array_equal(found, np.eye(3, dtype=np.float32)[[2, 0, 1, 1, 0]])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (SCORES[:4], r"it gave an array of shape \(4, 3\)"),
        (SCORES[:, :2], r"or with scores of shape \(5, 3\); it gave an array of shape \(5, 2\)"),
        (SCORES[None], r"shape \(1, 5, 3\)"),
        (np.where(SCORES > 0, np.nan, SCORES), "it gave scores that are NaN or infinite"),
        (SCORES.astype(np.float64) * 1e39, "NaN or infinite"),
        ([0, 1, 2, 0], "it gave 4 labels"),
        ([0, 1, 3, 0, 0], "it gave the label 3; there are 3 classes"),
        ([0, -1, 0, 0, 0], "the label -1"),
        ([0.0, 1.0, 0.0, 0.0, 0.0], "labels of type float64, which are no whole numbers"),
        ([True, False, True, True, True], "labels of type bool"),
        (["cat", "cow\x1b[31m", "cat", "cat", "cat"], r"the label 'cow\\x1b\[31m', none of cat, dog, bird"),
        (None, "it gave something of type NoneType"),
        (7, "something of type int"),
        ({"cat": 1}, "something of type dict"),
        ([[1, 2, 3], [1]], "something of type list"),
    ],
)
def test_what_no_answer_may_be(answer: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        ask(answer)
    assert "must answer 5 images" in str(error.value) and "\n" not in str(error.value)


class Stop(SystemExit):
    """What ends a program."""


@pytest.mark.parametrize("kind", [ValueError, KeyError, Stop])
def test_one_that_raises(kind: type[BaseException]) -> None:
    def function(images: np.ndarray) -> np.ndarray:
        raise kind("no\nroute")

    with pytest.raises(InputError, match=rf"the function ends with {kind.__name__}: .*no.*route") as error:
        AnsweringModel(function).ask(X, None, NAMES)
    assert "\n" not in str(error.value)


def test_one_that_blocks() -> None:
    released = threading.Event()
    model = AnsweringModel(lambda images: released.wait() and SCORES, Limits(timeout=0.05))
    try:
        with pytest.raises(InputError, match=r"did not answer within 0\.05 s about 5 images\. Give it more time"):
            model.ask(X, None, NAMES)
    finally:
        released.set()


def test_kinds_do_not_change() -> None:
    answers = iter([SCORES, [0, 1, 2, 0, 1]])
    model = AnsweringModel(lambda images: next(answers))
    model.ask(X, None, NAMES)
    assert model.answers == "scores"
    with pytest.raises(InputError, match="answers with labels now, and with scores before"):
        model.ask(X, None, NAMES)


def test_batches_and_copies() -> None:
    sizes: list[int] = []

    def function(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        assert images.dtype == np.float32 and images.flags.writeable
        images[:] = 0
        return np.zeros(len(images), dtype=int)

    model, before = AnsweringModel(function, Limits(batch=2)), X.copy()
    classifier = AnsweringClassifier(model, NAMES, (3, 4, 4))
    assert classifier.predict(X).shape == (5, 3) and sizes == [2, 2, 1]
    np.testing.assert_array_equal(X, before)
    assert classifier.predict(X, batch_size=1).shape == (5, 3) and sizes[3:] == [1] * 5
    assert classifier.predict(X[:0]).shape == (0, 3) and len(sizes) == 8
    assert not classifier.answers_with_scores


def test_the_rate() -> None:
    model = AnsweringModel(lambda images: [0] * len(images), Limits(batch=2, rate=4.0))
    now, slept = [10.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    model.clock, model.sleep = lambda: now[0], sleep
    model.ask(X, None, NAMES)
    # Two images take half a second, whoever asks next waits for that.
    assert slept == pytest.approx([0.5, 0.5])
    now[0] += 100
    model.ask(X[:1], None, NAMES)
    assert len(slept) == 2


def test_texts() -> None:
    seen: list[list[str]] = []

    def function(images: np.ndarray, texts: list[str]) -> list[int]:
        seen.append(texts)
        return [len(text) % 3 for text in texts]

    classifier = AnsweringClassifier(AnsweringModel(function, Limits(batch=3)), NAMES)
    pairs = image_text_pairs(X, ["a", "bb", "ccc", "dddd", "e"])
    assert classifier.of_pairs and not classifier.texts_are_prompts
    assert classifier.predict_labels(pairs).tolist() == [1, 2, 0, 1, 1]
    assert seen == [["a", "bb", "ccc"], ["dddd", "e"]]
    with pytest.raises(InputError, match="asked about image-text pairs"):
        classifier.predict(X)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch=0", "batch must be at least 1"),
        ("batch=two", "batch=two is no number"),
        ("rate=0", "rate is a number of images per second"),
        ("rate=nan", "rate is a number of images per second"),
        ("timeout=0", "timeout is a number of seconds"),
        ("timeout=inf", "timeout is a number of seconds"),
        ("size=0", "size"),
        ("limit=3", "'limit=3' is none of batch, rate, timeout, size"),
        ("batch=1,batch=2", "is given twice"),
    ],
)
def test_limits_that_are_none(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Limits.parse(text)
    assert Limits.parse("batch=8, rate=0.5,timeout=30,size=224") == Limits(8, 0.5, 30.0, 224)


@pytest.mark.parametrize("function", [lambda: 0, lambda a, b, c: 0, 7])
def test_what_is_no_such_function(function: Any) -> None:
    with pytest.raises(InputError, match="is no function|takes [03] arguments"):
        AnsweringModel(function)


MODULE = """
import numpy as np
from art_multimodal.models.families.custom.answers import AnsweringModel, Limits

def ask(images):
    return np.zeros(len(images), dtype=int)

def pairs(images, texts, cautious=False):
    return np.zeros(len(images), dtype=int)

class Service:
    def __call__(self, images):
        return np.zeros((len(images), 3))

service = Service()

def configured():
    return AnsweringModel(ask, Limits(batch=7))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_service").mkdir()
    (tmp_path / "own_service" / "__init__.py").touch()
    (tmp_path / "own_service" / "api.py").write_text(MODULE)
    (tmp_path / "broken_service.py").write_text("import not_there_at_all\n")
    # Called like a library: it must not take its place.
    (tmp_path / "scipy.py").write_text("raise RuntimeError('shadowed')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("own_service", "broken_service"))]:
        del sys.modules[name]


def test_by_the_name_of_a_module(here: Path) -> None:
    model = load_model("python:own_service.api:ask:batch=2,timeout=5")
    assert isinstance(model, AnsweringModel) and not model.training and not model.takes_texts
    assert model.limits == Limits(batch=2, timeout=5.0)
    # In the current folder, which is looked in last.
    assert sys.path[-1] == str(here)
    assert load_model("python:own_service.api:pairs").takes_texts
    assert not load_model("python:own_service.api:service").takes_texts
    assert load_model("python:own_service.api:configured").limits.batch == 7
    by_file = load_model("python:own_service/api.py:ask")
    assert isinstance(by_file, AnsweringModel) and by_file.source_sha256 == model.source_sha256
    with pytest.raises(InputError, match="no function|Unknown function"):
        load_model("python:scipy:ask")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("own_service.other:ask", r"There is no module own_service\.other, neither installed nor in "),
        ("nowhere.at_all:ask", r"There is no module nowhere\.at_all"),
        ("nowhere.py:ask", r"There is no file nowhere\.py"),
        ("own_service.api:nothing", "Unknown function of .*api.py 'nothing'"),
        ("broken_service:ask", "broken_service.py, line 1: it ends with ModuleNotFoundError"),
        ("own_service.api:configured:batch=2", "makes a model: limits are for a function"),
        ("own_service.api:ask:batch=x", "batch=x is no number"),
        ("own_service.api", "does not name a file and a function"),
    ],
)
def test_names_that_lead_nowhere(here: Path, spec: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_model(f"python:{spec}")
