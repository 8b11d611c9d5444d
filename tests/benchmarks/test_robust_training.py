"""The experiment in miniature, on made-up images, and its parts against slower ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from art_multimodal import ZeroShotClassifier  # noqa: E402
from art_multimodal.attacks.evasion import BertAttack  # noqa: E402
from art_multimodal.defences.trainer.embeddings import EncodedTexts  # noqa: E402
from art_multimodal.functional.objectives import cosine_logits, mmcoa  # noqa: E402
from art_multimodal.language.masked_language_model import MaskedLanguageModel  # noqa: E402
from benchmarks.robust_training import __main__ as experiment  # noqa: E402
from benchmarks.robust_training import attacks, captions, data, pretrain, recipes, statistics, summary, tables  # noqa: E402
from benchmarks.robust_training.evaluation import Words, evaluate_cells  # noqa: E402
from benchmarks.robust_training.language import make_tokenizer, train_language_model  # noqa: E402
from benchmarks.robust_training.model import SmallCLIP  # noqa: E402


@pytest.fixture(scope="module")
def words(folder: Path) -> Words:
    captioned = data.Captioned(folder)
    tokenizer = make_tokenizer(captioned)
    return Words.halved(MaskedLanguageModel(train_language_model(captioned, tokenizer, steps=30), tokenizer))


@pytest.fixture
def model(words: Words) -> SmallCLIP:
    torch.manual_seed(0)
    return SmallCLIP(words.language_model.tokenizer).eval().fold()


def test_from_images_to_tables(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (experiment, summary):
        monkeypatch.setattr(module, "TEST_TEMPLATES", captions.TEST_TEMPLATES[:2])
    monkeypatch.setattr(pretrain, "train_language_model", lambda *given, **also: train_language_model(*given[:2], 30))
    pretrained, out = tmp_path / "pretrained", tmp_path / "results.json"
    options = ["--data", str(folder), "--out", str(pretrained), "--epochs", "4", "--batch-size", "32"]
    monkeypatch.setattr(sys, "argv", ["pretrain", *options])
    pretrain.main()
    paths = [
        "--data",
        str(folder),
        "--pretrained",
        str(pretrained),
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(out),
    ]
    names = ["none", "mmcoa", "joint-anchored"]
    sizes = ["--seeds", "0", "1", "--epochs", "1", "--limit", "40", "--max-queries", "10", "--training-images", "80"]
    experiment.main([*paths, *sizes, "--recipes", *names])
    results = json.loads(out.read_text())
    assert list(results["methods"]) == names
    assert [entry["seeds"] for entry in results["methods"].values()] == [1, 2, 2]
    for entry in results["methods"].values():
        columns = entry["columns"]
        assert all(0 <= low <= high <= 1 for low, high in (column["ci95"] for column in columns.values()))
        # Larger budgets, and more that may be changed, never leave more.
        assert columns["image_4"]["value"] <= columns["image_2"]["value"] <= columns["image_1"]["value"]
        assert columns["joint"]["value"] <= columns["image_2"]["value"]
        assert columns["text_margin"]["value"] <= columns["text_kl"]["value"] <= 1
        assert columns["text_margin_unprotected"]["value"] <= columns["text_margin"]["value"]
        assert sum(entry["prediction_counts"]["clothing_clean"]) == 40
    assert all(len(row) == len(shown["header"]) for shown in results["tables"] for row in shown["rows"])
    # A second call finds all of it done.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    experiment.main([*paths, *sizes, "--recipes", *names])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == before
    assert json.loads(out.read_text()) == results


def test_folding_changes_no_answer(words: Words) -> None:
    torch.manual_seed(0)
    model = SmallCLIP(words.language_model.tokenizer)
    x = torch.rand(4, 3, 32, 32)
    model.train().encode_image(torch.rand(8, 3, 32, 32))
    before = model.eval().encode_image(x)
    torch.testing.assert_close(model.fold().encode_image(x), before, atol=1e-5, rtol=1e-4)


def test_worst_words_are_those_of_the_library_for_each_image(words: Words, model: SmallCLIP, folder: Path) -> None:
    images = data.cifar("test", folder)
    classifier = ZeroShotClassifier(model, images.class_names, captions.TEST_TEMPLATES[:1], device_type="cpu")
    threat = attacks.TextThreat(words.language_model, top_k=4)
    margins = attacks.WorstWords(classifier, threat).margins(
        attacks.unit_images(classifier, images.images[:6]), torch.from_numpy(images.labels[:6]), 0
    )
    attack = BertAttack(
        classifier,
        words.language_model,
        top_k=4,
        loss="margin",
        per_image=True,
        candidate_words=None,
        protected_words=attacks.SYNONYMS,
        verbose=False,
    )
    scores = classifier.predict_on(images.images[:6], attack.generate(images.images[:6], images.labels[:6]))
    own = scores[np.arange(6), images.labels[:6]]
    scores[np.arange(6), images.labels[:6]] = -np.inf
    expected = (own - scores.max(axis=1)) / model.logit_scale.exp().item()
    np.testing.assert_allclose(margins.numpy(), expected, atol=2e-6)


def test_descent_on_the_worst_words_breaks_more_the_farther_it_may_go(
    words: Words, model: SmallCLIP, folder: Path
) -> None:
    images = data.cifar("test", folder)
    classifier = ZeroShotClassifier(model, images.class_names, captions.TEST_TEMPLATES[:1], device_type="cpu")
    worst = attacks.WorstWords(classifier, attacks.TextThreat(words.language_model, top_k=4))
    truth = torch.from_numpy(images.labels)
    before = (worst.margins(attacks.unit_images(classifier, images.images), truth, 0) > 0).numpy()
    # Labels that the model has, or there would be nothing to break.
    said = classifier.predict(images.images).argmax(axis=1)
    left = [
        attacks.survive_worst_words(classifier, worst, 0, images.images, labels, eps, 0, max_iter=10)
        for labels, eps in ((images.labels, 0.0), (said, 0.0), (said, 1 / 255), (said, 0.3))
    ]
    assert (left[0] == before).all()
    assert left[1].sum() > left[3].sum() and (left[2] <= left[1]).all()
    assert len(attacks.survive_worst_words(classifier, worst, 0, images.images[:0], truth[:0].numpy(), 0.1, 0)) == 0


def test_unseen_words_never_come_up_in_training(words: Words, model: SmallCLIP, folder: Path) -> None:
    assert words.seen and words.unseen and not words.seen & words.unseen
    train = data.part_of(data.cifar("train", folder), range(16))
    classifier = ZeroShotClassifier(model, train.class_names, captions.TRAINING_TEMPLATES, device_type="cpu")
    known = {word for prompts in classifier.prompts for text in prompts for word in text.lower().strip(".").split()}
    attack = BertAttack(
        classifier, words.language_model, top_k=40, stop_words=words.training(), candidate_words=None, verbose=False
    )
    after = {word for prompts in attack.generate() for text in prompts for word in text.lower().strip(".").split()}
    assert after - known and not (after - known) & words.unseen
    unseen = attacks.TextThreat(words.language_model, stop_words=words.training() | words.seen - words.unseen)
    threat = attacks.TextThreat(words.language_model, stop_words=frozenset(words.seen))
    assert unseen.stop_words > threat.stop_words
    variants = threat.variants(classifier.with_templates(captions.TEST_TEMPLATES[0]))
    new = {word for texts in variants[0][0][1:] for word in texts.lower().strip(".").split()}
    assert not (new - set(variants[0][0][0].lower().strip(".").split())) & words.seen


def test_the_leak_is_the_gradient_of_the_attack(
    words: Words, model: SmallCLIP, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = data.part_of(data.cifar("train", folder), range(20))
    ways, losses = [], []

    class Watched(recipes.LeakingAscent):
        def further(self, ask, batch):
            found = super().further(ask, batch)
            classes = EncodedTexts(ask.model, [text for prompts in batch.classes for text in prompts])
            scale = ask.model.logit_scale.exp().detach()
            leaked = 0.0
            for seen in self._way:
                logits = cosine_logits(ask.model.encode_image(seen), classes.of_classes(batch.classes), scale)
                leaked = leaked + torch.nn.functional.cross_entropy(logits, batch.targets.argmax(dim=1))
            ways.append(len(self._way))
            losses.append((found["leaked_loss"].item(), float(leaked)))
            return found

    monkeypatch.setattr(recipes, "LeakingAscent", Watched)
    recipes.train(recipes.RECIPES["mmcoa-leak"], model, words, train, 0, epochs=1)
    assert ways[0] == recipes.SETTINGS["max_iter"]
    np.testing.assert_allclose(*zip(*losses, strict=True), rtol=1e-5)
    parts = [torch.eye(3)] * 4 + [torch.eye(3, dtype=torch.bool), torch.tensor(2.0)]
    own = mmcoa(*parts)
    assert float(recipes.mmcoa_with_the_leak(*parts, torch.tensor(5.0))) == pytest.approx(float(own) + 5.0)


def test_what_falls_to_images_alone_is_not_right_in_the_joint_column(
    words: Words, model: SmallCLIP, folder: Path
) -> None:
    test = data.part_of(data.cifar("test", folder), range(20))
    cells = evaluate_cells(model, words, test, captions.TEST_TEMPLATES[:2], 0, 10)
    own = np.arange(20), np.arange(20) % 2
    assert (cells["image_1"] <= cells["clean"][own]).all()
    assert (cells["joint"] <= cells["image_2"]).all()
    assert (cells["joint"] <= cells["text_margin"][own]).all()
    assert (cells["image_2"] <= cells["white_box_2"]).all()


def test_shares_are_means_and_pairs_cancel() -> None:
    rng = np.random.default_rng(3)
    for shape in ((2, 50, 4), (2, 50)):
        right = rng.random(shape) < 0.6
        share = statistics.share_of(right, 4)
        found = share.estimate()
        low, high = found["ci95"]
        assert found["value"] == pytest.approx(right.mean(), abs=1e-4) and low < right.mean() < high
        none = (share - share).estimate()
        assert none["value"] == 0 and -0.1 < none["ci95"][0] < 0 < none["ci95"][1] < 0.1
        # The same images are easy for another method, which is wrong on a few more.
        other = right & (rng.random(shape) < 0.95)
        low, high = (share - statistics.share_of(other, 4)).estimate()["ci95"]
        assert high - low < 0.8 * (found["ci95"][1] - found["ci95"][0])


def test_images_templates_and_seeds_all_count() -> None:
    """Where one of them decides, the interval is that of so few things, however many others there are."""
    for axis, few in ((0, 3), (2, 5)):
        right = np.zeros((3, 400, 5), dtype=bool)
        right[(slice(None),) * axis + (slice(0, 2),)] = True
        low, high = statistics.share_of(right, 5).estimate()["ci95"]
        assert low == 0 and high > 0.95, few
    # An image in its cell alone: templates are clusters, and no noise of images is counted with them once more.
    clustered = np.tile(np.arange(400) % 5 < 2, (3, 1))
    low, high = statistics.share_of(clustered, 5).estimate()["ci95"]
    assert low == 0 and high > 0.95
    noise = np.tile(np.random.default_rng(1).random(400) < 0.5, (3, 1))
    low, high = statistics.share_of(noise, 5).estimate()["ci95"]
    assert high - low < 3 * 1.96 * np.sqrt(0.25 / 400)


def test_methods_with_different_numbers_of_seeds_are_compared() -> None:
    rng = np.random.default_rng(3)
    three, one = rng.random((3, 80, 4)) < 0.8, rng.random((1, 80, 4)) < 0.4
    apart = statistics.share_of(three, 4) - statistics.share_of(one, 4)
    found = apart.estimate()
    assert found["value"] == pytest.approx(three.mean() - one.mean(), abs=1e-4)
    assert found["ci95"][0] < found["value"] < found["ci95"][1]


def test_balanced_accuracy_counts_classes_alike() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    said = np.zeros((2, 100), dtype=int)
    assert statistics.balanced_share(said, labels).estimate()["value"] == 0.5
    # The interval of images alone is that of the binomial of each class.
    said[:, 45:90] = 1
    said[:, 95:] = 1
    low, high = statistics.balanced_share(said, labels).estimate()["ci95"]
    assert (high - low) == pytest.approx(2 * 1.96 * 0.5 * np.sqrt(0.25 / 90 + 0.25 / 10), rel=0.25)


def test_tables_of_nothing_but_one_method() -> None:
    columns = {**tables.COLUMNS, **tables.FURTHER, **tables.TRANSFER}
    entry = {
        "title": "x | y",
        "columns": {column: {"value": 0.5, "ci95": [0.4, 0.6]} for column in columns},
        "prediction_counts": {column: [3, 1] for column in tables.TRANSFER},
    }
    shown = tables.tables({"none": entry}, {})
    assert shown[0]["rows"][0][1] == "50.0 ±10.0"
    assert shown[1]["rows"][0][1] == "50.0 ±10.0 (75%)"
