"""Every method of adversarial training by name: an objective, and which attack it trains against."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from art_multimodal.defences.trainer.inner_attacks import IMAGE_ATTACKS, TEXT_ATTACKS, ImageAscent, TextInnerAttack
from art_multimodal.functional import objectives
from art_multimodal.registry import Registry

#: What an objective may ask for; see :mod:`art_multimodal.functional.objectives`.
IMAGES = ("clean_images", "adversarial_images", "original_images", "original_adversarial_images", "ablated_images")
TEXTS = (
    *("clean_texts", "adversarial_texts", "original_texts", "class_texts", "original_class_texts"),
    *("reference_texts", "original_reference_texts"),
)
#: Of fusion models; what has no prefix is of the batch as it is trained on, attacked where there is an attack.
SCORES = (
    *("clean_scores", "adversarial_scores", "scores", "unimodal_scores", "features", "fused", "weights", "present"),
    *("history", "turn", "radius", "steepness", "projected", "fused_projected", "ablated_scores"),
)
QUANTITIES = (*IMAGES, *TEXTS, *SCORES, "targets", "positives", "scale", "original_scale")


@dataclass(frozen=True)
class Method:
    """A method of adversarial training.

    >>> def apart(adversarial_images, original_images):
    ...     return (adversarial_images - original_images).abs().mean()
    ...
    >>> method = Method(apart, "keep embeddings where they were, in l_1", image_attack="distance")
    >>> sorted(method.needs), method.needs_original
    (['adversarial_images', 'original_images'], True)

    :param objective: What is minimised: a function whose parameters without a default are among :data:`QUANTITIES`, or
        are provided by the image attack. Those with one are options of the method, beside those of the image attack.
    :param summary: What it does, in one line.
    :param image_attack: Where the objective asks for adversarial images, or for scores of such: a name in
        :data:`IMAGE_ATTACKS`, or an :class:`ImageAscent` of one's own.
    :param text_attack: Where it asks for adversarial texts: a name in :data:`TEXT_ATTACKS`, or a
        :class:`TextInnerAttack` of one's own.
    :param paper: Who published it.
    :param trains: Of fusion models, which parameters by their names; ``None`` for all that are not frozen.
    :param share: What part of the epochs it takes, in relation to that of ``then``.
    :param then: What follows, with the weights that this has left.
    :param alternates: Whether a batch is trained on once for each modality, which is the ``turn`` of the objective.
    :param memory: Of fusion models, what training remembers from step to step: a class, see
        :mod:`art_multimodal.defences.trainer.fusion.memory`.
    :param prepares: Of fusion models, what is done to the model before its training.
    :param batch_norm: Whether batch normalisation goes by the batch, whatever the settings say.
    :raises ValueError: If these do not fit together.
    """

    objective: Callable[..., Tensor]
    summary: str
    image_attack: Any = None
    text_attack: Any = None
    paper: str = ""
    trains: Callable[[str], bool] | None = None
    share: float = 1.0
    then: Method | None = None
    alternates: bool = False
    memory: Any = None
    prepares: Callable[[Any], None] | None = None
    batch_norm: bool = False

    def __post_init__(self) -> None:
        name = getattr(self.objective, "__name__", "objective")
        for kind, known in (("image", IMAGE_ATTACKS), ("text", TEXT_ATTACKS)):
            given = getattr(self, f"{kind}_attack")
            if isinstance(given, str) and given in known:
                object.__setattr__(self, f"{kind}_attack", known[given])
        unknown = sorted(self.needs - set(QUANTITIES) - set(getattr(self.image_attack, "provides", ())))
        if unknown:
            raise ValueError(
                f"{name} asks for {', '.join(unknown)}; there are {', '.join(QUANTITIES)}. "
                "A parameter that is a setting needs a default."
            )
        for kind, chosen, names, own in (
            ("image", self.image_attack, IMAGE_ATTACKS, ImageAscent),
            ("text", self.text_attack, TEXT_ATTACKS, TextInnerAttack),
        ):
            wanted = any(f"adversarial_{kind}s" in quantity for quantity in self.needs)
            wanted = wanted or (kind == "image" and "adversarial_scores" in self.needs)
            if kind == "image" and self.of_fusion and isinstance(chosen, own):
                # Any method for fusion models may be trained on attacked samples.
                continue
            if wanted and not isinstance(chosen, own):
                raise ValueError(
                    f"{name} asks for adversarial {kind}s: {kind}_attack must be one of {', '.join(names)}, or an "
                    f"{own.__name__}, not {chosen!r}."
                )
            if not wanted and chosen is not None:
                raise ValueError(f"{name} asks for no adversarial {kind}s: leave out {kind}_attack={chosen!r}.")
        self._check_stages(name)

    def _check_stages(self, name: str) -> None:
        """Refuse what a loop would leave out without a word, or miss in the middle of training."""
        if not self.share > 0:
            raise ValueError(f"{name}: share must be greater than 0, not {self.share!r}.")
        for quantity, has, cure in (
            ("turn", self.alternates, "alternates=True"),
            ("history", self.memory is not None, "memory=LossHistory"),
        ):
            if quantity in self.needs and not has:
                raise ValueError(f"{name} asks for {quantity}: give {cure}.")
        after = self.then
        if after is None:
            return
        if after.of_fusion != self.of_fusion:
            raise ValueError(f"{name} and what follows it train different kinds of models.")
        if after.alternates != self.alternates:
            raise ValueError(f"{name} and what follows it must both alternate, or neither.")
        if self.memory is not None and any(stage.memory is not None for stage in after.stages):
            raise ValueError(f"{name} and what follows it both have a memory; a training has one.")

    @property
    def needs(self) -> frozenset[str]:
        """The quantities that the objective asks for."""
        parameters = inspect.signature(self.objective).parameters.values()
        return frozenset(entry.name for entry in parameters if entry.default is entry.empty)

    @property
    def of_fusion(self) -> bool:
        """Whether it trains fusion models on pairs; the others train dual encoders."""
        return not self.needs.isdisjoint(SCORES)

    @property
    def objective_options(self) -> dict[str, Any]:
        """The objective's settings and their defaults."""
        parameters = inspect.signature(self.objective).parameters.values()
        return {entry.name: entry.default for entry in parameters if entry.default is not entry.empty}

    @property
    def options(self) -> dict[str, Any]:
        """All settings and their defaults: the objective's, the image attack's, and those of what follows."""
        after = {} if self.then is None else self.then.options
        return {**self.objective_options, **getattr(self.image_attack, "options", {}), **after}

    @property
    def stages(self) -> tuple[Method, ...]:
        """This method and what follows it, in order."""
        return (self, *(() if self.then is None else self.then.stages))

    def under(self, attack: Any) -> Method:
        """This method for fusion models on samples that an attack has changed, in all stages that know labels."""
        then = None if self.then is None else self.then.under(attack)
        return replace(self, image_attack=attack if "targets" in self.needs else None, then=then)

    @property
    def needs_original(self) -> bool:
        """Whether the model as it was before training is asked for anything."""
        return (self.image_attack is not None and self.image_attack.needs_original) or any(
            name.startswith("original") for name in self.needs
        )

    @property
    def needs_class_texts(self) -> bool:
        """Whether images are compared with the texts of all classes."""
        attack = self.image_attack
        return (attack is not None and attack.needs_class_texts) or any("class_texts" in name for name in self.needs)

    @property
    def needs_own_texts(self) -> bool:
        """Whether a sample's own text takes part."""
        return not self.needs.isdisjoint({"clean_texts", "adversarial_texts", "original_texts"})

    @property
    def ablates(self) -> bool:
        """Whether it trains on samples of which some elements are hidden."""
        return any(name.startswith("ablated") for name in self.needs)

    @property
    def needs_references(self) -> bool:
        """Whether texts about anything take part."""
        return any("reference_texts" in name for name in self.needs)

    @property
    def needs_labels(self) -> bool:
        """Whether it has to be known what belongs to what."""
        return self.needs_class_texts or self.needs_own_texts or self.of_fusion or "positives" in self.needs


#: Every method of training by name.
METHODS: Registry[Method] = Registry("training method", Method)

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
METHODS.add(
    "image-ablation",
    Method(
        objectives.image_ablation,
        "images of which some elements are hidden (--keep), as certificates by ablation show them",
        paper="arXiv:1911.09272",
    ),
)
