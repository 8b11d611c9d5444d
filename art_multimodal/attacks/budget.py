"""What an attack may spend: how far images move, how many words and characters change, how often the model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from art_multimodal.functional.perturbations import norm_of

if TYPE_CHECKING:
    from art_multimodal.attacks.evasion.universal.perturbation import UniversalPerturbation
    from art_multimodal.estimators.zero_shot import ZeroShotClassifier


@dataclass(frozen=True)
class TextBudget:
    """What an attack may do to a text.

    >>> TextBudget(max_words=2).protect_class_names
    True

    :param language_model: Proposes words; as for ``load_masked_language_model``.
    :param max_words: Most words that are replaced.
    :param max_edits: Most characters that are edited.
    :param top_k: Proposals for each piece of a word.
    :param protect_class_names: Whether the words of class names stay.
    :param protected_words: Further words that stay.
    """

    language_model: str = "demo:mlm"
    max_words: int = 1
    max_edits: int = 1
    top_k: int = 10
    protect_class_names: bool = True
    protected_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ball:
    """How far one modality may move.

    >>> Budget(balls={"depth": Ball(eps=0.2, eps_step=0.05)}).balls["depth"].eps
    0.2

    :param eps: Radius, in the units of its values.
    :param eps_step: Length of a gradient step.
    """

    eps: float
    eps_step: float


@dataclass(frozen=True)
class Budget:
    """What an attack may spend.

    >>> budget = Budget(eps=4 / 255, eps_step=1 / 255, max_iter=20)
    >>> budget.art_norm, budget.text.max_words
    (inf, 1)

    :param norm: ``"inf"`` or ``"2"``.
    :param eps: Radius, in the units of images in [0, 1].
    :param eps_step: Length of a gradient step.
    :param max_iter: Number of gradient steps.
    :param max_queries: Most evaluations per image for attacks without gradients.
    :param batch_size: Images per forward pass; results do not depend on it.
    :param text: What may be done to texts.
    :param max_share: Largest share of the image that a pasted word may cover.
    :param balls: Of samples of several modalities, how far each may move, by name; those that hold numbers.
    :param universal: One perturbation for all images, that is at hand.
    :param surrogates: Models that attackers have of their own, by name, with the classes of the one under attack.
    :param transfer: Parameters of ``TransferAttack`` on these, where they are not its defaults.
    """

    norm: str = "inf"
    eps: float = 1 / 255
    eps_step: float = 1 / 255
    max_iter: int = 10
    max_queries: int = 500
    batch_size: int = 32
    text: TextBudget = field(default_factory=TextBudget)
    max_share: float = 0.1
    balls: Mapping[str, Ball] = field(default_factory=dict)
    universal: UniversalPerturbation | None = None
    surrogates: Mapping[str, ZeroShotClassifier] = field(default_factory=dict)
    transfer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def art_norm(self) -> float | int:
        """The norm as ART writes it."""
        return np.inf if norm_of(self.norm) == np.inf else 2
