"""What users hand in is taken for what it is, or refused in one line: arrays of images, labels, texts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from art.defences.postprocessor import GaussianNoise, HighConfidence, ReverseSigmoid, Rounded
from art.defences.postprocessor.postprocessor import Postprocessor
from scipy.special import softmax
from tiny import TINY_ANSWERS, TinyEncoder, TinyFusion

from art_multimodal import FusionClassifier, ImageTextRetriever, InputError, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.evasion import CharacterAttack, ProjectedGradientDescentDualEncoder
from art_multimodal.defences.preprocessor import SpellingRepair, UnicodeNormalisation
from art_multimodal.estimators.image_classifier import ImageClassifier
from art_multimodal.images import image_array
from art_multimodal.labels import label_indices, label_rows
from art_multimodal.models.defended import defended
from art_multimodal.models.families.late_fusion.model import LateFusion
from art_multimodal.pairs import check_images
from art_multimodal.prompts import check_class_names, check_prompts

NAMES = ("cat", "dog", "bird")
Y = np.array([0, 1, 2, 1])


def frozen(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


#: The same images in other words; the second number says how exactly.
FORMS: dict[str, tuple[Callable[[np.ndarray], object], float]] = {
    "negative strides": (lambda x: x[:, ::-1].copy()[:, ::-1], 0),
    "upside down view": (lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1], 0),
    "big-endian": (lambda x: x.astype(">f4"), 0),
    "big-endian double": (lambda x: x.astype(">f8"), 0),
    "float64": (lambda x: x.astype(np.float64), 0),
    "float16": (lambda x: x.astype(np.float16), 1e-3),
    "Fortran order": (lambda x: np.asfortranarray(x), 0),
    "channels last view": (lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), 0),
    "read-only": (frozen, 0),
    "broadcast": (lambda x: np.broadcast_to(x[:1], x.shape), math.inf),
    "no holes masked": (lambda x: np.ma.masked_array(x, mask=False), 0),
    "list": (lambda x: list(x), 0),
    "tensor": (torch.from_numpy, 0),
    "tensor in a graph": (lambda x: torch.from_numpy(x).requires_grad_(True) * 1, 0),
    "bfloat16 tensor": (lambda x: torch.from_numpy(x).bfloat16(), 1e-2),
}
forms = pytest.mark.parametrize("form", FORMS, ids=str)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).random((4, 3, 8, 8), dtype=np.float32)


def views() -> list[ImageClassifier]:
    one = ZeroShotClassifier(TinyEncoder().eval(), NAMES, device_type="cpu")
    other = FusionClassifier(TinyFusion().eval(), device_type="cpu").image_view("a cat")
    return [one, other]


@forms
def test_images_in_any_form(images: np.ndarray, form: str) -> None:
    make, exactly = FORMS[form]
    given = make(images)
    found = image_array(given)
    assert found.dtype == np.float32 and found.dtype.isnative
    assert found.flags.c_contiguous and found.flags.writeable
    assert type(found) is np.ndarray
    if exactly < math.inf:
        np.testing.assert_allclose(found, images, atol=exactly, rtol=0)
    assert check_images(given).shape == images.shape


@forms
def test_estimators_take_images_in_any_form(images: np.ndarray, form: str) -> None:
    make, _ = FORMS[form]
    given, same = make(images), image_array(make(images))
    for view in views():
        layer = view.layer_names[-1]
        calls: dict[str, Callable] = {
            "predict": view.predict,
            "predict_labels": view.predict_labels,
            "class_gradient": lambda x, v=view: v.class_gradient(x, label=1),
            "get_activations": lambda x, v=view, name=layer: v.get_activations(x, name, batch_size=4),
        }
        # ART's attacks give tensors to what is asked for gradients and losses, and get tensors.
        if not isinstance(given, torch.Tensor):
            calls |= {
                "loss_gradient": lambda x, v=view: v.loss_gradient(x, Y),
                "compute_loss": lambda x, v=view: v.compute_loss(x, Y),
            }
        else:
            # ART itself makes arrays of what is given to predict, and wants none in a graph.
            calls = {}
        if isinstance(view, ZeroShotClassifier):
            calls["image_features"] = view.image_features
            calls["predict_on"] = lambda x, v=view: v.predict_on(x, NAMES)
            calls["generate"] = lambda x, v=view: ProjectedGradientDescentDualEncoder(
                v, max_iter=2, seed=0, verbose=False
            ).generate(x, Y)
        for name, call in calls.items():
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = call(given)
            np.testing.assert_array_equal(np.asarray(found), np.asarray(call(same)), err_msg=f"{view} {name}")


@pytest.mark.parametrize("form", ["negative strides", "big-endian", "read-only", "float64"])
def test_attacks_of_art_and_training(images: np.ndarray, form: str) -> None:
    given = FORMS[form][0](images)
    for view in views():
        found = FastGradientMethod(view, eps=0.1).generate(given, Y)
        np.testing.assert_allclose(found, FastGradientMethod(view, eps=0.1).generate(images, Y), atol=1e-6)
    weights = []
    for x in (given, images):
        model = TinyEncoder().eval()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.manual_seed(0)
        ZeroShotClassifier(model, NAMES, optimizer=optimizer, device_type="cpu").fit(x, Y, nb_epochs=1)
        weights.append(model.visual[1].weight.detach())
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize("turned", [lambda x: x[::-1], lambda x: x.astype(x.dtype.newbyteorder(">"))])
def test_pairs_that_are_views_or_in_another_order(images: np.ndarray, turned: Callable) -> None:
    pairs = image_text_pairs(images, ["a", "b", "c", "d"])
    given, same = turned(pairs), image_text_pairs(turned(pairs)["image"], turned(pairs)["text"])
    fusion = FusionClassifier(TinyFusion().eval(), device_type="cpu")
    retriever = ImageTextRetriever(TinyEncoder().eval(), device_type="cpu")
    for call in (
        fusion.predict,
        lambda x: fusion.loss_gradient(x, Y),
        lambda x: fusion.get_activations(x, "fusion"),
        retriever.predict,
        retriever.loss_gradient,
        lambda x: retriever.get_activations(x, "image"),
        lambda x: retriever.recall(x).image_to_text[1],
    ):
        np.testing.assert_array_equal(call(given), call(same))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full((2, 3, 8, 8), 255, np.uint8), "whole numbers.*Divide them by 255"),
        (np.full((2, 3, 8, 8), -1), "whole numbers"),
        (torch.full((2, 3, 8, 8), 200, dtype=torch.uint8), "Divide them by 255"),
        (
            np.ma.masked_array(np.zeros((2, 3, 8, 8)), mask=np.eye(8, dtype=bool) | np.zeros((2, 3, 8, 8), bool)),
            "masked",
        ),
        (np.array([np.zeros((3, 8, 8)), None], dtype=object), "np.stack"),
        ([np.zeros((3, 8, 8)), np.zeros((3, 9, 8))], "different shapes"),
        (np.zeros((2, 3, 8, 8), complex), "complex"),
        (np.array(["a cat"]), "array of numbers"),
        (None, "array of numbers"),
    ],
)
def test_what_are_no_images(given: object, message: str) -> None:
    view = views()[0]
    calls = [check_images, image_array, view.image_features]
    # ART itself makes an array of what predict is given, and asks about gradients of tensors in its attacks.
    if isinstance(given, np.ndarray):
        calls += [view.predict, lambda x: view.loss_gradient(x, Y[:2])]
    for call in calls:
        with pytest.raises(InputError, match=message) as error:
            call(given)
        assert "\n" not in str(error.value)


def test_whole_numbers_of_black_and_white_are_images() -> None:
    black_and_white = np.random.default_rng(0).integers(0, 2, (2, 3, 8, 8))
    for dtype in (np.uint8, np.int64, bool):
        scores = views()[0].predict(black_and_white.astype(dtype))
        np.testing.assert_array_equal(scores, views()[0].predict(black_and_white.astype(np.float32)))


def test_no_images_at_all() -> None:
    none = np.zeros((0, 3, 8, 8))
    for view in views():
        assert view.predict(none).shape == (0, 3)
        assert view.loss_gradient(none, np.zeros(0, int)).shape == none.shape
        assert view.class_gradient(none).shape == (0, 3, 3, 8, 8)
        assert view.class_gradient(none, label=0).shape == (0, 1, 3, 8, 8)
        assert view.compute_loss(none, np.zeros(0, int)).shape == (0,)
        assert view.get_activations(none, view.layer_names[0]).shape == (0, 6)


MULTI_HOT = [
    [[1, 1, 0], [1, 0, 0]],
    [[1, 0, 0], [0, 0, 0]],
    [[1, 0, 0], [0.9, 0.8, 0.0]],
    [[1, 0, 0], [1, -1, 1]],
    [[True, False, False], [False, True, True]],
]


@pytest.mark.parametrize("y", MULTI_HOT)
def test_several_labels_of_one_image_are_refused(images: np.ndarray, y: list) -> None:
    y, x = np.array(y), images[:2]
    model = TinyEncoder().eval()
    view = ZeroShotClassifier(model, NAMES, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), device_type="cpu")
    fusion = FusionClassifier(
        (other := TinyFusion().eval()), optimizer=torch.optim.SGD(other.parameters(), lr=0.1), device_type="cpu"
    )
    pairs = image_text_pairs(x, ["a", "b"])
    before = model.visual[1].weight.clone()
    for call in (
        lambda: label_indices(y, 3, 2),
        lambda: view.fit(x, y),
        lambda: view.fit_generator(loader(x, y), nb_epochs=1),
        lambda: view.fit_generator(NumpyDataGenerator(x, y, batch_size=2), nb_epochs=1),
        lambda: view.loss_gradient(x, y),
        lambda: view.compute_loss(x, y),
        lambda: ProjectedGradientDescentDualEncoder(view, verbose=False).generate(x, y),
        lambda: fusion.fit(pairs, y),
        lambda: fusion.loss_gradient(pairs, y),
    ):
        with pytest.raises(InputError, match="Row [01] of the labels names (no class|classes).*exactly one") as error:
            call()
        assert "\n" not in str(error.value)
    assert torch.equal(model.visual[1].weight, before)


def loader(x: np.ndarray, y: np.ndarray) -> PyTorchDataGenerator:
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return PyTorchDataGenerator(torch.utils.data.DataLoader(data, batch_size=2), size=len(x), batch_size=2)


def test_labels_of_one_class_in_any_form() -> None:
    soft = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]])
    np.testing.assert_array_equal(label_indices(soft, 3, 2), [0, 2])
    np.testing.assert_array_equal(label_rows(soft, 3, 2), soft.astype(np.float32))
    # Scores, as predict returns them, and rounded probabilities.
    np.testing.assert_array_equal(label_indices(np.array([[3.0, 1.5, 2.0], [-4, -5, -1]]), 3, 2), [0, 2])
    np.testing.assert_array_equal(label_indices(np.array([[0.34, 0.34, 0.33], [0.0, 0.7, 0.0]]), 3, 2), [0, 1])
    np.testing.assert_array_equal(label_rows(np.array([[2], [1]]), 3, 2), [[0, 0, 1], [0, 1, 0]])
    with pytest.raises(InputError, match="NaN"):
        label_rows(np.full((2, 3), np.nan), 3, 2)
    with pytest.raises(InputError, match="Labels are needed"):
        label_rows(None, 3, 2)


def test_gradients_take_indices_as_rows(images: np.ndarray) -> None:
    for view in views():
        rows = np.eye(3, dtype=np.float32)[Y]
        np.testing.assert_array_equal(view.loss_gradient(images, Y), view.loss_gradient(images, rows))
        with pytest.raises(InputError, match="Label 3 is out of range"):
            view.class_gradient(images, label=3)


def text_doors() -> dict[str, Callable]:
    """Everything that takes a sequence of texts, and what it makes of them."""
    encoder, fusion = TinyEncoder().eval(), TinyFusion().eval()
    classifier = ZeroShotClassifier(encoder, NAMES, device_type="cpu")
    retriever = ImageTextRetriever(encoder, device_type="cpu")
    image = np.zeros((1, 3, 8, 8), dtype=np.float32)
    return {
        "tokenize": encoder.tokenize,
        "tokenize of a fusion": LateFusion(encoder, TINY_ANSWERS).tokenize,
        "tokenize behind a defence": defended(encoder, texts=[UnicodeNormalisation().repair]).tokenize,
        "encode_text": lambda texts: encoder.encode_text(encoder.tokenize(texts)),
        "text_features": retriever.text_features,
        "image_text_pairs": lambda texts: image_text_pairs(image, texts)["text"],
        "image_view": lambda texts: FusionClassifier(fusion, device_type="cpu").image_view(texts).predict(image),
        "templates": lambda texts: ZeroShotClassifier(encoder, NAMES, texts, device_type="cpu").class_features(),
        "with_templates": lambda texts: classifier.with_templates(texts).class_features(),
        "one prompt of a class": lambda texts: classifier.with_prompts(["a", "b", texts]).class_features(),
        "one caption of an item": lambda texts: retriever.as_classifier(["a", texts]).class_features(),
        "perturb": CharacterAttack(classifier, verbose=False).perturb,
        "repair": UnicodeNormalisation().repair,
        "spelling": SpellingRepair(vocabulary=["photo"]).repair,
    }


@pytest.mark.parametrize("door", text_doors())
def test_a_single_string_is_one_text(door: str) -> None:
    call = text_doors()[door]
    text = "a photo of {}" if "templates" in door else "a photo"
    one, listed = call(text), call([text])
    np.testing.assert_array_equal(_values(one), _values(listed))


@pytest.mark.parametrize("texts", [None, 3, b"a cat", {"a cat": 1}, np.array("a cat"), ["a cat", 3], ["a cat", None]])
def test_what_are_no_texts(texts: object) -> None:
    for name, call in text_doors().items():
        if "templates" not in name:
            with pytest.raises(InputError) as error:
                call(texts)
            assert "\n" not in str(error.value)


def test_a_single_string_where_several_are_needed() -> None:
    with pytest.raises(InputError, match="single string"):
        check_class_names("cat")
    with pytest.raises(InputError, match="1 prompts were given for 3 classes"):
        check_prompts("cat", 3)


def _values(found: object) -> np.ndarray:
    return found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)


class Spy(Postprocessor):
    """Remembers what it was given."""

    def __init__(self, apply_predict: bool = True) -> None:
        super().__init__(apply_fit=False, apply_predict=apply_predict)
        self.seen: list[np.ndarray] = []

    def __call__(self, preds: np.ndarray) -> np.ndarray:
        self.seen.append(preds.copy())
        return preds


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReverseSigmoid(beta=1.0, gamma=0.1),
        lambda: HighConfidence(cutoff=0.5),
        lambda: Rounded(decimals=2),
        lambda: GaussianNoise(scale=0.1),
    ],
)
def test_postprocessors_are_given_probabilities(images: np.ndarray, make: Callable[[], Postprocessor]) -> None:
    fusion = FusionClassifier(TinyFusion().eval(), device_type="cpu")
    pairs = image_text_pairs(images, ["a cat"] * 4)
    encoder = TinyEncoder().eval()
    plain = ZeroShotClassifier(encoder, NAMES, device_type="cpu")
    post = make()
    zero_shot = ZeroShotClassifier(encoder, NAMES, postprocessing_defences=post, device_type="cpu")
    behind = FusionClassifier(fusion.model, postprocessing_defences=post, device_type="cpu")
    for scores, defended_scores in (
        (plain.predict(images), lambda: zero_shot.predict(images)),
        (plain.predict(images), lambda: zero_shot.with_probabilities().predict(images)),
        (plain.predict_on(images, NAMES[::-1]), lambda: zero_shot.predict_on(images, NAMES[::-1])),
        (fusion.predict(pairs), lambda: behind.predict(pairs)),
        (fusion.predict(pairs), lambda: behind.image_view("a cat").predict(images)),
    ):
        np.random.seed(0)
        expected = post(softmax(scores, axis=1))
        np.random.seed(0)
        np.testing.assert_allclose(defended_scores(), expected, atol=1e-5)


def test_without_a_postprocessor_that_acts_scores_stay(images: np.ndarray) -> None:
    encoder, spy = TinyEncoder().eval(), Spy(apply_predict=False)
    scores = ZeroShotClassifier(encoder, NAMES, device_type="cpu").predict(images)
    view = ZeroShotClassifier(encoder, NAMES, postprocessing_defences=spy, device_type="cpu")
    np.testing.assert_array_equal(view.predict(images), scores)
    assert not spy.seen
    acting = ImageTextRetriever(encoder, postprocessing_defences=Spy(), device_type="cpu")
    found = acting.predict(image_text_pairs(images, ["a", "b", "c", "d"]))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
