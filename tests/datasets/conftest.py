"""A folder of photos."""

from __future__ import annotations

from pathlib import Path

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
