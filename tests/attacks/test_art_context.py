"""ART's attacks get a view of the caller's estimator: nothing of it is changed, and threads do not meet."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from art.defences.preprocessor import FeatureSqueezing
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.art_context import global_seed, view_of, with_memory
from art_multimodal.evaluations.suite import ATTACKS, Budget

CLASSES = ("cat", "dog", "bird", "fish")
IMAGE_ATTACKS = [name for name, entry in ATTACKS.items() if entry.modality == "image" and "zero-shot" in entry.tasks]


def classifier() -> ZeroShotClassifier:
    return ZeroShotClassifier(
        TinyEncoder().eval(),
        CLASSES,
        preprocessing_defences=FeatureSqueezing(clip_values=(0, 1), bit_depth=6),
        device_type="cpu",
    )


def images(count: int = 6, shape: tuple[int, int] = (8, 8), seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, *shape), dtype=np.float32)


@pytest.mark.parametrize("name", [*IMAGE_ATTACKS, "worst_image"])
def test_an_override_of_the_users_own_stays_and_holds(name) -> None:
    estimator = classifier()
    plain, asked = estimator.predict, []

    def predict(x: np.ndarray, *args, **kwargs) -> np.ndarray:
        asked.append(len(x))
        return plain(x, *args, **kwargs)

    estimator.predict = predict  # type: ignore[method-assign]
    operations, before = estimator.preprocessing_operations, dict(vars(estimator))
    x = images(shape=(9, 7))
    labels = estimator.predict_labels(x)
    asked.clear()
    ATTACKS[name].run(estimator, x, labels, Budget("inf", 0.01, 0.005, 3, 20, 4), 0)
    after = vars(estimator)
    assert after.keys() == before.keys()
    assert all(after[key] is before[key] for key in before if key != "_model")
    assert estimator.predict is predict
    assert estimator.preprocessing_operations is operations and len(operations) == 1
    assert asked  # what the user put there was asked, too


def test_a_view_is_set_without_the_estimator() -> None:
    estimator = classifier()
    view = view_of(estimator, (3, 5, 6))
    assert type(view) is ZeroShotClassifier and view.model is estimator.model
    assert view.input_shape == (3, 5, 6) and estimator.input_shape == (3, 8, 8)
    view.set_params(preprocessing_defences=None)
    assert estimator.preprocessing_defences and len(estimator.preprocessing_operations) == 1
    assert not view.preprocessing_operations


def test_memory_belongs_to_one_view() -> None:
    estimator = classifier()
    x = images()
    rows: list[int] = []
    estimator.model.image_encoder.register_forward_hook(lambda m, i, o: rows.append(len(o)))
    view, other = with_memory(estimator), with_memory(estimator)
    np.testing.assert_array_equal(view.predict(x), view.predict(x))
    assert sum(rows) == len(x)
    view.predict(np.concatenate([x, images(seed=2)]))
    assert sum(rows) == 2 * len(x)
    other.predict(x)
    assert sum(rows) == 3 * len(x)
    assert "predict" not in vars(estimator)


def test_memory_tells_images_apart_by_all_their_pixels() -> None:
    """Also those with the same sum of pixels, those changed in place, and those that were last asked about long ago."""
    estimator = classifier()
    view, x = with_memory(estimator), images()
    first = estimator.predict(x, batch_size=len(x))
    np.testing.assert_array_equal(view.predict(x), first)
    turned = np.ascontiguousarray(x[..., ::-1])
    np.testing.assert_array_equal(view.predict(turned), estimator.predict(turned))
    own = x.copy()
    view.predict(own)
    own[...] = turned
    np.testing.assert_array_equal(view.predict(own), estimator.predict(turned))
    for seed in range(10, 15):
        view.predict(images(seed=seed))
    estimator.model.image_encoder.register_forward_hook(lambda m, i, o: pytest.fail("asked again"))
    np.testing.assert_array_equal(view.predict(x[::-1]), first[::-1])


@pytest.mark.parametrize("name", IMAGE_ATTACKS)
def test_two_threads_on_one_estimator_get_what_each_gets_alone(name) -> None:
    estimator = classifier()
    jobs = [images(4, shape, seed) for seed, shape in enumerate([(8, 8), (9, 7), (8, 8), (10, 6)])]
    labels = [estimator.predict_labels(x) for x in jobs]
    budget = Budget("inf", 0.02, 0.01, 3, 20, 4)

    def attack(number: int) -> np.ndarray:
        return ATTACKS[name].run(estimator, jobs[number], labels[number], budget, number).images

    alone = [attack(number) for number in range(len(jobs))]
    with ThreadPoolExecutor(len(jobs)) as pool:
        together = list(pool.map(attack, range(len(jobs))))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert estimator.input_shape == (3, 8, 8)


def test_global_seeds_of_threads_do_not_mix() -> None:
    """One is inside at a time: what each draws is what its seed says, and the state before comes back."""
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    inside, overlaps = [0], []

    def draw(seed: int) -> tuple[float, ...]:
        drawn = []
        with global_seed(seed):
            inside[0] += 1
            for _ in range(20):
                overlaps.append(inside[0])
                drawn += [float(np.random.random()), random.random(), float(torch.rand(()))]
                # Lets another thread run, if there is one that may.
                threading.Event().wait(0.0005)
            with global_seed(seed + 100):  # one's own may be nested
                pass
            inside[0] -= 1
        return tuple(drawn)

    alone = [draw(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(4))) == alone
    assert set(overlaps) == {1}
    assert (np.random.get_state()[1] == before).all()
