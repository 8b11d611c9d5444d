"""Audits of functions: rows that their answers allow, exact budgets by somebody else's count, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TinyEncoder, TinyFusion

from art_multimodal import ZeroShotClassifier
from art_multimodal.datasets import LabelledArrays
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
from art_multimodal.evaluations.audit.answering import ASKED_TWICE
from art_multimodal.models.families.custom.answers import AnsweringModel, Limits
from art_multimodal.pairs import image_text_pairs

NAMES = ("cat", "dog", "bird")
X = np.random.default_rng(0).uniform(0.1, 0.9, (6, 3, 8, 8)).astype(np.float32)
INSIDE = ZeroShotClassifier(TinyEncoder(seed=3).eval(), NAMES, device_type="cpu")
LABELS = INSIDE.predict_labels(X)


class NoWayBack(torch.autograd.Function):
    """Whoever asks for a gradient is told off."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a model behind an API has no backward pass")


class Service:
    """The tiny model behind a function, counting what it is asked."""

    def __init__(self, scores: bool = False) -> None:
        self.scores, self.asked, self.calls = scores, 0, 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert type(images) is np.ndarray
        self.asked += len(images)
        self.calls += 1
        with torch.enable_grad():
            x = NoWayBack.apply(torch.from_numpy(images).requires_grad_(True))
        scores = INSIDE.model(x).detach().numpy()
        return scores if self.scores else scores.argmax(axis=1)


def settings(service: Any, **changes: Any) -> AuditSettings:
    data = LabelledArrays(X, LABELS, NAMES)
    model = service if isinstance(service, AnsweringModel) else AnsweringModel(service)
    given = {"eps": 0.03, "max_queries": 24, "steps": 2, **changes}
    return AuditSettings(model, data, **given)


def run(service: Any, out: Path, **changes: Any) -> tuple[Audit, dict[str, Any]]:
    audit = Audit(settings(service, **changes), out, device="cpu")
    return audit, write_reports(audit.evaluate())


@pytest.mark.parametrize("scores", [False, True])
def test_the_rows_and_their_queries(tmp_path: Path, scores: bool) -> None:
    service = Service(scores)
    surrogates = (TinyEncoder(seed=4).eval(), TinyEncoder(seed=5).eval())
    audit = Audit(settings(service, surrogates=surrogates, eps=0.2), tmp_path / "a", device="cpu")
    assert service.asked == 2 * len(X)  # a few samples twice, before the work
    transfer = ("transfer@TinyEncoder", "transfer@TinyEncoder_2", "transfer@ensemble")
    square = ("square",) if scores else ()
    assert audit.attacks == (*square, "noise", *transfer, "hop_skip_jump", "sign_opt")
    counts: dict[str, int] = {}
    before = [service.asked]

    def progress(name: str, count: int) -> None:
        counts[name] = service.asked - before[0]
        before[0] = service.asked

    report = write_reports(audit.evaluate(progress=progress))
    rows, n = report["results"], len(X)
    assert counts["clean"] == n and all(counts[name] == n for name in transfer)
    assert rows["clean"]["accuracy"] == 1.0
    for name in (*square, "hop_skip_jump", "sign_opt"):
        # No sample asks more than it may: all of them together neither.
        assert counts[name] == round(rows[name]["queries"] * n) <= 24 * n
    for name in transfer:
        assert rows[name]["queries"] == 1.0 and rows[name]["gradients"] == 0 and rows[name]["knowledge"] == "black box"
    survivors = min(rows[name]["accuracy"] for name in transfer)
    assert rows["transfer"]["accuracy"] <= survivors and rows["transfer"]["accuracy"] < 1
    assert ("image" in rows) is scores
    if scores:
        assert rows["image"]["accuracy"] <= min(rows[name]["accuracy"] for name in ("transfer", "decision", "square"))
    ids = report["standards"]["transfer"]
    assert {"AML.T0043.002", "AML.T0005"} <= set(ids["mitre_atlas"]) and "AML.T0043.001" not in ids["mitre_atlas"]
    assert "NISTAML.025" in ids["nist_ai_100_2"]
    assert "AML.T0043.001" in report["standards"]["decision"]["mitre_atlas"]
    notes = " ".join(json.loads((tmp_path / "a" / "run.json").read_text())["notes"])
    assert "NOT RUN: pgd, art_pgd, apgd, apgd_dlr, pgd_targeted, which need gradients or layers" in notes
    assert ("NOT RUN: square, which need scores" in notes) is not scores


