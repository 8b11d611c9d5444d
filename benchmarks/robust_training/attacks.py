"""What the experiment's models are attacked with: texts, images, and both at once.

A cell is an image with a template. Texts are attacked in every cell. Images are attacked in one cell each, with the
template whose turn it is, against the very prompts that are then evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion import BertAttack
from art_multimodal.evaluations.suite.cascade import Cascade
from art_multimodal.language.masked_language_model import MaskedLanguageModel
from art_multimodal.language.words import words_of
from benchmarks.robust_training.captions import CIFAR_SYNONYMS

IMAGE_ATTACKS = ("apgd", "apgd_dlr", "square")
TOP_K = 20
#: Other names of the classes: with one of them in it, a prompt would be of two classes.
SYNONYMS = tuple(word for words in CIFAR_SYNONYMS.values() for word in words)


class TextThreat:
    """Which words may come into a prompt, one at a time, each in place of one other.

    :param language_model: Proposes them.
    :param protected: Whether class names stay.
    :param stop_words: What is never proposed.
    :param top_k: Proposals looked at for each word.
    """

    def __init__(
        self,
        language_model: MaskedLanguageModel,
        protected: bool = True,
        stop_words: frozenset[str] | None = None,
        top_k: int = TOP_K,
    ) -> None:
        self.language_model = language_model
        self.protected = protected
        self.stop_words = stop_words
        self.top_k = top_k

    def attack(self, classifier: ZeroShotClassifier, loss: str = "embedding_kl") -> BertAttack:
        """The library's attack under this threat."""
        return BertAttack(
            classifier,
            self.language_model,
            top_k=self.top_k,
            loss=loss,
            candidate_words=None,
            protect_class_names=self.protected,
            protected_words=SYNONYMS if self.protected else (),
            stop_words=self.stop_words,
            verbose=False,
        )

    def variants(self, classifier: ZeroShotClassifier) -> list[list[list[str]]]:
        """For each class and each of its prompts: the prompt itself, and all that one change can make of it."""
        attack = self.attack(classifier)
        texts = list(dict.fromkeys(text for prompts in classifier.prompts for text in prompts))
        protected = attack._protection()
        words = {text: words_of(text) for text in texts}
        free = [[n for n in range(len(words[text])) if n not in protected.among(words[text])] for text in texts]
        plan, free = attack._plan(texts, free, protected)
        found = {
            text: [
                text,
                *(
                    words[text][n].replaced(text, new)
                    for n in indices
                    for new in plan.propose(text, n, words[text][n].text)
                ),
            ]
            for text, indices in zip(texts, free, strict=True)
        }
        return [[found[text] for text in prompts] for prompts in classifier.prompts]


def encode(classifier: ZeroShotClassifier, texts: Sequence[str]) -> Tensor:
    """Unit embeddings of texts, ``[M, D]``."""
    model = classifier.dual_encoder
    with torch.no_grad():
        parts = model.tokenize(list(texts)).split(256)
        return torch.cat([model.encode_text(part.to(model.device)) for part in parts])


class WorstWords:
    """Exact worst case over all ways to change at most one word in each class's prompt, for each image by itself.

    The prompts of the classes do not interact, so the worst is the one that is least like the image for its own class,
    and most like it for the others.
    """

    def __init__(self, classifier: ZeroShotClassifier, threat: TextThreat) -> None:
        variants = threat.variants(classifier)
        every = list(dict.fromkeys(text for prompts in variants for texts in prompts for text in texts))
        row_of = {text: row for row, text in enumerate(every)}
        self.features = encode(classifier, every)
        #: Per template and class.
        self.rows = [
            [[row_of[t] for t in texts] for texts in of_template] for of_template in zip(*variants, strict=True)
        ]

    def margins(self, images: Tensor, labels: Tensor, template: int) -> Tensor:
        """Worst cosine of the own class less the best of the others, ``[N]``, for unit embeddings ``[N, D]``."""
        lowest, highest = [], []
        for rows in self.rows[template]:
            similarity = images @ self.features[rows].T
            lowest.append(similarity.amin(dim=1))
            highest.append(similarity.amax(dim=1))
        own = torch.stack(lowest, dim=1).gather(1, labels[:, None])[:, 0]
        others = torch.stack(highest, dim=1).scatter(1, labels[:, None], -torch.inf).amax(dim=1)
        return own - others


def right_in_cells(images: Tensor, labels: Tensor, texts: Tensor) -> np.ndarray:
    """Which cells are right: boolean ``[N, T]`` from unit embeddings ``[N, D]`` and ``[T, K, D]``."""
    scores = torch.einsum("nd,tkd->ntk", images, texts)
    return (scores.argmax(dim=2) == labels[:, None]).numpy()


def unit_images(classifier: ZeroShotClassifier, images: np.ndarray) -> Tensor:
    """Unit embeddings of images."""
    return F.normalize(classifier.image_features(images), dim=-1)


def attack_images(
    classifier: ZeroShotClassifier,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    seed: int,
    attacks: Sequence[str] = IMAGE_ATTACKS,
    max_iter: int = 10,
    max_queries: int = 100,
) -> np.ndarray:
    """The images as the attacks leave them, each attack on what those before it have left.

    :param images: Of which the classifier is right.
    """
    if not len(images):
        return images
    budget = Budget("inf", eps, eps / 4, max_iter, max_queries, batch_size=256)
    return Cascade(classifier, budget, attacks)(images, labels, seed).x


def survive_worst_words(
    classifier: ZeroShotClassifier,
    worst: WorstWords,
    template: int,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    seed: int,
    max_iter: int = 40,
    starts: int = 2,
) -> np.ndarray:
    """Which images keep a positive margin under the worst words, boolean ``[N]``, after descent on just that margin.

    The words are chosen anew in every step, for each image by itself.
    """
    model, truth = classifier.dual_encoder, torch.from_numpy(labels)
    left = np.ones(len(images), dtype=bool)
    generator = torch.Generator().manual_seed(seed)
    for start in range(starts):
        rows = np.flatnonzero(left)
        if not len(rows):
            break
        origin = torch.from_numpy(images[rows])
        # The first start is the image itself.
        away = torch.empty(origin.shape).uniform_(-eps, eps, generator=generator) if start else 0.0
        moved = (origin + away).clamp(0, 1)
        for step in range(max_iter + 1):
            moved.requires_grad_(True)
            margins = worst.margins(model.encode_image(moved), truth[rows], template)
            left[rows[(margins <= 0).numpy()]] = False
            if step == max_iter:
                break
            (gradient,) = torch.autograd.grad(margins.sum(), moved)
            # Long steps first, short ones where it matters.
            length = eps * max(1 / 16, 0.5 * (1 - step / (0.75 * max_iter)))
            moved = (moved.detach() - length * gradient.sign()).clamp(origin - eps, origin + eps).clamp(0, 1)
    return left
