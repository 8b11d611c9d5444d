"""A classifier of samples: what it predicts, its gradients, padding, what is missing, and other dtypes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from several import MODELS, NOTES, by_hand, classifier, make, make_samples, one_hot, sequences

from art_multimodal import FusionClassifier
from art_multimodal.errors import InputError
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.sample_arrays import fields_of, samples, with_field

NUMERIC = ("rgb", "audio", "lab")
CASES = [(kind, channels) for kind in MODELS for channels in (1, 3, 4)]


def incomplete(channels: int = 3) -> np.ndarray:
    """Samples of which each lacks another modality, and one lacks two; ``NOTES`` has an empty text."""
    x = make_samples(channels)
    rgb, lab = x["rgb"].copy(), x["lab"].copy()
    rgb[[1, 4]], lab[2] = np.nan, np.nan
    lengths = [5, 2, 3, 0, 0, 4]
    return samples(rgb=rgb, audio=sequences(lengths), lab=lab, note=list(NOTES))


@pytest.mark.parametrize(("kind", "channels"), CASES)
def test_predictions_are_those_of_one_sample_at_a_time(kind: str, channels: int) -> None:
    found = classifier(kind, channels)
    for x in (make_samples(channels), incomplete(channels)):
        expected = np.stack([by_hand(found.multimodal, sample) for sample in x])
        np.testing.assert_allclose(found.predict(x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_batch_size_and_order_change_nothing(kind: str) -> None:
    found, x = classifier(kind), incomplete()
    expected = found.predict(x)
    order = np.array([3, 5, 0, 1, 4, 2])
    for size in (1, 2, 4):
        np.testing.assert_allclose(found.predict(x, batch_size=size), expected, atol=1e-6)
        np.testing.assert_allclose(found.predict(x[order], batch_size=size), expected[order], atol=1e-6)
    assert found.predict(x[:0]).shape == (0, 3)


@pytest.mark.parametrize("kind", MODELS)
def test_order_of_fields_changes_nothing(kind: str) -> None:
    found, x = classifier(kind), make_samples()
    turned = samples(**dict(reversed(list(fields_of(x).items()))))
    np.testing.assert_allclose(found.predict(turned), found.predict(x), atol=1e-6)


@pytest.mark.parametrize(("kind", "channels"), CASES)
def test_gradients_are_finite_differences_in_double_precision(kind: str, channels: int) -> None:
    model = make(kind, channels).double()
    found, x = FusionClassifier(model, device_type="cpu"), make_samples(channels)
    labels = np.arange(len(x)) % 3
    gradients = found.loss_gradient(x, labels, modality=NUMERIC)
    generator = np.random.default_rng(0)
    inputs = model.collate(x)
    for name in NUMERIC:
        given = inputs[name].values
        direction = torch.from_numpy(generator.standard_normal(given.shape))

        def loss(values: torch.Tensor, name: str = name) -> float:
            moved = {**inputs, name: inputs[name].with_values(values)}
            return torch.nn.functional.cross_entropy(model(moved), torch.from_numpy(labels)).item()

        step = 1e-5
        expected = (loss(given + step * direction) - loss(given - step * direction)) / (2 * step)
        own = gradients[name]["values"] if name == "audio" else gradients[name]
        np.testing.assert_allclose((own * direction.numpy()).sum(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_of_batches_are_those_of_the_whole_mean_loss(kind: str) -> None:
    found, x = classifier(kind), make_samples()
    y = np.arange(len(x)) % 3
    for name in NUMERIC:
        whole = found.loss_gradient(x, y, modality=name)
        assert np.abs(whole).max() > 0
        np.testing.assert_allclose(found.loss_gradient(x, y, batch_size=2, modality=name), whole, atol=1e-6)
        np.testing.assert_allclose(found.loss_gradient(x, one_hot(y), modality=name), whole, atol=1e-7)


def test_class_gradients_are_those_of_scores() -> None:
    model = make("joint").double()
    found, x = FusionClassifier(model, device_type="cpu"), make_samples()
    gradients = found.class_gradient(x, modality="audio")
    assert gradients.shape == (6, 3, 5, 3)
    inputs = model.collate(x)
    given = inputs["audio"].values
    direction = torch.from_numpy(np.random.default_rng(0).standard_normal(given.shape))
    step = 1e-5
    ahead, behind = (
        model({**inputs, "audio": inputs["audio"].with_values(given + sign * step * direction)}) for sign in (1, -1)
    )
    expected = ((ahead - behind) / (2 * step)).detach().numpy()
    np.testing.assert_allclose((gradients * direction.numpy()[:, None]).sum((2, 3)), expected, rtol=1e-4, atol=1e-6)
    one = found.class_gradient(x, label=np.arange(6) % 3, modality="audio")
    np.testing.assert_allclose(one[:, 0], gradients[np.arange(6), np.arange(6) % 3], atol=1e-7)


@pytest.mark.parametrize("kind", MODELS)
def test_padding_changes_no_score_and_gets_no_gradient(kind: str) -> None:
    found, x = classifier(kind), make_samples(lengths=(2, 1, 2, 1, 2, 2))
    # The same sequences, padded to their longest, and with what no attack may write there.
    assert x["audio"]["values"].shape == (6, 2, 3)
    padded = with_field(x, "audio", found.modalities["audio"].laid_out(x["audio"]))
    assert padded["audio"]["values"].shape == (6, 5, 3)
    np.testing.assert_allclose(found.predict(x), found.predict(padded), atol=1e-6)
    view = found.modality_view("audio", padded)
    values = padded["audio"]["values"].copy()
    behind = ~found.modalities["audio"].present(padded["audio"])
    values[behind] = 1.0
    np.testing.assert_allclose(view.predict(values), found.predict(x), atol=1e-6)
    for gradient in (
        found.loss_gradient(x, np.zeros(6, int), modality="audio"),
        view.loss_gradient(values, one_hot(np.zeros(6, int))),
        view.class_gradient(values, label=1)[:, 0],
    ):
        assert (gradient[behind] == 0).all()
        assert (np.abs(gradient[~behind]).reshape(10, -1).max(axis=1) > 0).all()


def test_what_is_missing_is_left_out_of_late_fusion() -> None:
    found, x = classifier("late"), make_samples(notes=["a", "b", "c", "d", "e", "f"])
    model = found.multimodal
    assert isinstance(model, ModularModel)
    rgb, lab = np.full_like(x["rgb"], np.nan), np.full_like(x["lab"], np.nan)
    nothing = {"rgb": rgb, "audio": sequences([0] * 6), "lab": lab, "note": [""] * 6}
    inputs = model.collate(x)
    alone = model.unimodal_scores({name: model.encode(name, part) for name, part in inputs.items()})
    assert alone is not None
    for name, gone in nothing.items():
        told = samples(**{**fields_of(x), name: gone})
        others = torch.stack([scores for other, scores in alone.items() if other != name]).mean(dim=0)
        np.testing.assert_allclose(found.predict(told), others.detach().numpy(), atol=1e-5)
        assert np.abs(found.predict(told) - found.predict(x)).max() > 1e-3


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_missing_has_no_gradient_and_spoils_no_other(kind: str) -> None:
    found, x = classifier(kind), incomplete()
    gradients = found.loss_gradient(x, np.zeros(6, int), modality=NUMERIC)
    for name in NUMERIC:
        own = gradients[name]["values"] if name == "audio" else gradients[name]
        assert np.isfinite(own).all(), name
        missing = found.modalities[name].missing(x[name])
        assert missing.any()
        assert (own[missing] == 0).all()
        assert (np.abs(own[~missing]).reshape((~missing).sum(), -1).max(axis=1) > 0).all()


@pytest.mark.parametrize("kind", MODELS)
def test_all_is_missing(kind: str) -> None:
    found, x = classifier(kind), incomplete()
    gone = samples(
        rgb=np.full_like(x["rgb"], np.nan),
        audio=(x["audio"]["values"] * 0, np.zeros(6, int)),
        lab=np.full_like(x["lab"], np.nan),
        note=[""] * 6,
    )
    assert np.isfinite(found.predict(gone)).all()


@pytest.mark.parametrize("kind", MODELS)
def test_dtypes_of_weights(kind: str) -> None:
    x, single = incomplete(), classifier(kind)
    expected = single.predict(x)
    double = FusionClassifier(make(kind).double(), device_type="cpu")
    np.testing.assert_allclose(double.predict(x), expected, atol=1e-5)
    assert double.multimodal(double.multimodal.collate(x)).dtype == torch.float64
    half = FusionClassifier(make(kind).bfloat16(), device_type="cpu")
    found = half.predict(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.3 * np.abs(expected).max())
    for name in NUMERIC:
        gradient = half.loss_gradient(x, np.zeros(6, int), modality=name)
        assert gradient.dtype == np.float32
        assert np.isfinite(gradient).all()


def test_a_model_that_changes_its_dtype_takes_its_views_along() -> None:
    found, x = classifier("concat"), make_samples()
    view = found.modality_view("rgb", x)
    expected = view.predict(x["rgb"])
    found.multimodal.double()
    np.testing.assert_allclose(view.predict(x["rgb"]), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["concat", "joint"])
def test_copies(kind: str) -> None:
    found, x = classifier(kind), incomplete()
    twin = copy.deepcopy(found)
    expected = found.predict(x)
    np.testing.assert_array_equal(twin.predict(x), expected)
    for parameter in twin.multimodal.parameters():
        parameter.data.mul_(2)
    np.testing.assert_array_equal(found.predict(x), expected)
    assert np.abs(twin.predict(x) - expected).max() > 1e-3


def test_errors_say_what_to_do() -> None:
    found, x = classifier(), make_samples()
    with pytest.raises(InputError, match=r"^Name the modality .*: modality= one of rgb, audio, lab\.$"):
        found.loss_gradient(x, np.zeros(6, int))
    with pytest.raises(InputError, match=r"^note holds texts, which have no gradient\.$"):
        found.loss_gradient(x, np.zeros(6, int), modality="note")
    with pytest.raises(InputError, match=r"^The model knows no modality 'depth'; it takes rgb, audio, lab, note\.$"):
        found.class_gradient(x, modality="depth")
    with pytest.raises(InputError, match=r"^Samples are needed, samples\(rgb=\.\.\., audio=.*not an array of dtype"):
        found.predict(x["rgb"])
    with pytest.raises(InputError, match=r"^The samples lack lab; they have rgb, audio, note\.$"):
        found.predict(x[["rgb", "audio", "note"]])
    with pytest.raises(InputError, match="There are no samples to train on"):
        found.fit(x[:0], np.zeros(0, int))
