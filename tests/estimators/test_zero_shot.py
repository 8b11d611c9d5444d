"""The contracts of ZeroShotClassifier: what ART demands, and what a security team relies on."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from art.attacks.evasion import AutoProjectedGradientDescent, FastGradientMethod, ProjectedGradientDescent
from art.defences.postprocessor import Rounded
from art.defences.preprocessor import JpegCompression, SpatialSmoothing
from art.defences.trainer import AdversarialTrainerFBFPyTorch, AdversarialTrainerTRADESPyTorch
from art.estimators.classification import PyTorchClassifier
from tiny import TinyEncoder

from art_multimodal import InputError, ZeroShotClassifier, load_model
from art_multimodal.demo.towers import byte_tokens

CLASSES = ("cat", "dog", "bird", "fish")


def make(model: TinyEncoder, **settings) -> ZeroShotClassifier:
    return ZeroShotClassifier(model, CLASSES, device_type="cpu", **settings)


def expected_logits(model: TinyEncoder, images: np.ndarray, prompts: list[list[str]]) -> np.ndarray:
    """CLIP's zero-shot logits in float64, written down independently."""
    model = copy.deepcopy(model).double()
    with torch.no_grad():
        features = model.visual(model.preprocess(torch.from_numpy(images).double())).numpy()
        rows = []
        for texts in prompts:
            embedded = model.text(model.tokenize(texts)).numpy()
            embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
            mean = embedded.mean(axis=0)
            rows.append(mean / np.linalg.norm(mean))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return float(model.logit_scale.detach().exp()) * features @ np.stack(rows).T


@pytest.mark.parametrize("templates", [["a photo of a {}."], ["a {}", "one {} here", "{}"]])
def test_logits_are_clips(tiny: TinyEncoder, tiny_images: np.ndarray, templates: list[str]) -> None:
    classifier = make(tiny, templates=templates)
    prompts = [[template.replace("{}", name) for template in templates] for name in CLASSES]
    np.testing.assert_allclose(
        classifier.predict(tiny_images), expected_logits(tiny, tiny_images, prompts), rtol=1e-4, atol=1e-4
    )
    assert classifier.prompts == tuple(map(tuple, prompts))


def test_images_of_any_size_and_dtype(tiny_classifier: ZeroShotClassifier) -> None:
    rng = np.random.default_rng(0)
    for shape in ((2, 3, 5, 9), (2, 3, 20, 8), (1, 3, 1, 1)):
        images = rng.random(shape)
        from_double = tiny_classifier.predict(images)
        assert from_double.dtype == np.float32
        np.testing.assert_allclose(from_double, tiny_classifier.predict(images.astype(np.float32)), atol=1e-4)
    assert tiny_classifier.predict(np.zeros((0, 3, 8, 8), dtype=np.float32)).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_dtype(tiny_images: np.ndarray, dtype: torch.dtype) -> None:
    reference = make(TinyEncoder().eval()).predict(tiny_images)
    logits = make(TinyEncoder().eval().to(dtype)).predict(tiny_images)
    assert logits.dtype == np.float32
    tolerance = {torch.float16: 0.2, torch.bfloat16: 1.0, torch.float64: 1e-4}[dtype]
    np.testing.assert_allclose(logits, reference, atol=tolerance)


def test_other_prompts_on_the_same_weights(tiny: TinyEncoder, tiny_images: np.ndarray) -> None:
    classifier = make(tiny, preprocessing_defences=SpatialSmoothing())
    prompts = [["one cat", "a cat"], "a dog?", "bird", "the fish"]
    other = classifier.with_prompts(prompts)
    assert other.dual_encoder is classifier.dual_encoder
    assert other.prompts == (("one cat", "a cat"), ("a dog?",), ("bird",), ("the fish",))
    assert other.templates is None
    assert other.preprocessing_defences == classifier.preprocessing_defences
    smoothed, _ = SpatialSmoothing()(tiny_images.copy())
    wanted = expected_logits(tiny, smoothed, [["one cat", "a cat"], ["a dog?"], ["bird"], ["the fish"]])
    np.testing.assert_allclose(other.predict(tiny_images), wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="3 prompts were given for 4"):
        classifier.with_prompts(["a", "b", "c"])


