"""Attacks on texts, on both modalities and by pasted words, as audits run them."""

from __future__ import annotations

import numpy as np
import pytest

from art_multimodal import FusionClassifier, ImageTextRetriever, ZeroShotClassifier, image_text_pairs, load_model
from art_multimodal.attacks.evasion import BertAttack
from art_multimodal.datasets import open_captioned
from art_multimodal.demo.shapes_data import ShapesData
from art_multimodal.errors import InputError
from art_multimodal.evaluations.suite import (
    ATTACKS,
    PAIRS,
    RETRIEVAL,
    ZERO_SHOT,
    Budget,
    TextBudget,
    exhaustive,
    select_attacks,
)
from art_multimodal.evaluations.suite.selection import TRANSFER, UNIVERSAL
from art_multimodal.language.words import words_of
from art_multimodal.pairs import is_pairs

#: Of tests that do not ask how strong typing errors are.
little = pytest.mark.usefixtures("little_effort")
TEXT = [name for name, entry in ATTACKS.items() if entry.modality == "text"]
BOTH = ["independent", "co_attack", "joint"]
EPS = 8 / 255


def budget(protected: tuple[str, ...] = (), **more) -> Budget:
    return Budget("inf", EPS, EPS / 2, 3, 40, 4, TextBudget(protected_words=protected), **more)


