"""Resize and normalisation against PIL and torchvision; what an attack needs of them.

PIL resizes 8-bit images and rounds after each of two passes, here nothing is rounded. So a pixel may differ by up to 5
of 255 levels where an overshoot is clipped in between, and by 0.6 in the mean. Nearest neighbours are equal, but for
rows and columns half way between two, which may be every third.
"""

from __future__ import annotations

import itertools

import open_clip
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import to_tensor

from art_multimodal.models.preprocessing import RESIZE_MODES, ImagePreprocessing

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
RESAMPLE = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR, "nearest": Image.NEAREST}


def preprocessing(mode="shortest", size=(32, 32), **settings):
    return ImagePreprocessing(size, MEAN, STD, resize_mode=mode, **settings)


def assert_same_picture(found, expected, interpolation="bicubic"):
    """Compare pictures ``[C, H, W]`` in [0, 1], up to the rounding of 8-bit images."""
    assert found.shape == expected.shape
    levels = ((found - expected) * 255).abs()
    if interpolation == "nearest":
        assert (levels < 0.01).float().mean() > 0.7
        return
    assert levels.max() < 5
    assert levels.mean() < 0.6


def pixels(preprocess, photo):
    """The preprocessed picture, with the normalisation undone."""
    return preprocess(to_tensor(photo)[None])[0] * preprocess.std + preprocess.mean


