"""A fusion model with its texts bound is a classifier of images; it never uses a text that is not a row's own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from art.attacks.evasion import AutoProjectedGradientDescent, FastGradientMethod, ProjectedGradientDescent
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from art.defences.postprocessor import Rounded
from art.defences.preprocessor import SpatialSmoothing
from art.defences.trainer import AdversarialTrainer
from art.estimators.classification import PyTorchClassifier
from tiny import TinyFusion, TinyJointFusion

from art_multimodal import FusionClassifier, InputError
from art_multimodal.estimators.text_bound import RowMismatch, TextBoundClassifier
from art_multimodal.models.fusion import FusionModel

TEXTS = ["a cat", "red", "a cat", "what is this?", "", "red"]
Y = np.array([0, 1, 2, 1, 0, 2])
both_models = pytest.mark.parametrize("model_class", [TinyFusion, TinyJointFusion])


def make(model_class: type[FusionModel] = TinyFusion, lr: float | None = None, **settings) -> FusionClassifier:
    model = model_class().eval()
    optimizer = None if lr is None else torch.optim.SGD(model.parameters(), lr=lr)
    return FusionClassifier(model, optimizer=optimizer, device_type="cpu", **settings)


def expected(model: FusionModel, images: np.ndarray, texts: list[str]) -> np.ndarray:
    """Every image alone with its text."""
    with torch.no_grad():
        rows = [model(torch.from_numpy(i)[None], model.tokenize([t])) for i, t in zip(images, texts, strict=True)]
    return torch.cat(rows).numpy()


def count_text_towers(model: TinyFusion) -> list[int]:
    """A list that grows with every call, by the number of texts."""
    calls: list[int] = []
    model.text.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    return calls


@both_models
@pytest.mark.parametrize("rows", [0, 1, 2, 6, 13])
def test_one_text_takes_any_rows(tiny_images: np.ndarray, model_class: type[FusionModel], rows: int) -> None:
    classifier = make(model_class)
    images = np.concatenate([tiny_images] * 3)[:rows]
    for texts in ("red", ["red"], ["red"] * 4):
        view = classifier.image_view(texts)
        assert isinstance(view, PyTorchClassifier)
        scores = view.predict(images, batch_size=4)
        assert scores.shape == (rows, 3)
        if rows:
            np.testing.assert_allclose(scores, expected(classifier.model, images, ["red"] * rows), atol=1e-5)


@both_models
def test_several_texts_each_for_its_row(tiny_images: np.ndarray, model_class: type[FusionModel]) -> None:
    classifier = make(model_class)
    for order in (range(6), [5, 0, 3, 1, 4, 2], [0, 2, 0, 0, 1, 1]):
        texts = [TEXTS[row] for row in order]
        view = classifier.image_view(texts)
        assert view.texts == tuple(texts)
        wanted = expected(classifier.model, tiny_images, texts)
        for batch_size in (1, 4, 6, 128):  # never split, whatever is asked for
            np.testing.assert_allclose(view.predict(tiny_images, batch_size=batch_size), wanted, atol=1e-5)
            np.testing.assert_allclose(view.get_activations(tiny_images, "head", batch_size), wanted, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(view.model(torch.from_numpy(tiny_images)), wanted, atol=1e-5)


@both_models
@pytest.mark.parametrize("rows", [1, 5, 7, 12])
def test_other_numbers_of_rows_are_refused(tiny_images: np.ndarray, model_class: type[FusionModel], rows: int) -> None:
    view = make(model_class, lr=0.1).image_view(TEXTS)
    images, y = np.resize(tiny_images, (rows, 3, 8, 8)), np.resize(Y, rows)
    for batch_size in (6, 128):  # a batch size at which the rows of each batch would be as many as the texts
        with pytest.raises(RowMismatch, match=f"{rows} images came for 6 texts"):
            view.predict(images, batch_size=batch_size)
        with pytest.raises(RowMismatch):
            view.get_activations(images, "fusion", batch_size=batch_size)
    for call in (view.loss_gradient, view.compute_loss):
        with pytest.raises(RowMismatch):
            call(images, np.eye(3)[y])
    with pytest.raises(RowMismatch):
        view.class_gradient(images)


@both_models
@pytest.mark.parametrize("batch_size", [2, 4, 6, 32])
def test_apgd_and_a_rebuilt_classifier_are_refused(
    tiny_images: np.ndarray, model_class: type[FusionModel], batch_size: int
) -> None:
    view = make(model_class).image_view(TEXTS)
    settings = {"eps": 0.1, "eps_step": 0.05, "max_iter": 5, "nb_random_init": 3, "verbose": False}
    with pytest.raises(RowMismatch):  # it asks about one image while it is made
        AutoProjectedGradientDescent(view, loss_type="cross_entropy", **settings)
    # What it rebuilds, which knows nothing of texts but what the module holds.
    plain = PyTorchClassifier(
        view.model, torch.nn.CrossEntropyLoss(), (3, 8, 8), 3, clip_values=(0, 1), device_type="cpu"
    )
    scores = plain.predict(tiny_images)
    np.testing.assert_allclose(scores, view.predict(tiny_images), atol=1e-6)
    np.random.seed(0)
    # In parts, and after a restart only what still resists: rows whose texts cannot be known.
    with pytest.raises(RowMismatch):
        AutoProjectedGradientDescent(plain, loss_type=None, batch_size=batch_size, **settings).generate(
            tiny_images, np.eye(3)[scores.argmax(axis=1)]
        )


@pytest.mark.parametrize("batch_size", [6, 128])
def test_several_texts_cannot_be_trained_which_would_shuffle_them(tiny_images: np.ndarray, batch_size: int) -> None:
    classifier = make(lr=0.1)
    view = classifier.image_view(TEXTS)
    before = copy.deepcopy(classifier.model.state_dict())
    y = np.eye(3, dtype=np.float32)[Y]
    data = torch.utils.data.TensorDataset(torch.from_numpy(tiny_images), torch.from_numpy(y))
    loader = torch.utils.data.DataLoader(data, batch_size=6, shuffle=True)
    attack = FastGradientMethod(view, eps=0.1)
    for train in (
        lambda: view.fit(tiny_images, y, batch_size=batch_size, nb_epochs=1),
        lambda: view.fit_generator(NumpyDataGenerator(tiny_images, y, batch_size=6, shuffle=True), nb_epochs=1),
        lambda: view.fit_generator(PyTorchDataGenerator(loader, 6, 6), nb_epochs=1),
        lambda: AdversarialTrainer(view, attack, ratio=1.0).fit(tiny_images, y, batch_size=6, nb_epochs=1),
    ):
        with pytest.raises(RowMismatch, match="cannot be trained"):
            train()
    for name, tensor in classifier.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


@both_models
@pytest.mark.parametrize("training_mode", [True, False])
def test_one_text_can_be_trained(tiny_images: np.ndarray, model_class: type[FusionModel], training_mode: bool) -> None:
    classifier = make(model_class, lr=0.05)
    view = classifier.image_view("red")
    before = copy.deepcopy(classifier.model.state_dict())
    loss = view.compute_loss(tiny_images, Y).mean()
    view.fit(tiny_images, np.eye(3)[Y], nb_epochs=20, batch_size=3, training_mode=training_mode)
    assert view.compute_loss(tiny_images, Y).mean() < loss
    for name, tensor in classifier.model.state_dict().items():
        assert not torch.equal(tensor, before[name]), name
    np.testing.assert_allclose(
        view.predict(tiny_images), expected(classifier.model, tiny_images, ["red"] * 6), atol=1e-4
    )


def test_a_generator_trains_both_towers_for_one_text(tiny_images: np.ndarray) -> None:
    classifier = make(lr=0.05)
    y = np.eye(3, dtype=np.float32)[Y]
    data = torch.utils.data.TensorDataset(torch.from_numpy(tiny_images), torch.from_numpy(y))
    before = copy.deepcopy(classifier.model.state_dict())
    generator = PyTorchDataGenerator(torch.utils.data.DataLoader(data, batch_size=6), 6, 6)
    classifier.image_view("red").fit_generator(generator, nb_epochs=2)
    for name, tensor in classifier.model.state_dict().items():
        assert not torch.equal(tensor, before[name]), name


# Text features


def test_texts_are_embedded_once(tiny_images: np.ndarray) -> None:
    classifier = make()
    calls = count_text_towers(classifier.model)
    for texts in ("red", TEXTS):
        calls.clear()
        view = classifier.image_view(texts)
        view.predict(tiny_images)
        view.loss_gradient(tiny_images, np.eye(3)[Y])
        view.class_gradient(tiny_images)
        ProjectedGradientDescent(view, eps=0.1, eps_step=0.05, max_iter=4, verbose=False).generate(tiny_images)
        assert calls == [len(set(view.texts))]


def halve_by_optimizer(model: FusionModel) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for parameter in model.parameters():
        parameter.grad = parameter.detach().clone()
    optimizer.step()


def halve_in_place(model: FusionModel) -> None:
    with torch.no_grad():
        model.text.weight.mul_(0.5)


def halve_by_replacing_the_data(model: FusionModel) -> None:
    model.text.weight.data = model.text.weight.data * 0.5


def load_others(model: FusionModel) -> None:
    model.load_state_dict(type(model)(seed=5).state_dict())


def replace_the_tower(model: FusionModel) -> None:
    model.text = type(model)(seed=5).text


@both_models
@pytest.mark.parametrize("texts", ["red", TEXTS], ids=["one", "several"])
@pytest.mark.parametrize(
    "change",
    [halve_by_optimizer, halve_in_place, halve_by_replacing_the_data, load_others, replace_the_tower],
)
def test_texts_are_embedded_again_when_weights_change(
    tiny_images: np.ndarray, model_class: type[FusionModel], texts: str | list[str], change: Callable
) -> None:
    classifier = make(model_class)
    view = classifier.image_view(texts)
    before = view.predict(tiny_images)
    change(classifier.model)
    each = TEXTS if texts == TEXTS else ["red"] * 6
    after = view.predict(tiny_images)
    np.testing.assert_allclose(after, expected(classifier.model, tiny_images, each), atol=1e-5)
    assert np.abs(after - before).max() > 0.01


def test_weights_written_behind_torchs_back_are_seen_after_a_change_of_mode(tiny_images: np.ndarray) -> None:
    classifier = make()
    view = classifier.image_view("red")
    view.predict(tiny_images)
    for switch in (view.model, classifier.model):  # ART's weight perturbations do this while training
        switch.train()
        classifier.model.text.weight.data.mul_(0.5)
        np.testing.assert_allclose(
            view.predict(tiny_images), expected(classifier.model.eval(), tiny_images, ["red"] * 6), atol=1e-5
        )


class NormalisingFusion(TinyFusion):
    """Its text tower has statistics, which are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(6)

    def text_tower(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.norm(self.text(tokens))


def test_texts_are_embedded_again_when_statistics_change(tiny_images: np.ndarray) -> None:
    classifier = make(NormalisingFusion)
    view = classifier.image_view(TEXTS)
    before = view.predict(tiny_images)
    with torch.no_grad():
        classifier.model.norm.running_mean.add_(1.0)
    after = view.predict(tiny_images)
    np.testing.assert_allclose(after, expected(classifier.model, tiny_images, TEXTS), atol=1e-5)
    assert np.abs(after - before).max() > 0.01


@both_models
def test_gradients_reach_the_text_tower_in_training(tiny_images: np.ndarray, model_class: type[FusionModel]) -> None:
    classifier = make(model_class)
    view = classifier.image_view(TEXTS)
    view.predict(tiny_images)
    images = torch.from_numpy(tiny_images)
    weight = classifier.model.text.weight
    for _ in range(2):  # the graph of one step is not used in the next
        view.model.train()
        weight.grad = None
        view.model(images).square().sum().backward()
        gradient = weight.grad.clone()
        assert gradient.any()
        weight.grad = None
        tokens = classifier.model.tokenize(TEXTS)
        classifier.model(images, tokens).square().sum().backward()
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-4, atol=1e-4)
    view.model.eval()
    weight.grad = None
    view.model(images.requires_grad_()).sum().backward()
    assert images.grad.any()
    assert weight.grad is None


