"""Benchmarks in miniature take longer than a test may."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of one colour for each class, in the files' format."""
    rng = np.random.default_rng(0)
    made = tmp_path_factory.mktemp("data")

    def images(labels: np.ndarray, size: int) -> np.ndarray:
        colours = np.random.default_rng(1).integers(30, 225, size=(labels.max() + 1, 1, 1, 3))
        return np.clip(colours[labels] + rng.integers(-25, 26, size=(len(labels), size, size, 3)), 0, 255).astype(
            np.uint8
        )

    of_ten = {part: np.arange(count) % 10 for part, count in (("train", 80), ("test", 40))}
    arrays = {f"x_{part}": images(labels, 32) for part, labels in of_ten.items()}
    np.savez(made / "cifar10.npz", **arrays, **{f"y_{part}": labels for part, labels in of_ten.items()})
    names = np.array(["dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"])
    arrays = {f"x_{part}": images(labels, 64) for part, labels in of_ten.items()}
    np.savez(
        made / "clothing64.npz", **arrays, **{f"y_{part}": labels for part, labels in of_ten.items()}, classes=names
    )
    labels = np.arange(36) % 3
    np.savez(
        made / "emoji64.npz",
        x=images(labels, 64),
        category=labels,
        name=np.array([f"{('sad', 'glad')[n % 2]} {('face', 'tree', 'flag')[n % 3]}" for n in range(36)]),
        classes=np.array(["Faces", "Animals & Nature", "Flags"]),
    )
    return made
