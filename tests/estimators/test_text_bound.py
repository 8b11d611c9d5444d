"""A fusion model with its texts bound is a classifier of images; it never uses a text that is not a row's own."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from art.attacks.evasion import AutoProjectedGradientDescent, FastGradientMethod, ProjectedGradientDescent
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from art.defences.trainer import AdversarialTrainer
from art.estimators.classification import PyTorchClassifier
from tiny import TinyFusion

from art_multimodal import InputError
from art_multimodal.estimators.text_bound import RowMismatch
from art_multimodal.models.fusion import FusionModel

from .texts_bound import TEXTS, Y, both_models, expected, make


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
