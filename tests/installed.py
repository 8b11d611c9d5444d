"""Packages that look installed, with data files and code that must never run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

_NEVER = "raise AssertionError('a package of which only files are wanted was imported')\n"


def pretend(monkeypatch: pytest.MonkeyPatch, root: Path, package: str) -> Path:
    """Put a package in front of all others, and return its folder."""
    folder = root / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(_NEVER)
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.syspath_prepend(root)
    return folder


def pretend_motorcycle(monkeypatch: pytest.MonkeyPatch, root: Path, size: tuple[int, int] = (100, 400)) -> Path:
    """A photo and its disparities, in the files and with the names of scikit-image's."""
    folder = pretend(monkeypatch, root, "skimage")
    (folder / "data").mkdir()
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    disparity = rng.uniform(7, 60, size).astype(np.float32)
    disparity[rng.random(size) < 0.05] = np.inf
    disparity[:40, :60] = 20.0  # a wall
    disparity[40:, :50] = np.inf
    Image.fromarray(photo).save(folder / "data" / "motorcycle_left.png")
    np.savez(folder / "data" / "motorcycle_disp.npz", disparity)
    return folder
