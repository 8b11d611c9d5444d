"""Prompt templates of data sets, as the CLIP paper has them (Radford et al., 2021, arXiv:2103.00020)."""

from __future__ import annotations

#: Where they are published.
CLIP_PAPER = "Radford et al. 2021, arXiv:2103.00020"

_ARTICLES = ("a", "the")
_QUALITIES = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
#: Kinds of pictures of a thing, and kinds of things.
_PICTURES = (
    *("a photo", "a painting", "a sculpture", "a sketch", "a tattoo", "a rendition", "art", "graffiti"),
    *("a drawing", "a doodle"),
)
_THINGS = ("plastic {}", "toy {}", "embroidered {}", "cartoon {}", "{} in a video game", "plushie {}", "origami {}")

CIFAR = tuple(
    template
    for article in _ARTICLES
    for template in (
        *(f"a {quality}photo of {article} {{}}." for quality in _QUALITIES),
        *(f"a photo of {article} {size} {{}}." for size in ("small", "big")),
    )
)
CALTECH = tuple(
    template
    for article in _ARTICLES
    for template in (
        *(f"{picture} of {article} {{}}." for picture in _PICTURES),
        *(f"{article} {thing}." for thing in _THINGS),
    )
)
COUNTRY = (
    "a photo i took in {}.",
    "a photo i took while visiting {}.",
    "a photo from my home country of {}.",
    "a photo from my visit to {}.",
    "a photo showing the country of {}.",
)
TEXTURE = tuple(
    f"a photo of {article} {{}} {what}." for article in _ARTICLES for what in ("texture", "pattern", "thing", "object")
)
SATELLITE = ("a centered satellite photo of {}.", *(f"a centered satellite photo of {one} {{}}." for one in _ARTICLES))
AIRCRAFT = tuple(f"a photo of {article} {{}}, a type of aircraft." for article in _ARTICLES)
FLOWER = ("a photo of a {}, a type of flower.",)
FOOD = ("a photo of {}, a type of food.",)
PET = ("a photo of a {}, a type of pet.",)
TISSUE = ("this is a photo of {}",)
OBJECT = tuple(f"a photo of {article} {{}}." for article in _ARTICLES)
CAR = (
    *OBJECT,
    "a photo of my {}.",
    "i love my {}!",
    *(f"a photo of my {quality} {{}}." for quality in ("dirty", "clean", "new", "old")),
)
#: Of data sets that the paper has no prompts for.
PLAIN = ("a photo of a {}.",)
