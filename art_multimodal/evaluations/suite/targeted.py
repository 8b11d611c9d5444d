"""Descent towards each of the most likely other classes: what a headline about images rests on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.image_ascent import BestSeen, ImageBudget, Objective, ascend, own_generators
from art_multimodal.estimators.image_classifier import ImageClassifier
from art_multimodal.evaluations.suite.costs import Cost, Texts
from art_multimodal.evaluations.suite.entry import Attacked, PreparedAttack
from art_multimodal.functional.losses import margin_loss
from art_multimodal.functional.perturbations import norm_of
from art_multimodal.pairs import is_pairs

#: Of random starts, one for each image; ``None`` starts at the images themselves.
Generators = list[torch.Generator] | None

#: Most classes that are aimed at, the most likely ones, as AutoAttack does.
MOST_TARGETS = 9
#: Most stages of the descent towards one class, and fewest steps of a stage where steps are few.
STAGES, LEAST_STEPS_OF_A_STAGE = 4, 5
#: Fewest steps towards all classes together: where there are few classes, there are more steps towards each.
LEAST_STEPS_TOGETHER = 50


def steps_from_clean(max_iter: int, targets: int) -> int:
    """Steps towards each class from the image itself.

    :param max_iter: Steps of the budget.
    :param targets: How many classes are aimed at.
    """
    return max(max_iter, -(-LEAST_STEPS_TOGETHER // targets))


def targeted(budget: Budget, texts: Texts) -> Cost:
    """The cost of a descent towards each, and a look between stages."""
    targets = min(MOST_TARGETS, max(1, texts.classes - 1))
    return Cost(1 + targets * (budget.max_iter + STAGES + 1), targets * budget.max_iter)


def targeted_from_clean(budget: Budget, texts: Texts) -> Cost:
    """The cost of the same from the image itself."""
    steps = steps_from_clean(budget.max_iter, min(MOST_TARGETS, max(1, texts.classes - 1)))
    return targeted(replace(budget, max_iter=steps), texts)


class TargetedDescent(PreparedAttack):
    """Projected gradient descent towards one other class after the other, on the difference of logits.

    Whatever class a sample is mistaken for counts, so of all steps the images are kept that mislead the model the most.
    As in APGD the steps get shorter by themselves: they start at half of ``eps``, and each stage halves them and goes
    on from the best images. A sample that is misled is left alone. The difference of two logits has a gradient however
    far they are apart, where that of the cross-entropy is lost in rounding.

    ART's targeted APGD is no stand-in. Its difference-of-logits ratio is that of an untargeted attack, and constant
    when the target has the third largest logit: there is no gradient. It returns the last step only, and only if the
    answer is the target.

    :param from_clean: Start at the images themselves, without random numbers, so that a sample's result depends on
        nothing but the sample; with at least :data:`LEAST_STEPS_TOGETHER` steps over all classes. Otherwise at random.
    """

    def __init__(self, estimator: Any, budget: Budget, from_clean: bool = False) -> None:
        super().__init__(estimator, budget)
        self.from_clean = from_clean
        self.targets = min(MOST_TARGETS, estimator.nb_classes - 1)
        steps = steps_from_clean(budget.max_iter, self.targets) if from_clean else budget.max_iter
        parts = max(1, min(STAGES, steps // LEAST_STEPS_OF_A_STAGE)) if from_clean else STAGES
        self.ball = ImageBudget(norm_of(budget.norm), budget.eps, budget.eps_step, steps)
        self.stages = [
            replace(self.ball, eps_step=budget.eps / 2**number, max_iter=len(part))
            for number, part in enumerate(np.array_split(np.arange(steps), parts), start=1)
            if len(part)
        ]

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        # ART's defences may draw numbers.
        with global_seed(seed):
            return self._attacked(x, np.asarray(y, dtype=np.int64), seed)

    def _attacked(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        estimator, size = self.estimator, self.budget.batch_size
        scores = estimator.predict(x, batch_size=size)
        scores[np.arange(len(x)), y] = -np.inf
        likely = np.argsort(-scores, axis=1, kind="stable")[:, : self.targets]
        images = x["image"] if is_pairs(x) else x
        generators = None if self.from_clean else own_generators(seed, images)
        after, labels, left = x.copy(), y.copy(), np.arange(len(x))
        for wanted in likely.T:
            for start in range(0, len(left), size):
                rows = left[start : start + size]
                own = None if generators is None else [generators[row] for row in rows]
                after[rows] = self._towards(x[rows], y[rows], wanted[rows], own)
            labels[left] = estimator.predict_labels(after[left], batch_size=size)
            left = left[labels[left] == y[left]]
        return Attacked(after, labels)

    def _towards(self, x: np.ndarray, y: np.ndarray, wanted: np.ndarray, generators: Generators) -> np.ndarray:
        """The samples with images attacked towards the wanted classes."""
        if self.estimator.texts_are_prompts:
            return self._images_towards(self.estimator, x, y, wanted, generators)
        pairs = x.copy()
        # Rows stay in order from here on, so each image may have its own text.
        view = self.estimator.image_view(x["text"].tolist())
        pairs["image"] = self._images_towards(view, np.ascontiguousarray(x["image"]), y, wanted, generators)
        return pairs

    def _images_towards(
        self, classifier: ImageClassifier, x: np.ndarray, y: np.ndarray, wanted: np.ndarray, generators: Generators
    ) -> np.ndarray:
        classifier.model.eval()
        clean, own, other = (torch.from_numpy(array).to(classifier.device) for array in (x, y, wanted))
        objective, best = _difference_of_logits(classifier, own, other), BestSeen(clean)
        start = torch.zeros_like(clean) if generators is None else self.ball.random_starts(clean, generators)
        for stage in self.stages:
            ascend(classifier, clean, objective, stage, start, best=best)
            start = best.images - clean
        return best.images.cpu().numpy()


def _difference_of_logits(classifier: ImageClassifier, own: torch.Tensor, wanted: torch.Tensor) -> Objective:
    def objective(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = classifier.model(inputs)
        difference = logits.gather(1, wanted[:, None]) - logits.gather(1, own[:, None])
        margin = margin_loss(logits, own)
        # Equal scores may mislead or not, by the order of the classes: what misleads comes first.
        misled = (margin == 0) & (logits.argmax(dim=1) != own)
        return difference[:, 0], margin.masked_fill(misled, torch.finfo(margin.dtype).tiny)

    return objective
