"""Searches that see labels alone: queries are counted by somebody else, and never one more than allowed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from art_multimodal.attacks.evasion.label_only import SEARCHES, Found, search_labels

SHAPE = (3, 6, 6)


class Counter:
    """A linear model of two classes, which counts what it is asked about and remembers it."""

    def __init__(self, classes: int = 2, seed: int = 0) -> None:
        self.weights = np.random.default_rng(seed).standard_normal((classes, *SHAPE))
        self.asked: list[np.ndarray] = []

    def labels(self, images: np.ndarray) -> np.ndarray:
        return np.einsum("kchw,nchw->nk", self.weights, images - 0.5).argmax(axis=1)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.float32 and images.min() >= 0 and images.max() <= 1
        self.asked += list(images)
        return np.eye(len(self.weights), dtype=np.float32)[self.labels(images)]

    def sample(self, side: float = 0.05) -> tuple[np.ndarray, int]:
        """An image near the boundary: its label changes where it moves some way along the difference of weights."""
        difference = self.weights[0] - self.weights[1]
        image = (0.5 + side * difference / np.abs(difference).max()).astype(np.float32)
        return image, int(self.labels(image[None])[0])


def search(name: str, model: Callable, x: np.ndarray, y: int, queries: int, norm: float = np.inf, eps: float = 0.2):
    return search_labels(SEARCHES[name], model, x, y, norm, eps, queries, 2, seed=5)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("queries", [2, 10, 37, 150])
@pytest.mark.parametrize("norm", [np.inf, 2.0])
def test_never_more_than_allowed(name: str, queries: int, norm: float) -> None:
    model = Counter()
    x, y = model.sample()
    # A ball that holds nothing: the search goes on until it is stopped.
    found = search(name, model, x, y, queries, norm, 1e-4)
    assert len(model.asked) == found.queries <= queries
    # Whoever has found anything at all asks to the end.
    if any(model.labels(np.stack(model.asked)) != y):
        assert found.queries == queries
    moved = found.image.astype(np.float64) - x
    assert (np.abs(moved).max() if norm == np.inf else np.linalg.norm(moved)) <= 1e-4 * (1 + 1e-4) + 1e-7
    assert found.label == model.labels(found.image[None])[0]


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("norm", [np.inf, 2.0])
def test_what_is_found_misleads_inside_the_ball(name: str, norm: float) -> None:
    model = Counter()
    x, y = model.sample(0.02)
    eps = 0.25 if norm == np.inf else 1.5
    found = search(name, model, x, y, 400, norm, eps)
    moved = found.image.astype(np.float64) - x
    assert (np.abs(moved).max() if norm == np.inf else np.linalg.norm(moved)) <= eps
    assert found.label != y and model.labels(found.image[None])[0] == found.label
    # It stops there, and what comes back is an image that was asked about, bit for bit.
    assert found.queries == len(model.asked) < 400
    assert any(one.tobytes() == found.image.tobytes() for one in model.asked)


@pytest.mark.parametrize("name", SEARCHES)
def test_equal_seeds_give_equal_results(name: str) -> None:
    results: list[Found] = []
    for _ in range(2):
        model = Counter()
        x, y = model.sample()
        np.random.seed(len(results))
        results.append(search(name, model, x, y, 60))
    assert results[0].image.tobytes() == results[1].image.tobytes() and results[0].queries == results[1].queries


@pytest.mark.parametrize("name", SEARCHES)
def test_a_model_that_never_changes_its_mind(name: str) -> None:
    asked: list[int] = []

    def constant(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return np.tile(np.float32([1, 0]), (len(images), 1))

    x = np.full(SHAPE, 0.5, dtype=np.float32)
    found = search(name, constant, x, 0, 50)
    assert found.image is x and found.label == 0 and found.queries == sum(asked) <= 50


def test_the_users_image_stays() -> None:
    model = Counter()
    x, y = model.sample()
    before = x.copy()
    for name in SEARCHES:
        search(name, model, x, y, 80)
        np.testing.assert_array_equal(x, before)