def test_probabilities_view(tiny_classifier: ZeroShotClassifier, tiny_images: np.ndarray) -> None:
    view = tiny_classifier.with_probabilities()
    logits = torch.from_numpy(tiny_classifier.predict(tiny_images))
    np.testing.assert_allclose(view.predict(tiny_images), logits.softmax(dim=1), atol=1e-6)
    y = np.array([0, 1, 2, 3, 0, 1])
    np.testing.assert_allclose(
        view.loss_gradient(tiny_images, np.eye(4)[y]),
        tiny_classifier.loss_gradient(tiny_images, np.eye(4)[y]),
        rtol=1e-3,
        atol=1e-6,
    )
    assert view.with_prompts(list(CLASSES)).model.probabilities


def test_text_is_embedded_once_per_prompt_set_and_again_when_weights_change(
    tiny: TinyEncoder, tiny_images: np.ndarray
) -> None:
    calls = []
    tiny.text.register_forward_hook(lambda *_: calls.append(1))
    classifier = make(tiny)
    for _ in range(3):
        classifier.predict(tiny_images)
        classifier.loss_gradient(tiny_images, np.eye(4)[[0] * 6])
    assert len(calls) == 1
    before = classifier.predict(tiny_images)
    with torch.no_grad():
        tiny.text.weight.mul_(-1.0)
    np.testing.assert_allclose(classifier.predict(tiny_images), -before, rtol=1e-4)
    assert len(calls) == 2
    tiny.load_state_dict(TinyEncoder(seed=5).state_dict())
    prompts = [[f"a photo of a {name}."] for name in CLASSES]
    np.testing.assert_allclose(
        classifier.predict(tiny_images), expected_logits(tiny, tiny_images, prompts), rtol=1e-3, atol=1e-3
    )
    # Not seen by version counters, but between training and evaluation: ART's weight perturbations do this.
    classifier.model.train()
    tiny.text.weight.data.mul_(-1.0)
    classifier.model.eval()
    np.testing.assert_allclose(
        classifier.predict(tiny_images), expected_logits(tiny, tiny_images, prompts), rtol=1e-3, atol=1e-3
    )


class Unfrozen(torch.nn.Module):
    """The same computation as a user would write it for ART's own classifier."""

    def __init__(self, model: TinyEncoder) -> None:
        super().__init__()
        self.model = model
        self.tokens = model.tokenize([f"a photo of a {name}." for name in CLASSES])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images.to(self.model.dtype), self.tokens)


