"""Every method of adversarial training by name: an objective, and which attack it trains against."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from art_multimodal.functional import objectives
from art_multimodal.registry import Registry

#: What an objective may ask for; see :mod:`art_multimodal.functional.objectives`.
IMAGES = ("clean_images", "adversarial_images", "original_images", "original_adversarial_images")
TEXTS = (
    *("clean_texts", "adversarial_texts", "original_texts", "class_texts", "original_class_texts"),
    *("reference_texts", "original_reference_texts"),
)
QUANTITIES = (*IMAGES, *TEXTS, "targets", "positives", "scale", "original_scale")
#: What an image attack raises: the cross-entropy over the class texts, or the squared distance of the embedding to
#: where the original model has the clean image.
IMAGE_ATTACKS = ("cross_entropy", "distance")
#: How texts are attacked: words are replaced by a masked language model, or mistyped.
TEXT_ATTACKS = ("words", "characters")


@dataclass(frozen=True)
class Method:
    """A method of adversarial training.

    :param objective: What is minimised: a function whose parameters without a default are among :data:`QUANTITIES`.
        Those with one are the method's options.
    :param summary: What it does, in one line.
    :param image_attack: One of :data:`IMAGE_ATTACKS`, where the objective asks for adversarial images.
    :param text_attack: One of :data:`TEXT_ATTACKS`, where it asks for adversarial texts.
    """

    objective: Callable[..., Tensor]
    summary: str
    image_attack: str | None = None
    text_attack: str | None = None

    def __post_init__(self) -> None:
        name = getattr(self.objective, "__name__", "objective")
        unknown = sorted(self.needs - set(QUANTITIES))
        if unknown:
            raise ValueError(
                f"{name} asks for {', '.join(unknown)}; there are {', '.join(QUANTITIES)}. "
                "A parameter that is a setting needs a default."
            )
        for kind, chosen, known in (
            ("image", self.image_attack, IMAGE_ATTACKS),
            ("text", self.text_attack, TEXT_ATTACKS),
        ):
            wanted = any(f"adversarial_{kind}s" in quantity for quantity in self.needs)
            if wanted and chosen not in known:
                raise ValueError(
                    f"{name} asks for adversarial {kind}s: {kind}_attack must be one of {', '.join(known)}, "
                    f"not {chosen!r}."
                )
            if not wanted and chosen is not None:
                raise ValueError(f"{name} asks for no adversarial {kind}s: leave out {kind}_attack={chosen!r}.")

    @property
    def needs(self) -> frozenset[str]:
        """The quantities that the objective asks for."""
        parameters = inspect.signature(self.objective).parameters.values()
        return frozenset(entry.name for entry in parameters if entry.default is entry.empty)

    @property
    def options(self) -> dict[str, Any]:
        """The objective's settings and their defaults."""
        parameters = inspect.signature(self.objective).parameters.values()
        return {entry.name: entry.default for entry in parameters if entry.default is not entry.empty}

    @property
    def needs_original(self) -> bool:
        """Whether the model as it was before training is asked for anything."""
        return self.image_attack == "distance" or any(name.startswith("original") for name in self.needs)

    @property
    def needs_class_texts(self) -> bool:
        """Whether images are compared with the texts of all classes."""
        return self.image_attack == "cross_entropy" or any("class_texts" in name for name in self.needs)

    @property
    def needs_own_texts(self) -> bool:
        """Whether a sample's own text takes part."""
        return not self.needs.isdisjoint({"clean_texts", "adversarial_texts", "original_texts"})

    @property
    def needs_references(self) -> bool:
        """Whether texts about anything take part."""
        return any("reference_texts" in name for name in self.needs)

    @property
    def needs_labels(self) -> bool:
        """Whether it has to be known what belongs to what."""
        return self.needs_class_texts or self.needs_own_texts or "positives" in self.needs


METHODS: Registry[Method] = Registry("training method")

METHODS.add(
    "mmcoa",
    Method(
        objectives.mmcoa,
        "adversarial images meet clean texts, adversarial texts clean images",
        "cross_entropy",
        "words",
    ),
)
METHODS.add(
    "text-contrastive",
    Method(objectives.text_contrastive, "adversarial texts meet clean images", text_attack="words"),
)
METHODS.add("tecoa", Method(objectives.tecoa, "adversarial images are classified by the prompts", "cross_entropy"))
METHODS.add("fare", Method(objectives.fare, "adversarial images stay where the clean ones were", "distance"))
METHODS.add(
    "pmg-aft",
    Method(objectives.pmg_aft, "TeCoA held near the original model's answers and its own clean ones", "cross_entropy"),
)
METHODS.add("leaf", Method(objectives.leaf, "mistyped texts stay where the clean ones were", text_attack="characters"))
METHODS.add(
    "joint-anchored",
    Method(
        objectives.joint_anchored,
        "adversarial images and texts against each other, both held near the original",
        "cross_entropy",
        "words",
    ),
)
METHODS.add("clean", Method(objectives.clean_cross_entropy, "no attack: fine-tuning to compare with"))
