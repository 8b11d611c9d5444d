"""What training attacks a batch with: objects with a protocol, each of which may be one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.evasion.image_ascent import Objective, ascend, own_score
from art_multimodal.attacks.evasion.text import BertAttack, CharacterAttack
from art_multimodal.attacks.evasion.text.character_attack import LETTERS
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.errors import InputError
from art_multimodal.functional.losses import embedding_l2
from art_multimodal.functional.objectives import cosine_logits, kl_of_logits, soft_cross_entropy
from art_multimodal.language.proposing import language_model
from art_multimodal.registry import Registry

if TYPE_CHECKING:
    from art_multimodal.defences.trainer.embeddings import Embedder
    from art_multimodal.defences.trainer.samples import Batch, Estimator
    from art_multimodal.defences.trainer.settings import TrainingSettings


class ImageAscent:
    """Raise something of the model by projected gradient ascent, within the image budget of the settings.

    A subclass says what is raised. It may also give the objective more to ask for (:attr:`provides`).

    >>> from art_multimodal.attacks.evasion.image_ascent import own_score
    >>> from art_multimodal.defences.trainer import Method
    >>> from art_multimodal.functional.objectives import tecoa
    >>> class LengthAscent(ImageAscent):
    ...     name = "length"
    ...     def raised(self, ask, batch):
    ...         return own_score(lambda inputs: ask.image_features(inputs).norm(dim=1))
    ...
    >>> Method(tecoa, "TeCoA against long embeddings", image_attack=LengthAscent()).image_attack.name
    'length'
    """

    #: What it is called in :data:`IMAGE_ATTACKS`, and in errors.
    name: ClassVar[str] = ""
    #: Whether the model as it was before training is asked, and whether the texts of all classes are.
    needs_original: ClassVar[bool] = False
    needs_class_texts: ClassVar[bool] = False
    #: Names of what :meth:`further` returns.
    provides: ClassVar[tuple[str, ...]] = ()
    #: Its settings and their defaults; ``ask.options`` holds them.
    options: ClassVar[dict[str, float]] = {}

    def check(self, options: Mapping[str, float]) -> None:
        """Refuse settings that cannot be used, before anything is trained.

        :raises InputError: Naming the first.
        """

    def raised(self, ask: Any, batch: Batch) -> Objective:
        """Return what is raised, as a function of model inputs; called in every process, with or without images.

        :param ask: An :class:`Embedder`, which encodes by the model in training or the original.
        :param batch: What is attacked.
        """
        raise NotImplementedError

    def further(self, ask: Any, batch: Batch) -> dict[str, Tensor]:
        """Return what the objective may ask for besides, by the names in :attr:`provides`, with gradients."""
        return {}

    def attack(self, ask: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return adversarial images, shaped as those of the batch.

        :param generator: Of the random start, which is drawn as one process with the whole batch would draw it.
        """
        budget = ask.settings.image_budget
        # Before any process leaves: they encode the class texts together.
        raised = self.raised(ask, batch)
        if not len(batch.images):
            return batch.images
        whole = torch.empty(()).expand(batch.size, *batch.images.shape[1:])
        start = budget.random_start(whole, generator)[batch.own]
        with torch.enable_grad():
            return ascend(ask.estimator, batch.images, raised, budget, start).detach()


class CrossEntropyAscent(ImageAscent):
    """Raise the cross-entropy over the class texts (TeCoA, arXiv:2212.07016; MMCoA, arXiv:2404.19287).

    >>> from art_multimodal.defences.trainer import IMAGE_ATTACKS
    >>> isinstance(IMAGE_ATTACKS["cross_entropy"], CrossEntropyAscent)
    True
    """

    name = "cross_entropy"
    needs_class_texts = True

    def raised(self, ask: Embedder, batch: Batch) -> Objective:
        assert batch.targets is not None
        targets, (classes, scale) = batch.targets[batch.own], ask.class_directions(batch)
        return own_score(
            lambda inputs: soft_cross_entropy(cosine_logits(ask.image_features(inputs), classes, scale), targets)
        )


class KLAscent(ImageAscent):
    """Raise the KL divergence of the answers from those to the clean images (TRADES, arXiv:1901.08573).

    >>> from art_multimodal.defences.trainer import IMAGE_ATTACKS
    >>> isinstance(IMAGE_ATTACKS["kl"], KLAscent)
    True
    """

    name = "kl"
    needs_class_texts = True

    def raised(self, ask: Embedder, batch: Batch) -> Objective:
        classes, scale = ask.class_directions(batch)
        if not len(batch.images):
            return own_score(ask.image_features)
        with torch.no_grad():
            clean = cosine_logits(ask.image_features(ask.preprocessed(batch.images)), classes, scale)
        return own_score(lambda inputs: kl_of_logits(clean, cosine_logits(ask.image_features(inputs), classes, scale)))


class DistanceAscent(ImageAscent):
    """Raise the squared distance of the embedding from where the original has the clean image (arXiv:2402.12336).

    >>> from art_multimodal.defences.trainer import IMAGE_ATTACKS
    >>> isinstance(IMAGE_ATTACKS["distance"], DistanceAscent)
    True
    """

    name = "distance"
    needs_original = True

    def raised(self, ask: Embedder, batch: Batch) -> Objective:
        if not len(batch.images):
            return own_score(ask.image_features)
        reference = ask.original_image_features(ask.preprocessed(batch.images))
        return own_score(lambda inputs: embedding_l2(reference, ask.image_features(inputs)))