def test_attacks_compute_no_parameter_gradients_and_equal_input_gradients(
    tiny: TinyEncoder, tiny_images: np.ndarray
) -> None:
    y = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    classifier = make(tiny)
    ours = classifier.loss_gradient(tiny_images, y)
    class_gradients = classifier.class_gradient(tiny_images)
    for attack in (
        ProjectedGradientDescent(classifier, eps=0.1, eps_step=0.05, max_iter=3, verbose=False),
        FastGradientMethod(classifier, eps=0.1),
        AutoProjectedGradientDescent(
            classifier, eps=0.1, eps_step=0.1, max_iter=3, nb_random_init=1, loss_type="cross_entropy", verbose=False
        ),
    ):
        attack.generate(tiny_images, y)
    assert all(p.grad is None for p in tiny.parameters())
    assert all(p.requires_grad for p in tiny.parameters())
    stock = PyTorchClassifier(
        Unfrozen(tiny), torch.nn.CrossEntropyLoss(), (3, 8, 8), 4, clip_values=(0, 1), device_type="cpu"
    )
    np.testing.assert_allclose(ours, stock.loss_gradient(tiny_images, y), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(class_gradients, stock.class_gradient(tiny_images), rtol=1e-3, atol=1e-6)
    assert any(p.grad is not None for p in tiny.parameters())  # the stock classifier does pay for them


def test_gradient_against_finite_differences(tiny_images: np.ndarray) -> None:
    model = TinyEncoder().eval().double()
    classifier = make(model)
    images = tiny_images[:1].astype(np.float64)
    y = np.eye(4)[[2]]
    gradient = classifier.loss_gradient(images, y)
    rng = np.random.default_rng(1)
    for _ in range(10):
        direction = rng.standard_normal(images.shape)
        step = 1e-5

        def loss(x: np.ndarray) -> float:
            logits = model(torch.from_numpy(x), model.tokenize([f"a photo of a {name}." for name in CLASSES]))
            return float(torch.nn.functional.cross_entropy(logits, torch.tensor([2])).detach())

        numeric = (loss(images + step * direction) - loss(images - step * direction)) / (2 * step)
        assert (gradient * direction).sum() == pytest.approx(numeric, rel=1e-4)


@pytest.mark.parametrize("training_mode", [True, False])
def test_fit_moves_both_towers_and_lowers_the_loss(tiny_images: np.ndarray, training_mode: bool) -> None:
    model = TinyEncoder().eval()
    classifier = make(model, optimizer=torch.optim.Adam(model.parameters(), lr=0.02))
    y = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loss_before = classifier.compute_loss(tiny_images, y).mean()
    classifier.fit(tiny_images, y, nb_epochs=30, batch_size=6, training_mode=training_mode)
    assert classifier.compute_loss(tiny_images, y).mean() < 0.5 * loss_before
    for name, tensor in model.state_dict().items():
        assert not torch.equal(tensor, before[name]), name


def test_parameters_that_the_user_froze_stay_frozen(tiny_images: np.ndarray) -> None:
    model = TinyEncoder().eval()
    model.text.requires_grad_(False)
    classifier = make(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.text.weight.clone()
    classifier.fit(tiny_images, np.arange(6) % 4, nb_epochs=2)
    classifier.predict(tiny_images)
    torch.testing.assert_close(model.text.weight, before)
    assert not model.text.weight.requires_grad
    assert model.visual[1].weight.requires_grad


def test_arts_trades_trainer_trains(tiny_images: np.ndarray) -> None:
    model = TinyEncoder().eval()
    classifier = make(model, optimizer=torch.optim.Adam(model.parameters(), lr=0.02))
    attack = ProjectedGradientDescent(classifier, eps=0.02, eps_step=0.01, max_iter=2, verbose=False)
    y = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    before = classifier.compute_loss(tiny_images, y).mean()
    AdversarialTrainerTRADESPyTorch(classifier, attack, beta=1.0).fit(tiny_images, y, nb_epochs=20, batch_size=6)
    assert classifier.compute_loss(tiny_images, y).mean() < before


def test_arts_fbf_trainer_trains_though_it_does_so_in_evaluation_mode(tiny_images: np.ndarray) -> None:
    model = TinyEncoder().eval()
    classifier = make(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.05))
    before = model.visual[1].weight.clone()
    y = np.eye(4, dtype=np.float32)[np.arange(6) % 4]
    AdversarialTrainerFBFPyTorch(classifier, eps=0.02).fit(tiny_images, y, nb_epochs=2, batch_size=6)
    assert not torch.equal(model.visual[1].weight, before)


def test_damaged_weights_are_said(tiny: TinyEncoder, tiny_images: np.ndarray) -> None:
    classifier = make(tiny)
    with torch.no_grad():
        tiny.visual[1].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="scores are NaN"):
        classifier.predict_labels(tiny_images)


def test_get_activations_and_layer_names(tiny_classifier: ZeroShotClassifier, tiny_images: np.ndarray) -> None:
    assert tiny_classifier.layer_names == ["image_encoder", "head"]
    features = tiny_classifier.get_activations(tiny_images, "image_encoder", batch_size=4)
    np.testing.assert_allclose(features, tiny_classifier.image_features(tiny_images).numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        tiny_classifier.get_activations(tiny_images, 1, batch_size=4), tiny_classifier.predict(tiny_images), atol=1e-4
    )