# --- the published transforms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("settings", [{}, {"first_resize": 40}])
def test_images_of_the_models_size_are_only_normalised(mode, settings):
    preprocess = preprocessing(mode, size=(24, 32), **settings)
    images = torch.rand(3, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    expected = transforms.Normalize(MEAN, STD)(images)
    assert torch.equal(preprocess(images), expected)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("resized", [32, 36, 39])
def test_shortest_is_torchvisions_resize_and_crop(photos, interpolation, resized):
    preprocess = preprocessing(interpolation=interpolation, first_resize=resized)
    published = transforms.Compose(
        [transforms.Resize(resized, InterpolationMode(interpolation)), transforms.CenterCrop(32), transforms.ToTensor()]
    )
    for photo in photos:
        if photo.size != (32, 32):
            assert_same_picture(pixels(preprocess, photo), published(photo), interpolation)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
def test_squash_is_pils_resize(photos, interpolation):
    for size, photo in itertools.product([(32, 32), (20, 50)], photos):
        expected = to_tensor(photo.resize(size[::-1], RESAMPLE[interpolation]))
        found = pixels(preprocessing("squash", size, interpolation=interpolation), photo)
        assert_same_picture(found, expected, interpolation)


def test_sides_that_fit_exactly_do_not_lose_a_pixel(photos):
    """29 / 224 is no binary fraction, and 58 / (29 / 224) is a little less than 448."""
    photo = photos[0].resize((58, 29))
    published = transforms.Compose([transforms.Resize(224, InterpolationMode.BICUBIC), transforms.CenterCrop(224)])
    assert_same_picture(pixels(preprocessing(size=(224, 224)), photo), to_tensor(published(photo)))


def test_squash_then_crop(photos):
    preprocess = preprocessing("squash", (32, 30), first_resize=(40, 36))
    for photo in photos:
        expected = photo.resize((36, 40), Image.BICUBIC).crop((3, 4, 33, 36))
        assert_same_picture(pixels(preprocess, photo), to_tensor(expected))


@pytest.mark.parametrize(("mode", "size"), [("longest", (32, 32)), ("longest", (20, 50)), ("shortest", (20, 50))])
@pytest.mark.parametrize("grey", [0, 200])
def test_other_shapes_are_open_clips(photos, mode, size, grey):
    preprocess = preprocessing(mode, size, fill=grey / 255)
    published = open_clip.image_transform(size, False, (0,) * 3, (1,) * 3, mode, fill_color=grey)
    for photo in photos:
        assert_same_picture(pixels(preprocess, photo), published(photo))


def test_longest_pads_with_what_the_model_sees_as_zero():
    found = preprocessing("longest")(torch.rand(1, 3, 8, 32))
    assert (found[:, :, :12] == 0).all()
    assert (found[:, :, 20:] == 0).all()
    assert (found[:, :, 12:20] != 0).all()


def test_the_crop_rounds_as_the_library_does():
    """A margin of 3.5 pixels: torchvision crops 4 on top, transformers 3; a margin of 2.5: both crop 2."""
    for height, rounded, down in [(39, 4, 3), (37, 2, 2)]:
        images = torch.arange(height, dtype=torch.float32).view(1, 1, height, 1).expand(1, 3, height, 32) / 100
        for rounds_down, top in [(False, rounded), (True, down)]:
            preprocess = ImagePreprocessing((32, 32), (0,) * 3, (1,) * 3, crop_rounds_down=rounds_down)
            torch.testing.assert_close(preprocess(images), images[:, :, top : top + 32])


def test_values_saturate_as_8_bit_images_do():
    """Bicubic filters overshoot at edges."""
    edges = torch.zeros(1, 3, 48, 48)
    edges[..., 13:29] = 1
    preprocess = ImagePreprocessing((32, 32), (0,) * 3, (1,) * 3)
    found = preprocess(edges)
    assert float(found.min()) == 0
    assert float(found.max()) == 1


def test_an_unknown_mode():
    with pytest.raises(ValueError, match="'stretch'"):
        preprocessing("stretch")


# --- photos -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"first_resize": 39}, {"first_resize": 39, "crop_rounds_down": True}])
def test_photos_are_reduced_as_the_published_transform_does(photos, settings):
    preprocess = preprocessing(**settings)
    resize = transforms.Resize(settings.get("first_resize", 32), InterpolationMode.BICUBIC)
    larger = [photo for photo in photos if min(photo.size) > 32]
    assert len(larger) >= 4
    for photo in larger:
        reduced = preprocess.reduce_photo(photo)
        expected = resize(photo)
        if settings.get("crop_rounds_down"):
            left, top = (expected.width - 32) // 2, (expected.height - 32) // 2
            expected = expected.crop((left, top, left + 32, top + 32))
        else:
            expected = transforms.CenterCrop(32)(expected)
        assert reduced.tobytes() == expected.tobytes()
        # The model sees the same as if it had been given the photo itself.
        assert_same_picture(pixels(preprocess, reduced), pixels(preprocess, photo))


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_a_reduced_photo_looks_the_same_to_the_model(photos, mode):
    preprocess = preprocessing(mode, (24, 30))
    for photo in photos:
        reduced = preprocess.reduce_photo(photo)
        if photo.width > 30 and photo.height > 24:
            assert reduced.width <= 30
            assert reduced.height <= 24
            assert_same_picture(pixels(preprocess, reduced), pixels(preprocess, photo))
        else:
            assert reduced is photo


def test_photos_that_are_not_larger_stay_as_they_are(photos):
    preprocess = preprocessing()
    smaller = [photo for photo in photos if min(photo.size) <= 32]
    assert len(smaller) >= 3
    for photo in smaller:
        assert preprocess.reduce_photo(photo) is photo
    for photo in photos:
        assert preprocess.reduces(photo.height, photo.width) == (preprocess.reduce_photo(photo) is not photo)


# --- what an attack needs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(11, 7), (4, 9), (6, 6)])
def test_gradients_are_right(mode, interpolation, shape):
    preprocess = preprocessing(mode, (6, 6), interpolation=interpolation).double()
    generator = torch.Generator().manual_seed(0)
    # Away from black and white, where clipping has no derivative.
    images = (0.3 + 0.4 * torch.rand(1, 3, *shape, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(preprocess, [images])


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_gradients_reach_every_native_pixel_that_the_model_sees(mode):
    images = torch.full((1, 3, 48, 80), 0.5, requires_grad=True)
    preprocessing(mode)(images).sum().backward()
    reached = images.grad.abs() > 0
    if mode == "shortest":
        assert reached[..., 16:64].all()
        # The filter reaches a little beyond the crop, but not to the sides.
        assert not reached[..., :10].any()
        assert not reached[..., 70:].any()
    else:
        assert reached.all()


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (1, 32), (2, 300), (33, 31), (500, 20)])
def test_any_shape_gives_finite_pixels_and_gradients(mode, interpolation, shape):
    preprocess = preprocessing(mode, interpolation=interpolation)
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = preprocess(images)
    assert found.shape == (2, 3, 32, 32)
    restored = found.detach() * preprocess.std + preprocess.mean
    assert restored.min() > -1e-5
    assert restored.max() < 1 + 1e-5
    found.square().sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("shape", [(1, 40), (17, 90), (64, 64)])
def test_a_flat_colour_stays(mode, shape):
    colour = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1)
    preprocess = preprocessing(mode)
    restored = preprocess(colour.expand(1, 3, *shape)) * preprocess.std + preprocess.mean
    torch.testing.assert_close(restored, colour.expand(1, 3, 32, 32))


def test_images_of_a_batch_do_not_mix():
    images = torch.rand(4, 3, 50, 41, generator=torch.Generator().manual_seed(0))
    preprocess = preprocessing()
    torch.testing.assert_close(preprocess(images), torch.cat([preprocess(image[None]) for image in images]))


@pytest.mark.parametrize("given", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("weights", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(32, 32), (50, 41)])
def test_any_dtype_is_prepared_in_at_least_single_precision(given, weights, shape):
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0)).to(given)
    found = preprocessing().to(weights)(images)
    assert found.dtype == (torch.float64 if weights == torch.float64 else torch.float32)
    expected = preprocessing()(images.float())
    # Only the mean and standard deviation may have been rounded, with 8 bits in the coarsest case.
    torch.testing.assert_close(found, expected.to(found.dtype), atol=0.02, rtol=0.01)


def test_settings_are_no_part_of_a_checkpoint():
    assert preprocessing().state_dict() == {}
