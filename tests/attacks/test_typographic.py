"""The typographic attack: its budget, what comes back, and models that read, against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TinyEncoder, TinyFusion, TinyJointFusion
from torch import nn

from art_multimodal import FusionClassifier, InputError, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.evasion import TypographicAttack
from art_multimodal.attacks.evasion.typographic import attack as attack_module
from art_multimodal.attacks.evasion.typographic.search import PLACES, Catalogue, Label

WORDS = ("cat", "dog", "ox")
COLOURS = (("black", "white"), ("white", "black"))


class Reader(nn.Module):
    """Says class ``k > 0`` where the template of word ``k`` is near: a distance in pixels, with a slope around it.

    :param templates: For each class but the first a picture ``(C, h, w)`` and its place.
    """

    def __init__(self, templates, slope: bool = True) -> None:
        super().__init__()
        self.templates, self.slope, self.rows = templates, slope, []
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        self.rows += [image.tobytes() for image in images.detach().numpy()]
        scores = [torch.full((len(images),), 0.5)] * (1 if self.templates else 2)
        for picture, row, column in self.templates:
            rows, columns = picture.shape[1:]
            part = images[:, :, row : row + rows, column : column + columns]
            distance = (part - torch.from_numpy(picture)).abs().mean(dim=(1, 2, 3))
            scores.append(1 - distance if self.slope else (distance < 1e-6).float())
        return torch.stack(scores, dim=1) + 0 * self.unused


def art_classifier(model: nn.Module, shape, classes: int) -> PyTorchClassifier:
    return PyTorchClassifier(
        model, nn.CrossEntropyLoss(), shape, classes, channels_first=True, clip_values=(0, 1), device_type="cpu"
    )


def catalogue_of(shape, share: float, words=WORDS) -> Catalogue:
    black, white = (np.full((shape[0], 1, 1), value, dtype=np.float32) for value in (0, 1))
    return Catalogue(words, shape, share, [(black, white), (white, black)])


def every_label(catalogue: Catalogue) -> list[Label]:
    return [
        Label(word, size, *rest)
        for word, sizes in enumerate(catalogue.letters)
        for size in range(len(sizes))
        for rest in product(range(len(catalogue.colours)), range(PLACES), range(PLACES))
    ]


def reader_of(catalogue: Catalogue, labels: list[Label], shape, **kwargs) -> Reader:
    templates = []
    for label in labels:
        canvas = np.zeros(shape, dtype=np.float32)
        catalogue.write(canvas, label)
        box = catalogue.box(label)
        templates.append((canvas[(slice(None), *box.slices)].copy(), box.row, box.column))
    return Reader(templates, **kwargs)


def flipping(estimator, catalogue: Catalogue, image: np.ndarray) -> list[Label]:
    """Every label that makes class 1 of an image ``(1, C, H, W)``, by trying all."""
    labels = every_label(catalogue)
    written = np.repeat(image, len(labels), axis=0)
    for one, label in zip(written, labels, strict=True):
        catalogue.write(one, label)
    found = estimator.predict(written).argmax(axis=1) == 1
    return [label for label, flips in zip(labels, found, strict=True) if flips]


@pytest.fixture
def classifier() -> ZeroShotClassifier:
    return ZeroShotClassifier(TinyEncoder(seed=2).eval(), ("cat", "dog", "bird", "fish"), device_type="cpu")


def pictures(count: int, shape=(3, 24, 30), seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


def check_returned(predict, before, after, attack, words) -> None:
    """What is promised of every result."""
    height, width = before.shape[2:]
    labels, clean = predict(after), predict(before)
    for row, record in enumerate(attack.records):
        assert 1 <= record.queries <= attack.max_queries
        assert (record.label_before, record.label_after) == (clean[row], labels[row])
        assert after[row].min() >= 0 and after[row].max() <= 1
        mask = np.zeros((height, width), dtype=bool)
        if record.box is not None:
            box = record.box
            assert record.word in words and record.colours in COLOURS
            assert 0 <= box.row <= box.row + box.height <= height and 0 <= box.column <= box.column + box.width <= width
            mask[box.slices] = True
            assert record.share == box.area / (height * width) <= attack.max_share
            assert (after[row] != before[row]).any()
        else:
            assert record.word is None and record.colours is None and record.share == 0
        np.testing.assert_array_equal(after[row][:, ~mask], before[row][:, ~mask])


# Budget and guarantees


@pytest.mark.filterwarnings("ignore:.*are not tried")
@settings(max_examples=15)
@given(
    shape=st.sampled_from([(3, 16, 16), (3, 24, 30), (3, 40, 12), (3, 12, 60)]),
    share=st.sampled_from([0.25, 0.4, 1.0]),
    max_queries=st.one_of(st.integers(1, 12), st.integers(1, 80)),
    targeted=st.booleans(),
    seed=st.integers(0, 50),
)
def test_budget_is_exact_and_what_is_returned_is_as_recorded(shape, share, max_queries, targeted, seed) -> None:
    estimator = ZeroShotClassifier(TinyEncoder(seed=seed % 5).eval(), (*WORDS, "elk"), device_type="cpu")
    images, seen = pictures(3, shape, seed), []
    hook = estimator.dual_encoder.visual.register_forward_pre_hook(lambda m, i: seen.extend(r.numpy() for r in i[0]))
    attack = TypographicAttack(
        estimator, max_share=share, max_queries=max_queries, targeted=targeted, seed=seed, batch_size=5, verbose=False
    )
    after = attack.generate(images, np.array([0, 1, 2]) if targeted else None)
    hook.remove()
    assert len(seen) == sum(record.queries for record in attack.records)
    check_returned(estimator.predict_labels, images, after, attack, (*WORDS, "elk"))
    for row, record in enumerate(attack.records):
        changed = record.label_after == row if targeted else record.label_after != record.label_before
        assert record.success == changed
    for row in range(3):  # also for each by itself
        one = attack.generate(images[row : row + 1], np.array([row]) if targeted else None)
        np.testing.assert_array_equal(one[0], after[row])


def test_each_distinct_image_is_asked_about_once() -> None:
    """On a white image labels of different words and sizes may give one picture, or none at all."""
    shape = (1, 40, 40)
    for words, colours in ((WORDS, COLOURS), (("-", "-  "), (("black", "white"),)), ((".",), (("white", "black"),))):
        model = Reader([])
        estimator = art_classifier(model, shape, 2)
        attack = TypographicAttack(
            estimator, words=words, colours=colours, max_share=0.3, max_queries=1000, verbose=False
        )
        for image in (np.ones((1, *shape), np.float32), np.zeros((1, *shape), np.float32)):
            model.rows.clear()
            attack.generate(image)
            assert len(model.rows) == len(set(model.rows)) == attack.records[0].queries > 20


def test_batch_size_changes_nothing(classifier) -> None:
    images, results = pictures(5), []
    for batch_size in (1, 3, 128):
        attack = TypographicAttack(classifier, max_share=0.2, max_queries=60, batch_size=batch_size, verbose=False)
        results.append((attack.generate(images), attack.records))
    for images, records in results[1:]:
        np.testing.assert_array_equal(images, results[0][0])
        assert records == results[0][1]


def test_a_model_that_ignores_the_image_gets_it_back(classifier) -> None:
    with torch.no_grad():
        classifier.dual_encoder.visual[1].weight.zero_()
    images = pictures(3)
    attack = TypographicAttack(classifier, max_share=0.2, max_queries=40, verbose=False)
    np.testing.assert_array_equal(attack.generate(images), images)
    assert all(r.queries == 40 and r.word is None and r.box is None and not r.success for r in attack.records)


# A model that reads


@pytest.mark.parametrize("number", range(4))
def test_it_finds_what_brute_force_finds(number) -> None:
    """One label at one place, size and colour flips, and nothing shows the way: given the queries it is found."""
    shape, rng = (1, 32, 44), np.random.default_rng(number)
    catalogue = catalogue_of(shape, 0.15)
    labels = every_label(catalogue)
    wanted = labels[rng.integers(len(labels))]
    model = reader_of(catalogue, [wanted], shape, slope=False)
    estimator, image = art_classifier(model, shape, 2), pictures(1, shape, number)
    flips = {(catalogue.box(label).area, WORDS[label.word]) for label in flipping(estimator, catalogue, image)}
    assert flips
    attack = TypographicAttack(estimator, words=WORDS, max_share=0.15, max_queries=len(labels) + 1, verbose=False)
    after = attack.generate(image)
    [record] = attack.records
    assert record.success and (record.box.area, record.word) in flips and record.word == WORDS[wanted.word]
    assert estimator.predict(after).argmax() == 1
    # A picture that is not there: everything is asked about once, and nothing is found.
    model.templates = [(picture + 2, row, column) for picture, row, column in model.templates]
    model.rows.clear()
    attack.generate(image)
    distinct = len({catalogue.key(image[0], label) for label in labels} - {None})
    assert attack.records[0].queries == distinct + 1 == len(set(model.rows))
    assert not attack.records[0].success


def test_the_smallest_of_several_successes_comes_back() -> None:
    """Any label of one word flips: given the queries, the smallest of all is returned."""

    class Dark(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, images):
            dark = (images < 0.2).flatten(1).float().sum(1)
            return torch.stack([torch.full_like(dark, 3.5), dark], dim=1) + 0 * self.unused

    shape = (1, 64, 64)
    estimator, image = art_classifier(Dark(), shape, 2), np.full((1, *shape), 0.5, np.float32)
    catalogue = catalogue_of(shape, 0.2)
    areas = [catalogue.box(label).area for label in flipping(estimator, catalogue, image)]
    attack = TypographicAttack(estimator, words=WORDS, max_share=0.2, max_queries=10_000, verbose=False)
    attack.generate(image)
    assert attack.records[0].box.area == min(areas) < max(areas)
    # With few queries it is still smaller than the first that was found.
    attack.set_params(max_queries=40)
    attack.generate(image)
    assert attack.records[0].queries <= 40 and attack.records[0].box.area < max(areas)


class Centre(nn.Module):
    """Says class 1 where what is bright lies around a place, in parts of the image's sides."""

    def __init__(self, place, near: float) -> None:
        super().__init__()
        self.place, self.near, self.unused = torch.tensor(place), near, nn.Parameter(torch.zeros(1))

    def forward(self, images):
        bright = (images[:, 0] > 0.9).float()
        total = bright.sum(dim=(1, 2)) + 1e-6
        down, right = (torch.linspace(0, 1, side) for side in bright.shape[1:])
        centre = torch.stack([bright.sum(2) @ down / total, bright.sum(1) @ right / total], dim=1)
        distance = (centre - self.place).norm(dim=1)
        return torch.stack([torch.full_like(distance, -self.near), -distance], dim=1) + 0 * self.unused


