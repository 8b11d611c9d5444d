"""A folder of photos, and the library whose data sets are read."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from photos import save_photo


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with two photos each, and files that are none."""
    root = tmp_path / "photos"
    for seed, name in enumerate(("fire_truck/a.png", "fire_truck/deep/b.png", "dog/c.png", "dog/ü ✓.png")):
        save_photo(root / name, seed=seed)
    (root / "dog" / "notes.txt").write_text("not a photo")
    (root / ".git").mkdir()
    (root / "README.md").write_text("not a class")
    return root


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, with its cache in a folder of the test."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    # A module of it: the folder of these tests has the name of the library.
    pytest.importorskip("datasets.arrow_dataset")
    found = importlib.import_module("datasets")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found.disable_progress_bars()

    def load_dataset(*_: Any, **__: Any) -> None:
        raise AssertionError("this function talks to the hub, even about files that are here")

    monkeypatch.setattr(found, "load_dataset", load_dataset)
    return found
