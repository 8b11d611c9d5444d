"""Random views of images: windows of ramps are known in closed form."""

from __future__ import annotations

import pytest
import torch

from art_multimodal.functional.views import at_scale, drawn_numbers, local_crops, smaller_on_black


def ramps(count: int = 3, side: int = 16) -> torch.Tensor:
    """Images whose first channel is the place across, and whose second is that down, at the middle of each pixel."""
    line = (torch.arange(side) + 0.5) / side
    across, down = line.expand(side, side), line[:, None].expand(side, side)
    return torch.stack([across, down, torch.ones(side, side)]).expand(count, 3, side, side).clone()


def numbers(count: int = 3, seed: int = 0) -> torch.Tensor:
    return drawn_numbers([torch.Generator().manual_seed(seed + one) for one in range(count)])


def test_a_crop_shows_a_window() -> None:
    images, drawn = ramps(), numbers()
    crops = local_crops(images, drawn, (0.25, 0.49))
    assert crops.shape == images.shape
    for crop, (share, across, down) in zip(crops, drawn[:, :3].double(), strict=True):
        side = (0.25 + 0.24 * share).sqrt()
        line = (torch.arange(16).double() + 0.5) / 16 * side
        # Bilinear interpolation of a ramp is exact, but for the border of the image.
        inside = slice(2, 14)
        torch.testing.assert_close(crop[0, 8, inside].double(), (line + across * (1 - side))[inside], atol=1e-5, rtol=0)
        torch.testing.assert_close(crop[1, inside, 8].double(), (line + down * (1 - side))[inside], atol=1e-5, rtol=0)


def test_whole_crops_are_the_image() -> None:
    images = torch.rand(3, 3, 9, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(local_crops(images, numbers(), (1.0, 1.0)), images, atol=1e-5, rtol=0)


def test_smaller_images_stand_on_black() -> None:
    images, drawn = torch.ones(3, 3, 32, 32), numbers()
    drawn[:, 3] = torch.tensor([0.1, 0.9, 0.2])
    made = smaller_on_black(images, drawn, 0.5, 0.5)
    assert torch.equal(made[1], images[1])
    for row in (0, 2):
        # A white picture keeps its area, up to half a pixel along each border.
        width = 32 * float(0.5 + 0.5 * drawn[row, 4])
        assert made[row, 0].sum() == pytest.approx(width**2, abs=2 * width + 1)
        assert made[row].min() >= 0 and made[row].max() <= 1 + 1e-6
    assert smaller_on_black(images, drawn, 0.0, 0.5) is images


def test_gradients_pass_through() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2)).double().requires_grad_(True)
    drawn = numbers(2)

    def view(x: torch.Tensor) -> torch.Tensor:
        return at_scale(smaller_on_black(local_crops(x, drawn, (0.5, 0.9)), drawn, 1.0, 0.8), 0.75)

    assert torch.autograd.gradcheck(view, images, atol=1e-4)


def test_views_belong_to_their_generator() -> None:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    together = local_crops(images, numbers(), (0.5, 0.9))
    alone = local_crops(images[2:], numbers(1, seed=2), (0.5, 0.9))
    torch.testing.assert_close(together[2:], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("scale", "sides"), [(0.5, (4, 6)), (1.5, (12, 18)), (0.01, (1, 1)), (1.0, (8, 12))])
def test_scales(scale: float, sides: tuple[int, int]) -> None:
    images = torch.full((2, 3, 8, 12), 0.25)
    scaled = at_scale(images, scale)
    assert tuple(scaled.shape[-2:]) == sides
    torch.testing.assert_close(scaled, torch.full_like(scaled, 0.25))
