"""What an audit knows of an attack: what it changes, how it is made for a model, and what comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.errors import noting
from art_multimodal.estimators.answers import AnsweringClassifier
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.suite.costs import CallsOf, CostOf
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.pairs import is_pairs
from art_multimodal.registry import Registry

#: What an audit attacks: a classifier of images, one of pairs, or what finds captions of images and images of captions.
#: Which of them it is, its ``texts_are_prompts`` and ``classifies`` say.
Estimator = ZeroShotClassifier | FusionClassifier | ImageTextRetriever | AnsweringClassifier

#: What a model is asked to do, each with the estimator that does it: to classify images by prompts,
ZERO_SHOT = "zero-shot"
#: to classify image-text pairs,
PAIRS = "pairs"
#: to classify samples of any modalities,
SAMPLES = "samples"
#: or to find captions of images, and images of captions.
RETRIEVAL = "retrieval"

#: Ends the name of an entry that there is once for each modality: ``pgd@MODALITY`` becomes ``pgd@depth``.
EACH = "@MODALITY"
#: Likewise of one that there is for each surrogate, and for all at once.
EACH_SURROGATE = "@SURROGATE"
FORMS = (EACH, EACH_SURROGATE)

#: What attacks need of a model: its layers or gradients, the scores of its answers, or the labels alone.
INSIDE, SCORES, LABELS = "inside", "scores", "labels"

#: Samples that are attacked together, by their place in the order: what draws one stream of random numbers for all of
#: them, as ART's attacks do, does not depend on how many the model sees at a time.
SAMPLES_TOGETHER = 32


@dataclass(frozen=True)
class Attacked:
    """What an attack did to a batch.

    :param x: The samples after the attack, as the estimator takes them, in the order of the batch.
    :param labels: What the model says about each sample after the attack, shape ``(N,)``; ``None`` in retrieval, where
        ranks are found by who has the gallery.
    :param details: Per sample, further facts for the record; empty where there are none.
    :param flags: What makes the numbers suspicious, and how many samples show it.
    :param prompts: For each sample its prompts, ``(N, K)``, where the attack changed prompts; another classifier can
        then be asked what it says, too.
    :param versions: In retrieval, what further attacks did to the same samples: of all ranks the worst counts.
    """

    x: np.ndarray
    labels: np.ndarray | None
    details: Sequence[Detail] = ()
    flags: dict[str, int] = field(default_factory=dict)
    prompts: np.ndarray | None = None
    versions: tuple[Attacked, ...] = ()

    def said_of_each(self) -> Sequence[Detail]:
        """A detail of each sample."""
        return self.details or [Detail()] * len(self.x)

    @property
    def images(self) -> np.ndarray:
        """The images after the attack, ``(N, 3, H, W)``, where samples are images or pairs."""
        return self.x["image"] if is_pairs(self.x) else self.x


class PreparedAttack(ABC):
    """An attack that is made for an estimator and a budget: what all batches share is kept here.

    A subclass attacks one batch. Bad settings are found when it is made, before any work.

    >>> from art_multimodal.evaluations.suite import Budget
    >>> class Negative(PreparedAttack):
    ...     def attack(self, x, y, seed):
    ...         return Attacked(1 - x, self.estimator.predict_labels(1 - x))
    ...
    >>> attack = Negative(classifier, Budget())
    >>> attack(images, labels, seed=0).labels.shape
    (8,)

    :param estimator: What is attacked.
    :param budget: What may be spent.
    """

    #: What it is called in the audit; an error says so.
    name = "an attack without a name"

    def __init__(self, estimator: Estimator, budget: Budget) -> None:
        self.estimator: Any = estimator
        self.budget = budget

    @abstractmethod
    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        """Attack a batch.

        :param x: Samples ``(N, ...)`` as the estimator takes them.
        :param y: Their labels ``(N,)``; in retrieval places in the gallery.
        :param seed: Of all random numbers.
        """

    def __call__(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        """Attack a batch; an error on the way names this attack."""
        with noting(f"in the attack {self.name}"):
            return self.attack(x, y, seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, on a {type(self.estimator).__name__})"


#: Makes an attack for an estimator and a budget: a class of attacks, or one with settings (``functools.partial``). An
#: attack that there is for each modality takes ``modality``, the name, too.
Make = Callable[..., PreparedAttack]


@dataclass(frozen=True)
class AttackEntry:
    """An attack as audits know it.

    >>> from art_multimodal.evaluations.suite import Budget
    >>> entry = entry_of("pgd")
    >>> isinstance(entry, AttackEntry), entry.modality, entry.knowledge
    (True, 'image', 'white box')
    >>> attacked = entry.run(classifier, images, labels, Budget(eps=8 / 255, max_iter=2), seed=0)
    >>> isinstance(attacked, Attacked), attacked.x.shape, attacked.said_of_each()[0].queries is None
    (True, (8, 3, 32, 32), True)

    :param name: What it is called.
    :param modality: What it changes: ``"image"``, ``"text"``, ``"multimodal"``, ``"decoupling"``, ...
    :param knowledge: ``"white box"`` or ``"black box"``.
    :param summary: One line for listings and reports.
    :param make: Makes it for an estimator and a budget.
    :param minimum_classes: Fewest classes that it can work with.
    :param tasks: What the model may be asked to do.
    :param applies: Whether it can work on images of a shape ``(3, H, W)`` within a budget.
    :param words: Whether words are proposed by the budget's language model.
    :param goes_on_after: Attacks whose victims count as this one's too, so that it need not try them again. One that
        ends in :data:`EACH` stands for that on each modality.
    :param fits: Of one that there is for each modality, whether it works on that of an estimator, by its name, within a
        budget.
    :param cost: Passes at most; ``None`` where nobody knows, and a plan says so.
    :param calls: Passes of each attacked sample, exactly; ``None`` where they depend on what is found.
    :param typical_share: What part of these at most it usually asks for, where that is far less.
    :param of_everyone: Whether it is run on samples that are wrong before, too, and its accuracy is over all: an
        outage is no attack.
    :param needs: Of the model: :data:`INSIDE`, :data:`SCORES` or :data:`LABELS`. Of one that only answers, attacks that
        need more are not run.
    :param of_defence: Whether it is about a defence that computes at test time: without one it is not run, and behind
        one not without knowing of it.
    :param within_radius: Whether its budget is a radius, alone or besides: an audit within several of them runs it in
        each. One on a single modality is, where that has a radius.
    """

    name: str
    modality: str
    knowledge: str
    summary: str
    make: Make
    minimum_classes: int = 2
    tasks: tuple[str, ...] = (ZERO_SHOT, PAIRS)
    applies: Callable[[tuple[int, ...], Budget], bool] = lambda shape, budget: True
    words: bool = False
    goes_on_after: tuple[str, ...] = ()
    fits: Callable[[Any, str, Budget], bool] = lambda estimator, modality, budget: modality in budget.balls
    of_everyone: bool = False
    within_radius: bool = False
    cost: CostOf | None = None
    calls: CallsOf | None = None
    typical_share: float = 1.0
    needs: str = INSIDE
    of_defence: bool = False

    @property
    def of_each(self) -> bool:
        """Whether there is one for each modality, or for each surrogate."""
        return self.name.endswith(FORMS)

    @property
    def of_surrogates(self) -> bool:
        """Whether it is made on surrogates, or one of them."""
        return self.name.partition("@")[0] + EACH_SURROGATE in ATTACKS

    def on(self, modality: str) -> AttackEntry:
        """The attack on one modality, or on one surrogate, of an entry that there is for each.

        :param modality: Its name.
        """
        name = f"{self.name.partition('@')[0]}@{modality}"
        group = modality if self.modality == EACH else self.modality
        return replace(self, name=name, modality=group, make=partial(self.make, modality=modality))

    def prepare(self, estimator: Estimator, budget: Budget) -> PreparedAttack:
        """Make the attack for an estimator and a budget.

        :raises InputError: For settings that cannot be used.
        """
        prepared = self.make(estimator, budget)
        prepared.name = self.name
        return prepared

    def run(self, estimator: Estimator, x: np.ndarray, y: np.ndarray, budget: Budget, seed: int) -> Attacked:
        """Attack one batch."""
        return self.prepare(estimator, budget)(x, y, seed)

    def __repr__(self) -> str:
        return f"AttackEntry({self.name!r}: {self.modality}, {self.knowledge})"


#: Every attack that audits can run, by name.
ATTACKS: Registry[AttackEntry] = Registry("attack", AttackEntry)


def entry_of(name: str) -> AttackEntry:
    """The entry of an attack, also of one on a modality: ``pgd@depth``.

    >>> entry_of("square").knowledge, entry_of("pgd@depth").modality
    ('black box', 'depth')

    :raises InputError: If the name is not known.
    """
    attack, at, modality = name.partition("@")
    return ATTACKS[form_of(attack) or attack + EACH].on(modality) if at else ATTACKS[name]


def registered_as(name: str) -> str:
    """The name in the registry of an attack: of ``pgd@depth`` that for each modality."""
    attack, at, _ = name.partition("@")
    return form_of(attack) or name if at else name


def form_of(attack: str) -> str | None:
    """The name under which an attack stands for one on each modality, or on each surrogate; ``None`` where none is."""
    return next((attack + form for form in FORMS if attack + form in ATTACKS), None)


def task_of(estimator: Estimator) -> str:
    """What an estimator is asked to do."""
    if not estimator.classifies:
        return RETRIEVAL
    if estimator.texts_are_prompts:
        return ZERO_SHOT
    return PAIRS if estimator.of_pairs else SAMPLES


#: Rows of a report that are no attacks of the suite.
_ROWS = ("clean", "single_source", "smoothed", "vote_flipping", "certified", "image", "text", "multimodal")


def register(entry: AttackEntry) -> AttackEntry:
    """Add an attack to the suite: from now on audits, listings and reports know it.

    >>> from art.attacks.evasion import FastGradientMethod
    >>> from art_multimodal.evaluations.suite.image import image_attack
    >>> def sign(classifier, budget, seed):
    ...     return FastGradientMethod(classifier, eps=budget.eps)
    ...
    >>> one = register(AttackEntry("sign", "image", "white box", "one step", image_attack(sign)))
    >>> entry_of("sign") is one
    True

    :raises ValueError: If the name is taken, also by a row of reports that stands for others.
    """
    if entry.name.partition("@")[0] in _ROWS:
        raise ValueError(f"No attack can be called {entry.name!r}: reports have another row of that name.")
    return ATTACKS.add(entry.name, entry)
