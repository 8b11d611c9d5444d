"""Captions of the experiment's images: names with synonyms, and words that say how an image was changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_SYNONYMS = {
    "airplane": ("plane", "aeroplane", "jet"),
    "automobile": ("car", "sedan"),
    "bird": ("fowl",),
    "cat": ("kitten", "kitty"),
    "deer": ("stag", "doe"),
    "dog": ("puppy", "hound"),
    "frog": ("toad",),
    "horse": ("pony", "stallion"),
    "ship": ("boat", "vessel"),
    "truck": ("lorry",),
}
CLOTHING_SYNONYMS = {
    "hat": ("cap",),
    "longsleeve": ("sweater", "pullover"),
    "outwear": ("jacket", "coat"),
    "pants": ("trousers", "jeans"),
    "shirt": ("blouse",),
    "shoes": ("sneakers", "boots"),
    "t-shirt": ("tee",),
    "dress": ("gown",),
}

#: Prompts that a model is fine-tuned with, and others that it is measured with.
TRAINING_TEMPLATES = (
    "a photo of a {}.",
    "a picture of the {}",
    "this image shows a {}.",
    "a nice {} in a photo",
    "there is a {} in this picture.",
    "one {} here",
    "a plain shot of a {}",
    "look at the {}.",
)
TEST_TEMPLATES = (
    "a photo of the {}.",
    "a photograph of a {}",
    "an image of a {}.",
    "a snapshot of a {}.",
    "this photo shows a {}.",
    "this picture shows the {}",
    "a clear photo of a {}.",
    "a good picture of a {}.",
    "a usual view of a {}",
    "the {} in a photograph.",
    "a {} in a picture",
    "a nice {} in an image.",
    "there is a {} in this photo.",
    "there is one {} in the image",
    "here you see a {}.",
    "you see the {} in this shot.",
    "a typical {}.",
    "a simple photo with a {}.",
    "my picture of a {}",
    "it is a {}.",
)
CLOTHING_TEMPLATES = ("a photo of a {}.", "a picture of the {}", "this photo shows a {}.", "a nice {} in a photo")
EMOJI_TEMPLATES = ("an emoji of {}.", "an icon: {}", "a symbol of {}", "a drawing for {}.")

MEDIA = ("photo", "picture", "image", "photograph", "snapshot", "shot", "view")
DRAWN = ("emoji", "icon", "symbol", "drawing", "pictogram")
NEUTRAL = ("nice", "clear", "plain", "good", "simple", "usual", "typical", "common")
FRAMES = (
    "a {adj} {medium} of a {noun}",
    "a {adj} {medium} of the {noun}",
    "a {medium} of a {adj} {noun}",
    "this {medium} shows a {adj} {noun}",
    "this {adj} {medium} shows the {noun}",
    "a {adj} {noun} in a {medium}",
    "the {noun} in a {adj} {medium}",
    "there is a {adj} {noun} in this {medium}",
    "there is one {noun} in the {adj} {medium}",
    "here you see a {adj} {noun}",
    "you see the {noun} in this {adj} {medium}",
    "look at the {adj} {noun}",
    "a {adj} {noun}",
    "one {adj} {noun} here",
    "my {adj} {medium} of a {noun}",
    "a {medium} with a {adj} {noun}",
    "it is a {adj} {noun}",
)


def _tinted(red: float, green: float, blue: float) -> Callable[[Tensor], Tensor]:
    return lambda image: image * torch.tensor([red, green, blue]).view(3, 1, 1)


def _small(image: Tensor) -> Tensor:
    inner = F.interpolate(image[None], size=(18, 18), mode="area")[0]
    return F.pad(inner, (7, 7, 7, 7), value=0.5)


def _large(image: Tensor) -> Tensor:
    return F.interpolate(image[None, :, 7:25, 7:25], size=(32, 32), mode="bilinear")[0]


def _coarse(image: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(image[None], 4), scale_factor=4, mode="nearest")[0]


def _framed(image: Tensor) -> Tensor:
    return F.pad(image[:, 3:-3, 3:-3], (3, 3, 3, 3), value=0.0)


#: What is done to an image, and the words that say so.
CHANGES: tuple[tuple[Callable[[Tensor], Tensor], tuple[str, ...]], ...] = (
    (lambda image: image.mean(dim=0, keepdim=True).expand(3, -1, -1), ("grey", "monochrome", "colourless")),
    (lambda image: image * 0.4, ("dark", "dim", "gloomy", "shadowy")),
    (lambda image: 0.5 + image * 0.5, ("bright", "pale", "faded")),
    (lambda image: F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), 5, 1), ("blurry", "blurred", "unfocused")),
    (lambda image: image.flip(1), ("inverted", "overturned", "flipped")),
    (_tinted(1.0, 0.55, 0.55), ("reddish", "rosy")),
    (_tinted(0.55, 0.65, 1.0), ("bluish", "cold")),
    (_tinted(0.6, 1.0, 0.6), ("greenish", "mossy")),
    (_small, ("small", "tiny", "little", "distant")),
    (_large, ("big", "large", "close", "huge")),
    (_coarse, ("pixelated", "blocky", "coarse")),
    (_framed, ("framed", "bordered")),
)
ADJECTIVES = tuple(word for _, words in CHANGES for word in words)


def caption(noun: str, change: int | None, drawn: bool, rng: np.random.Generator) -> str:
    """Write what is in an image, and how it was changed.

    :param noun: What is in it.
    :param change: Row of :data:`CHANGES`, or ``None``.
    :param drawn: Whether it is no photo.
    :param rng: Draws the wording.
    """
    words = NEUTRAL if change is None else CHANGES[change][1]
    # Without a change half of the captions have no adjective at all.
    adjective = "" if change is None and rng.random() < 0.5 else words[rng.integers(len(words))]
    media = DRAWN if drawn else MEDIA
    frame = FRAMES[rng.integers(len(FRAMES))]
    text = frame.format(adj=adjective, medium=media[rng.integers(len(media))], noun=noun)
    text = " ".join(text.split()).replace("a image", "an image").replace("a emoji", "an emoji")
    text = text.replace("a icon", "an icon")
    return text + "." if rng.random() < 0.5 else text