@pytest.fixture(autouse=True)
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is about what comes back, and not about the whole vocabulary."""
    monkeypatch.setattr(exhaustive, "MOST_TEXTS_OF_A_SAMPLE", 300)
    monkeypatch.setattr(exhaustive, "MOST_TEXTS", 2_000)


def changes(before: str, after: str) -> list[tuple[str, str]]:
    pairs = zip(words_of(before), words_of(after), strict=True)
    return [(old.text, new.text) for old, new in pairs if old.text != new.text]


@pytest.fixture
def right(digits_classifier: ZeroShotClassifier, digits_images) -> tuple[np.ndarray, np.ndarray]:
    images, labels = digits_images[0][:14], digits_images[1][:14]
    keep = digits_classifier.predict_labels(images) == labels
    return images[keep], labels[keep]


@pytest.mark.parametrize("name", [*TEXT, *BOTH])
def test_on_prompts(digits_classifier, right, name, digits) -> None:
    images, labels = right
    run = ATTACKS[name].prepare(digits_classifier, budget(digits.protected_words))
    attacked = run(images, labels, 5)
    text_only = ATTACKS[name].modality == "text"
    assert np.array_equal(attacked.images, images) == text_only
    assert np.abs(attacked.images.astype(np.float64) - images).max() <= EPS + 1e-6
    for label, answer, detail in zip(labels, attacked.labels, attacked.details, strict=True):
        shown = dict(detail.texts)
        assert set(shown) == {digits_classifier.prompts[index][0] for index in (label, answer)}
        for before, after in shown.items():
            assert len(changes(before, after)) <= 1
            assert not {old for old, _ in changes(before, after)} & {*digits.class_names, *digits.protected_words}
            assert not {new for _, new in changes(before, after)} & {*digits.class_names, *digits.protected_words}
        assert detail.text_queries > 0
    assert (attacked.labels != labels).any()
    # Again, and one sample at a time: the same, also from what the first call left behind.
    again = run(images, labels, 5)
    np.testing.assert_array_equal(again.labels, attacked.labels)
    assert again.details == attacked.details
    if text_only:
        alone = [
            ATTACKS[name].run(digits_classifier, images[i : i + 1], labels[i : i + 1], budget(), 9) for i in (0, 3)
        ]
        fresh = ATTACKS[name].run(digits_classifier, images, labels, budget(), 5)
        assert [one.labels[0] for one in alone] == [fresh.labels[i] for i in (0, 3)]
        assert [one.details[0] for one in alone] == [fresh.details[i] for i in (0, 3)]


def test_answers_are_those_of_a_classifier_with_the_prompts(digits_classifier, right) -> None:
    images, labels = right
    attack = BertAttack(digits_classifier, "demo:mlm", candidate_words=None, verbose=False)
    by_hand = digits_classifier.with_prompts(attack.generate()).predict_labels(images)
    np.testing.assert_array_equal(
        ATTACKS["bert_attack"].run(digits_classifier, images, labels, budget(), 0).labels, by_hand
    )
    attack = BertAttack(
        digits_classifier, "demo:mlm", loss="margin", per_image=True, candidate_words=None, verbose=False
    )
    chosen = attack.generate(images, labels)
    by_hand = [
        digits_classifier.with_prompts(own.tolist()).predict_labels(image[None])[0]
        for own, image in zip(chosen, images, strict=True)
    ]
    attacked = ATTACKS["bert_attack_margin"].run(digits_classifier, images, labels, budget(), 0)
    np.testing.assert_array_equal(attacked.labels, by_hand)


def test_knowing_the_image_is_stronger_and_joint_is_strongest(digits_classifier, digits_images) -> None:
    images, labels = digits_images[0][:40], digits_images[1][:40]
    small = Budget("inf", 3 / 255, 1 / 255, 5, 40, 40)
    wrong = {
        name: (ATTACKS[name].run(digits_classifier, images, labels, small, 0).labels != labels).sum()
        for name in ("pgd", "bert_attack", "bert_attack_margin", "joint")
    }
    assert wrong["bert_attack"] <= wrong["bert_attack_margin"] < wrong["joint"]
    assert wrong["pgd"] < wrong["joint"]


@little
@pytest.mark.parametrize("name", [*TEXT, *BOTH, "typographic"])
@pytest.mark.parametrize("fusion", ["concat", "cross_attention"])
def test_on_pairs(name, fusion) -> None:
    data = ShapesData()
    classifier = FusionClassifier(load_model(f"demo:shapes/{fusion}"), device_type="cpu")
    pairs, labels = image_text_pairs(data.images[:10], list(data.texts[:10])), data.labels[:10]
    keep = classifier.predict_labels(pairs) == labels
    pairs, labels = pairs[keep], labels[keep]
    given = pairs.copy()
    attacked = ATTACKS[name].run(classifier, pairs, labels, budget(data.protected_words, max_share=0.2), 5)
    assert pairs["text"].tolist() == given["text"].tolist() and np.array_equal(pairs["image"], given["image"])
    np.testing.assert_array_equal(attacked.labels, classifier.predict_labels(attacked.x))
    if name == "typographic":
        assert attacked.x["text"].tolist() == given["text"].tolist()
        for image, before, detail in zip(attacked.images, given["image"], attacked.details, strict=True):
            changed = np.argwhere((image != before).any(axis=0))
            assert not len(changed) or detail.blocks
            assert len(changed) <= 0.2 * image[0].size and detail.queries <= 40
        return
    for before, after, detail in zip(given["text"], attacked.x["text"], attacked.details, strict=True):
        assert detail.texts == ((before, after),)
        assert len(changes(before, after)) <= 1
        assert not {old for old, _ in changes(before, after)} & set(data.protected_words)
    if ATTACKS[name].modality == "text":
        assert np.array_equal(attacked.images, given["image"])
    else:
        assert 0 < np.abs(attacked.images.astype(np.float64) - given["image"]).max() <= EPS + 1e-6


@little
@pytest.mark.parametrize("name", select_attacks("image,text,multimodal,decoupling", 4, RETRIEVAL))
def test_on_captions(name) -> None:
    data = open_captioned("demo:scenes")
    retriever = ImageTextRetriever(load_model("demo:scenes"), device_type="cpu")
    captions = [(index, text) for index in range(4) for text in data.captions_of(index)]
    pairs = image_text_pairs(np.stack([data.image(index) for index, _ in captions]), [text for _, text in captions])
    retriever.gallery = [data.captions_of(index) for index in range(4)]
    spent = budget(data.protected_words)
    attacked = ATTACKS[name].run(retriever, pairs, np.array([index for index, _ in captions]), spent, 3)
    assert attacked.labels is None and is_pairs(attacked.x)
    modality = ATTACKS[name].modality
    if modality != "decoupling":
        assert np.abs(attacked.images.astype(np.float64) - pairs["image"]).max() <= EPS + 1e-6
    # An image stays one image, however many captions it has.
    assert all(np.array_equal(attacked.images[row], attacked.images[row + 1]) for row in range(0, len(pairs), 2))
    texts_stay = attacked.x["text"].tolist() == pairs["text"].tolist()
    images_stay = np.array_equal(attacked.images, pairs["image"])
    assert texts_stay == (modality in ("image", "decoupling"))
    # A removal that changes no answer leaves the image as it is.
    assert images_stay == (modality == "text") or name == "decoupling_exhaustive"
    for before, after in zip(pairs["text"], attacked.x["text"], strict=True):
        assert len(changes(before, after)) <= 1
        assert not {old for old, _ in changes(before, after)} & set(data.protected_words)


def test_a_language_model_that_is_none_is_refused_before_any_work(digits_classifier) -> None:
    nowhere = Budget(text=TextBudget(language_model="./nowhere"))
    for name in ("bert_attack", "bert_attack_margin", *BOTH):
        with pytest.raises(InputError, match="There is no folder"):
            ATTACKS[name].prepare(digits_classifier, nowhere)


@pytest.mark.parametrize("task", [ZERO_SHOT, PAIRS, RETRIEVAL])
def test_an_entry_says_whether_the_language_model_is_asked(task: str, digits_classifier) -> None:
    estimator = digits_classifier
    if task == PAIRS:
        estimator = FusionClassifier(load_model("demo:shapes"), device_type="cpu")
    elif task == RETRIEVAL:
        estimator = ImageTextRetriever(load_model("demo:scenes"), device_type="cpu")
        estimator.gallery = [("one",), ("another",), ("a third",)]
    asking = set()
    for name, entry in ATTACKS.items():
        # Those of surrogates and of a perturbation have nothing to ask where none is given.
        if task in entry.tasks and entry.modality not in (TRANSFER, UNIVERSAL):
            try:
                entry.prepare(estimator, Budget(text=TextBudget(language_model="./nowhere")))
            except InputError as error:
                assert "There is no folder" in str(error)
                asking.add(name)
    assert asking == {name for name, entry in ATTACKS.items() if task in entry.tasks and entry.words}


def test_labels_too_small_to_read_are_left_out() -> None:
    applies = ATTACKS["typographic"].applies
    assert applies((3, 32, 32), Budget(max_share=0.1)) and not applies((3, 8, 8), Budget(max_share=0.1))


def test_a_gallery_of_one_image_has_nothing_to_be_mistaken_for() -> None:
    with pytest.raises(InputError, match="pgd needs at least 2 images with different captions; there are 1"):
        select_attacks("pgd", 1, RETRIEVAL)
    assert "apgd_dlr" not in select_attacks("image", 2, RETRIEVAL)


@little
def test_ensembles_in_retrieval_leave_it_to_the_worst_rank() -> None:
    data = open_captioned("demo:scenes")
    retriever = ImageTextRetriever(load_model("demo:scenes"), device_type="cpu")
    retriever.gallery = [data.captions_of(index)[:1] for index in range(5)]
    images = np.stack([data.image(index) for index in range(5)])
    pairs = image_text_pairs(images, [own[0] for own in retriever.gallery])
    y, spent = np.arange(5), budget(data.protected_words)
    for name, members in (
        (
            "worst_text",
            ("text_exhaustive", "bert_attack", "bert_attack_margin", "character_attack", "character_attack_margin"),
        ),
        ("worst_multimodal", ("set_level_guidance", "independent", "co_attack")),
    ):
        attacked = ATTACKS[name].run(retriever, pairs, y, spent, 7)
        versions = (attacked, *attacked.versions)
        assert [version.details[0].broken_by for version in versions] == list(members)
        assert all(len(version.details) == 5 for version in versions)
    attacked = ATTACKS["worst_image"].run(retriever, pairs, y, spent, 7)
    assert len(attacked.versions) == 1 and attacked.flags["checked"] == 5
    found = retriever.recall(attacked.x, truth=pairs).image_to_text[1]
    once = ATTACKS["pgd"].run(retriever, pairs, y, spent, 7)
    assert found <= retriever.recall(once.x, truth=pairs).image_to_text[1]


def test_a_gallery_as_classes_ranks_as_retrieval_does() -> None:
    data = open_captioned("demo:scenes")
    retriever = ImageTextRetriever(load_model("demo:scenes"), device_type="cpu")
    texts = [data.captions_of(index)[1] for index in range(30)]
    images = np.stack([data.image(index) for index in range(30)])
    pairs = image_text_pairs(images, texts)
    classifier = retriever.as_classifier([[text] for text in texts])
    np.testing.assert_allclose(classifier.predict(images), retriever.predict(pairs), rtol=1e-4, atol=1e-4)
    found = (classifier.predict_labels(images) == np.arange(30)).mean()
    assert found == pytest.approx(retriever.recall(pairs).image_to_text[1])
