"""Views of images with probabilities, copies of them, and what they share with the classifier they come from."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from art.defences.postprocessor import Rounded
from art.defences.preprocessor import SpatialSmoothing

from art_multimodal.estimators.text_bound import RowMismatch, TextBoundClassifier
from art_multimodal.models.fusion import FusionModel

from .texts_bound import TEXTS, Y, both_models, expected, make


@both_models
@pytest.mark.parametrize("texts", ["red", TEXTS], ids=["one", "several"])
def test_probabilities(tiny_images: np.ndarray, model_class: type[FusionModel], texts: str | list[str]) -> None:
    classifier = make(model_class)
    view = classifier.image_view(texts)
    scores = torch.from_numpy(view.predict(tiny_images))
    y = np.eye(3)[Y]
    for probabilities in (view.with_probabilities(), classifier.image_view(texts, probabilities=True)):
        assert probabilities.texts == view.texts
        assert probabilities.fusion_model is classifier.model
        np.testing.assert_allclose(probabilities.predict(tiny_images), scores.softmax(dim=1), atol=1e-6)
        np.testing.assert_allclose(
            probabilities.loss_gradient(tiny_images, y), view.loss_gradient(tiny_images, y), rtol=1e-3, atol=1e-5
        )
    np.testing.assert_array_equal(view.predict(tiny_images), scores)
    with pytest.raises(RowMismatch):
        classifier.image_view(TEXTS).with_probabilities().predict(tiny_images[:3])


def test_probabilities_keep_what_was_set_since(tiny_images: np.ndarray) -> None:
    view = make(lr=0.1).image_view("red")
    defence, rounded = SpatialSmoothing(window_size=3, channels_first=True), Rounded(decimals=2)
    view.set_params(preprocessing_defences=defence, postprocessing_defences=rounded, input_shape=(3, 5, 9))
    probabilities = view.with_probabilities()
    smooth = make(preprocessing_defences=defence).image_view("red", probabilities=True)
    np.testing.assert_allclose(probabilities.predict(tiny_images), smooth.predict(tiny_images).round(2), atol=1e-6)
    assert probabilities.input_shape == (3, 5, 9)
    assert probabilities.optimizer is view.optimizer
    assert view.clone_for_refitting().preprocessing_defences == [defence]


@both_models
@pytest.mark.parametrize("texts", ["red", TEXTS], ids=["one", "several"])
def test_deep_copies_of_the_module_have_weights_of_their_own(
    tiny_images: np.ndarray, model_class: type[FusionModel], texts: str | list[str]
) -> None:
    classifier = make(model_class)
    view = classifier.image_view(texts)
    scores = view.predict(tiny_images)
    twin = copy.deepcopy(view.model)
    images = torch.from_numpy(tiny_images)
    with torch.no_grad():
        np.testing.assert_allclose(twin(images), scores, atol=1e-6)
        twin.fusion.fusion_model.load_state_dict(model_class(seed=5).state_dict())
        each = TEXTS if texts == TEXTS else ["red"] * 6
        np.testing.assert_allclose(twin(images), expected(model_class(seed=5), tiny_images, each), atol=1e-5)
        classifier.model.text.weight.mul_(3.0)  # nothing of the original is left in the copy
        np.testing.assert_allclose(twin(images), expected(model_class(seed=5), tiny_images, each), atol=1e-5)
    with pytest.raises(RowMismatch):
        copy.deepcopy(classifier.image_view(TEXTS).model)(images[:5])


def test_weights_have_one_name_each() -> None:
    classifier = make()
    names = {f"fusion.fusion_model.{name}" for name in classifier.model.state_dict()}
    assert set(classifier.image_view(TEXTS).model.state_dict()) == names


@pytest.mark.parametrize("how", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["deepcopy", "pickle"])
@both_models
def test_copies_of_the_classifier(
    tiny_images: np.ndarray, model_class: type[FusionModel], how: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr("art.config.ART_DATA_PATH", str(tmp_path))  # where ART puts weights while it pickles
    view = make(model_class, lr=0.1).image_view(TEXTS)
    scores = view.predict(tiny_images)
    twin = how(view)
    assert isinstance(twin, TextBoundClassifier)
    assert twin.texts == view.texts
    np.testing.assert_allclose(twin.predict(tiny_images), scores, atol=1e-6)
    with pytest.raises(RowMismatch):
        twin.predict(tiny_images[:2])
    with torch.no_grad():
        twin.fusion_model.text.weight.mul_(2.0)
    np.testing.assert_array_equal(view.predict(tiny_images), scores)


def test_clone_for_refitting(tiny_images: np.ndarray) -> None:
    classifier = make(lr=0.03)
    view = classifier.image_view("red", probabilities=True)
    clone = view.clone_for_refitting()
    assert clone.texts == view.texts
    assert clone.model.probabilities
    assert clone.optimizer.defaults["lr"] == 0.03
    assert not np.allclose(clone.predict(tiny_images), view.predict(tiny_images))
    before = copy.deepcopy(classifier.model.state_dict())
    clone.fit(tiny_images, np.eye(3)[Y], nb_epochs=1)
    for name, tensor in classifier.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


def test_a_view_shares_what_the_classifier_has() -> None:
    smooth = SpatialSmoothing(channels_first=True)
    classifier = make(lr=0.1, preprocessing_defences=smooth, postprocessing_defences=Rounded(), input_shape=(3, 9, 7))
    view = classifier.image_view("red")
    assert view.fusion_model is classifier.model
    assert view.optimizer is classifier.optimizer
    assert view.loss is classifier.loss
    assert view.preprocessing_defences == classifier.preprocessing_defences
    assert view.postprocessing_defences == classifier.postprocessing_defences
    assert view.input_shape == (3, 9, 7)
    assert view.nb_classes == 3
    assert view.layer_names == ["fusion", "head"]


@both_models
def test_making_a_view_leaves_the_model_in_its_mode(model_class: type[FusionModel]) -> None:
    for training in (False, True):
        classifier = make(model_class)
        classifier.model.train(training)
        view = classifier.image_view("red")
        assert classifier.model.training is training and view.model.training is training
        assert all(part.training is training for part in classifier.model.modules())