@pytest.mark.parametrize("attack", ["square", "hop_skip_jump", "sign_opt"])
@pytest.mark.parametrize("most", [10, 33])
def test_no_sample_asks_more_than_it_may(tmp_path: Path, attack: str, most: int) -> None:
    for row in range(3):
        service = Service(scores=True)
        data = LabelledArrays(X[row : row + 1], LABELS[row : row + 1], NAMES)
        given = AuditSettings(AnsweringModel(service), data, attacks=attack, eps=1e-4, max_queries=most)
        audit = Audit(given, tmp_path / f"{row}", device="cpu")
        before = []
        audit.evaluate(progress=lambda name, count, service=service, before=before: before.append(service.asked))
        assert before[1] - before[0] <= most


def test_a_run_goes_on_and_knows_its_function(tmp_path: Path) -> None:
    whole, failing = Service(), Service()

    def breaks(images: np.ndarray) -> np.ndarray:
        if failing.asked > 60:
            raise ConnectionError("no route")
        return failing(images)

    changes = {"attacks": "noise,hop_skip_jump", "group_size": 2, "eps": 0.001}
    source = b"the same text"
    _, report = run(AnsweringModel(whole, source=source), tmp_path / "whole", **changes)
    with pytest.raises(InputError, match="the function ends with ConnectionError: no route. What was finished is kept"):
        run(AnsweringModel(breaks, source=source), tmp_path / "broken", **changes)
    again = Audit(settings(AnsweringModel(Service(), source=source), **changes), tmp_path / "broken", device="cpu")
    resumed = write_reports(again.evaluate(resume=True))
    for name in ("clean", "noise", "hop_skip_jump"):
        assert {**report["results"][name], "seconds": 0} == {**resumed["results"][name], "seconds": 0}
    with pytest.raises(InputError, match="had other settings"):
        other = Audit(
            settings(AnsweringModel(Service(), source=b"other"), **changes), tmp_path / "broken", device="cpu"
        )
        other.evaluate(resume=True)


def test_answers_that_change_are_reported(tmp_path: Path) -> None:
    calls = [0]

    def moody(images: np.ndarray) -> list[int]:
        calls[0] += 1
        return [calls[0] % 3] * len(images)

    audit = Audit(settings(moody, attacks="noise"), tmp_path, device="cpu")
    assert any(f"gives {len(X)} of {min(len(X), ASKED_TWICE)} another label" in note for note in audit.subject.notes)


def test_pairs(tmp_path: Path) -> None:
    fusion = TinyFusion(seed=1).eval()
    asked = [0]

    def answer(images: np.ndarray, texts: list[str]) -> np.ndarray:
        asked[0] += len(images)
        return fusion(torch.from_numpy(images), fusion.tokenize(texts)).argmax(dim=1).numpy()

    texts = ["is it red", "round", "is it", "far", "near", "red"]
    y = answer(X, texts)
    data = LabelledArrays(image_text_pairs(X, texts), y, ("no", "maybe", "yes"))
    given = AuditSettings(AnsweringModel(answer), data, eps=0.1, max_queries=20)
    audit = Audit(given, tmp_path / "a", device="cpu")
    assert audit.attacks == ("noise", "hop_skip_jump", "sign_opt")
    asked[0] = 0
    report = write_reports(audit.evaluate())
    assert report["results"]["clean"]["accuracy"] == 1.0
    assert asked[0] <= len(X) * (1 + 10 + 20 + 20)
    with pytest.raises(InputError, match="takes images and texts, and .* has none"):
        Audit(AuditSettings(AnsweringModel(answer), LabelledArrays(X, y, NAMES)), tmp_path / "b", device="cpu")
    with pytest.raises(InputError, match="--surrogate is for models that classify images"):
        Audit(AuditSettings(AnsweringModel(answer), data, surrogates=(TinyEncoder(),)), tmp_path / "c", device="cpu")


