"""Audits of models and data that are loaded already give the numbers of those that are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from art_multimodal import InputError, image_text_pairs, load_model
from art_multimodal.datasets import CaptionedArrays, LabelledArrays, open_captioned, open_data
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
from art_multimodal.prompts import check_class_names

SMALL = {"attacks": "pgd", "eps": 4 / 255, "steps": 2, "batch_size": 8}


def digits(count: int) -> LabelledArrays:
    data = open_data("demo:digits")
    images = np.stack([data.image(index) for index in range(count)])
    labels = [data.label_of(index) for index in range(count)]
    return LabelledArrays(images, labels, data.class_names, templates=data.templates)


def test_a_loaded_model_on_arrays(tmp_path: Path) -> None:
    data = digits(24)
    settings = AuditSettings(model=load_model("demo:digits"), data=data, **SMALL)
    assert settings.model == "loaded:DigitsEncoder" and settings.data == "loaded:LabelledArrays"
    assert json.loads(json.dumps(settings.as_json()))["model"] == "loaded:DigitsEncoder"
    audit = Audit(settings, tmp_path / "loaded", device="cpu")
    found = write_reports(audit.evaluate())
    named = Audit(replace(settings, model="demo:digits"), tmp_path / "named", device="cpu")
    assert named.settings.loaded_model is None
    again = write_reports(named.evaluate())
    for name, row in found["results"].items():
        assert {**again["results"][name], "seconds": 0} == {**row, "seconds": 0}
    # The same objects go on with the run; other pixels do not.
    Audit(settings, tmp_path / "loaded", device="cpu").evaluate(resume=True)
    images = np.stack([data.image(index) for index in range(24)])
    images[0, 0, 0, 0] = 0.5
    labels = [data.label_of(index) for index in range(24)]
    other = LabelledArrays(images, labels, data.class_names, templates=data.templates)
    with pytest.raises(InputError, match="fingerprint"):
        Audit(replace(settings, data=other), tmp_path / "loaded", device="cpu").evaluate(resume=True)


def test_pairs_on_a_fusion_model(tmp_path: Path) -> None:
    data = open_data("demo:shapes")
    pairs = image_text_pairs(
        np.stack([data.image(index) for index in range(12)]), [data.text_of(index) for index in range(12)]
    )
    labels = [data.class_names[data.label_of(index)] for index in range(12)]
    arrays = LabelledArrays(pairs, labels, data.class_names, names=[f"row {index}" for index in range(12)])
    settings = AuditSettings(model=load_model("demo:shapes"), data=arrays, **{**SMALL, "attacks": "art_pgd"})
    report = write_reports(Audit(settings, tmp_path, device="cpu").evaluate())
    assert report["results"]["clean"]["n"] == 12


def test_classes_that_share_a_name(tmp_path: Path) -> None:
    """As with data that are named: each class keeps its index, and a note says so."""
    data = digits(20)
    names = (*data.class_names[:2], data.class_names[1], *data.class_names[3:])
    images, labels = [data.image(row) for row in range(20)], [data.label_of(row) for row in range(20)]
    arrays = LabelledArrays(images, labels, names, templates=data.templates)
    settings = AuditSettings(model="demo:digits", data=arrays, **SMALL)
    report = write_reports(Audit(settings, tmp_path / "digits", device="cpu").evaluate())
    assert f"the class name(s) '{names[1]}' stand more than once" in report["notes"][0]
    counts = report["results"]["clean"]["prediction_counts"]
    assert counts[2] == 0 and sum(counts) == 20
    with pytest.raises(InputError, match="2 classes have the name 'b', .* Give indices as labels"):
        LabelledArrays(images[:3], ["a", "b", "b"], ["a", "b", "b"])
    assert LabelledArrays(images[:3], ["a", "a", "a"], ["a", "b", "b"]).label_of(2) == 0


def test_a_fusion_model_with_answers_of_one_name(tmp_path: Path) -> None:
    """Scores of their own tell them apart: which is which says the place."""
    shapes, data = load_model("demo:shapes"), open_data("demo:shapes")

    class Three(type(shapes)):
        def predict(self, fused):
            # The third answer has what the first has, and a little more.
            scores = super().predict(fused)
            return torch.cat([scores, scores[:, :1] + 1], dim=1)

    shapes.__class__ = Three
    shapes.class_names = check_class_names(["no", "yes", "no"])
    rows = range(12)
    pairs = image_text_pairs(np.stack([data.image(row) for row in rows]), [data.text_of(row) for row in rows])
    labels = [{0: 2, 1: 1}[data.label_of(row)] for row in rows]
    settings = AuditSettings(
        model=shapes, data=LabelledArrays(pairs, labels, shapes.class_names), **{**SMALL, "attacks": "art_pgd"}
    )
    report = write_reports(Audit(settings, tmp_path, device="cpu").evaluate())
    assert report["results"]["clean"]["prediction_counts"][0] == 0 and report["results"]["clean"]["accuracy"] == 1


def test_captions(tmp_path: Path) -> None:
    data = open_captioned("demo:scenes")
    images = np.stack([data.image(index) for index in range(10)])
    captions = [data.captions_of(index) for index in range(10)]
    rows = [index for index in range(10) for _ in captions[index]]
    pairs = image_text_pairs(images[rows], [text for texts in captions for text in texts])
    for arrays in (CaptionedArrays(images, captions), CaptionedArrays(pairs)):
        assert [arrays.captions_of(index) for index in range(10)] == [tuple(texts) for texts in captions]
        np.testing.assert_array_equal(arrays.image(3), images[3])
    settings = AuditSettings(model=load_model("demo:scenes"), data=arrays, task="retrieval", **SMALL)
    assert write_reports(Audit(settings, tmp_path, device="cpu").evaluate())["results"]["clean"]["n"] == 10


def test_images_of_several_shapes_and_labels_in_any_form() -> None:
    images = [np.zeros((3, 8, 8)), np.ones((3, 9, 7), np.float16)]
    for labels in ([1, 0], np.eye(2)[[1, 0]], ["dog", "cat"], np.array(["dog", "cat"])):
        data = LabelledArrays(images, labels, ["cat", "dog"])
        assert [data.read(row).label for row in range(2)] == [1, 0]
        assert data.read(1).image.shape == (3, 9, 7) and data.read(1).image.dtype == np.float32
    assert data.name_of(1) == "image 1" and data.text_of(0) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: LabelledArrays(x, [0], ["a", "b"]), "Labels must have shape"),
        (lambda x: LabelledArrays(x, [0, 2], ["a", "b"]), "out of range"),
        (lambda x: LabelledArrays(x, ["a", "c"], ["a", "b"]), "'c' is none of the class names"),
        (lambda x: LabelledArrays(x, [0, 1], "ab"), "single string"),
        (lambda x: LabelledArrays(x * 255, [0, 1], ["a", "b"]), "Divide them by 255"),
        (lambda x: LabelledArrays(x, [0, 1], ["a", "b"], texts=["one"]), "1 texts came for 2 images"),
        (lambda x: LabelledArrays(x, [0, 1], ["a", "b"], names="one"), "1 names came for 2 images"),
        (lambda x: LabelledArrays(image_text_pairs(x, ["a", "b"]), [0, 1], ["a", "b"], texts=["a", "b"]), "Pairs hold"),
        (lambda x: CaptionedArrays(x, ["a"]), "1 lists of captions came for 2 images"),
        (lambda x: CaptionedArrays(x, ["a", []]), "Image 1 has no caption"),
        (lambda x: CaptionedArrays(x, ["a", [" "]]), "Image 1 has no caption"),
        (lambda x: CaptionedArrays(x), "Captions are needed"),
        (lambda x: CaptionedArrays(image_text_pairs(x, ["a", "b"]), ["a", "b"]), "Pairs hold"),
    ],
)
def test_arrays_that_do_not_fit(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(np.full((2, 3, 4, 4), 0.9, dtype=np.float32))


def test_what_is_neither_model_nor_data(tmp_path: Path) -> None:
    data, model = digits(2), load_model("demo:digits")
    for wrong, message in (
        ({"model": object(), "data": data}, "must be a torch module, not object"),
        ({"model": model, "data": np.zeros((2, 3, 8, 8))}, "LabelledArrays.*not ndarray"),
        ({"model": model, "data": data, "task": "retrieval"}, "CaptionedArrays.*not LabelledArrays"),
        ({"model": model, "data": data, "classes": ("a", "b")}, "leave out classes"),
        ({"model": model, "data": data, "templates": "a {}"}, "templates must be a list"),
        ({"model": model, "data": data, "defences": "jpeg"}, "defences must be a list"),
        ({"model": model, "data": data, "protected_words": "red"}, "protected_words must be a list"),
    ):
        with pytest.raises(InputError, match=message):
            Audit(AuditSettings(**wrong), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