@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_predictions_are_those_of_arts_own_loop(tiny: TinyEncoder, tiny_images: np.ndarray, batch_size: int) -> None:
    classifier = ZeroShotClassifier(tiny, ["cat", "dog"], device_type="cpu")
    expected = PyTorchClassifier.predict(classifier, tiny_images, batch_size=batch_size)
    np.testing.assert_array_equal(classifier.predict(tiny_images, batch_size=batch_size), expected)


def test_no_batch_without_an_image(tiny: TinyEncoder, tiny_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="batch_size must be at least 1, not 0"):
        ZeroShotClassifier(tiny, ["cat", "dog"], device_type="cpu").predict(tiny_images, batch_size=0)


def test_every_part_is_in_the_mode_that_was_asked_for(tiny: TinyEncoder, tiny_images: np.ndarray) -> None:
    """The mode is only set where a part is in another one, however deep it lies."""
    classifier = ZeroShotClassifier(tiny, ["cat", "dog"], device_type="cpu")
    parts = list(classifier.model.modules())
    for asked in (False, True, False):
        for odd in parts:
            odd.training = not asked
            classifier.predict(tiny_images, training_mode=asked)
            assert all(part.training == asked for part in parts)


def test_scores_from_embeddings_are_the_predictions(tiny: TinyEncoder, tiny_images: np.ndarray) -> None:
    classifier = make(
        tiny,
        preprocessing_defences=JpegCompression(clip_values=(0, 1), quality=30, channels_first=True),
        postprocessing_defences=Rounded(decimals=1),
    )
    scores = classifier.scores(classifier.image_features(tiny_images, batch_size=4), classifier.class_features())
    np.testing.assert_allclose(scores, classifier.predict(tiny_images), atol=1e-4)
    assert not np.allclose(scores, make(tiny).predict(tiny_images), atol=1e-3)


def test_clone_for_refitting_has_the_same_shape_and_other_weights(tiny_images: np.ndarray) -> None:
    model = TinyEncoder().eval()
    classifier = make(model, optimizer=torch.optim.Adam(model.parameters(), lr=0.003), templates=["the {}"])
    clone = classifier.clone_for_refitting()
    assert clone.prompts == classifier.prompts
    assert clone.optimizer.defaults["lr"] == 0.003
    assert not np.allclose(clone.predict(tiny_images), classifier.predict(tiny_images))
    before = model.visual[1].weight.clone()
    clone.fit(tiny_images, np.arange(6) % 4, nb_epochs=1)
    torch.testing.assert_close(model.visual[1].weight, before)


