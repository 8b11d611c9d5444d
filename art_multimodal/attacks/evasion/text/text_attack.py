"""What the text attacks share as ART evasion attacks: what is attacked, what is protected, what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.text.objectives import (
    LOSSES,
    AnswerMargin,
    Dissimilarity,
    Divergence,
    PromptMargin,
    TextObjective,
)
from art_multimodal.attacks.evasion.text.questions import TextQuestions
from art_multimodal.attacks.evasion.text.search import Plan, TextRecord, attack_texts
from art_multimodal.errors import InputError
from art_multimodal.estimators.asking import TextCost
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.labels import label_indices
from art_multimodal.language.words import ProtectedWords, words_of
from art_multimodal.modalities.text import text_names
from art_multimodal.pairs import check_images, is_pairs
from art_multimodal.sample_arrays import with_field
from art_multimodal.texts import as_texts, check_strings


class TextAttack(EvasionAttack):
    """Base of :class:`BertAttack` and :class:`CharacterAttack`; a subclass says what may stand in a word's place."""

    attack_params = EvasionAttack.attack_params + [
        "loss",
        "targeted",
        "per_image",
        "candidate_words",
        "protect_class_names",
        "protected_words",
        "batch_size",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, (FusionClassifier, ImageTextRetriever, ZeroShotClassifier))

    def __init__(
        self,
        estimator: FusionClassifier | ImageTextRetriever | ZeroShotClassifier,
        loss: str,
        targeted: bool,
        per_image: bool,
        candidate_words: int | None,
        protect_class_names: bool,
        protected_words: Sequence[str],
        batch_size: int,
        verbose: bool,
    ) -> None:
        super().__init__(estimator=estimator)
        self.loss = loss
        self._targeted = targeted
        self.per_image = per_image
        self.candidate_words = candidate_words
        self.protect_class_names = protect_class_names
        self.protected_words = protected_words
        self.batch_size = batch_size
        self.verbose = verbose
        self.cost = TextCost()
        self.records: list[TextRecord] = []

    def generate(self, x: np.ndarray | None = None, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Attack the prompts of a :class:`ZeroShotClassifier`, or the texts of samples on the other estimators.

        On a zero-shot classifier what comes back is an object array of shape ``(K,)``: for each class the tuple of its
        prompts, in the order of ``estimator.prompts``. ``estimator.with_prompts(result)`` evaluates it. Every distinct
        prompt is attacked once; :attr:`records` has one record for each, in order of first appearance. With
        ``per_image=True`` the array has shape ``(N, K)``, the prompts of each image, which
        ``estimator.predict_on(x, result)`` evaluates; :attr:`records` has one record for each image and distinct
        prompt, all of the first image first.

        On a fusion classifier and on a retriever pairs come back, with the same images, or samples of other modalities,
        of which one is a text; :attr:`records` has one record
        per pair. With ``loss="embedding_kl"`` and separate towers, pairs with one text share their attack.

        :param x: Pairs, or other samples, ``(N,)``. On a zero-shot classifier ``None``, or with ``loss="margin"``
            images ``(N, 3, H, W)`` in [0, 1] on which the prompts are to fail; :attr:`targeted` needs them too.
        :param y: With ``loss="margin"`` labels as indices or one-hot rows, the true ones or the wanted ones; without
            them the model's own predictions are used, unless targeted. Not used otherwise.
        :raises InputError: For samples or labels that cannot be used, or texts that the model refuses.
        """
        if not self.estimator.texts_are_prompts:
            return self._attack_samples(x, y)
        texts = list(dict.fromkeys(text for entry in self.estimator.prompts for text in entry))
        if self.loss == "margin":
            return self._attack_prompts_on_images(texts, x, y)
        if x is not None:
            raise InputError(
                "On a ZeroShotClassifier the prompts of the estimator are attacked, so x must be None (images with "
                "loss='margin' only). For other texts use perturb(texts)."
            )
        self.records = self._attack(self._questions(texts, Divergence()))
        return self._prompts(self.records)

    def perturb(self, texts: Sequence[str]) -> list[str]:
        """Attack any texts (captions, for example), by their embeddings; equal texts once.

        :param texts: Strings; a single one is one text. Those without a word come back as they are. :attr:`records` has
            one record per distinct text with a word.
        :raises InputError: With ``loss="margin"``, on a fusion model without separate towers, or if the model refuses a
            text.
        """
        texts = as_texts(texts)
        if self.loss != "embedding_kl":
            raise InputError("perturb(texts) moves embeddings, so it needs loss='embedding_kl'. Use generate(x, y).")
        if not self._embeds_texts:
            raise InputError(
                f"{type(self.estimator.model).__name__} embeds no text without an image. Use generate(pairs)."
            )
        self.records = self._attack(self._of_texts_alone(texts))
        adversarial = {record.text: record.adversarial for record in self.records}
        return [adversarial.get(text, text) for text in texts]

    def _attack_prompts_on_images(self, texts: list[str], x: np.ndarray | None, y: np.ndarray | None) -> np.ndarray:
        if x is None or is_pairs(x):
            raise InputError(
                "loss='margin' on a ZeroShotClassifier needs images: generate(images, labels). "
                "loss='embedding_kl' needs none."
            )
        images = check_images(x)
        if not len(images) and not self.per_image:
            raise InputError("There are no images. loss='margin' needs at least one.")
        labels = self._labels(images, y)
        if not len(images):
            self.records = []
            return np.empty((0, self.estimator.nb_classes), dtype=object)
        asking = self.estimator.asking(self.batch_size)
        objective = PromptMargin(asking, texts, images, labels, self.targeted, self.per_image)
        subjects = [text for text in texts for _ in range(len(images) if self.per_image else 1)]
        records = self._attack(TextQuestions(asking, subjects, objective, self.cost))
        if not self.per_image:
            self.records = records
            return self._prompts(records)
        # All images of a prompt stand together.
        of_image = [records[number :: len(images)] for number in range(len(images))]
        self.records = [record for part in of_image for record in part]
        return np.stack([self._prompts(part) for part in of_image])

    def _prompts(self, records: Sequence[TextRecord]) -> np.ndarray:
        """The prompts of the classes ``(K,)`` after an attack on each distinct one."""
        adversarial = {record.text: record.adversarial for record in records}
        prompts = self.estimator.prompts
        result = np.empty(len(prompts), dtype=object)
        for number, entry in enumerate(prompts):
            result[number] = tuple(adversarial[text] for text in entry)
        return result

    def _attack_samples(self, x: np.ndarray | None, y: np.ndarray | None) -> np.ndarray:
        x = self._checked(x)
        texts = x[self.text_name].tolist()
        adversarial = x.copy()
        if self.loss == "embedding_kl" and self._embeds_texts:
            records = self._attack(self._of_texts_alone(texts))
            of_text = {record.text: record for record in records}
            self.records = [of_text.get(text) or _untouched(text) for text in texts]
        else:
            labels = self._labels(x, y) if self.loss == "margin" else None
            # A text without a word has nothing to change, and some models refuse it.
            rows = [row for row, text in enumerate(texts) if words_of(text)]
            self.records = [_untouched(text) for text in texts]
            if rows:
                questions = self._of_samples(x[rows], None if labels is None else labels[rows])
                for row, record in zip(rows, self._attack(questions), strict=True):
                    self.records[row] = record
        adversarial[self.text_name] = [record.adversarial for record in self.records]
        return adversarial

    @property
    def text_name(self) -> str:
        """The name of the modality that is attacked.

        :raises InputError: If the model reads no texts, or several.
        """
        names = text_names(self.estimator.modalities)
        if len(names) != 1:
            raise InputError(f"A text attack needs a model with one text; this one has {len(names)}: {names}.")
        return names[0]

    @property
    def _embeds_texts(self) -> bool:
        """Whether the model embeds a text without the rest of its sample."""
        return getattr(self.estimator.image_text_model, "separate_towers", True)

    def _checked(self, x: np.ndarray | None) -> np.ndarray:
        """Samples as the estimator takes them.

        :raises InputError: If they are of another kind, or hold what it does not take.
        """
        if list(self.estimator.modalities) != ["image", "text"]:
            return self.estimator.checked(x)
        if x is None or not is_pairs(x):
            raise InputError(
                f"On {type(self.estimator).__name__} the attack takes pairs, made by image_text_pairs(images, texts)."
            )
        check_strings(x["text"].tolist())
        images = check_images(x["image"])
        return x if images is x["image"] else with_field(x, "image", images)

    def _questions(self, texts: Sequence[str], objective: TextObjective) -> TextQuestions:
        return TextQuestions(self.estimator.asking(self.batch_size), texts, objective, self.cost, self.text_name)

    def _of_texts_alone(self, texts: Sequence[str]) -> TextQuestions:
        return self._questions([text for text in dict.fromkeys(texts) if words_of(text)], Divergence())

    def _of_samples(self, x: np.ndarray, labels: np.ndarray | None) -> TextQuestions:
        """Questions about the texts of samples; with labels by the margin of the answer."""
        asking, name = self.estimator.asking(self.batch_size), self.text_name
        texts = x[name].tolist()
        if self.loss == "similarity":
            return TextQuestions(asking, texts, Dissimilarity(asking, x["image"]), self.cost)
        others = {other: asking.see_field(other, x[other]) for other in asking.modalities if other != name}
        objective: TextObjective = Divergence()
        if labels is not None:
            objective = AnswerMargin(asking, name, others, labels, self.targeted)
        return TextQuestions(asking, texts, objective, self.cost, name, others)

    def _labels(self, x: np.ndarray, y: np.ndarray | None) -> np.ndarray:
        labels = label_indices(y, self.estimator.nb_classes, len(x))
        if labels is not None:
            return labels
        if self.targeted:
            raise ValueError("A targeted attack needs the wanted labels in `y`.")
        return self.estimator.predict(x, batch_size=self.batch_size).argmax(axis=1)

    def _attack(self, questions: TextQuestions) -> list[TextRecord]:
        # Subjects may share a text: what can be changed in it is found once.
        plan, free_in = self.planned(list(dict.fromkeys(questions.texts)))
        with tqdm(total=len(questions.texts), desc=type(self).__name__, disable=not self.verbose) as bar:
            return attack_texts(questions, [free_in[text] for text in questions.texts], plan, done=bar.update)

    def planned(self, texts: list[str]) -> tuple[Plan, dict[str, list[int]]]:
        """How texts may change: the plan of a search, and of each text the words that can be changed at all."""
        protected = self._protection()
        free = []
        for text in texts:
            words = words_of(text)
            taken = protected.among(words)
            free.append([index for index in range(len(words)) if index not in taken])
        plan, free = self._plan(texts, free, protected)
        return plan, dict(zip(texts, free, strict=True))

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
        classifies = self.estimator.classifies
        if self.loss == "margin" and not classifies:
            raise ValueError("loss='margin' needs a classifier. On a retriever use 'similarity' or 'embedding_kl'.")
        if self.loss == "similarity" and classifies:
            raise ValueError(
                "loss='similarity' lowers the similarity of captions to their images, on an ImageTextRetriever. On a "
                "classifier use 'margin' or 'embedding_kl'."
            )
        if self.per_image and not (self.loss == "margin" and self.estimator.texts_are_prompts):
            raise ValueError(
                "per_image=True chooses prompts for each image of a ZeroShotClassifier, with loss='margin'. On pairs "
                "every text has an image of its own already."
            )
        check_whole_number(self, "batch_size", 1)
        if self.candidate_words is not None:
            check_whole_number(self, "candidate_words", 1)
        if isinstance(self.protected_words, str) or not all(isinstance(word, str) for word in self.protected_words):
            raise ValueError(f"protected_words must be a list of words, not {self.protected_words!r:.80}.")


def _untouched(text: str) -> TextRecord:
    """The record of a text without a word."""
    return TextRecord(text, text, (), 0.0, 0.0, 0)
