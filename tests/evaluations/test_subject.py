"""What an audit attacks: model and data that fit together, and a count of what the model is asked."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from audits import PAIRS, SETTINGS
from photos import save_photo

from art_multimodal import InputError
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
from art_multimodal.evaluations.audit.opening import open_subject
from art_multimodal.evaluations.audit.subject import Subject, counted_queries
from art_multimodal.evaluations.suite import ATTACKS

QUESTIONS = ("is there a red circle", "do you see a blue square?", "is a green circle shown?", "is there a red square")
COLUMNS = ["image", "text", "label"]
WriteCsv = Callable[..., str]


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    """Writes photos and a file that lists them; returns how the data are named."""

    def write(header: list[str], rows: list[list[str]]) -> str:
        for index in range(len(rows)):
            save_photo(tmp_path / f"{index}.png", (32, 32), index)
        with (tmp_path / "pairs.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *([f"{index}.png", *row] for index, row in enumerate(rows))])
        return f"csv:{tmp_path / 'pairs.csv'}"

    return write


def pairs_on(data: str, **more) -> Subject:
    return open_subject(AuditSettings("demo:shapes", data, **more), "cpu")


@pytest.mark.parametrize("labels", [("yes", "no", "no", "yes"), ("1", "0", "0", "1")])
def test_labels_of_a_file_are_answers_or_their_indices(write_csv, labels) -> None:
    rows = [list(row) for row in zip(QUESTIONS, labels, strict=True)]
    subject = pairs_on(write_csv(COLUMNS, rows))
    assert subject.class_names == ("no", "yes")
    assert [subject.read(index).label for index in range(4)] == [1, 0, 0, 1]
    assert [subject.read(index).text for index in range(4)] == list(QUESTIONS)
    pairs = subject.stack([subject.read(index) for index in (2, 0)])
    assert pairs["text"].tolist() == [QUESTIONS[2], QUESTIONS[0]]
    np.testing.assert_array_equal(pairs["image"][1], subject.data.image(0))


def test_labels_go_by_the_models_order_whatever_that_of_the_data(write_csv) -> None:
    data = write_csv(COLUMNS, [[QUESTIONS[0], "yes"], [QUESTIONS[1], "no"]])
    subject = pairs_on(data, classes=("yes", "no"))
    assert subject.data.class_names == ("yes", "no") and subject.class_names == ("no", "yes")
    assert [subject.read(index).label for index in range(2)] == [1, 0]


def test_answers_that_no_sample_has_are_still_answers(write_csv, tmp_path: Path) -> None:
    data = write_csv(COLUMNS, [[QUESTIONS[0], "yes"], [QUESTIONS[1], "yes"]])
    audit = Audit(AuditSettings("demo:shapes", data), tmp_path / "out", device="cpu")
    assert [audit.subject.read(index).label for index in range(2)] == [1, 1]
    assert audit.header()["data"]["class_names"] == ["no", "yes"]
    assert audit.header()["model"]["kind"] == "fusion model"


def test_a_dual_encoder_takes_the_images_of_a_file_of_pairs(write_csv) -> None:
    data = write_csv(COLUMNS, [[QUESTIONS[0], "one"], [QUESTIONS[1], "two"]])
    subject = open_subject(AuditSettings("demo:digits", data), "cpu")
    assert not subject.on_pairs and subject.templates
    sample = subject.read(1)
    assert (sample.label, sample.text) == (1, None)
    assert subject.stack([sample]).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (["image", "label"], ["yes"], r"needs a text with every image, .* has none.*columns image, text and label"),
        (["image", "text"], ["is there a red circle"], r"needs the columns image, text and label.*'no', 'yes'"),
        (COLUMNS, ["is it", "perhaps"], r"label 'perhaps' is none .*as labels: 'no', 'yes'\."),
        (COLUMNS, ["is it", "2"], r"label 2 is out of range.*'no', 'yes'"),
        (COLUMNS, [" ", "yes"], "has an empty text"),
    ],
)
def test_files_that_a_fusion_model_cannot_use(write_csv, header, row, message) -> None:
    with pytest.raises(InputError, match=message):
        pairs_on(write_csv(header, [row]))


@pytest.mark.parametrize(
    ("model", "data", "more", "message"),
    [
        ("demo:shapes", "demo:digits", {}, r"demo:shapes is a fusion model.*demo:digits has none. Use demo:shapes, or"),
        ("demo:digits", "demo:shapes", {}, r"which a dual encoder does not read. Use a fusion model, such as demo:sh"),
        ("demo:shapes", "demo:shapes", {"templates": ("a {}",)}, r"reads the texts of the data, not --templates"),
        ("demo:shapes", "demo:shapes", {"classes": ("no", "ja")}, r"label 'ja' is none of the answers .*'no', 'yes'"),
        ("demo:shapes", "csv:nowhere.csv", {}, "There is no file"),
        ("demo:shapes/middle", "demo:shapes", {}, "Did you mean|Known"),
    ],
)
def test_models_and_data_that_do_not_fit(model, data, more, message) -> None:
    with pytest.raises(InputError, match=message):
        open_subject(AuditSettings(model, data, **more), "cpu")


def test_a_fusion_model_on_a_folder(tmp_path: Path) -> None:
    for name in ("no", "yes"):
        save_photo(tmp_path / name / "a.png")
    with pytest.raises(InputError, match="needs a text with every image"):
        pairs_on(f"folder:{tmp_path}")


def test_a_text_beyond_what_the_model_reads_is_left_out_and_named(write_csv, tmp_path: Path) -> None:
    long = "is there " + "a red circle " * 10
    data = write_csv(COLUMNS, [[QUESTIONS[0], "yes"], [long, "no"]])
    audit = Audit(AuditSettings("demo:shapes", data, attacks="art_pgd", steps=1), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
    report = write_reports(audit.evaluate())
    (skipped,) = report["skipped"]
    assert "A text has 32 words, more than the 24" in skipped["reason"] and report["results"]["clean"]["n"] == 1
    # Seed 1 draws the short one, which is all that this audit reads.
    Audit(AuditSettings("demo:shapes", data, limit=1, seed=1), tmp_path / "out", device="cpu")


def test_what_names_a_model_changes_with_its_weights() -> None:
    subject = open_subject(PAIRS, "cpu")
    facts = subject.describe("demo:shapes")
    assert facts["adapter"] == "ConcatShapes" and "context_length" not in facts
    assert facts["parameters"] == sum(p.numel() for p in subject.model.parameters())
    with torch.no_grad():
        next(subject.model.parameters()).view(-1)[0] += 1e-3
    assert subject.describe("demo:shapes")["weights_sha256"] != facts["weights_sha256"]


@pytest.mark.parametrize("fusion", ["concat", "cross_attention"])
@pytest.mark.parametrize("attack", ["art_pgd", "apgd", "square", "decoupling_image"])
def test_queries_and_gradients_are_counted(monkeypatch, attack: str, fusion: str) -> None:
    """Against every row that reaches the tower that reads images."""
    settings = dataclasses.replace(PAIRS, model=f"demo:shapes/{fusion}", max_queries=30)
    subject = open_subject(settings, "cpu")
    samples = [subject.read(index) for index in range(3)]
    x, y = subject.stack(samples), np.array([sample.label for sample in samples])
    rows = gradients = 0
    name = "image_tower" if subject.model.separate_towers else "joint_tower"
    tower = getattr(subject.model, name)

    def seen(pixels: torch.Tensor, *tokens: torch.Tensor) -> torch.Tensor:
        nonlocal rows, gradients
        rows += len(pixels)
        gradients += len(pixels) * pixels.requires_grad
        return tower(pixels, *tokens)

    monkeypatch.setattr(subject.model, name, seen)
    with counted_queries(subject.model) as count:
        attacked = ATTACKS[attack].run(subject.estimator, x, y, settings.budget(), 0)
    assert count == {"queries": rows, "gradients": gradients}
    assert (gradients == 0) == (attack == "square")
    if attack == "decoupling_image":
        # A search counts a gradient as two queries; it does not look at its result again.
        assert sum(detail.queries for detail in attacked.details) == rows + gradients
    if attack == "art_pgd":
        assert gradients == 3 * settings.steps
    with counted_queries(subject.model) as count:
        pass
    assert count == {"queries": 0, "gradients": 0}


def test_queries_of_a_dual_encoder_are_counted() -> None:
    subject, other = open_subject(SETTINGS, "cpu"), open_subject(SETTINGS, "cpu")
    x = subject.stack([subject.read(index) for index in range(4)])
    with counted_queries(subject.model) as count:
        subject.estimator.predict(x)
        subject.estimator.with_probabilities().predict(x[:2])
        subject.estimator.loss_gradient(x[:1], np.eye(10)[:1])
        other.estimator.predict(x)
    assert count == {"queries": 7, "gradients": 1}
