"""What the text attacks share as ART evasion attacks: what is attacked, what is protected, what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.text.scoring import (
    LOSSES,
    PairVictim,
    PromptMarginVictim,
    PromptVictim,
    TextCost,
    TextVictim,
)
from art_multimodal.attacks.evasion.text.search import Plan, TextRecord, attack_texts
from art_multimodal.attacks.evasion.text.words import ProtectedWords, words_of
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.text_bound import check_strings
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.labels import label_indices
from art_multimodal.pairs import check_images, is_pairs


class TextAttack(EvasionAttack):
    """Base of :class:`BertAttack` and :class:`CharacterAttack`; a subclass says what may stand in a word's place."""

    attack_params = EvasionAttack.attack_params + [
        "loss",
        "targeted",
        "candidate_words",
        "protect_class_names",
        "protected_words",
        "batch_size",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, (FusionClassifier, ZeroShotClassifier))

    def __init__(
        self,
        estimator: FusionClassifier | ZeroShotClassifier,
        loss: str,
        targeted: bool,
        candidate_words: int | None,
        protect_class_names: bool,
        protected_words: Sequence[str],
        batch_size: int,
        verbose: bool,
    ) -> None:
        super().__init__(estimator=estimator)
        self.loss = loss
        self._targeted = targeted
        self.candidate_words = candidate_words
        self.protect_class_names = protect_class_names
        self.protected_words = protected_words
        self.batch_size = batch_size
        self.verbose = verbose
        self.cost = TextCost()
        self.records: list[TextRecord] = []

    def generate(self, x: np.ndarray | None = None, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Attack the prompts of a :class:`ZeroShotClassifier`, or the texts of pairs for a :class:`FusionClassifier`.

        On a zero-shot classifier what comes back is an object array of shape ``(K,)``: for each class the tuple of its
        prompts, in the order of ``estimator.prompts``. ``estimator.with_prompts(result)`` evaluates it. Every distinct
        prompt is attacked once; :attr:`records` has one record for each, in order of first appearance.

        On a fusion classifier pairs come back, with the same images; :attr:`records` has one record per pair. With
        ``loss="embedding_kl"`` and separate towers, pairs with one text share their attack.

        :param x: Pairs ``(N,)``. On a zero-shot classifier ``None``, or with ``loss="margin"`` images
            ``(N, 3, H, W)`` in [0, 1] on which the prompts are to fail; :attr:`targeted` needs them too.
        :param y: With ``loss="margin"`` labels as indices or one-hot rows, the true ones or the wanted ones; without
            them the model's own predictions are used, unless targeted. Not used otherwise.
        :raises InputError: For samples or labels that cannot be used, or texts that the model refuses.
        """
        if isinstance(self.estimator, FusionClassifier):
            return self._attack_pairs(x, y)
        prompts = self.estimator.prompts
        texts = list(dict.fromkeys(text for entry in prompts for text in entry))
        victim: TextVictim
        if self.loss == "margin":
            if x is None or is_pairs(x):
                raise InputError(
                    "loss='margin' on a ZeroShotClassifier needs images: generate(images, labels). "
                    "loss='embedding_kl' needs none."
                )
            images = check_images(x)
            if not len(images):
                raise InputError("There are no images. loss='margin' needs at least one.")
            victim = PromptMarginVictim(
                self.estimator, texts, self.batch_size, self.cost, images, self._labels(images, y), self.targeted
            )
        elif x is not None:
            raise InputError(
                "On a ZeroShotClassifier the prompts of the estimator are attacked, so x must be None (images with "
                "loss='margin' only). For other texts use perturb(texts)."
            )
        else:
            victim = PromptVictim(self.estimator, texts, self.batch_size, self.cost)
        self.records = self._attack(victim)
        adversarial = {record.text: record.adversarial for record in self.records}
        result = np.empty(len(prompts), dtype=object)
        for number, entry in enumerate(prompts):
            result[number] = tuple(adversarial[text] for text in entry)
        return result

    def perturb(self, texts: Sequence[str]) -> list[str]:
        """Attack any texts (captions, for example), by their embeddings; equal texts once.

        :param texts: Strings. Those without a word come back as they are. :attr:`records` has one record per distinct
            text with a word.
        :raises InputError: With ``loss="margin"``, on a fusion model without separate towers, or if the model refuses a
            text.
        """
        texts = list(texts)
        check_strings(texts)
        if self.loss != "embedding_kl":
            raise InputError("perturb(texts) moves embeddings, so it needs loss='embedding_kl'. Use generate(x, y).")
        if isinstance(self.estimator, FusionClassifier) and not self.estimator.model.separate_towers:
            raise InputError(
                f"{type(self.estimator.model).__name__} embeds no text without an image. Use generate(pairs)."
            )
        self.records = self._attack(self._victim_of_texts(texts))
        adversarial = {record.text: record.adversarial for record in self.records}
        return [adversarial.get(text, text) for text in texts]

    def _attack_pairs(self, x: np.ndarray | None, y: np.ndarray | None) -> np.ndarray:
        if x is None or not is_pairs(x):
            raise InputError("On a FusionClassifier the attack takes pairs, made by image_text_pairs(images, texts).")
        images, texts = check_images(x["image"]), x["text"].tolist()
        check_strings(texts)
        adversarial = x.copy()
        if self.loss == "embedding_kl" and self.estimator.model.separate_towers:
            records = self._attack(self._victim_of_texts(texts))
            of_text = {record.text: record for record in records}
            self.records = [of_text.get(text) or _untouched(text) for text in texts]
        else:
            labels = self._labels(x, y) if self.loss == "margin" else None
            # A text without a word has nothing to change, and some models refuse it.
            rows = [row for row, text in enumerate(texts) if words_of(text)]
            self.records = [_untouched(text) for text in texts]
            if rows:
                victim = PairVictim(
                    self.estimator,
                    [texts[row] for row in rows],
                    self.batch_size,
                    self.cost,
                    images[rows],
                    None if labels is None else labels[rows],
                    self.targeted,
                )
                for row, record in zip(rows, self._attack(victim), strict=True):
                    self.records[row] = record
        adversarial["text"] = [record.adversarial for record in self.records]
        return adversarial

    def _victim_of_texts(self, texts: Sequence[str]) -> TextVictim:
        distinct = [text for text in dict.fromkeys(texts) if words_of(text)]
        if isinstance(self.estimator, FusionClassifier):
            return PairVictim(self.estimator, distinct, self.batch_size, self.cost)
        return PromptVictim(self.estimator, distinct, self.batch_size, self.cost)

    def _labels(self, x: np.ndarray, y: np.ndarray | None) -> np.ndarray:
        labels = label_indices(y, self.estimator.nb_classes, len(x))
        if labels is not None:
            return labels
        if self.targeted:
            raise ValueError("A targeted attack needs the wanted labels in `y`.")
        return self.estimator.predict(x, batch_size=self.batch_size).argmax(axis=1)

    def _attack(self, victim: TextVictim) -> list[TextRecord]:
        protected = self._protection()
        free = []
        for text in victim.texts:
            words = words_of(text)
            taken = protected.among(words)
            free.append([index for index in range(len(words)) if index not in taken])
        plan, free = self._plan(victim.texts, free, protected)
        with tqdm(total=len(victim.texts), desc=type(self).__name__, disable=not self.verbose) as bar:
            return attack_texts(victim, free, plan, done=bar.update)

    def _protection(self) -> ProtectedWords:
        names = self.estimator.class_names if self.protect_class_names else ()
        return ProtectedWords((*names, *self.protected_words))

    def _plan(self, texts: list[str], free: list[list[int]], protected: ProtectedWords) -> tuple[Plan, list[list[int]]]:
        """How to search, and which of the free words can be changed at all: the others need no question."""
        raise NotImplementedError

    def _check_params(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.")
        if self.targeted and self.loss != "margin":
            raise ValueError("A targeted attack needs loss='margin': embeddings have no wanted label.")
        check_whole_number(self, "batch_size", 1)
        if self.candidate_words is not None:
            check_whole_number(self, "candidate_words", 1)
        if isinstance(self.protected_words, str) or not all(isinstance(word, str) for word in self.protected_words):
            raise ValueError(f"protected_words must be a list of words, not {self.protected_words!r:.80}.")


def _untouched(text: str) -> TextRecord:
    """The record of a text without a word."""
    return TextRecord(text, text, (), 0.0, 0.0, 0)
