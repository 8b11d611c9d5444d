"""The detector of pairs that disagree: scores in closed form, thresholds, and what a report of it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from art.defences.detector.evasion.evasion_detector import EvasionDetector
from art.defences.preprocessor import FeatureSqueezing, GaussianAugmentation, SpatialSmoothing
from art.defences.preprocessor.preprocessor import Preprocessor, PreprocessorPyTorch
from estimators.captions import make
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tiny import TinyEncoder

from art_multimodal import ImageTextRetriever, InputError, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.evasion.multimodal.set_level_guidance import SetLevelGuidanceAttack
from art_multimodal.defences.detector.evasion import ModalityDisagreementDetector
from art_multimodal.defences.preprocessor import SpellingRepair
from art_multimodal.estimators.straight_through import straight_through
from art_multimodal.evaluations.detection import DetectorEvaluation, auc_ci95, write_detection_report

WORDS = ["cat", "dog", "sea", "sun", "red", "ice"]


def some_pairs(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, 3)) for _ in range(count)]
    return image_text_pairs(rng.random((count, 3, 8, 8), dtype=np.float32), texts)


def cosines(model: TinyEncoder, images: np.ndarray, texts: list[str]) -> np.ndarray:
    """Of every image to every text, in float64."""
    model = model.double()
    with torch.no_grad():
        found = (
            model.encode_image(torch.from_numpy(images.copy()).double()) @ model.encode_text(model.tokenize(texts)).T
        )
    return found.numpy()


def test_scores_are_what_they_are_said_to_be() -> None:
    pairs, others = some_pairs(7), some_pairs(40, seed=1)
    # Two of the texts are the most similar ones that there are to their images.
    closest = cosines(TinyEncoder(), pairs["image"][:2], others["text"].tolist()).argmax(axis=1)
    pairs["text"][:2] = others["text"][closest]
    texts = pairs["text"].tolist()
    own = np.diag(cosines(TinyEncoder(), pairs["image"], texts))
    detector = ModalityDisagreementDetector(make())
    assert isinstance(detector, EvasionDetector)
    np.testing.assert_allclose(detector.scores(pairs), -own, atol=1e-6)

    margin = ModalityDisagreementDetector(make(), "margin")
    with pytest.raises(InputError, match="call fit first"):
        margin.scores(pairs)
    margin.fit(others)
    reference = list(dict.fromkeys(others["text"].tolist()))
    table = cosines(TinyEncoder(), pairs["image"], reference)
    best = [
        max(c for c, text in zip(row, reference, strict=True) if text != mine)
        for row, mine in zip(table, texts, strict=True)
    ]
    np.testing.assert_allclose(margin.scores(pairs), best - own, atol=1e-6)

    squeeze, repair = FeatureSqueezing(clip_values=(0.0, 1.0), bit_depth=1), SpellingRepair(["zat", "dog"])
    consistency = ModalityDisagreementDetector(make(), "consistency", transformations=[squeeze, repair])
    by_image = np.diag(cosines(TinyEncoder(), squeeze(pairs["image"].copy())[0], texts)) - own
    by_text = np.diag(cosines(TinyEncoder(), pairs["image"], repair.repair(texts))) - own
    np.testing.assert_allclose(consistency.scores(pairs), np.maximum(abs(by_image), abs(by_text)), atol=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=60), st.sampled_from([0.3, 0.5, 0.9]))
def test_the_threshold_leaves_room_for_a_new_clean_pair(scores: list[float], rate: float) -> None:
    class Given(ModalityDisagreementDetector):
        def scores(self, x, batch_size=128):
            return np.array(scores)

    pairs = some_pairs(len(scores))
    detector = Given(make(), false_positive_rate=rate)
    detector.fit(pairs)
    # Were any of the n + 1 equally likely to be the new one, it would be flagged so often at most.
    expected = sorted([*scores, np.inf])[: len(scores) + 1]
    above = sum(score > detector.threshold for score in expected)
    assert above <= rate * (len(scores) + 1) + 1e-6
    lower = [score for score in scores if score < detector.threshold]
    if lower:
        # The next lower one would not do.
        assert sum(score > max(lower) for score in expected) > rate * (len(scores) + 1) - 1e-6


def test_attacked_pairs_are_flagged_more_often_than_clean_ones(tmp_path: Path) -> None:
    retriever = ImageTextRetriever(TinyEncoder().eval(), device_type="cpu")
    detector = ModalityDisagreementDetector(retriever, false_positive_rate=0.1)
    detector.fit(some_pairs(60))
    clean = some_pairs(40, seed=1)
    attack = SetLevelGuidanceAttack(
        retriever, None, scales=(1.0,), norm=np.inf, eps=0.3, eps_step=0.1, max_iter=5, seed=0, verbose=False
    )
    attacked = attack.generate(clean)
    report, flagged = detector.detect(attacked)
    assert flagged.dtype == bool
    np.testing.assert_array_equal(flagged, report["scores"] > report["threshold"])
    hostile = "<pgd> | [x](javascript:y)"
    result = DetectorEvaluation(detector).evaluate(clean, {hostile: attacked, "none": clean})
    assert result.curves["none"].auc == pytest.approx(0.5)
    curve = result.curves[hostile]
    truth, scores = np.repeat([0, 1], 40), np.concatenate([detector.scores(clean), detector.scores(attacked)])
    assert curve.auc == pytest.approx(roc_auc_score(truth, scores))
    assert curve.auc > 0.7
    assert curve.auc_ci95[0] < curve.auc < curve.auc_ci95[1]
    assert curve.detected == flagged.mean() > result.false_positives
    # The detector's threshold is a point of the curve, and the area under what is drawn is the area.
    false, true = np.array(curve.false_positive_rates), np.array(curve.true_positive_rates)
    assert np.interp(result.false_positives + curve.detected, false + true, true) == pytest.approx(curve.detected)
    assert np.trapezoid(true, false) == pytest.approx(curve.auc)
    write_detection_report(result, tmp_path / "new" / "folder")
    written = json.loads((tmp_path / "new" / "folder" / "detection.json").read_text())
    assert written["curves"][hostile]["auc"] == curve.auc
    page = (tmp_path / "new" / "folder" / "detection.html").read_text()
    markdown = (tmp_path / "new" / "folder" / "detection.md").read_text()
    assert "&lt;pgd&gt;" in page and "&lt;pgd&gt;" in markdown
    assert "<pgd>" not in page + markdown and "](javascript" not in markdown
    assert page.count("<polyline") == page.count("<circle") == 2
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert [line.replace("\\|", "").count("|") for line in rows] == [6] * 3
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        write_detection_report(result, tmp_path / "file")


@pytest.mark.parametrize(("apart", "area"), [(0.0, 0.5), (1.0, 0.7602), (3.29, 0.99)])  # Phi(apart / sqrt 2)
@pytest.mark.parametrize(("clean", "attacked"), [(20, 20), (100, 40)])
def test_the_interval_covers_the_area_of_known_distributions(apart, area, clean, attacked) -> None:
    rng, runs, covered = np.random.default_rng(0), 200, 0
    for _ in range(runs):
        low, high = auc_ci95(rng.normal(size=clean), rng.normal(apart, 1, size=attacked))
        covered += low <= area <= high
    # Three standard deviations of so few runs below 93 %.
    assert covered >= runs * 0.93 - 3 * np.sqrt(runs * 0.93 * 0.07)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_the_interval_holds_the_area_and_mirrors(clean: list[int], attacked: list[int]) -> None:
    area = roc_auc_score(np.repeat([0, 1], [len(clean), len(attacked)]), [*clean, *attacked])
    low, high = auc_ci95(np.array(clean), np.array(attacked))
    assert 0 <= low <= area + 1e-12 and area - 1e-12 <= high <= 1
    assert low < high
    np.testing.assert_allclose(auc_ci95(np.array(attacked), np.array(clean)), (1 - high, 1 - low), atol=1e-9)


@pytest.mark.parametrize("score", ["similarity", "margin", "consistency"])
def test_batches_change_nothing(score: str) -> None:
    detector = ModalityDisagreementDetector(make(), score)
    detector.fit(some_pairs(30), batch_size=7)
    pairs = some_pairs(11, seed=1)
    before = pairs.copy()
    report, flagged = detector.detect(pairs, batch_size=3)
    np.testing.assert_array_equal(pairs["image"], before["image"])
    whole = ModalityDisagreementDetector(make(), score)
    whole.fit(some_pairs(30))
    assert detector.threshold == pytest.approx(whole.threshold, abs=1e-6)
    np.testing.assert_allclose(report["scores"], whole.scores(pairs), atol=1e-6)
    one_by_one = [whole.scores(pairs[row : row + 1])[0] for row in range(11)]
    np.testing.assert_allclose(report["scores"], one_by_one, atol=1e-6)
    for empty in (pairs[:0], image_text_pairs(np.zeros((0, 3, 8, 8), np.float32), [])):
        report, flagged = detector.detect(empty)
        assert report["scores"].shape == flagged.shape == (0,)


def test_transformations_may_write_into_images_and_see_no_empty_batch() -> None:
    class Darkening(Preprocessor):
        def __call__(self, x, y=None):
            assert len(x)
            x *= 0.5
            return x, y

    detector = ModalityDisagreementDetector(make(), "consistency", transformations=[Darkening(), Darkening()])
    pairs = some_pairs(4)
    before = pairs["image"].copy()
    scores = detector.scores(pairs)
    np.testing.assert_array_equal(pairs["image"], before)
    by_hand = np.diag(cosines(TinyEncoder(), before / 2, pairs["text"].tolist()))
    own = np.diag(cosines(TinyEncoder(), before, pairs["text"].tolist()))
    np.testing.assert_allclose(scores, abs(by_hand - own), atol=1e-6)
    assert detector.scores(pairs[:0]).shape == (0,)


def test_bad_input_is_refused() -> None:
    retriever = make()
    classifier = ZeroShotClassifier(TinyEncoder(), ("cat", "dog"), device_type="cpu")
    for given_settings in (
        {"score": "norm"},
        {"false_positive_rate": 0.0},
        {"false_positive_rate": "5 %"},
        {"false_positive_rate": np.nan},
        {"transformations": SpellingRepair()},
        {"transformations": []},
        {"transformations": [len]},
    ):
        with pytest.raises(InputError):
            ModalityDisagreementDetector(retriever, **given_settings)
    with pytest.raises(InputError, match="ZeroShotClassifier"):
        ModalityDisagreementDetector(classifier)
    detector = ModalityDisagreementDetector(retriever)
    with pytest.raises(InputError, match="at least 19"):
        detector.fit(some_pairs(18))
    with pytest.raises(InputError, match="call fit"):
        detector.detect(some_pairs(2))
    with pytest.raises(InputError, match="pairs"):
        detector.fit(np.zeros((30, 3, 8, 8), dtype=np.float32))
    detector.fit(some_pairs(19))
    for wrong in (some_pairs(4).reshape(2, 2), some_pairs(4).tolist(), some_pairs(4)["image"], some_pairs(4)["text"]):
        with pytest.raises(InputError, match="pairs"):
            detector.detect(wrong)
    with pytest.raises(InputError, match="batch_size"):
        detector.detect(some_pairs(2), batch_size=0)
    untitled = some_pairs(2)
    untitled["text"][1] = None
    with pytest.raises(InputError, match="Text 1"):
        detector.detect(untitled)
    damaged = some_pairs(2)
    damaged["image"][1] = np.nan
    with pytest.raises(InputError, match="NaN"), np.testing.suppress_warnings() as quiet:
        quiet.filter(UserWarning)
        detector.detect(damaged)
    for clean, attacked in ((3, {}), (0, {"some": some_pairs(3)}), (3, {"none": some_pairs(0)})):
        with pytest.raises(InputError, match="at least one of each"):
            DetectorEvaluation(detector).evaluate(some_pairs(clean), attacked)
    adding = ModalityDisagreementDetector(
        retriever, "consistency", transformations=[GaussianAugmentation(augmentation=True, ratio=1.0)]
    )
    with pytest.raises(InputError, match="GaussianAugmentation makes 4 images of 2"):
        adding.scores(some_pairs(2))
    alike = some_pairs(30)
    alike["text"][:] = "sea"
    with pytest.raises(InputError, match="same one"):
        ModalityDisagreementDetector(retriever, "margin").fit(alike)


def test_a_threshold_holds_for_the_score_that_it_was_set_for() -> None:
    detector = ModalityDisagreementDetector(make())
    detector.fit(some_pairs(30))
    detector.set_params(score="margin")
    assert detector.get_params()["score"] == "margin"
    with pytest.raises(InputError, match="call fit"):
        detector.detect(some_pairs(2))
    with pytest.raises(InputError):
        detector.set_params(score="none")


def test_preprocessors_as_functions_of_tensors() -> None:
    images = torch.rand(3, 3, 8, 8, requires_grad=True)
    direction = torch.rand(3, 3, 8, 8)
    smooth = SpatialSmoothing(window_size=3, channels_first=True, clip_values=(0.0, 1.0))
    squeeze = FeatureSqueezing(clip_values=(0.0, 1.0), bit_depth=2)
    before = images.detach().clone()
    behind = straight_through(squeeze)(straight_through(smooth)(images))
    np.testing.assert_allclose(behind.detach(), squeeze(smooth(before.numpy().copy())[0])[0], atol=1e-7)
    torch.testing.assert_close(images.detach(), before)
    # In numpy both pass gradients on as they are.
    torch.testing.assert_close(torch.autograd.grad(behind, images, direction)[0], direction)

    class Halving(PreprocessorPyTorch):
        def forward(self, x, y=None):
            return x * torch.linspace(0, 0.5, 8), y

    behind = straight_through(Halving(device_type="cpu"))(images)
    torch.testing.assert_close(behind, before * torch.linspace(0, 0.5, 8))
    (through,) = torch.autograd.grad(behind, images, direction)
    torch.testing.assert_close(through, direction * torch.linspace(0, 0.5, 8))

    class Estimating(Halving):
        def estimate_forward(self, x, y=None):
            return 2 * x

    behind = straight_through(Estimating(device_type="cpu"))(images)
    torch.testing.assert_close(behind, before * torch.linspace(0, 0.5, 8))
    torch.testing.assert_close(torch.autograd.grad(behind, images, direction)[0], 2 * direction)

    noisy = straight_through(GaussianAugmentation(sigma=0.1, augmentation=False))
    assert not torch.equal(noisy(images), noisy(images))
