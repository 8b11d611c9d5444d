"""What stands between the embeddings of modalities and scores, and the registry of all that do."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError, one_line
from art_multimodal.models.multimodal import Features
from art_multimodal.registry import Registry

NO_EQUILIBRIUM, NEGATIVE_WEIGHT = "no_equilibrium", "negative_weight"
#: What may be the matter with a sample's scores, by name, as one says it of some samples.
DOUBTS = {
    NO_EQUILIBRIUM: "the fixed point is not reached: scores are no equilibrium, and gradients are not exact",
    NEGATIVE_WEIGHT: "a modality has a negative weight, and votes for its least likely class",
}


class Fusion(nn.Module):
    """Fuse the embeddings of several modalities, and predict from what comes out.

    A modality that a sample lacks is left out: its embedding changes nothing, in that sample.

    An option of a subclass is kept as an attribute of the same name, or the fusion cannot be saved.

    >>> class Sum(Fusion):
    ...     def __init__(self, widths, classes):
    ...         super().__init__(widths, classes)
    ...         heads = {name: torch.nn.Linear(width, classes) for name, width in widths.items()}
    ...         self.heads = torch.nn.ModuleDict(heads)
    ...     def forward(self, features, present):
    ...         return sum(self.heads[name](of) * present[name][:, None] for name, of in features.items())
    ...     def predict(self, fused):
    ...         return fused
    ...
    >>> towers = [sensors.multimodal.tower(name) for name in sensors.modalities]
    >>> from art_multimodal import ModularModel
    >>> added = Sum({tower.modality.name: tower.width for tower in towers}, classes=10)
    >>> FusionClassifier(ModularModel(towers, added, views.class_names)).predict(x).shape
    (8, 10)

    :param widths: Of the embedding of each modality, by name.
    :param classes: Number of classes.
    :raises InputError: If there is no modality, or there are fewer than two classes.
    """

    #: What it does, in one line, and who published it.
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    #: Whether it takes embeddings of steps, ``[N, T, width]``, beside those of whole modalities.
    takes_steps: ClassVar[bool] = False
    #: Whether it has both: scores of each modality alone, and weights of them.
    weighs: ClassVar[bool] = False
    #: Whether a weight falls with the distance of a modality's prediction from those of the others.
    by_agreement: ClassVar[bool] = False

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__()
        if not widths:
            raise InputError("A fusion needs at least one modality.")
        if classes < 2:
            raise InputError(f"A fusion needs at least two classes, not {classes}.")
        self.widths, self.classes = dict(widths), classes

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        """Fused vectors ``[N, D]``.

        :param features: ``[N, width]`` for each modality; ``[N, T, width]`` too where it takes steps.
        :param present: Booleans ``[N]`` for each modality; of steps that differ between samples ``[N, T]``.
        """
        raise NotImplementedError

    def predict(self, fused: Tensor) -> Tensor:
        """Scores ``[N, K]`` of fused vectors."""
        raise NotImplementedError

    def unimodal_scores(self, features: Features) -> dict[str, Tensor] | None:
        """Scores ``[N, K]`` of each modality alone, by name, where the fusion has them."""
        return None

    def weights(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """How much each modality counts, ``[N]`` by name, where the fusion weighs them."""
        return None

    def doubts(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Which samples have scores that mean something else than they seem to, booleans ``[N]``.

        By the names of :data:`DOUBTS`; none where that cannot be. Audits count these samples, and say so.
        """
        return {}

    def _one_width(self, whose: str) -> int:
        """The width of all towers.

        :param whose: What needs them to be equal.
        :raises InputError: If they are not.
        """
        if len(set(self.widths.values())) > 1:
            said = ", ".join(f"{name} {width}" for name, width in self.widths.items())
            raise InputError(f"{whose} needs towers of one width, not {said}.")
        return next(iter(self.widths.values()))

    def _there(self, features: Features, present: Mapping[str, Tensor]) -> list[Tensor]:
        """The embeddings in the order of the modalities, zero where a sample lacks one."""
        return [torch.where(present[name][:, None], features[name], 0.0) for name in self.widths]


#: Every fusion by name: a class whose constructor takes widths, the number of classes, and options.
FUSIONS: Registry[type[Fusion]] = Registry("fusion", Fusion, subclasses=True)
#: Models in which modalities meet before there is an embedding of each: no fusion of any towers, but a class each,
#: with a ``summary`` and a ``paper``.
WHOLE_MODELS: Registry[Any] = Registry("whole model", nn.Module, subclasses=True)


def new_fusion(name: str, widths: Mapping[str, int], classes: int, **options: Any) -> Fusion:
    """Make a fusion by its name.

    >>> type(new_fusion("gated", {"rgb": 8, "depth": 4}, classes=3, hidden=16)).__name__
    'Gated'

    :param options: Of its constructor.
    :raises InputError: For a name or an option that is unknown.
    """
    kind = FUSIONS[name]
    try:
        return kind(widths, classes, **options)
    except TypeError as error:
        raise InputError(f"Fusion {name!r}: {one_line(error)}") from None


def option_names(fusion: Fusion) -> list[str]:
    """What the constructor of a fusion takes besides widths and classes."""
    return list(inspect.signature(type(fusion)).parameters)[2:]


def with_options(fusion: Fusion, **options: Any) -> Fusion:
    """The same fusion with other options; weights are shared, not copied.

    :param options: Of its constructor, such as ``beta=3.0`` or ``unroll=5``. The others stay.
    :raises InputError: For an option that it does not have, a value that it refuses, or one with other weights.
    """
    names, kind = option_names(fusion), type(fusion).__name__
    if strange := [name for name in options if name not in names]:
        raise InputError(f"{kind} has no option {strange[0]!r}; it has {', '.join(names) or 'none'}.")
    if lost := [name for name in names if not hasattr(fusion, name)]:
        raise InputError(f"{kind} has no attribute {lost[0]}: it must keep its options under their names.")
    own = {name: getattr(fusion, name) for name in names}
    with torch.random.fork_rng(devices=[]):  # weights are drawn, and thrown away
        changed = type(fusion)(fusion.widths, fusion.classes, **{**own, **options})
    shapes, wanted = ({name: of.shape for name, of in one.state_dict().items()} for one in (changed, fusion))
    if shapes != wanted:
        raise InputError(f"With another {' and '.join(options)} {kind} has other weights: train a model with it.")
    for name, module in fusion.named_children():
        setattr(changed, name, module)
    for name, parameter in fusion.named_parameters(recurse=False):
        setattr(changed, name, parameter)
    for name, buffer in fusion.named_buffers(recurse=False):
        setattr(changed, name, buffer)
    # Not by train(), which would turn the modules that are shared.
    changed.training = fusion.training
    return changed


def modules_by_name(modules: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """Modules by the names of modalities.

    :raises InputError: For a name that torch has for something else, such as ``values``.
    """
    if taken := [name for name in modules if hasattr(nn.ModuleDict, name) or name == "training"]:
        raise InputError(f"A modality cannot be called {taken[0]!r}: torch has that name for something else.")
    return nn.ModuleDict(modules)


class Heads(nn.ModuleDict):
    """A linear head on each modality: its scores alone, ``[N, K]`` by name."""

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.update(dict(modules_by_name({name: nn.Linear(width, classes) for name, width in widths.items()}).items()))

    def forward(self, features: Features) -> dict[str, Tensor]:
        return {name: head(features[name]) for name, head in self.items()}


def mlp(widths: Sequence[int]) -> nn.Module:
    """Linear layers of these widths, with ReLU in between."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
