"""The shapes questions: right labels, hard cases, and nothing to be had from one modality alone."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from art_multimodal import InputError
from art_multimodal.datasets import open_data
from art_multimodal.demo import shapes_data
from art_multimodal.demo.scenes import (
    NOTHING,
    OPENINGS,
    RELATIONS,
    Scenes,
    answers,
    draw,
    kind_name,
    make_samples,
)
from art_multimodal.demo.shapes_data import ShapesData


@pytest.fixture(scope="module")
def data() -> ShapesData:
    return ShapesData()


def test_a_thousand_samples(data) -> None:
    assert len(data) == 1000
    assert (data.class_names, data.templates) == (("no", "yes"), ())
    sample = data.read(5)
    assert (sample.name, sample.label, sample.text) == ("question 5", data.label_of(5), data.text_of(5))
    assert sample.image.shape == (3, 32, 32) and sample.image.dtype == np.float32
    assert data.images.min() >= 0 and data.images.max() <= 1


def test_opened_by_name() -> None:
    data = open_data("demo:shapes", classes=["wrong", "right"])
    assert data.class_names == ("wrong", "right")
    with pytest.raises(InputError, match="gives 3 names for the 2 answers"):
        open_data("demo:shapes", classes=["a", "b", "c"])
    with pytest.raises(InputError, match="Known: digits, .*shapes"):
        open_data("demo:xyz")


def test_the_data_are_always_the_same(data) -> None:
    # Drawn anew, and not from what was kept.
    shapes_data._drawn.cache_clear()
    again = ShapesData()
    assert again.fingerprint() == data.fingerprint()
    np.testing.assert_array_equal(again.images, data.images)
    # Loosely: another generator, another recipe or another seed moves this far more than another machine's rounding.
    assert [float(image.mean()) for image in data.images[:8:2]] == pytest.approx([0.729, 0.604, 0.615, 0.538], abs=2e-3)
    assert data.texts[:2] == (
        "can you see a red triangle on the left of the yellow triangle",
        "Does the picture show a red triangle to the left of a green square?",
    )


def test_labels_are_the_true_answers(data) -> None:
    truth = [answers(data.scenes.objects(i), data.texts[i]) for i in range(len(data))]
    np.testing.assert_array_equal(np.array(truth, dtype=int), data.labels)


def test_every_image_and_every_question_stands_beside_both_answers(data) -> None:
    for start in range(0, len(data), 4):
        images, texts = data.images[start : start + 4], data.texts[start : start + 4]
        assert data.labels[start : start + 4].tolist() == [1, 0, 0, 1]
        assert texts[0] == texts[2] != texts[1] == texts[3]
        np.testing.assert_array_equal(images[0], images[1])
        np.testing.assert_array_equal(images[2], images[3])
        assert not np.array_equal(images[0], images[2])


def test_any_predictor_that_sees_one_modality_is_right_half_the_time(data) -> None:
    for keys in ([image.tobytes() for image in data.images], list(data.texts)):
        answered: dict[object, Counter[int]] = defaultdict(Counter)
        for key, label in zip(keys, data.labels.tolist(), strict=True):
            answered[key][label] += 1
        # Whatever a predictor answers to a key, it is right as often as it is wrong.
        assert all(counts[0] == counts[1] for counts in answered.values())


def test_all_kinds_of_questions_occur(data) -> None:
    words = [f" {text.lower().rstrip('?')} " for text in data.texts]
    for wording in (w for wordings in RELATIONS.values() for w in wordings):
        assert any(f" {wording} " in text for text in words), wording
    for opening in OPENINGS:
        start, end = opening.split("{}")
        assert any(text.startswith(f" {start}") and end in text for text in words), opening
    asks_existence = np.mean([not any(w in t for ws in RELATIONS.values() for w in ws) for t in words])
    assert 0.3 < asks_existence < 0.5
    for kind in range(12):
        assert any(kind_name(kind) in text for text in words)
    assert max(len(text.split()) for text in words) <= 15


def test_a_no_is_a_near_miss() -> None:
    """In most images that a question is not true of, every colour and shape that it names is there."""
    drawn = make_samples(1000, np.random.default_rng(3))
    complete = []
    for i in np.flatnonzero(drawn.labels == 0):
        there = {word for name, _, _ in drawn.scenes.objects(i) for word in name.split()}
        asked = {
            word for kind in drawn.questions.facts[i, [0, 2]] if kind != NOTHING for word in kind_name(kind).split()
        }
        complete.append(asked <= there)
    assert np.mean(complete) > 0.7


def test_objects_keep_apart() -> None:
    scenes = make_samples(500, np.random.default_rng(4)).scenes
    present = scenes.kinds != NOTHING
    assert set(present.sum(axis=1)) == {2, 3}
    for first, second in ((0, 1), (0, 2), (1, 2)):
        both = present[:, first] & present[:, second]
        assert (scenes.kinds[both, first] != scenes.kinds[both, second]).all()
        assert (np.abs(scenes.centres[both, first] - scenes.centres[both, second]) > 6).all()
    assert scenes.centres[present].min() >= 4 and scenes.centres[present].max() <= 28


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("is there a red circle", True),
        ("Do you see a red square?", False),
        ("is there a red circle left of the blue square", True),
        ("is there a blue square left of the red circle", False),
        ("is there a blue square to the right of a red circle?", True),
        ("is there a red circle above the blue square", False),
        ("is a red circle shown lower than the blue square", True),
        ("can you see a blue square over the red circle", True),
        ("is there a red circle left of the blue circle", False),
    ],
)
def test_true_answers(question: str, answer: bool) -> None:
    assert answers([("red circle", 5.0, 20.0), ("blue square", 15.0, 10.0)], question) is answer


def test_what_is_painted_is_what_the_scene_says() -> None:
    kinds = np.array([[0, 4 + 2, NOTHING]])  # a red circle, a blue square
    centres = np.array([[[6.0, 20.0], [16.0, 8.0], [26.0, 26.0]]], dtype=np.float32)
    image = draw(Scenes(kinds, centres), np.random.default_rng(0))[0]
    red, green, blue = image
    assert red[20, 6] > green[20, 6] + 0.4 and red[20, 6] > blue[20, 6] + 0.4
    assert blue[8, 16] > red[8, 16] + 0.4
    corners = image[:, [0, 0, 31, 26], [0, 31, 31, 26]]
    assert np.ptp(corners) < 0.3
