"""Shared fixtures: the demo model, its data, and a tiny classifier.

What takes seconds to import is imported by who uses it: the process that hands out tests to others runs none.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

from tools.slow_tests import listed

if TYPE_CHECKING:
    import numpy as np
    from tiny import TinyEncoder

    from art_multimodal import ZeroShotClassifier
    from art_multimodal.datasets import LabelledImages

# Timing must not decide a property test on a busy machine; the examples are the same in every run.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci")

#: Files that take longest: they begin first, so that no process is left alone with one in the end.
_LONGEST = (
    "test_notebooks.py",
    "test_matrix.py",
    "test_in_tree.py",
    "test_any_modality.py",
    "test_two_processes.py",
    "test_benchmark_run.py",
    "test_docstrings.py",
    "test_run_defended.py",
    "test_trainers_learn.py",
    "test_several_processes.py",
    "test_retrieval.py",
    "test_registry_texts.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    left = set(listed())
    for item in items:
        if item.nodeid in left:
            # Before those are left out that `-m` does not name.
            item.add_marker("slow")
            item.add_marker("listed")

    # These models are too small for two threads, which then wait for each other more than they work.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    place = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Whatever draws from global generators draws the same in every run, whichever tests came before."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def little_effort() -> Iterator[None]:
    """For tests of what an audit does with attacks, and not of how strong they are."""
    from audits import little_effort

    with little_effort():
        yield


@pytest.fixture
def tiny() -> TinyEncoder:
    from tiny import TinyEncoder

    return TinyEncoder().eval()


@pytest.fixture
def tiny_classifier(tiny: TinyEncoder) -> ZeroShotClassifier:
    from art_multimodal import ZeroShotClassifier

    return ZeroShotClassifier(tiny, ("cat", "dog", "bird", "fish"), device_type="cpu")


@pytest.fixture
def tiny_images() -> np.ndarray:
    import numpy as np

    return np.random.default_rng(0).random((6, 3, 8, 8), dtype=np.float32)


@pytest.fixture(scope="session")
def digits() -> LabelledImages:
    from art_multimodal.datasets import open_data

    return open_data("demo:digits")


@pytest.fixture(scope="session")
def digits_images(digits: LabelledImages) -> tuple[np.ndarray, np.ndarray]:
    """All held-out digits and their labels."""
    import numpy as np

    images = np.stack([digits.image(index) for index in range(len(digits))])
    return images, np.array([digits.label_of(index) for index in range(len(digits))])


@pytest.fixture
def digits_classifier(digits: LabelledImages) -> ZeroShotClassifier:
    from art_multimodal import ZeroShotClassifier, load_model

    return ZeroShotClassifier(load_model("demo:digits"), digits.class_names, digits.templates, device_type="cpu")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel of the package."""
    from once import made_once
    from walks import build_wheel

    (wheel,) = made_once(tmp_path_factory, "wheel", build_wheel).glob("wheels/*.whl")
    return wheel