def test_bad_input(tiny: TinyEncoder, tiny_classifier: ZeroShotClassifier, tiny_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="nothing tells them apart"):
        ZeroShotClassifier(tiny, ["cat", "cat"])
    with pytest.raises(InputError, match="more than the 64 tokens"):
        ZeroShotClassifier(tiny, ["cat", "dog" * 40])
    with pytest.raises(InputError, match="empty"):
        make(tiny, prompts=["a", "b", "", "d"])
    with pytest.raises(InputError, match="nothing tells them apart"):
        ZeroShotClassifier(tiny, ["cat", "cat "])
    tiny.token_ids = lambda texts, length: byte_tokens([text.lower() for text in texts], length)
    with pytest.raises(InputError, match="'cat' and 'Cat' are the same text"):
        ZeroShotClassifier(tiny, ["cat", "dog", "Cat"])
    trainable = make(tiny, optimizer=torch.optim.SGD(tiny.parameters(), lr=0.1))
    for y, message in ((np.array([0, 1, 2, 3, 0, -1]), "Label -1"), (np.array([0, 1, 2, 3, 0, 4]), "Label 4")):
        with pytest.raises(InputError, match=message):
            trainable.fit(tiny_images, y)
    with pytest.raises(InputError, match="NaN"):
        trainable.fit(np.full_like(tiny_images, np.nan), np.zeros(6, dtype=int))
    with pytest.warns(UserWarning, match=r"not in \[0, 1\]"):
        tiny_classifier.predict(tiny_images * 2 - 1)
    with pytest.raises(InputError, match="channels seem to come last"):
        tiny_classifier.predict(tiny_images.transpose(0, 2, 3, 1))
    with pytest.raises(InputError, match="must have shape"):
        tiny_classifier.predict(tiny_images[0])
    with pytest.warns(UserWarning, match="Divide 8-bit images by 255"):
        tiny_classifier.predict(tiny_images * 255)
    with pytest.warns(UserWarning, match="NaN"):
        tiny_classifier.predict(np.full_like(tiny_images, np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_classifier.predict(tiny_images)


def test_beginnings_of_many_prompts_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("demo:digits")
    names = [f"kind {number} of digit" for number in range(70)]
    templates = ["a photo of the {}.", "a drawing of a {} on paper", "the {}", "a {}!"]
    classifier = ZeroShotClassifier(model, names, templates, device_type="cpu")
    tokens = model.tokenize([text for prompts in classifier.prompts for text in prompts])
    with torch.no_grad():
        each = model.encode_text(tokens).view(len(names), len(templates), -1)
    expected = torch.nn.functional.normalize(each.sum(dim=1), dim=-1)
    asked: list[int] = []
    real = type(model).encode_texts_sharing_prefixes

    def counted(self, tokens: torch.Tensor, normalize: bool = True):
        features, count = real(self, tokens, normalize)
        asked.append(count)
        return features, count

    monkeypatch.setattr(type(model), "encode_texts_sharing_prefixes", counted)
    # 280 texts of some 25 bytes, a tree of tokens after another: float32 rounds by 1e-7 of each.
    torch.testing.assert_close(classifier.class_features(), expected, atol=5e-6, rtol=0)
    assert len(asked) == 1 and asked[0] < 0.8 * model.count_tokens(tokens)
    torch.testing.assert_close(classifier.prompt_features(classifier.prompts), expected, atol=5e-6, rtol=0)
    assert len(asked) == 1
    # Few are one pass as they stand, and so are those of a model that learns.
    ZeroShotClassifier(model, names[:4], templates, device_type="cpu").class_features()
    with classifier.model.trainable():
        assert classifier.model.head.class_features().requires_grad
    assert len(asked) == 1


def test_other_prompts_are_embedded_once_and_own_ones_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TinyEncoder().eval()
    classifier, images = make(model, templates=["a {}", "one {} here"]), np.random.default_rng(0).random((6, 3, 8, 8))
    before = classifier.predict(images.astype(np.float32))
    asked: list[int] = []
    real = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda tokens, **more: asked.append(len(tokens)) or real(tokens, **more))
    others = [("a catt", "one cat here"), ("a dog", "one dog here"), ("a bird", "a bird"), ("a fish", "one fihs here")]
    found = classifier.predict_on(images, others)
    # Two new texts: all others are prompts of the classifier.
    assert asked == [2]
    np.testing.assert_allclose(classifier.with_prompts(others).predict(images), found, rtol=1e-5, atol=1e-5)
    asked.clear()
    for rows in (slice(0, 2), slice(2, 6)):
        np.testing.assert_allclose(classifier.predict_on(images[rows], others), found[rows], rtol=1e-5, atol=1e-5)
    assert asked == []
    np.testing.assert_allclose(classifier.predict_on(images, classifier.prompts), before, rtol=1e-5, atol=1e-5)
    for number in range(9):
        classifier.prompt_features([[f"text {number}"], *others[1:]])
    assert len(asked) == 9 and len(classifier.model.head.known().others) == 4
    with torch.no_grad():
        for parameter in model.text.parameters():
            parameter.mul_(-0.5).add_(0.1)
    changed = classifier.predict_on(images, others)
    assert np.abs(changed - found).max() > 1e-3
    np.testing.assert_allclose(classifier.with_prompts(others).predict(images), changed, rtol=1e-5, atol=1e-5)
