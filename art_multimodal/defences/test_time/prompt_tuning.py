"""Robust test-time prompt tuning (R-TPT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.defences.test_time.contract import (
    Passes,
    TestTimeDefence,
    drawn,
    entropies,
    number_between,
    whole_number,
)
from art_multimodal.defences.test_time.views import cropped
from art_multimodal.errors import InputError
from art_multimodal.estimators.test_time import BareModel
from art_multimodal.estimators.zero_shot_module import PromptHead
from art_multimodal.models.causal_text import CausalText


class RobustPromptTuning(TestTimeDefence):
    """Tune the words of the prompts for each image, on views of it, and weigh the views by how alike they are (R-TPT).

    The words that all prompts of a template begin with become free vectors. Of ``views`` views, the image among them,
    the share ``selected`` with the lowest entropies counts; one step of Adam lowers the mean of their entropies
    (pointwise, not that of their mean). Then all views are classified with the tuned prompts, and probabilities are
    averaged with weights ``softmax(r / temperature)``, where ``r`` is the mean cosine of a view's embedding with those
    of its ``neighbours`` nearest views.

    Chosen here: views are crops of at least ``smallest`` of the area, with noise, where the paper mixes augmentations
    (AugMix). Our sources have the weights as ``r`` over its sum and as a softmax; the softmax of the released settings
    was taken. AdamW's decay of weights, 5e-5 of their length, is left out.

    The text tower must be causal, as those of CLIP are, so that its first states can be tuned.

    | Paper link: https://arxiv.org/abs/2504.11195

    >>> defended = classifier.with_test_time_defence(RobustPromptTuning(views=4, neighbours=2, selected=0.5))
    >>> defended.predict(images[:1]).shape
    (1, 10)
    """

    defence_params = [
        *("views", "smallest", "sigma", "selected", "neighbours", "temperature", "lr", "max_iter"),
        *TestTimeDefence.defence_params,
    ]
    random = True

    def __init__(
        self,
        views: int = 64,
        smallest: float = 0.5,
        sigma: float = 0.03,
        selected: float = 0.1,
        neighbours: int = 20,
        temperature: float = 0.01,
        lr: float = 0.005,
        max_iter: int = 1,
        seed: int = 0,
        draws: int = 1,
        gradient: str = "unrolled",
        softness: float = 0.5,
    ) -> None:
        """
        :param views: Number of views, the image itself among them.
        :param smallest: Least area of a crop, as a share of the image's.
        :param sigma: Standard deviation of the noise on each view.
        :param selected: Share of the views whose entropy is lowered; at least one.
        :param neighbours: Nearest views that a view is compared with.
        :param temperature: Of the weights of the views.
        :param lr: Length of a step of Adam.
        :param max_iter: Number of steps.
        """
        super().__init__(seed, draws, gradient, softness)
        self.views, self.smallest, self.sigma, self.selected = views, smallest, sigma, selected
        self.neighbours, self.temperature, self.lr, self.max_iter = neighbours, temperature, lr, max_iter
        self._check_params()

    def passes(self) -> Passes:
        return Passes(self.views, 0, self.max_iter + 1, self.max_iter)

    def check(self, bare: BareModel) -> None:
        TunablePrompts.of(bare.head)

    def one_answer(
        self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        prompts = TunablePrompts.of(bare.head)
        check_own_prompts(bare, classes)
        views = [images]
        for _ in range(self.views - 1):
            view = cropped(images, self.smallest, generators) + self.sigma * drawn(generators, images, normal=True)
            views.append(self.transformed(images, view.clamp(0, 1)))
        features = bare.embed(torch.cat(views)).unflatten(0, (-1, len(images))).transpose(0, 1)
        number = max(1, int(self.selected * self.views))
        weights = self.lowest(entropies(logits_of_views(bare, features, classes)), number) / number
        tuned = self._tuned(bare, prompts, features, weights)
        final = logits_of_views(bare, features, prompts.class_features(tuned)).log_softmax(dim=-1)
        return (final + self._reliability(features).log_softmax(dim=1)[:, :, None]).logsumexp(dim=1)

    def _tuned(self, bare: BareModel, prompts: TunablePrompts, features: Tensor, weights: Tensor) -> Tensor:
        """What is added to the words of the prompts, ``[N, P, W]``, after steps of Adam."""

        def lowered(added: Tensor) -> Tensor:
            return (weights * entropies(logits_of_views(bare, features, prompts.class_features(added)))).sum(dim=1)

        added = prompts.zeros(len(features), like=features)
        mean, square = torch.zeros_like(added), torch.zeros_like(added)
        for step in range(1, self.max_iter + 1):
            # A step depends on the images by way of its gradient, whatever stands at its beginning.
            linked = added + 0 * features.sum(dim=(1, 2))[:, None, None]
            slope = self.gradient_of(lowered, linked)
            mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope.square()
            first, second = mean / (1 - 0.9**step), square / (1 - 0.999**step)
            added = added - self.lr * self._adam(first, second)
        return added

    def _adam(self, first: Tensor, second: Tensor) -> Tensor:
        """The direction of Adam, all but a sign in the first step; the stand-in has a wider zero."""

        def smooth() -> Tensor:
            size = self.softness * first.abs().flatten(1).mean(dim=1)[:, None, None]
            return first / (second + size.square() + torch.finfo(first.dtype).tiny).sqrt()

        return self.soft(first / (second.detach().sqrt() + 1e-8), smooth)

    def _reliability(self, features: Tensor) -> Tensor:
        """How like a view's embedding is to the nearest others, over the temperature, ``[N, V]``."""
        units = F.normalize(features, dim=-1)
        if self.views == 1:
            return units.new_zeros(len(units), 1)
        itself = torch.eye(self.views, dtype=torch.bool, device=units.device)
        alike = (units @ units.transpose(1, 2)).masked_fill(itself, -torch.inf)
        nearest = alike.topk(min(self.neighbours, self.views - 1), dim=2).values.mean(dim=2)
        return nearest / self.temperature

    def _check_params(self) -> None:
        super()._check_params()
        whole_number(self, "views", 1, 1000)
        number_between(self, "smallest", 0.01, 1)
        number_between(self, "sigma", 0, 10)
        number_between(self, "selected", 1e-6, 1)
        whole_number(self, "neighbours", 1)
        number_between(self, "temperature", 1e-6, 1e6)
        number_between(self, "lr", 0, 100)
        whole_number(self, "max_iter", 0, 100)


