"""The contracts of FusionClassifier: what ART does with classifiers, done with pairs."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.postprocessor import Rounded
from art.defences.preprocessor import JpegCompression, SpatialSmoothing
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.utils import compute_accuracy, compute_success, compute_success_array
from estimators.fusion_pairs import TEXTS, Y, both_models, expected_scores, make, make_pairs
from safetensors.torch import load_model as load_weights
from scipy.special import softmax
from tiny import TinyFusion

from art_multimodal import FusionClassifier, InputError, image_text_pairs
from art_multimodal.attacks.evasion import ImageAttackOnPairs
from art_multimodal.models.fusion import FusionModel


@both_models
def test_predictions_are_the_models_on_each_pair_alone(pairs: np.ndarray, model_class: type[FusionModel]) -> None:
    classifier = make(model_class)
    wanted = expected_scores(classifier.model, pairs)
    for batch_size in (1, 2, 3, 7, 128):
        np.testing.assert_allclose(classifier.predict(pairs, batch_size=batch_size), wanted, atol=1e-5)
    for rows in ([6, 0, 3, 3, 1, 0, 0, 5, 4, 2], [4], slice(None, None, -2), [3] * 5):
        np.testing.assert_allclose(classifier.predict(pairs[rows], batch_size=4), wanted[rows], atol=1e-5)
    scores = classifier.predict(x=pairs, y=Y)  # ART's SecurityCurve calls it so
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(classifier.predict_labels(pairs, batch_size=2), wanted.argmax(axis=1))


@both_models
def test_both_modalities_matter(pairs: np.ndarray, model_class: type[FusionModel]) -> None:
    classifier = make(model_class)
    scores = classifier.predict(pairs)
    for field, other in (("image", pairs["image"][::-1] * 0.5), ("text", "something else")):
        turned = pairs.copy()
        turned[field] = other
        assert (np.abs(classifier.predict(turned) - scores).max(axis=1) > 0.01).all(), field


@pytest.mark.parametrize("text", ["", " ", "naïve café 日本", "שלום עולם", "مرحبا 🐈", "a\u202eb", "\ud800", "a\x00b"])
def test_any_text(text: str) -> None:
    classifier = make()
    pairs = image_text_pairs(make_pairs()["image"][:2], [text, "a cat"], allow_empty=True)
    np.testing.assert_allclose(classifier.predict(pairs), expected_scores(classifier.model, pairs), atol=1e-5)
    assert classifier.loss_gradient(pairs, Y[:2]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("size", [(5, 9), (20, 8), (1, 1), (8, 16)])
def test_images_of_other_sizes(size: tuple[int, int]) -> None:
    classifier, pairs = make(lr=0.01), make_pairs(size)
    assert classifier.input_shape == (3, 8, 8)
    np.testing.assert_allclose(classifier.predict(pairs), expected_scores(classifier.model, pairs), atol=1e-5)
    assert classifier.loss_gradient(pairs, Y).shape == (7, 3, *size)
    assert classifier.class_gradient(pairs).shape == (7, 3, 3, *size)
    classifier.fit(pairs, Y, nb_epochs=1)


@both_models
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_dtype(pairs: np.ndarray, model_class: type[FusionModel], dtype: torch.dtype) -> None:
    scores = FusionClassifier(model_class().eval().to(dtype), device_type="cpu").predict(pairs)
    assert scores.dtype == np.float32
    tolerance = {torch.float16: 0.05, torch.bfloat16: 0.4, torch.float64: 1e-5}[dtype]
    np.testing.assert_allclose(scores, make(model_class).predict(pairs), atol=tolerance)


def test_no_pairs(pairs: np.ndarray) -> None:
    classifier, none = make(), make_pairs((5, 9))[:0]
    labels = np.zeros(0, dtype=int)
    assert classifier.predict(none).shape == (0, 3)
    assert classifier.predict_labels(none).shape == (0,)
    assert classifier.loss_gradient(none, labels).shape == (0, 3, 5, 9)
    assert classifier.class_gradient(none).shape == (0, 3, 3, 5, 9)
    assert classifier.class_gradient(none, 1).shape == (0, 1, 3, 5, 9)
    assert classifier.compute_loss(none, labels).shape == (0,)


def test_images_that_are_not_finite(pairs: np.ndarray) -> None:
    classifier = make(lr=0.01)
    wanted = classifier.predict(pairs)
    pairs["image"][2, 0, 3, 3] = np.nan
    with pytest.warns(UserWarning, match="NaN"):
        scores = classifier.predict(pairs)
    assert np.isnan(scores[2]).all()
    np.testing.assert_allclose(np.delete(scores, 2, axis=0), np.delete(wanted, 2, axis=0), atol=1e-5)
    with pytest.warns(UserWarning, match="NaN"), pytest.raises(InputError, match="scores are NaN"):
        classifier.predict_labels(pairs)
    before = copy.deepcopy(classifier.model.state_dict())
    with pytest.raises(InputError, match="to train on hold NaN"):
        classifier.fit(pairs, Y)
    for name, tensor in classifier.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


# Gradients


def no_defence(images: torch.Tensor) -> torch.Tensor:
    return images


class Darken(PreprocessorPyTorch):
    """Squares the brightness: a defence with a gradient of its own."""

    def __init__(self) -> None:
        super().__init__(device_type="cpu", is_fitted=True, apply_fit=True, apply_predict=True)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        return x**2, y


def check_gradients(
    classifier: FusionClassifier,
    at: np.ndarray,
    pairs: np.ndarray,
    defend: Callable[[torch.Tensor], torch.Tensor],
    batch_size: int,
) -> None:
    """Compare with central differences, in float64, of what is written down here once more."""
    model = classifier.model
    images = torch.from_numpy(at).double()

    def all_scores(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([model(defend(row[None]), model.tokenize([t])) for row, t in zip(x, TEXTS, strict=True)])

    def mean_loss(x: torch.Tensor) -> float:
        return float(torch.nn.functional.cross_entropy(all_scores(x), torch.from_numpy(Y)))

    by_loss = torch.from_numpy(classifier.loss_gradient(pairs, Y, batch_size=batch_size)).double()
    by_class = torch.from_numpy(classifier.class_gradient(pairs, batch_size=batch_size)).double()
    one = torch.from_numpy(classifier.class_gradient(pairs, 1, batch_size=batch_size))
    each = torch.from_numpy(classifier.class_gradient(pairs, Y, batch_size=batch_size))
    torch.testing.assert_close(one[:, 0].double(), by_class[:, 1])
    torch.testing.assert_close(each[:, 0].double(), by_class[torch.arange(len(Y)), torch.from_numpy(Y)])
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        step = 1e-6 * direction
        numeric = (mean_loss(images + step) - mean_loss(images - step)) / 2e-6
        assert float((by_loss * direction).sum()) == pytest.approx(numeric, rel=1e-4, abs=1e-6)
        numeric_scores = (all_scores(images + step) - all_scores(images - step)) / 2e-6
        torch.testing.assert_close(
            (by_class * direction[:, None]).sum(dim=(2, 3, 4)), numeric_scores, rtol=1e-4, atol=1e-4
        )


@both_models
@pytest.mark.parametrize("batch_size", [2, 128])
def test_gradients_against_finite_differences(
    pairs: np.ndarray, model_class: type[FusionModel], batch_size: int
) -> None:
    classifier = FusionClassifier(model_class().eval().double(), device_type="cpu")
    check_gradients(classifier, pairs["image"], pairs, no_defence, batch_size)


def test_gradients_go_through_a_torch_defence(pairs: np.ndarray) -> None:
    classifier = FusionClassifier(TinyFusion().eval().double(), preprocessing_defences=Darken(), device_type="cpu")
    check_gradients(classifier, pairs["image"], pairs, torch.square, 3)


def test_gradients_pass_a_numpy_defence_straight_through(pairs: np.ndarray) -> None:
    defence = SpatialSmoothing(window_size=3, channels_first=True)
    classifier = FusionClassifier(TinyFusion().eval().double(), preprocessing_defences=defence, device_type="cpu")
    defended = defence(pairs["image"].copy())[0]
    assert np.abs(defended - pairs["image"]).max() > 0.1
    # ART's estimate: the gradient at the defended image, as though the defence were the identity.
    check_gradients(classifier, defended, pairs, no_defence, 3)


def test_gradients_do_not_depend_on_the_batch_size(pairs: np.ndarray) -> None:
    for reduction in ("mean", "sum"):
        classifier = make(loss=torch.nn.CrossEntropyLoss(reduction=reduction))
        at_once = classifier.loss_gradient(pairs, Y)
        for batch_size in (1, 2, 5):
            np.testing.assert_allclose(classifier.loss_gradient(pairs, Y, batch_size=batch_size), at_once, atol=1e-5)
    np.testing.assert_allclose(make().loss_gradient(pairs, Y) * 7, at_once, atol=1e-5)


def test_class_gradient_of_listed_labels(pairs: np.ndarray) -> None:
    classifier = make()
    listed = classifier.class_gradient(pairs, Y.tolist(), batch_size=2)
    np.testing.assert_allclose(listed, classifier.class_gradient(pairs, Y), atol=1e-5)
    with pytest.raises(InputError, match="Label -1 is out of range"):
        classifier.class_gradient(pairs, [0, 0, 0, 0, 0, 0, -1])
    with pytest.raises(InputError, match="shape"):
        classifier.class_gradient(pairs, np.zeros(14, dtype=int), batch_size=7)
    with pytest.raises(ValueError, match="out of range"):
        classifier.class_gradient(pairs, 3)


@both_models
def test_no_parameter_gets_a_gradient_from_gradients_to_images(
    pairs: np.ndarray, model_class: type[FusionModel]
) -> None:
    classifier = make(model_class)
    classifier.loss_gradient(pairs, Y)
    classifier.class_gradient(pairs)
    classifier.compute_loss(pairs, Y)
    classifier.predict(pairs)
    assert all(p.grad is None for p in classifier.model.parameters())
    assert all(p.requires_grad for p in classifier.model.parameters())
    assert not classifier.model.training


def test_dropout_acts_only_where_training_mode_is_asked_for(pairs: np.ndarray) -> None:
    model = TinyFusion(dropout=0.5)  # left in training mode
    classifier = FusionClassifier(model, device_type="cpu")
    first = classifier.predict(pairs)
    np.testing.assert_array_equal(first, classifier.predict(pairs))
    np.testing.assert_array_equal(classifier.loss_gradient(pairs, Y), classifier.loss_gradient(pairs, Y))
    torch.manual_seed(0)
    assert not np.allclose(classifier.predict(pairs, training_mode=True), first)
    np.testing.assert_array_equal(first, classifier.predict(pairs))


def test_compute_loss(pairs: np.ndarray) -> None:
    classifier = make()
    scores = torch.from_numpy(expected_scores(classifier.model, pairs))
    wanted = torch.nn.functional.cross_entropy(scores, torch.from_numpy(Y), reduction="none")
    mixed = np.full((7, 3), 1 / 3, dtype=np.float32)
    for batch_size in (2, 128):
        for y in (Y, np.eye(3)[Y], Y[:, None]):
            np.testing.assert_allclose(classifier.compute_loss(pairs, y, batch_size=batch_size), wanted, atol=1e-4)
        np.testing.assert_allclose(
            classifier.compute_loss(pairs, mixed, batch_size=batch_size),
            -scores.log_softmax(dim=1).mean(dim=1),
            rtol=1e-4,
        )
    assert classifier.loss.reduction == "mean"


@both_models
def test_get_activations(pairs: np.ndarray, model_class: type[FusionModel]) -> None:
    classifier = make(model_class)
    model = classifier.model
    assert classifier.layer_names == ["fusion", "head"]
    with torch.no_grad():
        fused = [model.fuse(torch.from_numpy(p["image"].copy())[None], model.tokenize([p["text"]]))[0] for p in pairs]
    for layer in ("fusion", 0):
        activations = classifier.get_activations(pairs, layer, batch_size=3)
        np.testing.assert_allclose(activations, torch.stack(fused), atol=1e-5)
    np.testing.assert_allclose(classifier.get_activations(pairs, "head"), classifier.predict(pairs), atol=1e-6)
    with pytest.raises(InputError, match="image_view"):
        classifier.get_activations(pairs, "fusion", framework=True)


# What else ART does with estimators


def test_compute_success_and_compute_accuracy(pairs: np.ndarray) -> None:
    classifier = make()
    predicted = classifier.predict_labels(pairs)
    y = np.eye(3)[predicted]
    adversarial = ImageAttackOnPairs(
        classifier, lambda view: ProjectedGradientDescent(view, eps=0.3, eps_step=0.1, max_iter=5, verbose=False)
    ).generate(pairs, y)
    changed = classifier.predict_labels(adversarial) != predicted
    assert changed.any()
    np.testing.assert_array_equal(compute_success_array(classifier, pairs, y, adversarial), changed)
    assert compute_success(classifier, pairs, y, adversarial, batch_size=3) == changed.mean()
    wanted = np.eye(3)[(predicted + 1) % 3]
    hits = classifier.predict_labels(adversarial) == (predicted + 1) % 3
    assert compute_success(classifier, pairs, wanted, adversarial, targeted=True) == hits.mean()
    assert compute_accuracy(classifier.predict(adversarial), y) == ((~changed).mean(), 1.0)


def test_defences_stand_in_front_and_behind(pairs: np.ndarray) -> None:
    jpeg = JpegCompression(clip_values=(0, 1), quality=30, channels_first=True)
    classifier = make(preprocessing_defences=jpeg, postprocessing_defences=Rounded(decimals=1))
    defended = pairs.copy()
    defended["image"] = jpeg(pairs["image"].copy())[0]
    wanted = softmax(expected_scores(classifier.model, defended), axis=1)
    np.testing.assert_allclose(classifier.predict(pairs, batch_size=2), wanted.round(1), atol=1e-5)
    assert np.abs(wanted - softmax(make().predict(pairs), axis=1)).max() > 0.01
    assert classifier.image_view("red").preprocessing_defences == [jpeg]


def test_get_params_and_set_params(pairs: np.ndarray) -> None:
    classifier = make(lr=0.01)
    params = classifier.get_params()
    assert params["nb_classes"] == 3
    assert params["input_shape"] == (3, 8, 8)
    assert params["model"] is classifier.model
    assert params["optimizer"] is classifier.optimizer
    assert params["loss"] is classifier.loss
    classifier.set_params(**params)
    scores = classifier.predict(pairs)
    smooth = SpatialSmoothing(window_size=3, channels_first=True)
    loss = torch.nn.MultiMarginLoss()
    classifier.set_params(preprocessing_defences=smooth, input_shape=(3, 5, 9), loss=loss)
    assert classifier.input_shape == (3, 5, 9)
    assert classifier.image_view("red").input_shape == (3, 5, 9)
    assert not np.allclose(classifier.predict(pairs), scores)
    margin = torch.nn.MultiMarginLoss(reduction="none")(
        torch.from_numpy(classifier.predict(pairs)), torch.from_numpy(Y)
    )
    np.testing.assert_allclose(classifier.compute_loss(pairs, Y), margin, rtol=1e-4)
    classifier.set_params(preprocessing_defences=None)
    np.testing.assert_array_equal(classifier.predict(pairs), scores)
    with pytest.raises(ValueError, match="Unexpected parameter"):
        classifier.set_params(temperature=1)


def test_clone_for_refitting_has_the_same_shape_and_other_weights(pairs: np.ndarray) -> None:
    classifier = make(lr=0.003, preprocessing_defences=SpatialSmoothing(channels_first=True))
    before = copy.deepcopy(classifier.model.state_dict())
    clone = classifier.clone_for_refitting()
    assert clone.optimizer.defaults["lr"] == 0.003
    assert clone.class_names == classifier.class_names
    assert clone.preprocessing_defences == classifier.preprocessing_defences
    assert not np.allclose(clone.predict(pairs), classifier.predict(pairs))
    clone.fit(pairs, Y, nb_epochs=1)
    for name, tensor in classifier.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name])
    with pytest.raises(ValueError, match="optimizer"):
        make().clone_for_refitting()


def test_weights_are_saved_as_safetensors(pairs: np.ndarray, tmp_path) -> None:
    classifier = make()
    classifier.save("weights", str(tmp_path / "new" / "folder"))
    other = TinyFusion(seed=5).eval()
    elsewhere = FusionClassifier(other, device_type="cpu")
    assert not np.allclose(elsewhere.predict(pairs), classifier.predict(pairs))
    load_weights(other, tmp_path / "new" / "folder" / "weights.safetensors")
    np.testing.assert_array_equal(elsewhere.predict(pairs), classifier.predict(pairs))


@both_models
@pytest.mark.parametrize("how", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["deepcopy", "pickle"])
def test_copies_are_whole_and_apart(pairs: np.ndarray, model_class: type[FusionModel], how: Callable) -> None:
    classifier = make(model_class, lr=0.02, preprocessing_defences=SpatialSmoothing(channels_first=True))
    scores = classifier.predict(pairs)
    twin = how(classifier)
    np.testing.assert_array_equal(twin.predict(pairs), scores)
    twin.fit(pairs, Y, nb_epochs=3)
    assert not np.allclose(twin.predict(pairs), scores)
    np.testing.assert_array_equal(classifier.predict(pairs), scores)


def test_bad_input(pairs: np.ndarray) -> None:
    classifier = make(lr=0.01)
    for call in (classifier.predict, classifier.class_gradient, classifier.predict_labels):
        with pytest.raises(InputError, match="takes pairs"):
            call(pairs["image"])
    for call in (classifier.fit, classifier.loss_gradient, classifier.compute_loss):
        with pytest.raises(InputError, match="takes pairs"):
            call(pairs["image"], Y)
        for y, message in (
            (np.array([0, 1, 2, 0, 1, 2, 3]), "Label 3 is out of range"),
            (np.array([0, 1, 2, 0, 1, 2, -1]), "Label -1 is out of range"),
            (Y[:5], "shape"),
            (np.eye(4)[Y], "shape"),
            (Y + 0.5, "whole"),
            (np.full((7, 3), np.nan), "NaN"),
        ):
            with pytest.raises(InputError, match=message):
                call(pairs, y)
    with pytest.raises(InputError, match="Labels are needed"):
        classifier.loss_gradient(pairs, None)
    with pytest.raises(ValueError, match="optimizer"):
        make().fit(pairs, Y)
    with pytest.raises(InputError, match="no pairs to train on"):
        classifier.fit(pairs[:0], Y[:0])
    with pytest.raises(InputError, match="more than the 62"):
        classifier.predict(image_text_pairs(pairs["image"][:1], ["very " * 20]))
    for text in (None, 3, b"red"):
        no_text = pairs.copy()
        no_text["text"][1] = text
        with pytest.raises(InputError, match=f"Text 1 must be a string, not {type(text).__name__}"):
            classifier.predict(no_text)
