"""The contracts of FusionClassifier: what ART does with classifiers, done with pairs."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.data_generators import NumpyDataGenerator
from art.defences.postprocessor import Rounded
from art.defences.preprocessor import JpegCompression, LabelSmoothing, Mixup, SpatialSmoothing
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.defences.trainer import AdversarialTrainer
from art.utils import compute_accuracy, compute_success, compute_success_array
from safetensors.torch import load_model as load_weights
from tiny import TinyFusion, TinyJointFusion

from art_multimodal import FusionClassifier, InputError, image_text_pairs
from art_multimodal.attacks.evasion import ImageAttackOnPairs
from art_multimodal.models.fusion import FusionModel

TEXTS = ["a cat", "red", "a cat", "what is this, and why?", "", "red", "a cat"]
Y = np.array([0, 1, 2, 1, 0, 2, 2])
both_models = pytest.mark.parametrize("model_class", [TinyFusion, TinyJointFusion])


def make_pairs(size: tuple[int, int] = (8, 8)) -> np.ndarray:
    images = np.random.default_rng(1).random((len(TEXTS), 3, *size), dtype=np.float32)
    return image_text_pairs(images, TEXTS, allow_empty=True)


def make(model_class: type[FusionModel] = TinyFusion, lr: float | None = None, **settings) -> FusionClassifier:
    model = model_class().eval()
    optimizer = None if lr is None else torch.optim.Adam(model.parameters(), lr=lr)
    return FusionClassifier(model, optimizer=optimizer, device_type="cpu", **settings)


@pytest.fixture
def pairs() -> np.ndarray:
    return make_pairs()


def scores_of(model: FusionModel, image: np.ndarray | torch.Tensor, text: str) -> torch.Tensor:
    """The model on one pair alone."""
    return model(torch.as_tensor(image)[None], model.tokenize([text]))[0]


def expected_scores(model: FusionModel, pairs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.stack([scores_of(model, pair["image"].copy(), pair["text"]) for pair in pairs]).numpy()


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


# Training


@both_models
@pytest.mark.parametrize("training_mode", [True, False])
@pytest.mark.parametrize("form", ["indices", "one-hot"])
def test_fit_moves_all_weights_and_lowers_the_loss(
    pairs: np.ndarray, model_class: type[FusionModel], training_mode: bool, form: str
) -> None:
    classifier = make(model_class, lr=0.02)
    before = copy.deepcopy(classifier.model.state_dict())
    loss = classifier.compute_loss(pairs, Y).mean()
    torch.manual_seed(0)
    y = Y if form == "indices" else np.eye(3)[Y]
    classifier.fit(pairs, y, nb_epochs=40, batch_size=3, training_mode=training_mode)
    assert classifier.compute_loss(pairs, Y).mean() < 0.3 * loss
    for name, tensor in classifier.model.state_dict().items():
        assert not torch.equal(tensor, before[name]), name


def test_fit_takes_the_steps_that_torch_would(pairs: np.ndarray) -> None:
    classifier, model = make(), TinyFusion().eval()
    classifier.set_params(optimizer=torch.optim.SGD(classifier.model.parameters(), lr=0.1))
    classifier.fit(pairs, Y, batch_size=7, nb_epochs=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        scores = torch.stack([scores_of(model, pair["image"].copy(), pair["text"]) for pair in pairs])
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(Y)).backward()
        optimizer.step()
    for ours, theirs in zip(classifier.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_fit_keeps_images_and_texts_and_labels_together(pairs: np.ndarray) -> None:
    classifier = make(lr=0.0)
    own = {(pair["image"].tobytes(), pair["text"], label) for pair, label in zip(pairs, Y, strict=True)}
    seen = []
    forward, tokenize, loss = classifier.model.forward, classifier.model.tokenize, classifier.loss.forward
    batch: dict[str, list] = {}
    classifier.model.tokenize = lambda texts: (batch.update(texts=texts), tokenize(texts))[1]
    classifier.model.forward = lambda images, tokens: (
        batch.update(images=[image.numpy().tobytes() for image in images]),
        forward(images, tokens),
    )[1]
    classifier.loss.forward = lambda scores, target: (
        seen.extend(zip(batch["images"], batch["texts"], target.tolist(), strict=True)),
        loss(scores, target),
    )[1]
    classifier.fit(pairs, Y, batch_size=2, nb_epochs=3)
    assert len(seen) == 21
    assert set(seen) == own
    assert seen[:7] != seen[7:14]
    seen.clear()
    classifier.fit(pairs, Y, batch_size=2, nb_epochs=1, drop_last=True)
    assert len(seen) == 6


class Steps:
    """A scheduler that counts."""

    count = 0

    def step(self) -> None:
        self.count += 1


def test_fit_steps_the_scheduler_every_epoch(pairs: np.ndarray) -> None:
    scheduler = Steps()
    make(lr=0.01).fit(pairs, Y, nb_epochs=3, batch_size=2, scheduler=scheduler)
    assert scheduler.count == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "defence", [LabelSmoothing(max_value=0.7), Mixup(num_classes=3, alpha=1.0)], ids=["smoothing", "mixup"]
)
def test_fit_with_a_defence_that_softens_labels(
    pairs: np.ndarray, defence: LabelSmoothing | Mixup, dtype: torch.dtype
) -> None:
    model = TinyFusion().eval().to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    if isinstance(defence, LabelSmoothing):
        defence._apply_fit, defence._apply_predict = True, False
    classifier = FusionClassifier(model, optimizer=optimizer, preprocessing_defences=defence, device_type="cpu")
    targets = []
    classifier.loss.register_forward_pre_hook(lambda module, inputs: targets.append(inputs[1]))
    np.random.seed(0)
    loss = classifier.compute_loss(pairs, Y).mean()
    targets.clear()
    classifier.fit(pairs, Y, nb_epochs=30, batch_size=7)
    assert all(target.shape == (7, 3) and (target.max(dim=1).values < 1).any() for target in targets)
    assert classifier.compute_loss(pairs, Y).mean() < loss


def test_fit_keeps_mixed_labels_as_they_are(pairs: np.ndarray) -> None:
    classifier = make(lr=0.02)
    wanted = np.tile(np.array([0.2, 0.5, 0.3], dtype=np.float32), (7, 1))
    classifier.fit(pairs, wanted, nb_epochs=150)
    predicted = torch.from_numpy(classifier.predict(pairs)).softmax(dim=1)
    np.testing.assert_allclose(predicted, wanted, atol=0.05)


def test_parameters_that_the_user_froze_stay_frozen(pairs: np.ndarray) -> None:
    classifier = make(lr=0.1)
    classifier.model.text.requires_grad_(False)
    before = classifier.model.text.weight.clone()
    classifier.fit(pairs, Y, nb_epochs=2)
    classifier.loss_gradient(pairs, Y)
    torch.testing.assert_close(classifier.model.text.weight, before)
    assert not classifier.model.text.weight.requires_grad
    assert classifier.model.mixer.weight.requires_grad


@pytest.mark.parametrize("shuffle", [True, False])
def test_fit_generator(pairs: np.ndarray, shuffle: bool) -> None:
    classifier = make(lr=0.02)
    loss = classifier.compute_loss(pairs, Y).mean()
    np.random.seed(0)
    generator = NumpyDataGenerator(pairs, np.eye(3)[Y], batch_size=3, shuffle=shuffle, drop_remainder=False)
    classifier.fit_generator(generator, nb_epochs=30)
    assert classifier.compute_loss(pairs, Y).mean() < 0.5 * loss


def test_arts_adversarial_trainer_lowers_the_loss_under_attack(pairs: np.ndarray) -> None:
    classifier = make(lr=0.02)
    attack = ImageAttackOnPairs(
        classifier,
        lambda view: ProjectedGradientDescent(view, eps=0.05, eps_step=0.02, max_iter=3, batch_size=4, verbose=False),
    )
    y = np.eye(3, dtype=np.float32)[Y]
    before = classifier.compute_loss(attack.generate(pairs, y), y).mean()
    trained_on = []
    fit = classifier.fit
    classifier.fit = lambda x, y, **kwargs: (trained_on.append((x.copy(), y.copy())), fit(x, y, **kwargs))
    original = pairs.copy()
    np.random.seed(0)
    torch.manual_seed(0)
    AdversarialTrainer(classifier, attack, ratio=0.5).fit(pairs, y, batch_size=4, nb_epochs=15)
    assert classifier.compute_loss(attack.generate(pairs, y), y).mean() < 0.6 * before
    np.testing.assert_array_equal(pairs, original)
    moved = total = 0
    for batch, labels in trained_on:
        distances = np.abs(batch["image"][:, None] - pairs["image"]).max(axis=(2, 3, 4))
        rows = distances.argmin(axis=1)
        assert distances.min(axis=1).max() <= 0.05 + 1e-6
        assert batch["text"].tolist() == pairs["text"][rows].tolist()
        np.testing.assert_array_equal(labels, y[rows])
        moved += (distances.min(axis=1) > 0.01).sum()
        total += len(batch)
    assert moved / total == pytest.approx(4 / 7)  # half of four, and of three, rounded up


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
    wanted = expected_scores(classifier.model, defended)
    np.testing.assert_allclose(classifier.predict(pairs, batch_size=2), wanted.round(1), atol=1e-5)
    assert np.abs(wanted - make().predict(pairs)).max() > 0.1
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