def check_own_prompts(bare: BareModel, classes: Tensor) -> None:
    """Refuse classes ``[K, D]`` that are not those of the classifier's prompts.

    :raises InputError: If they are not.
    """
    own = bare.head.class_features()
    if classes.shape != own.shape or not torch.equal(classes, own):
        raise InputError("Prompt tuning tunes the classifier's own prompts; it does not work with other ones.")


def logits_of_views(bare: BareModel, features: Tensor, classes: Tensor) -> Tensor:
    """Logits ``[N, V, K]`` of views ``[N, V, D]`` against classes ``[K, D]`` or ``[N, K, D]``."""
    return torch.stack([bare.logits(features[:, view], classes) for view in range(features.shape[1])], dim=1)


@dataclass(frozen=True)
class TunablePrompts:
    """Class prompts whose first words, those that all classes share, can be moved as vectors.

    :param tower: The text tower in parts.
    :param states: First states ``[M, P, W]`` of the prompts.
    :param ends: Columns ``[M]`` whose last state becomes the feature.
    :param free: Whether a column of a prompt can be moved, ``[M, P]``.
    :param head: Knows which prompts make a class.
    """

    tower: CausalText
    states: Tensor
    ends: Tensor
    free: Tensor
    head: PromptHead

    @classmethod
    def of(cls, head: PromptHead) -> TunablePrompts:
        """The prompts of a classifier.

        :raises InputError: If its text tower cannot be taken apart, or a template does not begin with words.
        """
        tower = head.dual_encoder.causal_text
        if tower is None:
            raise InputError(
                f"Prompt tuning needs a causal text tower whose parts are known, as CLIP's are; that of this "
                f"{type(head.dual_encoder).__name__} is not."
            )
        tokens = head.tokens
        ends = tower.ends(tokens)
        positions = torch.arange(int(ends.max()) + 1, device=tokens.device)
        free = torch.zeros_like(tokens[:, : len(positions)], dtype=torch.bool)
        for rows in _by_template(head):
            same = (tokens[rows] == tokens[rows[0]]).all(dim=0).int().cumprod(dim=0)[: len(positions)].bool()
            # The first token and the last are the tokenizer's, and say where a text is.
            same = same & (positions > 0) & (positions < ends[rows].min())
            if not same.any():
                raise InputError(
                    "Prompt tuning tunes the words in front of the class name: give templates that begin with some, "
                    "such as 'a photo of a {}.'."
                )
            free[rows] = same
        with torch.no_grad():
            states = tower.embed(tokens[:, : len(positions)], positions)
        return cls(tower, states, ends, free, head)

    def zeros(self, count: int, like: Tensor) -> Tensor:
        """Nothing to add to the words of so many images, ``[count, P, W]``."""
        return torch.zeros(count, *self.states.shape[1:], dtype=self.states.dtype, device=like.device)

    def class_features(self, added: Tensor) -> Tensor:
        """Unit embeddings of the classes ``[N, K, D]``, with something added to the words of each image's prompts.

        :param added: Shape ``[N, P, W]``; columns that are not free count for nothing.
        """
        count, texts = len(added), len(self.states)
        states = self.states[None] + self.free[None, :, :, None] * added[:, None]
        positions = torch.arange(states.shape[2], device=states.device)
        last = self.tower.transform(states.flatten(0, 1), positions[:, None] >= positions)
        features = self.tower.project(last[torch.arange(count * texts, device=states.device), self.ends.repeat(count)])
        features = F.normalize(features, dim=-1).unflatten(0, (count, texts))
        sums = features.new_zeros(count, self.head.nb_classes, features.shape[-1])
        return F.normalize(sums.index_add(1, self.head.class_of, features[:, self.head.text_of]), dim=-1)


def _by_template(head: PromptHead) -> list[Tensor]:
    """For each template the rows of its texts.

    :raises InputError: If classes have different numbers of prompts.
    """
    of_class = [head.text_of[head.class_of == index] for index in range(head.nb_classes)]
    if len({len(rows) for rows in of_class}) > 1:
        raise InputError("Prompt tuning needs as many prompts for each class: give templates.")
    return [torch.stack(rows) for rows in zip(*of_class, strict=True)]
