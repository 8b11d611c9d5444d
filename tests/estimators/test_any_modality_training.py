"""Training on samples, with ART's trainer and generators too, and defences in front of each modality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import FastGradientMethod
from art.data_generators import NumpyDataGenerator
from art.defences.postprocessor import HighConfidence
from art.defences.preprocessor import FeatureSqueezing, GaussianAugmentation, SpatialSmoothing
from several import MODELS, classifier, make, make_samples, one_hot, separate

from art_multimodal import FusionClassifier, image_text_pairs
from art_multimodal.attacks.evasion.for_each_sample import for_each_sample
from art_multimodal.defences.preprocessor.text_preprocessor import TextPreprocessor
from art_multimodal.errors import InputError
from art_multimodal.sample_arrays import fields_of, samples, with_field


class Upper(TextPreprocessor):
    """Reads every text in small letters, whatever was written."""

    params: list[str] = []

    def repair(self, texts: list[str]) -> list[str]:
        return [text.lower() for text in texts]


class OnSamples(EvasionAttack):
    """An attack on one modality of samples, for what wants an attack object."""

    _estimator_requirements = ()

    def __init__(self, estimator: FusionClassifier, modality: str) -> None:
        super().__init__(estimator=estimator)
        self.modality = modality

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        return for_each_sample(lambda view: FastGradientMethod(view, eps=0.1), self.estimator, x, y, self.modality)


def trainable(kind: str, **settings: Any) -> FusionClassifier:
    model = make(kind)
    return FusionClassifier(model, optimizer=torch.optim.Adam(model.parameters(), 0.01), device_type="cpu", **settings)


def task(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Samples of which some lack a modality, and labels that the table tells."""
    x = make_samples(lengths=[5, 2, 0, 1, 5, 4] * 4, notes=["a cat", "red", "", "what?", "blue", "a"] * 4, seed=seed)
    y = (x["lab"].sum(axis=1) * 2).astype(int) % 3
    x["rgb"][[1, 8]] = np.nan
    return x, y


def loss_of(found: FusionClassifier, x: np.ndarray, y: np.ndarray) -> float:
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(found.predict(x)), torch.from_numpy(y)))


@pytest.mark.parametrize("kind", MODELS)
def test_training_makes_the_loss_fall(kind: str) -> None:
    found, (x, y) = trainable(kind), task()
    before = loss_of(found, x, y)
    torch.manual_seed(0)
    found.fit(x, y, batch_size=8, nb_epochs=30)
    assert loss_of(found, x, y) < 0.6 * before
    assert all(parameter.isfinite().all() for parameter in found.multimodal.parameters())


