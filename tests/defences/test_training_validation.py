"""Validation between the epochs of a run: what is measured, and what follows from it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from art_multimodal import load_model
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack, ProjectedGradientDescentDualEncoder
from art_multimodal.datasets import open_captioned
from art_multimodal.defences.trainer import METHODS
from art_multimodal.defences.training_run.data import Part, open_run_data
from art_multimodal.defences.training_run.folder import RunFolder
from art_multimodal.defences.training_run.validation import Validation
from art_multimodal.errors import InputError
from art_multimodal.estimators.retriever import ImageTextRetriever

from .runs import Shown, small, start
from .training import classifier as tiny_classifier
from .training import images, labels, pairs, retriever


def test_validation_measures_what_an_attack_by_hand_does():
    classifier = tiny_classifier()
    part = Part(images(30), labels(30))
    settings = small(method="mmcoa", validation_steps=5)
    words = BertAttack(classifier, "demo:mlm", candidate_words=None, verbose=False)
    found = Validation(classifier, part, METHODS["mmcoa"], settings, words).measure()
    right = classifier.predict(part.x).argmax(axis=1) == part.y
    attack = ProjectedGradientDescentDualEncoder(
        classifier, eps=8 / 255, eps_step=4 / 255, max_iter=5, batch_size=30, seed=0, verbose=False
    )
    attacked = attack.generate(part.x[right], part.y[right])
    resists = right.copy()
    resists[right] = classifier.predict(attacked).argmax(axis=1) == part.y[right]
    still = right & (classifier.with_prompts(list(words.generate())).predict(part.x).argmax(axis=1) == part.y)
    assert found == {
        "clean": right.mean(),
        "image": resists.mean(),
        "text": still.mean(),
        "attacked": (resists & still).mean(),
    }
    assert 0 < found["attacked"] < found["clean"] < 1


@pytest.mark.parametrize(
    ("method", "measures"),
    [
        ("tecoa", {"clean", "image", "attacked"}),
        ("leaf", {"clean", "text", "attacked"}),
        ("mmcoa", {"clean", "image", "text", "attacked"}),
        ("clean", {"clean", "image", "attacked"}),
    ],
)
def test_what_a_method_trains_against_is_attacked(method, measures):
    for estimator, part in ((tiny_classifier(), Part(images(), labels())), (retriever(), Part(pairs(), None))):
        texts = CharacterAttack(estimator, verbose=False) if METHODS[method].text_attack else None
        task = "retrieval" if isinstance(estimator, ImageTextRetriever) else "classification"
        validation = Validation(estimator, part, METHODS[method], small(method=method, task=task), texts)
        found = validation.measure()
        assert set(found) == measures and set(validation.protocol()) == measures | {"best"}
        assert all(0 <= value <= 1 for value in found.values())
        assert found["attacked"] <= min(value for name, value in found.items() if name != "attacked")


def test_validation_of_retrieval_attacks_each_image_once():
    estimator = ImageTextRetriever(load_model("demo:scenes"), device_type="cpu")
    data = open_captioned("demo:scenes")
    rows = [(data.image(index), text) for index in range(20) for text in data.captions_of(index)]
    from art_multimodal.pairs import image_text_pairs

    part = Part(image_text_pairs(np.stack([image for image, _ in rows]), [text for _, text in rows]), None)
    settings = small(method="tecoa", task="retrieval", validation_steps=5)
    found = Validation(estimator, part, METHODS["tecoa"], settings, None).measure()
    clean = estimator.recall(part.x, ks=(1,))
    assert found["clean"] == (clean.image_to_text[1] + clean.text_to_image[1]) / 2
    captions = [data.captions_of(index) for index in range(20)]
    gallery = estimator.as_classifier(captions)
    attack = ProjectedGradientDescentDualEncoder(
        gallery, eps=8 / 255, eps_step=4 / 255, max_iter=5, batch_size=20, seed=0, verbose=False
    )
    attacked = part.x.copy()
    attacked["image"] = np.repeat(attack.generate(part.x["image"][::2], np.arange(20)), 2, axis=0)
    recall = estimator.recall(attacked, part.x, ks=(1,))
    assert found["image"] == found["attacked"] == (recall.image_to_text[1] + recall.text_to_image[1]) / 2
    assert found["image"] < found["clean"]


def test_the_best_epoch_resists_most_then_is_most_accurate_then_comes_first(tmp_path, monkeypatch):
    said = [(0.9, 0.9), (0.1, 0.8), (0.3, 0.7), (0.3, 0.9), (0.3, 0.9), (0.2, 1.0)]
    answers = iter([{"clean": clean, "image": attacked, "attacked": attacked} for attacked, clean in said])
    monkeypatch.setattr(Validation, "measure", lambda self: next(answers))
    saved: list[str] = []
    monkeypatch.setattr(RunFolder, "save", lambda self, name, *arguments: saved.append(name))
    shown = Shown()
    run = start(tmp_path / "out", epochs=5, listener=shown)
    run.run()
    # The model before training is no candidate.
    assert [best for _, best in shown.rows] == [False, True, True, True, False, False]
    assert saved == ["last", "best"] * 3 + ["last"] * 2
    header = json.loads((tmp_path / "out" / "training.json").read_text())
    assert header["best_epoch"] == run.best["epoch"] == 3


def test_validation_every_so_many_epochs_and_in_the_end(tmp_path):
    rows = start(tmp_path / "out", epochs=3, validate_every=2).run()
    assert ["attacked" in row for row in rows] == [True, False, True, True]
    assert all("loss" in row for row in rows[1:])


def test_validation_changes_nothing_about_the_training(tmp_path, whole):
    start(tmp_path / "out", validate_every=2, validation_steps=3).run()
    last = load_file(tmp_path / "out" / "last" / "model.safetensors")
    assert all(torch.equal(tensor, last[name]) for name, tensor in whole["models"]["last"].items())


def test_captions_count_as_images_in_memory(monkeypatch):
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 100}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    # 20 images with two captions each.
    with pytest.raises(InputError, match="60 images of"):
        open_run_data(small(data="demo:scenes", task="retrieval", limit=20), load_model("demo:scenes"), "cpu")