class TextPerturbation(Protocol):
    """What perturbs the texts of a batch: a :class:`BertAttack`, a :class:`CharacterAttack`, or a :class:`Mixture`.

    ``attack_params`` names what a checkpoint records of it.
    """

    estimator: Any
    loss: str
    attack_params: list[str]

    def perturb(self, texts: list[str]) -> list[str]:
        """Return as many texts as are given, each attacked."""
        ...


class Mixture:
    """Attack each text with one of several attacks: every one gets an equal part of the texts, drawn anew.

    >>> from art_multimodal.attacks.evasion import CharacterAttack
    >>> mixture = Mixture([CharacterAttack(classifier, verbose=False)], letters=2)
    >>> len(mixture.perturb(["a photo of the handwritten digit two."]))
    1

    :param attacks: On one estimator.
    :param seed: Of what is drawn.
    :param letters: Of how many letters typing errors are made in a call, drawn anew; ``None`` for all. In a few steps
        all take part, at a part of the cost.
    :raises InputError: If there are no attacks, or they are on several estimators.
    """

    attack_params = ["attacks", "letters"]

    def __init__(
        self, attacks: Sequence[BertAttack | CharacterAttack], seed: int = 0, letters: int | None = None
    ) -> None:
        if not attacks or any(attack.estimator is not attacks[0].estimator for attack in attacks):
            raise InputError("A Mixture takes one or several text attacks on one and the same estimator.")
        if letters is not None and not 1 <= letters <= len(LETTERS):
            raise InputError(f"letters must be from 1 to {len(LETTERS)}, not {letters!r}.")
        self.attacks, self.letters = tuple(attacks), letters
        self.estimator, self.loss = attacks[0].estimator, attacks[0].loss
        self._rng = np.random.default_rng(seed)

    def perturb(self, texts: list[str]) -> list[str]:
        """Return as many texts, each attacked by one of the attacks."""
        if self.letters is not None:
            alphabet = "".join(self._rng.permutation([*LETTERS])[: self.letters])
            for attack in self.attacks:
                if isinstance(attack, CharacterAttack):
                    attack.alphabet = alphabet
        order, attacked = self._rng.permutation(len(texts)), list(texts)
        for number, attack in enumerate(self.attacks):
            rows = order[number :: len(self.attacks)]
            for row, text in zip(rows, attack.perturb([texts[row] for row in rows]), strict=True):
                attacked[row] = text
        return attacked


class TextInnerAttack:
    """How the texts of a batch are attacked, unless a trainer is given an attack of its own.

    >>> from art_multimodal.attacks.evasion import CharacterAttack
    >>> class Thorough(TextInnerAttack):
    ...     name = "thorough"
    ...     def on(self, estimator, settings, protected_words=(), candidate_words=1):
    ...         return CharacterAttack(estimator, max_edits=2, protected_words=tuple(protected_words), verbose=False)
    ...
    >>> type(Thorough().on(classifier, settings=None)).__name__
    'CharacterAttack'
    """

    #: What it is called in :data:`TEXT_ATTACKS`, and in errors.
    name: ClassVar[str] = ""

    def on(
        self,
        estimator: Estimator,
        settings: TrainingSettings,
        protected_words: Sequence[str] = (),
        candidate_words: int | None = 1,
    ) -> TextAttack:
        """Return the attack on an estimator.

        :param settings: Of the training.
        :param protected_words: Stay as they are, besides class names.
        :param candidate_words: How many words of a text compete, where that may be chosen; ``None`` for all.
        """
        raise NotImplementedError


class Words(TextInnerAttack):
    """Replace words by a masked language model.

    >>> from art_multimodal.defences.trainer import TEXT_ATTACKS, TrainingSettings
    >>> words = TEXT_ATTACKS["words"]
    >>> isinstance(words, Words), type(words.on(classifier, TrainingSettings())).__name__
    (True, 'BertAttack')
    """

    name = "words"

    def on(
        self,
        estimator: Estimator,
        settings: TrainingSettings,
        protected_words: Sequence[str] = (),
        candidate_words: int | None = 1,
    ) -> TextAttack:
        model = language_model(settings.language_model)
        return BertAttack(
            estimator, model, candidate_words=candidate_words, protected_words=tuple(protected_words), verbose=False
        )


class Characters(TextInnerAttack):
    """Mistype words (LEAF, arXiv:2506.03355).

    >>> from art_multimodal.defences.trainer import TEXT_ATTACKS
    >>> isinstance(TEXT_ATTACKS["characters"], Characters)
    True
    """

    name = "characters"

    def on(
        self,
        estimator: Estimator,
        settings: TrainingSettings,
        protected_words: Sequence[str] = (),
        candidate_words: int | None = 1,
    ) -> TextAttack:
        # Every edit of one word instead of five: a fifth of the cost, in every step.
        return CharacterAttack(estimator, candidate_words=1, protected_words=tuple(protected_words), verbose=False)


#: Inner attacks on images by name; a method may as well be given an object of one's own.
IMAGE_ATTACKS: Registry[ImageAscent] = Registry("image attack of training", ImageAscent)
#: Likewise those on texts.
TEXT_ATTACKS: Registry[TextInnerAttack] = Registry("text attack of training", TextInnerAttack)
for _image in (CrossEntropyAscent(), DistanceAscent(), KLAscent()):
    IMAGE_ATTACKS.add(_image.name, _image)
for _text in (Words(), Characters()):
    TEXT_ATTACKS.add(_text.name, _text)