def test_attacks_compute_no_parameter_gradients_and_equal_image_gradients(tiny_images: np.ndarray) -> None:
    classifier = make()
    model = classifier.model
    y = np.eye(3, dtype=np.float32)[Y]
    ours = classifier.image_view("red").loss_gradient(tiny_images, y)
    AutoProjectedGradientDescent(
        classifier.image_view("red"), eps=0.1, eps_step=0.1, max_iter=3, nb_random_init=1, verbose=False
    ).generate(tiny_images, y)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    images = torch.from_numpy(tiny_images).requires_grad_()
    tokens = model.tokenize(["red"] * 6)
    torch.nn.functional.cross_entropy(model(images, tokens), torch.from_numpy(Y)).backward()
    np.testing.assert_allclose(ours, images.grad, rtol=1e-3, atol=1e-6)


# Variants and copies


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


def test_bad_texts_and_images(tiny_images: np.ndarray) -> None:
    classifier = make()
    with pytest.raises(InputError, match="at least one text"):
        classifier.image_view([])
    for texts, message in (
        (None, "Texts must be a list of strings, or one string, not NoneType"),
        (["red", 3], "Text 1 must be a string, not int"),
        (b"red", "not bytes"),
        (["very " * 20], "more than the 62"),
    ):
        with pytest.raises(InputError, match=message):
            classifier.image_view(texts)
    assert classifier.image_view(np.array(["red", "a cat"])).texts == ("red", "a cat")
    with pytest.raises(InputError, match="channels seem to come last"):
        classifier.image_view("red").predict(tiny_images.transpose(0, 2, 3, 1))


@both_models
def test_making_a_view_leaves_the_model_in_its_mode(model_class: type[FusionModel]) -> None:
    for training in (False, True):
        classifier = make(model_class)
        classifier.model.train(training)
        view = classifier.image_view("red")
        assert classifier.model.training is training and view.model.training is training
        assert all(part.training is training for part in classifier.model.modules())