def test_surrogates_are_named_or_given() -> None:
    own = TinyEncoder()
    given = AuditSettings("demo:digits", "demo:digits", surrogates=(own, "demo:digits/robust"))
    assert given.surrogates == ("loaded:TinyEncoder", "demo:digits/robust")
    assert given.loaded_surrogates == (own, None)
    again = replace(given, limit=3)
    assert again.surrogates == given.surrogates and again.loaded_surrogates == (own, None)
    assert replace(given, surrogates=("demo:digits",)).loaded_surrogates == (None,)
    assert replace(given, surrogates=()).loaded_surrogates == ()
    assert "surrogates" not in AuditSettings("demo:digits", "demo:digits").as_json()
    with pytest.raises(InputError, match="surrogate demo:digits is named twice: give each model once"):
        replace(given, surrogates=("demo:digits", own, "demo:digits"))
    assert replace(given, surrogates=(own, TinyEncoder())).surrogates == ("loaded:TinyEncoder",) * 2


def test_surrogates_of_an_ordinary_model(tmp_path: Path) -> None:
    own = TinyEncoder(seed=3).eval()
    data = LabelledArrays(X, LABELS, NAMES)
    given = AuditSettings(
        own, data, attacks="pgd", eps=0.2, steps=2, surrogates=(TinyEncoder(seed=4).eval(), own), smaller_eps=(0.05,)
    )
    audit = Audit(given, tmp_path, device="cpu")
    names = ("transfer@TinyEncoder", "transfer@TinyEncoder_2", "transfer@ensemble")
    assert audit.attacks == ("pgd", *names) and len(audit.passes) == 8
    assert any("has the weights of the model itself: its row is a white box" in note for note in audit.subject.notes)
    report = write_reports(audit.evaluate())
    rows = report["results"]
    assert rows["image"]["accuracy"] <= min(rows["pgd"]["accuracy"], rows["transfer"]["accuracy"])
    header = json.loads((tmp_path / "run.json").read_text())
    assert set(header["surrogates"]) == {"TinyEncoder", "TinyEncoder_2"}
    assert header["settings"]["surrogates"] == ["loaded:TinyEncoder", "loaded:TinyEncoder"]
    assert "transfer" in header["protocol"]
    # Other weights of a surrogate are another run.
    other = AuditSettings(
        own, data, attacks="pgd", eps=0.2, steps=2, surrogates=(TinyEncoder(seed=9).eval(), own), smaller_eps=(0.05,)
    )
    with pytest.raises(InputError, match="had other settings"):
        Audit(other, tmp_path, device="cpu").evaluate(resume=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attacks": "pgd"}, "NOT RUN: pgd, which need gradients or layers.*Use noise, hop_skip_jump, sign_opt"),
        ({"attacks": "square"}, "NOT RUN: square, which need scores, and the model answers with labels"),
        ({"attacks": "transfer"}, "transfer is made on surrogates.*There is no surrogate. Give them with --surrogate"),
        ({"attacks": "transfer@x"}, "There is no surrogate 'x'"),
        ({"defences": ("jpeg",)}, "only answers: put --defence into the function"),
        ({"templates": ("a {}",)}, "it reads no class prompts, so leave out --templates"),
        ({"task": "retrieval"}, "is a function that answers. Retrieval needs a dual encoder"),
        ({"surrogates": ("demo:shapes/late",)}, "The surrogate demo:shapes/late is a fusion model, which answers"),
        ({"surrogates": "demo:digits"}, "surrogates must be a list of strings"),
        ({"surrogates": (AnsweringModel(Service()),)}, "is a function that answers. Give a dual encoder"),
    ],
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Audit(settings(Service(), **changes), tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda images: np.zeros((len(images), 7)), r"or with scores of shape \(6, 3\)"),
        (lambda images: np.full((len(images), 3), np.nan), "NaN or infinite"),
        (lambda images: 1 / 0, "ends with ZeroDivisionError"),
    ],
)
def test_bad_answers_end_before_the_work(tmp_path: Path, function: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Audit(settings(AnsweringModel(function, Limits(timeout=600))), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
