"""Texts first, then images against the attacked texts: by embeddings (Co-Attack), or by what the model answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from torch import Tensor
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.image_ascent import (
    CLASS_LOSSES,
    BestSeen,
    ImageBudget,
    Objective,
    ascend,
    check_image_budget,
    class_loss,
    own_generators,
    own_score,
)
from art_multimodal.attacks.evasion.multimodal.base import Estimator, MultimodalAttack
from art_multimodal.attacks.evasion.multimodal.combinations import Combinations
from art_multimodal.attacks.evasion.text.search import TextRecord
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.estimators.asking import Asking
from art_multimodal.functional.losses import embedding_kl, margin_loss
from art_multimodal.groups import first_rows
from art_multimodal.labels import label_indices

LOSSES = ("embedding_kl", *CLASS_LOSSES)


class CoAttack(MultimodalAttack):
    """Attack the text first, and then the image given the attacked text, so that each makes the other's work easier.

    ``loss="embedding_kl"`` is the published attack. The image embedding is pushed away from where it was, and from the
    attacked text: KL(clean image || image) + ``alpha`` KL(attacked text || image), of unit embeddings. The text of a
    sample is on a :class:`ZeroShotClassifier` the embedding of its class by the attacked prompts, on an
    :class:`ImageTextRetriever` its caption (the mean over all captions of an image, which is attacked once). On a
    :class:`FusionClassifier` the fused vector z moves: KL(z(clean image, clean text) || z) + ``alpha``
    KL(z(clean image, attacked text) || z). Labels are not used, except to tell which prompts are a sample's own.

    ``loss="margin"`` and ``"cross_entropy"`` are the strong attack of one who knows the model and the labels. The image
    is attacked with the clean texts; then with the attacked ones, from there and from random starts. In further
    ``rounds`` the samples on which the model is still right go on: their text is attacked given the attacked image, and
    the image again. Of all the images and texts on the way, the clean ones included, each sample keeps the combination
    with the largest margin, the best other score minus the label's.

    On a zero-shot classifier adversarial images come back and the adversarial prompts are in :attr:`prompts`, ``(K,)``
    or, where the text attack has ``per_image=True``, ``(N, K)``: ``estimator.predict_on(images, prompts)`` evaluates
    them. On the other estimators pairs come back. :attr:`records` are the text attack's for the texts that are kept,
    with the queries of all rounds; scores are those given the image that the text was attacked with.

    Guarantees: every image is in [0, 1] and within ``eps`` of its original in ``norm``, up to one rounding of float32;
    texts are within the budget of the text attack, in every round counted from the clean ones; equal seeds give equal
    results, random starts belong to an image whatever the batch size, and where texts are a sample's own no sample
    depends on what the others are, up to rounding. With the
    losses of labels the margin of no sample is lower than that of the clean sample, of the text alone, of the image
    alone (as :class:`ProjectedGradientDescentDualEncoder` of the same settings finds it) or of both of these together;
    with prompts that all images share the number of failing samples is not lower.

    One step costs one forward and one backward pass, through the image tower where it is separate. ART's preprocessing
    defences are attacked through.

    | Paper link: https://arxiv.org/abs/2206.09391 (Co-Attack)

    >>> from art_multimodal.attacks.evasion import BertAttack
    >>> attack = CoAttack(fusion, BertAttack(fusion, verbose=False), eps=4 / 255, max_iter=1, seed=0, verbose=False)
    >>> attacked = attack.generate(pairs[:2], answers[:2])
    >>> attacked.dtype.names, bool(np.abs(attacked["image"] - pairs["image"][:2]).max() <= 4 / 255 + 1e-6)
    (('image', 'text'), True)
    """

    attack_params = EvasionAttack.attack_params + [
        "text_attack",
        "norm",
        "eps",
        "eps_step",
        "max_iter",
        "loss",
        "alpha",
        "rounds",
        "num_random_init",
        "batch_size",
        "seed",
        "verbose",
    ]

    def __init__(
        self,
        estimator: Estimator,
        text_attack: TextAttack,
        norm: int | float | str = np.inf,
        eps: float = 1 / 255,
        eps_step: float = 1 / 255,
        max_iter: int = 10,
        loss: str = "embedding_kl",
        alpha: float = 3.0,
        rounds: int = 1,
        num_random_init: int = 1,
        batch_size: int = 32,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: What is attacked.
        :param text_attack: On the same estimator. For the losses of labels, one with ``loss="margin"``, and on a
            zero-shot classifier with ``per_image=True``, is the strongest.
        :param norm: ``np.inf``, ``"inf"`` or ``2``.
        :param eps: Radius of the images' budget, in the units of images in [0, 1].
        :param eps_step: Length of a step.
        :param max_iter: Number of steps from each start.
        :param loss: ``"embedding_kl"`` or, on classifiers, ``"margin"`` or ``"cross_entropy"``.
        :param alpha: Weight of the attacked text, with ``"embedding_kl"``; at least 0.
        :param rounds: How often the text is attacked; more than once with the losses of labels only.
        :param num_random_init: Number of random starts. 0 starts at the clean image, with the losses of labels only.
        :param batch_size: Images per forward pass.
        :param seed: Of the random starts; ``None`` draws a new one in every call.
        :param verbose: Show a progress bar.
        """
        super().__init__(estimator)
        self.text_attack = text_attack
        self.norm = norm
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.loss = loss
        self.alpha = alpha
        self.rounds = rounds
        self.num_random_init = num_random_init
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self._check_params()

    @property
    def targeted(self) -> bool:
        """Whether the labels given are wanted; as with the text attack."""
        return self.text_attack.targeted

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return adversarial images, or pairs.

        :param x: Images ``(N, 3, H, W)`` in [0, 1], or pairs ``(N,)``.
        :param y: Labels as indices or one-hot rows: the true ones, or the wanted ones when targeted. Without them the
            model's own predictions are used. On a retriever there are none.
        :raises InputError: For samples or labels that cannot be used, or texts that the model refuses.
        """
        images = self.images_of(x)
        labels = self._labels(images if self.estimator.texts_are_prompts else x, y)
        if not len(x):
            return self.result(x, images, *self.attack_texts(self.text_attack, x, labels))
        samples = self.with_images(x, images)
        asking = self.estimator.asking(self.batch_size)
        with tqdm(desc="CoAttack", disable=not self.verbose) as bar:
            if self.loss == "embedding_kl":
                texts, records = self.attack_texts(self.text_attack, samples, labels)
                found = self._against_embeddings(asking, images, self.texts_of(x), texts, labels, bar)
            else:
                assert labels is not None
                found, texts, records = self._against_answers(asking, samples, images, labels, bar)
        return self.result(x, found, texts, records)

    def _labels(self, x: np.ndarray, y: np.ndarray | None) -> np.ndarray | None:
        if not self.estimator.classifies:
            return None
        labels = label_indices(y, self.estimator.nb_classes, len(x))
        if labels is None and self.targeted:
            raise ValueError("A targeted attack needs the wanted labels in `y`.")
        return self.estimator.predict(x, batch_size=self.batch_size).argmax(axis=1) if labels is None else labels

    def _against_embeddings(
        self,
        asking: Asking,
        images: np.ndarray,
        clean: np.ndarray,
        texts: np.ndarray,
        labels: np.ndarray | None,
        bar: tqdm,
    ) -> np.ndarray:
        """The published attack on the images, given the attacked texts."""
        groups = asking.groups(images)
        images = images[first_rows(groups)]
        held_clean, held = asking.hold(clean, groups), asking.hold(texts, groups)

        def objective_of(batch: Tensor, rows: np.ndarray) -> Objective:
            own = None if labels is None else torch.from_numpy(labels[rows]).to(batch.device)
            return self._divergence(asking, batch, asking.rows(held_clean, rows), asking.rows(held, rows), own)

        generators = own_generators(self.seed, images)
        return self._images(asking, images, objective_of, generators, None, None, bar)[groups]

    def _divergence(
        self, asking: Asking, images: Tensor, held_clean: Any, held: Any, labels: Tensor | None
    ) -> Objective:
        """KL(clean || adversarial) + alpha KL(text || adversarial) as a function of model inputs."""
        with torch.no_grad():
            seen = asking.see("image", asking.through_defences("image", images))
            before = asking.embedded({"image": seen, "text": held_clean})
            towards, weights = asking.towards({"image": seen, "text": held}, labels)

        def raised(inputs: Tensor) -> Tensor:
            after = asking.embedded({"image": asking.see("image", inputs), "text": held})
            from_texts = (weights * embedding_kl(towards, after[:, None])).sum(dim=1)
            return embedding_kl(before, after) + self.alpha * from_texts

        return own_score(raised)

    def _against_answers(
        self, asking: Asking, x: np.ndarray, images: np.ndarray, labels: np.ndarray, bar: tqdm
    ) -> tuple[np.ndarray, np.ndarray, list[TextRecord]]:
        """The attack on what the model answers: images, texts and records."""
        shared = self.estimator.texts_are_prompts and not self.text_attack.per_image
        tried = Combinations(asking, images, self.texts_of(x), shared, labels, self.targeted)
        generators = own_generators(self.seed, images)
        tried.add_images(self._images_against(tried, generators, bar))
        everything = np.arange(len(labels))
        tried.add_texts(*self._texts_against(x, labels, everything, tried))
        tried.add_images(self._images_against(tried, generators, bar, everything))
        for _ in range(self.rounds - 1):
            rows = everything if shared else tried.undecided
            if not len(tried.undecided):
                break
            tried.add_texts(*self._texts_against(self.with_images(x, tried.best()[0]), labels, rows, tried))
            tried.add_images(self._images_against(tried, generators, bar, everything if shared else tried.undecided))
        return tried.best()

    def _texts_against(
        self, x: np.ndarray, labels: np.ndarray, rows: np.ndarray, tried: Combinations
    ) -> tuple[np.ndarray, list[list[TextRecord]]]:
        """Attack the texts of some samples, from the clean ones; the others keep what was found for them first."""
        found, records = self.attack_texts(self.text_attack, x[rows], labels[rows])
        if tried.shared:
            return found, [records]
        each = np.array_split(np.arange(len(records)), len(rows))
        if len(rows) == len(x):
            return found, [[records[number] for number in numbers] for numbers in each]
        texts = tried.texts[1].copy()
        of_samples = [[replace(record, queries=0) for record in part] for part in tried.records[1]]
        texts[rows] = found
        for row, numbers in zip(rows, each, strict=True):
            of_samples[row] = [records[number] for number in numbers]
        return texts, of_samples

    def _images_against(
        self, tried: Combinations, generators: list[torch.Generator], bar: tqdm, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Attack the images of some samples with the newest texts, from the worst ones there are; of all anew."""
        asking, held = tried.asking, tried.held[-1]

        def objective_of(images: Tensor, batch: np.ndarray) -> Objective:
            texts, labels = asking.rows(held, batch), tried.labels[torch.from_numpy(batch).to(images.device)]

            def objective(inputs: Tensor) -> tuple[Tensor, Tensor]:
                logits = asking.scores(asking.fused({"image": asking.see("image", inputs), "text": texts}))
                raised = class_loss(self.loss, logits, labels, self.targeted)
                return raised, raised if self.loss == "margin" else margin_loss(logits, labels, self.targeted)

            return objective

        warm = None if rows is None else tried.images_for(len(tried.texts) - 1)
        return self._images(asking, tried.images[0], objective_of, generators, warm, rows, bar)

    def _images(
        self,
        asking: Asking,
        images: np.ndarray,
        objective_of: Callable[[Tensor, np.ndarray], Objective],
        generators: list[torch.Generator],
        warm: np.ndarray | None,
        rows: np.ndarray | None,
        bar: tqdm,
    ) -> np.ndarray:
        """The best images on the way from all starts.

        :param images: The clean ones.
        :param objective_of: Of clean images and their rows.
        :param generators: Of random starts, one for each image.
        :param warm: Images to start from, too.
        :param rows: Of the images to attack; the others come back as they are, or as in ``warm``.
        """
        budget = ImageBudget.of(self)
        found = (images if warm is None else warm).copy()
        wanted = np.isin(np.arange(len(found)), np.arange(len(found)) if rows is None else rows)
        for first in range(0, len(found), self.batch_size):
            batch = np.arange(first, min(first + self.batch_size, len(found)))
            bar.update(len(batch) - wanted[batch].sum())
            batch = batch[wanted[batch]]
            if not len(batch):
                continue
            clean = torch.from_numpy(images[batch]).to(asking.device)
            own = [generators[row] for row in batch]
            starts = [budget.random_starts(clean, own) for _ in range(self.num_random_init)]
            if warm is not None:
                starts.insert(0, torch.from_numpy(warm[batch]).to(clean) - clean)
            objective, best = objective_of(clean, batch), BestSeen(clean)
            for start in starts or [torch.zeros_like(clean)]:
                ascend(self.estimator, clean, objective, budget, start, best=best)
            found[batch] = best.images.cpu().numpy()
            bar.update(len(batch))
        return found

    def _check_params(self) -> None:
        check_image_budget(self)
        check_whole_number(self, "rounds", 1)
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.")
        if not (np.isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(f"alpha must be a finite number of at least 0, not {self.alpha!r}.")
        self.check_text_attack()
        if self.loss == "embedding_kl":
            if self.num_random_init == 0:
                raise ValueError(
                    "loss='embedding_kl' may have no gradient at the clean image: num_random_init must be at least 1."
                )
            if self.rounds > 1:
                raise ValueError("rounds > 1 needs loss='margin' or 'cross_entropy', which tell whether to go on.")
            if self.text_attack.targeted:
                raise ValueError("A targeted attack needs loss='margin' or 'cross_entropy'.")
        elif not self.estimator.classifies:
            raise ValueError(f"loss={self.loss!r} needs a classifier. On a retriever use 'embedding_kl'.")
