"""What gradient attacks on samples of several modalities raise: each a class with a name, made for a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from art_multimodal.attacks.evasion.image_ascent import Unsaturated, class_loss
from art_multimodal.estimators.asking.asking import Seen, Weighed
from art_multimodal.estimators.asking.fusion import FusionAsking
from art_multimodal.functional.losses import embedding_l2, margin_loss, vote_margin, vote_share
from art_multimodal.models.fusions import FUSIONS
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.registry import Registry

#: For how many wrong classes, one after the other, an attack on votes goes by default: as many as AutoAttack does.
MOST_CLASSES = 9


class Look:
    """What a model makes of a batch of samples; each part is computed when it is asked for, and once.

    :param asking: How the model is asked.
    :param seen: What it makes of each modality alone.
    """

    def __init__(self, asking: FusionAsking, seen: Seen) -> None:
        self.asking, self.seen = asking, seen

    @cached_property
    def fused(self) -> Tensor:
        """Fused vectors ``[N, D]``."""
        return self.asking.fused(self.seen)

    @cached_property
    def scores(self) -> Tensor:
        """Scores ``[N, K]``."""
        return self.asking.scores(self.fused)

    @cached_property
    def weighed(self) -> Weighed:
        """Scores of each modality alone and their weights, of a model that has them."""
        found = self.asking.weighed(self.seen)
        assert found is not None
        return found


@dataclass(frozen=True)
class Aim:
    """What an attack wants of a batch.

    :param names: Of the modalities that are attacked.
    :param labels: Class indices ``[N]``: the true ones, or the wanted ones.
    :param targeted: Whether they are wanted.
    :param rivals: Go for these classes ``[N]``, instead of the best wrong one of each step.
    """

    names: tuple[str, ...]
    labels: Tensor
    targeted: bool = False
    rivals: Tensor | None = None


class Raised(ABC):
    """What an attack raises on a batch: called with a :class:`Look`, it returns a number for each sample, ``[N]``.

    :param clean: A look at the samples before the attack.
    :param aim: What the attack wants.
    """

    #: How an attack names it.
    name: ClassVar[str]
    #: Whether it can go for one class after the other, and for how many at most where an attack does not say.
    goes_for_classes: ClassVar[bool] = False
    classes_by_default: ClassVar[int] = 0
    #: Whether it has a use for labels; without one there are none to reach, and no gradient at the clean samples.
    uses_labels: ClassVar[bool] = True
    #: Whether the best of all steps is returned, by :meth:`harm`, and not the last one.
    keeps_best: ClassVar[bool] = False

    def __init__(self, clean: Look, aim: Aim) -> None:
        self.aim = aim

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @classmethod
    def refusal(cls, model: MultimodalModel) -> str | None:
        """Why it cannot be raised on a model, and what to do; ``None`` where it can."""
        return None

    @abstractmethod
    def __call__(self, look: Look) -> Tensor:
        """The number of each sample, ``[N]``."""

    def harm(self, look: Look) -> Tensor:
        """What tells which of several results of a sample is the best, ``[N]``; larger is better."""
        return self(look)


class CrossEntropy(Raised):
    """The cross-entropy of the label; lowered when it is wanted."""

    name = "cross_entropy"

    def __init__(self, clean: Look, aim: Aim) -> None:
        super().__init__(clean, aim)
        self.scale = Unsaturated(aim.labels, clean.fused.dtype)

    def __call__(self, look: Look) -> Tensor:
        return class_loss(self.name, self.scale(look.scores), self.aim.labels, self.aim.targeted)


class Margin(Raised):
    """The best other score less the label's."""

    name = "margin"
    goes_for_classes = True

    def __call__(self, look: Look) -> Tensor:
        return margin_loss(look.scores, self.aim.labels, self.aim.targeted, self.aim.rivals)

    def harm(self, look: Look) -> Tensor:
        return margin_loss(look.scores, self.aim.labels, self.aim.targeted)


class Fused(Raised):
    """The squared distance of the fused vector from the clean one."""

    name = "fused"
    uses_labels = False

    def __init__(self, clean: Look, aim: Aim) -> None:
        super().__init__(clean, aim)
        self.reference = clean.fused

    def __call__(self, look: Look) -> Tensor:
        return embedding_l2(self.reference, look.fused)


class OfVotes(Raised):
    """What the attacked modalities say themselves, and not what comes out of all of them.

    The best of all steps is returned, clean samples included: the one whose fused scores mislead the most.
    """

    goes_for_classes = True
    classes_by_default = MOST_CLASSES
    keeps_best = True

    @classmethod
    def refusal(cls, model: MultimodalModel) -> str | None:
        if model.weighs:
            return None
        which = ", ".join(name for name, fusion in FUSIONS.items() if fusion.weighs)
        needs = "a model with scores and a weight of each modality alone"
        return f"loss={cls.name!r} needs {needs}, which the fusions {which} have. Use loss='margin'."

    def votes(self, look: Look) -> tuple[Tensor, Tensor]:
        """Scores ``[N, A, K]`` and weights ``[N, A]`` of the modalities that are attacked."""
        found, names = look.weighed, self.aim.names
        scores, weights = ([of[name] for name in names] for of in (found.scores, found.weights))
        stacked = torch.stack(scores, dim=1)
        return stacked, torch.stack(weights, dim=1).to(stacked.dtype)

    def harm(self, look: Look) -> Tensor:
        return margin_loss(look.scores, self.aim.labels, self.aim.targeted)


class Confidence(OfVotes):
    """What the attacked modalities contribute to a wrong class, less what they contribute to the label.

    Of one modality ``w_m (l_mj - l_my)``, with the weight that the fusion gives it: an attacker who knows how a fusion
    weighs raises both factors. Where the weights of the others stay, as in late fusion and QMF, it differs from the
    margin towards ``j`` by a number that the attack cannot change.
    """

    name = "confidence"

    def __call__(self, look: Look) -> Tensor:
        return vote_margin(*self.votes(look), self.aim.labels, self.aim.targeted, self.aim.rivals)


class Agreement(OfVotes):
    """The logarithm of the probability that the attacked modalities add to a wrong class of a consensus.

    Of one modality ``log w_m + log p_mj``: since the weight falls with the distance from the other modalities, the
    modality is kept close to them while it says something else. The steepness ``beta`` is a factor of the gradient
    only, so a steep weight hides nothing.
    """

    name = "agreement"

    @classmethod
    def refusal(cls, model: MultimodalModel) -> str | None:
        if model.weighs and model.by_agreement:
            return None
        which = ", ".join(name for name, fusion in FUSIONS.items() if fusion.by_agreement)
        needs = "a model that weighs modalities by their agreement"
        return f"loss={cls.name!r} needs {needs}, which the fusion {which} does. Use loss='margin'."

    def __call__(self, look: Look) -> Tensor:
        return vote_share(*self.votes(look), self.aim.labels, self.aim.targeted, self.aim.rivals)


#: By the name that an attack gives.
LOSSES: Registry[type[Raised]] = Registry("loss", Raised, subclasses=True)
for _kind in (CrossEntropy, Margin, Fused, Confidence, Agreement):
    LOSSES.add(_kind.name, _kind)


def losses_on_votes(model: MultimodalModel) -> list[str]:
    """Those of them that look at the votes of single modalities."""
    return [name for name in losses_for(model) if issubclass(LOSSES[name], OfVotes)]


def losses_for(model: MultimodalModel) -> list[str]:
    """Names of the losses on labels that a model allows, to be tried one after the other."""
    return [name for name, kind in LOSSES.items() if kind.uses_labels and kind.refusal(model) is None]
