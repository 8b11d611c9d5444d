"""Attacks on several modalities at once: PGD over the product of balls, and fields of other samples."""

from __future__ import annotations

import numpy as np
import pytest
from art.attacks.evasion import ProjectedGradientDescent
from several import MODELS, classifier, make, make_samples, one_hot, sequences

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import ModalitySwapAttack, ProjectedGradientDescentMultimodal
from art_multimodal.errors import InputError
from art_multimodal.evaluations.single_source import SingleSource
from art_multimodal.sample_arrays import fields_of, samples

EPS = {"rgb": 0.06, "audio": 0.3, "lab": 0.1}
STEP = {name: 0.23 * eps for name, eps in EPS.items()}


def incomplete() -> np.ndarray:
    x = make_samples()
    rgb, lab = x["rgb"].copy(), x["lab"].copy()
    rgb[1], lab[2] = np.nan, np.nan
    return samples(rgb=rgb, audio=sequences([5, 2, 3, 0, 1, 4]), lab=lab, note=x["note"])


def numbers(x: np.ndarray, name: str) -> np.ndarray:
    return x[name]["values"] if name == "audio" else x[name]


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_pgd_takes_the_steps_of_arts_on_the_packed_view(kind: str, targeted: bool) -> None:
    found = FusionClassifier(make(kind).double(), device_type="cpu")
    x = make_samples()
    y = (found.predict(x).argmax(axis=1) + targeted) % 3
    view = found.packed_view(list(EPS), EPS, x)
    packed = ProjectedGradientDescent(
        view, eps=1, eps_step=0.23, max_iter=7, targeted=targeted, batch_size=6, verbose=False
    )
    expected = view.unpack(packed.generate(view.pack(x), one_hot(y)), x)
    attack = ProjectedGradientDescentMultimodal(
        found, EPS, eps_step=STEP, max_iter=7, targeted=targeted, num_random_init=0, batch_size=4, verbose=False
    )
    after = attack.generate(x, y)
    for name, eps in EPS.items():
        assert np.abs(numbers(after, name) - numbers(x, name)).max() > 0.5 * eps
        np.testing.assert_allclose(numbers(after, name) / eps, numbers(expected, name) / eps, atol=1e-4)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "fused"])
@pytest.mark.parametrize("norm", [np.inf, 2, {"rgb": 2, "audio": np.inf}])
def test_pgd_stays_in_each_budget(loss: str, norm) -> None:
    found, x = classifier("joint"), incomplete()
    eps = {"rgb": 0.5, "audio": 0.4}
    attack = ProjectedGradientDescentMultimodal(found, eps, norm, max_iter=4, loss=loss, seed=0, verbose=False)
    after = attack.generate(x)
    for name, most in eps.items():
        modality, old, new = found.modalities[name], numbers(x, name), numbers(after, name)
        missing = modality.missing(x[name])
        assert missing.any()
        assert new[missing].tobytes() == old[missing].tobytes()
        delta = (new - old)[~missing].reshape((~missing).sum(), -1)
        size = np.linalg.norm(delta, norm[name] if isinstance(norm, dict) else norm, axis=1)
        assert (size <= most * (1 + 1e-5)).all()
        assert (size > 0).all()
        low, high = modality.clip_values
        assert (new[~missing] >= low).all()
        assert (new[~missing] <= high).all()
    assert not after["audio"]["values"][~found.modalities["audio"].present(x["audio"])].any()
    assert after["audio"]["length"].tolist() == x["audio"]["length"].tolist()
    assert after["lab"].tobytes() == x["lab"].tobytes()
    assert after["note"].tolist() == x["note"].tolist()
    one = ProjectedGradientDescentMultimodal(
        found, eps, norm, max_iter=4, loss=loss, seed=0, verbose=False, batch_size=1
    ).generate(x)
    np.testing.assert_allclose(one["rgb"], after["rgb"], atol=1e-4)


@pytest.mark.parametrize("name", ["rgb", "audio", "lab", "note"])
def test_swapped_fields_are_genuine(name: str) -> None:
    found, x = classifier("concat"), make_samples(notes=["a", "b", "c", "d", "e", "f"])
    attack = ModalitySwapAttack(found, name, verbose=False)
    after = attack.generate(x)
    assert (attack.donors != np.arange(6)).all()
    own = samples(**{field: found.modalities[field].laid_out(values) for field, values in fields_of(x).items()})
    for field in fields_of(x):
        expected = own[field][attack.donors] if field == name else own[field]
        if field == "note":
            assert after[field].tolist() == expected.tolist()
        else:
            assert after[field].tobytes() == expected.tobytes()


def test_what_trust_costs_where_something_is_missing() -> None:
    found, x = classifier("late"), incomplete()
    labels = found.predict(x).argmax(axis=1)
    result = SingleSource(found, EPS, max_iter=5, verbose=False).evaluate(x, labels)
    assert result.clean.all()
    assert list(result.sources) == list(EPS)
    for name, source in result.sources.items():
        # A modality that is missing can be neither attacked, nor left out, nor removed.
        missing = found.modalities[name].missing(x[name])
        assert missing.any()
        for right in (source.attacked, source.left_out, source.removed):
            assert right is not None
            assert right[missing].all()


def test_eps_of_what_is_no_modality() -> None:
    found = classifier()
    for eps, said in (
        ({"depth": 0.1}, r"^The model knows no modality 'depth'; it takes rgb, audio, lab, note\.$"),
        ({"note": 0.1}, "^note holds texts"),
        ({}, "^eps names the modalities that are attacked"),
        (0.1, r"^eps names the modalities that are attacked: .*, not 0\.1\.$"),
    ):
        with pytest.raises(InputError, match=said):
            ProjectedGradientDescentMultimodal(found, eps)
    with pytest.raises(InputError, match=r"^The model knows no modality 'depth'"):
        ModalitySwapAttack(found, "depth")
