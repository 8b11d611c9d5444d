"""What an audit knows of an attack: what it may spend, how it is run, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.perturbations import norm_of
from art_multimodal.pairs import is_pairs
from art_multimodal.registry import Registry

#: What an audit attacks: a classifier of images, one of pairs, or what finds captions of images and images of captions.
Estimator = ZeroShotClassifier | FusionClassifier | ImageTextRetriever

#: What a model is asked to do, each with the estimator that does it.
ZERO_SHOT, PAIRS, RETRIEVAL = "zero-shot", "pairs", "retrieval"


@dataclass(frozen=True)
class TextBudget:
    """What an attack may do to a text.

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
class Budget:
    """What an attack may spend.

    :param norm: ``"inf"`` or ``"2"``.
    :param eps: Radius, in the units of images in [0, 1].
    :param eps_step: Length of a gradient step.
    :param max_iter: Number of gradient steps.
    :param max_queries: Most evaluations per image for attacks without gradients.
    :param batch_size: Images per forward pass; results do not depend on it.
    :param text: What may be done to texts.
    :param max_share: Largest share of the image that a pasted word may cover.
    """

    norm: str = "inf"
    eps: float = 1 / 255
    eps_step: float = 1 / 255
    max_iter: int = 10
    max_queries: int = 500
    batch_size: int = 32
    text: TextBudget = field(default_factory=TextBudget)
    max_share: float = 0.1

    @property
    def art_norm(self) -> float | int:
        """The norm as ART writes it."""
        return np.inf if norm_of(self.norm) == np.inf else 2


@dataclass(frozen=True)
class Attacked:
    """What an attack did to a batch.

    :param x: The samples after the attack, as the estimator takes them, in the order of the batch.
    :param labels: What the model says about each sample after the attack, shape ``(N,)``; ``None`` in retrieval, where
        ranks are found by who has the gallery.
    :param details: Per sample, further facts for the record (JSON types). ``texts``: ``[before, after]`` of each text
        that the answer depends on. ``text_queries``: changed texts that were tried.
    :param flags: What makes the numbers suspicious, and how many samples show it.
    :param prompts: For each sample its prompts, ``(N, K)``, where the attack changed prompts; another classifier can
        then be asked what it says, too.
    :param versions: In retrieval, what further attacks did to the same samples: of all ranks the worst counts.
    """

    x: np.ndarray
    labels: np.ndarray | None
    details: list[dict[str, Any]] = field(default_factory=list)
    flags: dict[str, int] = field(default_factory=dict)
    prompts: np.ndarray | None = None
    versions: tuple[Attacked, ...] = ()

    @property
    def images(self) -> np.ndarray:
        """The images after the attack, ``(N, 3, H, W)``."""
        return self.x["image"] if is_pairs(self.x) else self.x


#: Samples that are attacked together, by their place in the order: what draws one stream of random numbers for all of
#: them, as ART's attacks do, does not depend on how many the model sees at a time.
SAMPLES_TOGETHER = 32

#: Attacks samples ``(N, ...)`` that have labels ``(N,)``, with a seed.
Run = Callable[[np.ndarray, np.ndarray, int], Attacked]
#: Makes what attacks an estimator within a budget; what all batches share is kept there.
Prepare = Callable[[Estimator, Budget], Run]


@dataclass(frozen=True)
class AttackEntry:
    """An attack as audits know it.

    :param modality: What it changes: ``"image"``, ``"text"``, ``"multimodal"``, ``"decoupling"``, ...
    :param knowledge: ``"white box"`` or ``"black box"``.
    :param summary: One line for listings and reports.
    :param prepare: Makes what runs it. Bad settings are found here, before any work.
    :param minimum_classes: Fewest classes that it can work with.
    :param tasks: What the model may be asked to do.
    :param applies: Whether it can work on images of a shape ``(3, H, W)`` within a budget.
    :param words: Whether words are proposed by the budget's language model.
    :param goes_on_after: Attacks whose victims count as this one's too, so that it need not try them again.
    """

    modality: str
    knowledge: str
    summary: str
    prepare: Prepare
    minimum_classes: int = 2
    tasks: tuple[str, ...] = (ZERO_SHOT, PAIRS)
    applies: Callable[[tuple[int, ...], Budget], bool] = lambda shape, budget: True
    words: bool = False
    goes_on_after: tuple[str, ...] = ()

    def run(self, estimator: Estimator, x: np.ndarray, y: np.ndarray, budget: Budget, seed: int) -> Attacked:
        """Attack one batch."""
        return self.prepare(estimator, budget)(x, y, seed)


_WORKS_ON = {
    ZERO_SHOT: "does not work on zero-shot classification",
    PAIRS: "does not work on fusion models",
    RETRIEVAL: "does not work on retrieval",
}

ATTACKS: Registry[AttackEntry] = Registry("attack")


def select_attacks(names: str, nb_classes: int, task: str = ZERO_SHOT) -> tuple[str, ...]:
    """Turn ``"image,decoupling"`` into the names of attacks; a modality stands for all of its attacks that apply.

    :param nb_classes: Classes, or images with different captions. Attacks that need more are left out of a modality,
        and refused by name.
    :param task: Likewise attacks that do not know the task.
    :return: In the order of the registry, with those that a chosen one goes on after.
    :raises InputError: For an unknown name, one that cannot work, or none.
    """
    groups: dict[str, list[str]] = {}
    for name, entry in ATTACKS.items():
        if task in entry.tasks and entry.minimum_classes <= nb_classes:
            groups.setdefault(entry.modality, []).append(name)
    fitting = {name for group in groups.values() for name in group}
    modalities = {entry.modality for _, entry in ATTACKS.items()}
    chosen: set[str] = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name in groups:
            chosen.update(groups[name])
        elif name in fitting:
            chosen.add(name)
        elif name in ATTACKS and task in ATTACKS[name].tasks:
            what = "images with different captions" if task == RETRIEVAL else "classes"
            raise InputError(f"{name} needs at least {ATTACKS[name].minimum_classes} {what}; there are {nb_classes}.")
        elif name in modalities or name in ATTACKS:
            alike = groups.get(ATTACKS[name].modality, groups) if name in ATTACKS else groups
            raise InputError(f"{name} {_WORKS_ON[task]}. Use {', '.join(alike)}.")
        else:
            raise unknown_name("attack", name, {*modalities, *ATTACKS})
    if not chosen:
        raise InputError(f"No attack was named. Known: {', '.join(dict.fromkeys([*groups, *ATTACKS]))}.")
    for name in reversed([*ATTACKS]):
        if name in chosen:
            chosen.update(other for other in ATTACKS[name].goes_on_after if other in fitting)
    # Registry order, whatever order they were named in: a report's rows then compare.
    return tuple(name for name in ATTACKS if name in chosen)
