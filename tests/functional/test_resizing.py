"""Resizes as matrices against the libraries that they stand for."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.functional.resizing import RESIZERS

SHAPES = [((50, 37), (20, 11)), ((64, 64), (8, 8)), ((20, 11), (50, 37)), ((33, 100), (32, 99)), ((224, 300), (7, 7))]
#: Mode of ``interpolate``, and its further arguments.
TORCH = {
    "torch_bilinear": ("bilinear", {"align_corners": False}),
    "torch_bicubic": ("bicubic", {"align_corners": False}),
    "torch_bilinear_antialias": ("bilinear", {"align_corners": False, "antialias": True}),
    "torch_bicubic_antialias": ("bicubic", {"align_corners": False, "antialias": True}),
    "torch_area": ("area", {}),
    "torch_nearest": ("nearest", {}),
    "torch_nearest_exact": ("nearest-exact", {}),
}
PILLOW = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TORCH)
def test_torchs(name: str, shape: tuple[tuple[int, int], tuple[int, int]]) -> None:
    before, after = shape
    mode, further = TORCH[name]
    expected = F.interpolate(picture(*before), after, mode=mode, **further)
    # A handful of products of numbers below 2, in float64; torch keeps antialiasing weights in double, too.
    torch.testing.assert_close(RESIZERS[name](picture(*before), after), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PILLOW)
def test_pillows_unrounded(name: str, shape: tuple[tuple[int, int], tuple[int, int]]) -> None:
    before, after = shape
    values = (picture(*before)[0, 0] * 255).round()
    photo = Image.fromarray(values.numpy().astype(np.float32))
    expected = torch.from_numpy(np.array(photo.resize(after[::-1], Image.Resampling[name.upper()])))
    resizer = RESIZERS[name]
    found = resizer.matrix(before[0], after[0]) @ values @ resizer.matrix(before[1], after[1]).T
    # Pillow sums in double and stores float32, of numbers up to some 300.
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PILLOW)
def test_pillows_in_eight_bits(name: str, shape: tuple[tuple[int, int], tuple[int, int]]) -> None:
    before, after = shape
    values = (picture(*before)[0] * 255).round()
    photo = Image.fromarray(values.byte().movedim(0, -1).contiguous().numpy())
    expected = torch.from_numpy(np.array(photo.resize(after[::-1], Image.Resampling[name.upper()]))).movedim(-1, 0)
    resizer = RESIZERS[name]
    # Pillow resizes rows first, and rounds and saturates between. Its weights are whole numbers of 22 bits: what lies
    # at a half may go either way in the first pass, and then again in the second.
    rows = (values @ resizer.matrix(before[1], after[1]).T + 0.5).floor().clamp(0, 255)
    found = (resizer.matrix(before[0], after[0]) @ rows + 0.5).floor().clamp(0, 255)
    assert (found - expected.double()).abs().max() <= 2
    assert (found - expected.double()).abs().mean() < 0.1


@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [name for name in RESIZERS if name.startswith("opencv_")])
def test_opencvs(name: str, shape: tuple[tuple[int, int], tuple[int, int]]) -> None:
    import cv2

    before, after = shape
    values = picture(*before)[0].movedim(0, -1).contiguous().numpy().astype(np.float32)
    flag = getattr(cv2, f"INTER_{name.removeprefix('opencv_').upper()}")
    expected = torch.from_numpy(cv2.resize(values, after[::-1], interpolation=flag)).movedim(-1, 0)
    resizer = RESIZERS[name]
    found = resizer.matrix(before[0], after[0]) @ picture(*before)[0] @ resizer.matrix(before[1], after[1]).T
    # OpenCV keeps weights in float32.
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-4)


def test_opencvs_area_by_hand() -> None:
    # 5 pixels become 2: each covers two and a half.
    expected = torch.tensor([[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(RESIZERS["opencv_area"].matrix(5, 2), expected)
    # 2 become 4: the two in the middle of a pixel each are it, and an edge is sharp where pixels fit.
    expected = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=torch.float64)
    torch.testing.assert_close(RESIZERS["opencv_area"].matrix(2, 4), expected)
    # 2 become 3: the middle one is half of each.
    expected = torch.tensor([[1, 0], [0.5, 0.5], [0, 1]], dtype=torch.float64)
    torch.testing.assert_close(RESIZERS["opencv_area"].matrix(2, 3), expected)


@pytest.mark.parametrize("name", list(RESIZERS))
def test_what_all_have_in_common(name: str) -> None:
    resizer = RESIZERS[name]
    for before, after in ((9, 4), (4, 9), (5, 5), (1, 3), (100, 7)):
        matrix = resizer.matrix(before, after)
        assert matrix.shape == (after, before) and matrix.dtype == torch.float64
        torch.testing.assert_close(matrix.sum(dim=1), torch.ones(after, dtype=torch.float64))
    # A flat picture stays flat, in float32 too, and a gradient comes through.
    flat = torch.full((2, 3, 10, 12), 0.25, requires_grad=True)
    resized = resizer(flat, (3, 5))
    torch.testing.assert_close(resized, torch.full((2, 3, 3, 5), 0.25))
    resized.sum().backward()
    assert flat.grad is not None and float(flat.grad.sum()) == pytest.approx(2 * 3 * 15, rel=1e-5)


def test_what_saturates() -> None:
    edge = torch.zeros(1, 1, 1, 8)
    edge[..., 4:] = 1
    assert RESIZERS["opencv_cubic"](edge, (1, 16)).min() == 0
    assert RESIZERS["torch_bicubic"](edge, (1, 16)).min() < 0


def test_a_resize_of_another_name() -> None:
    with pytest.raises(InputError, match="opencv_linear"):
        RESIZERS["opencv_liner"]