@pytest.mark.parametrize("kind", ["late", "joint"])
def test_a_step_is_that_of_plain_torch(kind: str) -> None:
    found, (x, y) = trainable(kind), task()
    twin = make(kind)
    optimizer = torch.optim.Adam(twin.parameters(), 0.01)
    twin.train()
    torch.nn.functional.cross_entropy(twin(twin.collate(x)), torch.from_numpy(y)).backward()
    optimizer.step()
    found.fit(x, one_hot(y), batch_size=len(x), nb_epochs=1)
    for own, other in zip(found.multimodal.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gated", "joint"])
def test_training_in_other_dtypes(kind: str, dtype: torch.dtype) -> None:
    model = make(kind).to(dtype)
    found = FusionClassifier(model, optimizer=torch.optim.SGD(model.parameters(), 0.05), device_type="cpu")
    x, y = task()
    before = loss_of(found, x, y)
    found.fit(x, y, batch_size=8, nb_epochs=20)
    assert loss_of(found, x, y) < before


def test_views_are_trained_with_one_row_and_share_the_weights() -> None:
    found, (x, y) = trainable("concat"), task()
    one = x[3:4]
    view = found.modality_view("lab", one)
    together = samples(
        **{
            **{
                name: np.repeat(field, len(x)) if name != "rgb" else np.repeat(field, len(x), axis=0)
                for name, field in fields_of(one).items()
            },
            "lab": x["lab"],
        }
    )
    before = loss_of(found, together, y)
    view.fit(x["lab"], y, batch_size=8, nb_epochs=20)
    assert loss_of(found, together, y) < 0.9 * before
    np.testing.assert_allclose(view.predict(x["lab"]), found.predict(together), atol=1e-5)


def test_generators_and_arts_trainer() -> None:
    from art.defences.trainer import AdversarialTrainer

    found, (x, y) = trainable("concat"), task()
    before = loss_of(found, x, y)
    torch.manual_seed(0)
    np.random.seed(0)
    found.fit_generator(NumpyDataGenerator(x, one_hot(y), batch_size=8, shuffle=True), nb_epochs=15)
    between = loss_of(found, x, y)
    assert between < before
    for modality in ("audio", "rgb", "lab"):
        attack = OnSamples(found, modality)
        undefended = loss_of(found, attack.generate(x, one_hot(y)), y)
        AdversarialTrainer(found, attack, ratio=0.5).fit(x, one_hot(y), batch_size=8, nb_epochs=10)
        assert loss_of(found, attack.generate(x, one_hot(y)), y) < undefended


@pytest.mark.parametrize("kind", ["concat", "joint"])
def test_clones_start_afresh_and_apart(kind: str) -> None:
    squeezing = FeatureSqueezing((0, 1), bit_depth=3)
    found, (x, y) = trainable(kind, preprocessing_defences={"rgb": squeezing, "note": Upper()}), task()
    expected = found.predict(x)
    clone = found.clone_for_refitting()
    assert np.abs(clone.predict(x) - expected).max() > 1e-3
    clone.fit(x, y, batch_size=8, nb_epochs=2)
    np.testing.assert_array_equal(found.predict(x), expected)
    assert clone.predict(x).shape == (24, 3)
    values = np.ascontiguousarray(x["audio"]["values"])
    view = found.modality_view("audio", x)
    other = view.clone_for_refitting()
    assert np.abs(other.predict(values) - view.predict(values)).max() > 1e-3
    np.testing.assert_array_equal(found.predict(x), expected)
    # The clone has the same defences: shouted words are read in small letters.
    shouted = with_field(x, "note", [note.upper() for note in x["note"]])
    np.testing.assert_array_equal(clone.predict(shouted), clone.predict(x))


@pytest.mark.parametrize("kind", ["concat", "joint"])
def test_defences_stand_before_their_own_modality(kind: str) -> None:
    squeezing = FeatureSqueezing((-2, 2), bit_depth=2)
    plain, x = classifier(kind), make_samples()
    squeezed = with_field(
        x, "audio", plain.modalities["audio"].with_values(x["audio"], squeezing(x["audio"]["values"].copy())[0])
    )
    found = classifier(kind, preprocessing_defences={"audio": squeezing})
    np.testing.assert_allclose(found.predict(x), plain.predict(squeezed), atol=1e-6)
    assert np.abs(found.predict(x) - plain.predict(x)).max() > 1e-3
    for name in ("rgb", "audio", "lab"):
        view = found.modality_view(name, x)
        values = np.ascontiguousarray(found.modalities[name].values(x[name]))
        np.testing.assert_allclose(view.predict(values), plain.predict(squeezed), atol=1e-6)
    y = np.arange(6) % 3
    np.testing.assert_allclose(
        found.loss_gradient(x, y, modality="rgb"), plain.loss_gradient(squeezed, y, modality="rgb"), atol=1e-7
    )
    read = classifier(kind, preprocessing_defences={"note": Upper(), "rgb": [SpatialSmoothing(channels_first=True)]})
    shouted = with_field(x, "note", [note.upper() for note in x["note"]])
    np.testing.assert_allclose(read.predict(shouted), read.predict(x), atol=1e-6)
    assert np.abs(plain.predict(shouted) - plain.predict(x)).max() > 1e-3
    with pytest.raises(InputError, match=r"^Preprocessing defences stand before audio; a packed view has none\."):
        found.packed_view(["audio"], {"audio": 1}, x)
    assert found.packed_view(["rgb"], {"rgb": 1}, x).predict(np.zeros((6, 108))).shape == (6, 3)


def test_defences_may_leave_the_range() -> None:
    x, y = task()
    noise = GaussianAugmentation(sigma=3.0, augmentation=False, apply_fit=True, apply_predict=True)
    for name in ("rgb", "audio", "lab"):
        found = trainable("concat", preprocessing_defences={name: noise})
        np.random.seed(0)
        found.fit(x, y, batch_size=8, nb_epochs=1)
        for other in ("rgb", "audio", "lab"):
            assert np.isfinite(found.loss_gradient(x, y, modality=other)).all()
        assert np.isfinite(found.predict(x)).all()
    found = trainable("concat", preprocessing_defences={"rgb": GaussianAugmentation(sigma=0.1, augmentation=True)})
    with pytest.raises(InputError, match=r"^GaussianAugmentation before rgb returns \d+ samples for \d+; .* off\.$"):
        found.fit(x, y, batch_size=8, nb_epochs=1)


def test_defences_of_pairs_may_leave_the_range() -> None:
    from tiny import TinyFusion

    model = TinyFusion()
    noise = GaussianAugmentation(sigma=3.0, augmentation=False, apply_fit=True, apply_predict=True)
    found = FusionClassifier(
        model,
        optimizer=torch.optim.SGD(model.parameters(), 0.01),
        preprocessing_defences=noise,
        device_type="cpu",
    )
    pairs = image_text_pairs(np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32), ["a", "b", "c", "d"])
    found.fit(pairs, np.arange(4) % 3, nb_epochs=1)
    assert found.predict(pairs).shape == (4, 3)