def test_a_slope_is_descended_in_few_queries() -> None:
    """Where labels nearer to the right place score higher, a small part of all is asked about."""
    shape, asked = (1, 48, 64), []
    for seed in range(12):
        place = np.random.default_rng(seed).uniform(0.25, 0.75, 2).astype(np.float32)
        estimator = art_classifier(Centre(place, near=0.04), shape, 2)
        attack = TypographicAttack(estimator, words=WORDS, max_share=0.15, max_queries=200, verbose=False)
        attack.generate(np.full((1, *shape), 0.5, np.float32))
        assert attack.records[0].success
        asked += [attack.records[0].queries]
    assert np.median(asked) < 110, asked  # a quarter of what is left goes into smaller labels
    assert len(every_label(catalogue_of(shape, 0.15))) > 1400


def test_targeted_writes_what_makes_the_target() -> None:
    shape = (1, 32, 44)
    catalogue = catalogue_of(shape, 0.15)
    labels = [Label(word, 0, 0, PLACES - 1, PLACES // 2) for word in range(3)]
    estimator, images = art_classifier(reader_of(catalogue, labels, shape), shape, 4), pictures(4, shape)
    estimator.model.register_forward_hook(lambda m, i, o: o + torch.tensor([0.4, 0, 0, 0]))
    attack = TypographicAttack(estimator, words=WORDS, max_share=0.15, targeted=True, verbose=False)
    after = attack.generate(images, np.array([0, 1, 2, 3]))
    assert estimator.predict(after).argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert [record.word for record in attack.records] == [None, *WORDS]
    assert attack.records[0].queries == 1 and np.array_equal(after[0], images[0])  # it has the wanted label already


def test_words_are_the_other_classes_the_likeliest_first(classifier, monkeypatch) -> None:
    images, written = pictures(6), []
    search = attack_module.LabelSearch
    monkeypatch.setattr(attack_module, "LabelSearch", lambda task: written.append(task.words) or search(task))
    TypographicAttack(classifier, max_share=0.2, max_queries=9, verbose=False).generate(images)
    assert np.array(written).tolist() == np.argsort(-classifier.predict(images), axis=1)[:, 1:].tolist()


# Pairs


@pytest.mark.parametrize("model_class", [TinyFusion, TinyJointFusion])
def test_pairs_keep_their_own_texts(model_class) -> None:
    estimator = FusionClassifier(model_class(seed=5).eval(), device_type="cpu")
    texts = ["a cat sat", "what is\nthis", "", "a cat sat", "yes"]
    pairs = image_text_pairs(pictures(5), texts, allow_empty=True)
    attack = TypographicAttack(estimator, max_share=0.3, max_queries=50, batch_size=4, verbose=False)
    after = attack.generate(pairs)
    assert after["text"].tolist() == texts

    def predict(images):
        return estimator.predict_labels(image_text_pairs(images, texts, allow_empty=True))

    check_returned(predict, pairs["image"], after["image"], attack, estimator.class_names)
    assert any(record.box is not None for record in attack.records)
    for row in range(5):
        np.testing.assert_array_equal(attack.generate(pairs[row : row + 1])["image"][0], after["image"][row])
    assert len(attack.generate(pairs[:0])) == 0


# Edges


def test_words_that_cannot_be_written_are_skipped_with_a_reason() -> None:
    estimator = ZeroShotClassifier(TinyEncoder(seed=1).eval(), ("ox", "кот", "x" * 40, "elk"), device_type="cpu")
    attack = TypographicAttack(estimator, max_share=0.2, max_queries=30, verbose=False)
    with pytest.warns(UserWarning, match="2 of the words are not tried"):
        attack.generate(pictures(3))
    assert attack.skipped == {
        "кот": "the font has no letters for 'кот'",
        "x" * 40: "its letters would be smaller than 5 pixels",
    }
    assert {record.word for record in attack.records} <= {"ox", "elk", None}


def test_images_too_small_for_any_word(classifier) -> None:
    attack = TypographicAttack(classifier, max_share=0.1, verbose=False)
    with pytest.raises(InputError, match="None of the words can be written on images of 8 by 8 pixels"):
        attack.generate(pictures(2, (3, 8, 8)))
    attack = TypographicAttack(classifier, words=["i"], max_share=1.0, max_queries=20, verbose=False)
    assert attack.generate(pictures(2, (3, 8, 8))).shape == (2, 3, 8, 8)


def test_large_images(classifier) -> None:
    images = pictures(1, (3, 400, 1100))
    attack = TypographicAttack(classifier, max_queries=6, verbose=False)
    check_returned(classifier.predict_labels, images, attack.generate(images), attack, classifier.class_names)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"words": []}, "words must be a list"),
        ({"words": "dog"}, "words must be a list"),
        ({"words": ["dog", ""]}, "at least one letter"),
        ({"words": ["dog", 3]}, "at least one letter"),
        ({"words": ["кот"]}, "no letters for 'кот'"),
        ({"max_share": 0}, "max_share"),
        ({"max_share": 1.5}, "max_share"),
        ({"max_share": float("nan")}, "max_share"),
        ({"max_share": "0.1"}, "max_share"),
        ({"max_queries": 0}, "max_queries"),
        ({"batch_size": 0}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"colours": ()}, "colours must be pairs"),
        ({"colours": ("black", "white")}, "colours must be pairs"),
        ({"colours": (("black", "blackish"),)}, "A colour is a name"),
        ({"colours": ((0.1, 1.2),)}, "A colour is a name"),
        ({"colours": (((0, 1), 1),)}, "A colour is a name"),
        ({"colours": (("black", 0.0),)}, "must differ in colour"),
        ({"font": "no/such.ttf"}, "cannot be read as a font"),
        ({"font": 3}, "font must be"),
    ],
)
def test_bad_settings(classifier, wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        TypographicAttack(classifier, verbose=False, **wrong)
    attack = TypographicAttack(classifier, verbose=False)
    with pytest.raises(ValueError, match=message):
        attack.set_params(**wrong)


def test_bad_input(classifier) -> None:
    images = pictures(2)
    attack = TypographicAttack(classifier, targeted=True, verbose=False)
    with pytest.raises(ValueError, match="wanted labels"):
        attack.generate(images)
    with pytest.raises(InputError, match="out of range"):
        attack.generate(images, np.array([0, 9]))
    with pytest.raises(InputError, match="Divide them by 255"):
        attack.generate(images + 200)
    with pytest.raises(InputError, match="takes images"):
        TypographicAttack(classifier, verbose=False).generate(image_text_pairs(images, ["a", "b"]))
    assert TypographicAttack(classifier, verbose=False).generate(images[:0]).shape == (0, 3, 24, 30)
    fusion = FusionClassifier(TinyFusion().eval(), device_type="cpu")
    with pytest.raises(InputError, match="takes pairs"):
        TypographicAttack(fusion, verbose=False).generate(images)
    with pytest.raises(ValueError, match="does not know the names"):
        TypographicAttack(art_classifier(Reader([]), (1, 32, 32), 2))
    bytes_classifier = PyTorchClassifier(
        Reader([]), nn.CrossEntropyLoss(), (1, 32, 32), 2, clip_values=(0, 255), device_type="cpu"
    )
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        TypographicAttack(bytes_classifier, words=["a"])


def test_scores_that_are_not_finite_are_refused(classifier) -> None:
    with torch.no_grad():
        classifier.dual_encoder.visual[1].weight.fill_(torch.nan)
    with pytest.raises(InputError, match="NaN or infinite"):
        TypographicAttack(classifier, max_share=0.3, verbose=False).generate(pictures(2))
