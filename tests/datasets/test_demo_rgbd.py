"""Patches of colours and depth: balanced, so that either alone is blind, and read from an installed package."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from installed import pretend, pretend_motorcycle

from art_multimodal import InputError
from art_multimodal.datasets import open_data
from art_multimodal.demo import installed as places
from art_multimodal.demo.rgbd import SIZE
from art_multimodal.demo.rgbd_data import SPLITS, RgbdData, other_places, patches


def check_blind(data: RgbdData) -> None:
    """Each patch of each modality stands beside either label equally often, and pairs are what labels say."""
    x = data.samples()
    for name, modality in data.modalities.items():
        modality.check(x[name])
        _, group = np.unique(x[name].reshape(len(x), -1), axis=0, return_inverse=True)
        by_label = [np.bincount(group[data.labels == label], minlength=group.max() + 1) for label in (0, 1)]
        assert np.array_equal(*by_label) and by_label[0].min() >= 1
    apart = np.abs(data.places[:, 0] - data.places[:, 1]).max(axis=1)
    assert (apart[data.labels == 1] == 0).all() and (apart[data.labels == 0] >= SIZE).all()


def test_either_alone_is_blind_by_construction(monkeypatch, tmp_path) -> None:
    pretend_motorcycle(monkeypatch, tmp_path)
    opened = {split: RgbdData(split) for split in SPLITS}
    for data in opened.values():
        check_blind(data)
        # The best guess from one modality, made with the answers at hand, is right in one of two.
        for column in (0, 1):
            counts = np.bincount(data.patches[:, column] * 2 + data.labels).reshape(-1, 2)
            assert counts.max(axis=1).sum() / len(data) == 0.5
    # No pixel of the photo is in both.
    assert opened["train"].places[..., 1].max() + SIZE <= 280 <= opened["test"].places[..., 1].min()
    assert "skimage" not in sys.modules


def test_patches_show_what_lies_at_their_place(monkeypatch, tmp_path) -> None:
    folder = pretend_motorcycle(monkeypatch, tmp_path)
    disparity = np.load(folder / "data" / "motorcycle_disp.npz")["arr_0"]
    found = patches("train")
    row, column = found.places[7]
    expected = disparity[row : row + SIZE, column : column + SIZE]
    np.testing.assert_allclose(found.depth[7, 0] * 64, np.where(np.isfinite(expected), expected, 0), rtol=1e-6)
    # Neither the wall nor the gap is among them.
    assert not ((found.places[:, 0] <= 8) & (found.places[:, 1] <= 28)).any()
    assert not ((found.places[:, 0] >= 40) & (found.places[:, 1] <= 10)).any()


def test_other_places_are_all_taken_once_and_lie_apart() -> None:
    grid = np.stack(np.meshgrid(np.arange(0, 64, 8), np.arange(0, 128, 8)), axis=2).reshape(-1, 2)
    other = other_places(grid, np.random.default_rng(3))
    assert sorted(other) == list(range(len(grid)))
    assert (np.abs(grid - grid[other]).max(axis=1) >= SIZE).all()
    with pytest.raises(InputError, match="too close"):
        other_places(grid[:3], np.random.default_rng(0))


def test_what_is_missing_or_another_file_is_said(monkeypatch, tmp_path) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(places, "find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"not installed: pip install art-multimodal\[demo\]"):
            open_data("demo:rgbd")
    with pytest.raises(InputError, match="split of demo:rgbd"):
        RgbdData("left")
    folder = pretend_motorcycle(monkeypatch, tmp_path)
    np.savez(folder / "data" / "motorcycle_disp.npz", np.zeros((3, 3), np.float32))
    with pytest.raises(InputError, match="is another one"):
        RgbdData()
    np.savez(folder / "data" / "motorcycle_disp.npz", np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"motorcycle_disp.npz cannot be read \(ValueError\)"):
        RgbdData()
    (folder / "data" / "motorcycle_left.png").write_bytes(b"%!PS-Adobe-3.0\n")
    with pytest.raises(InputError, match="PostScript"):
        RgbdData()
    (folder / "data" / "motorcycle_left.png").unlink()
    with pytest.raises(InputError, match="has no file motorcycle_left.png"):
        RgbdData()


def test_a_namespace_or_a_module_is_no_such_package(monkeypatch, tmp_path) -> None:
    folder = pretend(monkeypatch, tmp_path, "skimage")
    (folder / "__init__.py").unlink()
    folder.rmdir()
    (tmp_path / "skimage.py").write_text("raise AssertionError\n")
    with pytest.raises(InputError, match="not installed"):
        RgbdData()


def test_the_motorcycle_itself() -> None:
    for split, count in (("train", 4804), ("test", 1946)):
        data = RgbdData(split)
        check_blind(data)
        assert len(data) == count and data.labels.mean() == 0.5