def test_defences_that_are_changed_later() -> None:
    found, x = classifier(), make_samples()
    plain, squeezing = found.predict(x), FeatureSqueezing((-2, 2), bit_depth=2)
    found.set_params(preprocessing_defences={"audio": squeezing})
    expected = classifier(preprocessing_defences={"audio": squeezing}).predict(x)
    np.testing.assert_allclose(found.predict(x), expected, atol=1e-6)
    found.set_params(preprocessing_defences=None)
    np.testing.assert_allclose(found.predict(x), plain, atol=1e-6)
    with pytest.raises(InputError, match="^Defences are given for 'depth', which the model does not have: rgb, audio"):
        found.set_params(preprocessing_defences={"depth": squeezing})


def test_defences_of_pairs_that_are_changed_later() -> None:
    from tiny import TinyFusion

    found = FusionClassifier(TinyFusion().eval(), device_type="cpu")
    pairs = image_text_pairs(np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32), ["a", "b", "c", "d"])
    plain, squeezing = found.predict(pairs), FeatureSqueezing((0, 1), bit_depth=2)
    view = found.packed_view(["image"], {"image": 0.1}, pairs)
    np.testing.assert_allclose(view.predict(view.pack(pairs)), plain, atol=1e-5)
    for given in (squeezing, [squeezing], {"image": squeezing}):
        found.set_params(preprocessing_defences=given)
        assert found.defences == {"image": [squeezing]}
        assert np.abs(found.predict(pairs) - plain).max() > 1e-3
        with pytest.raises(InputError, match="^Preprocessing defences stand before image"):
            found.packed_view(["image"], {"image": 0.1}, pairs)
        found.set_params(preprocessing_defences=None)
        np.testing.assert_array_equal(found.predict(pairs), plain)


def test_a_bare_list_of_defences() -> None:
    x = make_samples()
    listed = classifier(preprocessing_defences=[FeatureSqueezing((0, 1), bit_depth=2), Upper()])
    named = classifier(preprocessing_defences={"rgb": FeatureSqueezing((0, 1), bit_depth=2), "note": Upper()})
    np.testing.assert_array_equal(listed.predict(x), named.predict(x))
    model = separate()
    without = [tower for name, tower in model.towers.items() if name != "rgb"]
    from art_multimodal.models.families.modular.model import ModularModel

    with pytest.raises(InputError, match=r"^FeatureSqueezing is for a modality of kind 'image', and the model has 0"):
        FusionClassifier(
            ModularModel(without, "late", model.class_names),
            preprocessing_defences=FeatureSqueezing((0, 1)),
            device_type="cpu",
        )


def test_postprocessors_and_activations() -> None:
    x = make_samples()
    found = classifier(postprocessing_defences=HighConfidence(cutoff=1e-6))
    np.testing.assert_allclose(found.predict(x).sum(axis=1), 1, atol=1e-5)
    plain = classifier("late")
    np.testing.assert_allclose(plain.get_activations(x, "head", batch_size=4), plain.predict(x), atol=1e-6)
    assert plain.get_activations(x, "fusion").shape == (6, 3)


def test_saved_weights_load_again(tmp_path) -> None:
    from safetensors.torch import load_model

    found, x = classifier("gated"), make_samples()
    found.save("weights", str(tmp_path))
    other = separate("gated", seed=7)
    load_model(other, str(tmp_path / "weights.safetensors"))
    np.testing.assert_allclose(FusionClassifier(other, device_type="cpu").predict(x), found.predict(x), atol=1e-6)
