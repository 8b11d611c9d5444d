"""What a text attack raises: how far changed texts move a model from where its subjects' own texts have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.estimators.asking import Asking
from art_multimodal.estimators.asking.asking import all_present
from art_multimodal.functional.losses import embedding_kl, margin_loss
from art_multimodal.groups import first_rows, image_groups

LOSSES = ("embedding_kl", "margin", "similarity")

#: Most logits that are held at a time: 32 megabytes.
_LOGITS = 2**22
#: What rounding does to a cosine at most: the embeddings are rounded already, whatever the precision here.
_ROUNDING = 1e-6


class TextObjective:
    """Scores states of texts, larger where the model is moved further. A state is the embedding of a text."""

    #: Scores that differ by less are equal: rounding, which depends on how texts were batched, is smaller.
    noticeable = 1e-9

    def begin(self, states: Tensor) -> None:
        """Learn the states ``[S, ...]`` of the subjects' own texts."""

    def scores(self, subjects: Tensor, picks: Tensor, states: Tensor) -> Tensor:
        """Scores ``[P]`` of changed texts.

        :param subjects: Their subjects, ``[P]``.
        :param picks: The rows of their states, ``[P]``.
        :param states: At least these, ``[R, ...]``.
        """
        raise NotImplementedError


class Divergence(TextObjective):
    """The KL divergence of embeddings from those of the subjects' own texts."""

    def begin(self, states: Tensor) -> None:
        self._clean = states

    def scores(self, subjects: Tensor, picks: Tensor, states: Tensor) -> Tensor:
        # In double precision what does not move the embedding scores 0, and not the rounding of a sum.
        clean, moved = (part.flatten(1).cpu().double() for part in (self._clean[subjects], states[picks]))
        return embedding_kl(clean, moved)


class AnswerMargin(TextObjective):
    """The margin loss of the model's answer to each subject with its text changed.

    :param asking: How the classifier is asked.
    :param name: Of the modality that is attacked.
    :param others: What the model makes of all other modalities of the subjects.
    :param labels: ``(N,)``: the true ones, or the wanted ones when targeted.
    """

    def __init__(self, asking: Asking, name: str, others: dict[str, Any], labels: np.ndarray, targeted: bool) -> None:
        self.asking, self.name, self.others, self.targeted = asking, name, others, targeted
        self._labels = torch.from_numpy(labels).to(asking.device)

    def scores(self, subjects: Tensor, picks: Tensor, states: Tensor) -> Tensor:
        fused = states[picks]
        with torch.no_grad():
            if self.asking.separate:
                others = {name: part.take(subjects) for name, part in self.others.items()}
                fused = self.asking.fused({**others, self.name: all_present(fused)})
            scores = self.asking.scores(fused)
        return margin_loss(scores, self._labels[subjects], self.targeted)


class Dissimilarity(TextObjective):
    """Minus the cosine similarity of texts to the images of their pairs.

    :param asking: How the retriever is asked.
    :param images: ``(N, C, H, W)``, one for each text.
    """

    noticeable = _ROUNDING

    def __init__(self, asking: Asking, images: np.ndarray) -> None:
        groups = image_groups(images)
        features = asking.estimator.image_features(images[first_rows(groups)], asking.batch_size).double()
        self._images = F.normalize(features, dim=-1)[torch.from_numpy(groups).to(asking.device)]

    def scores(self, subjects: Tensor, picks: Tensor, states: Tensor) -> Tensor:
        return -(self._images[subjects] * F.normalize(states[picks].double(), dim=-1)).sum(dim=-1)


class PromptMargin(TextObjective):
    """What a changed prompt of a zero-shot classifier does to the classification of images.

    The score is the mean margin loss over the images when this prompt alone is changed. With ``per_image`` a subject is
    a prompt for one image, number ``n`` of ``N``: subject ``i * N + n`` for the prompt ``i``; the score is that image's
    margin loss. When targeted, too, it is the margin over the classes of this prompt alone (unless the wanted class is
    the only one): all classes have to fall below the wanted one, not the highest alone.

    :param asking: How the classifier is asked.
    :param texts: The distinct prompts.
    :param images: ``(N, C, H, W)``, at least one.
    :param labels: ``(N,)``: the true ones, or the wanted ones when targeted.
    """

    def __init__(
        self,
        asking: Asking,
        texts: Sequence[str],
        images: np.ndarray,
        labels: np.ndarray,
        targeted: bool,
        per_image: bool,
    ) -> None:
        estimator, self.device = asking.estimator, asking.device
        self._copies = len(images) if per_image else 1
        self.targeted = targeted
        self.per_image = per_image
        self._head = estimator.model.head
        self.noticeable = _ROUNDING * float(estimator.dual_encoder.logit_scale.detach().exp())
        self._labels = torch.from_numpy(labels).to(self.device)
        # In double precision the score of a text does not depend on what else is asked.
        self._images = estimator.image_features(images, asking.batch_size).double()
        number_of = {text: number for number, text in enumerate(texts)}
        places: list[dict[int, int]] = [{} for _ in texts]
        for index, entry in enumerate(estimator.prompts):
            for text, times in Counter(entry).items():
                places[number_of[text]][index] = times
        #: Of each text the classes that it is a prompt of, and how many times.
        self._classes = [torch.tensor(list(place), device=self.device) for place in places]
        self._times = [torch.tensor(list(place.values()), device=self.device).double() for place in places]

    def begin(self, states: Tensor) -> None:
        self._clean = states[:: self._copies].double()
        with torch.no_grad():
            #: Of the prompts of each class. A class is the direction of that sum.
            self._sums = self._clean.new_zeros(self._head.nb_classes, self._clean.shape[1])
            self._sums.index_add_(
                0,
                torch.cat(self._classes),
                torch.cat([times[:, None] * row for times, row in zip(self._times, self._clean, strict=True)]),
            )
            logits = self._head.similarity(self._images, F.normalize(self._sums, dim=-1))
        self._own = logits.gather(1, self._labels[:, None])
        others = logits.scatter(1, self._labels[:, None], -torch.inf)
        most = max(len(classes) for classes in self._classes)
        # Of so many at least one is not among the classes of any prompt, where there is such a one.
        self._others = others.topk(min(most + 1, others.shape[1]), dim=1)

    def scores(self, subjects: Tensor, picks: Tensor, states: Tensor) -> Tensor:
        found = torch.empty(len(subjects), dtype=torch.float64, device=self.device)
        numbers = subjects.div(self._copies, rounding_mode="floor")
        with torch.no_grad():
            for number in numbers.unique().tolist():
                here = (numbers == number).nonzero().flatten()
                if self.per_image:
                    found[here] = self._of_each_image(number, subjects[here] % self._copies, states, picks[here])
                else:
                    found[here] = self._of_all_images(number, states[picks[here]])
        return found

    def _of_all_images(self, number: int, states: Tensor) -> Tensor:
        """Mean margin losses ``[P]`` over the images when a prompt is replaced by others."""
        every = torch.arange(len(self._images), device=self.device)
        at_once = max(1, _LOGITS // (len(every) * len(self._classes[number])))
        return torch.cat([self._table(number, every, part).mean(dim=0) for part in states.split(at_once)])

    def _of_each_image(self, number: int, rows: Tensor, states: Tensor, picks: Tensor) -> Tensor:
        """Margin losses ``[P]`` of images when a prompt is replaced for each by another."""
        images, image_of = rows.unique(return_inverse=True)
        texts, text_of = picks.unique(return_inverse=True)
        if len(images) * len(texts) <= 4 * len(rows):
            # Mostly every text for every image: one matrix product.
            return self._table(number, images, states[texts])[image_of, text_of]
        logits = self._head.similarity(self._images[rows], self._moved(number, states[picks]))
        return self._losses(number, rows, logits[:, None])[:, 0]

    def _table(self, number: int, rows: Tensor, states: Tensor) -> Tensor:
        """Margin losses ``[R, U]`` of images when a prompt is replaced by each of ``U`` texts."""
        moved = self._moved(number, states)
        logits = self._head.similarity(self._images[rows], moved.flatten(0, 1))
        return self._losses(number, rows, logits.view(len(rows), *moved.shape[:2]))

    def _moved(self, number: int, states: Tensor) -> Tensor:
        """Embeddings ``[U, M, D]`` of the ``M`` classes of a prompt when it is replaced."""
        classes = self._classes[number]
        change = (states.double() - self._clean[number])[:, None]
        return F.normalize(self._sums[classes] + self._times[number][:, None] * change, dim=-1)

    def _losses(self, number: int, rows: Tensor, logits: Tensor) -> Tensor:
        """Margin losses ``[R, U]`` from the logits ``[R, U, M]`` of the classes of a prompt."""
        classes = self._classes[number]
        is_own = classes == self._labels[rows, None]
        unchanged = torch.isin(self._others.indices[rows], classes, invert=True)
        rest = self._others.values[rows].masked_fill(~unchanged, -torch.inf).amax(dim=1, keepdim=True)
        if self.per_image and self.targeted:
            rest = rest.masked_fill(~is_own.all(dim=1, keepdim=True), -torch.inf)
        other = logits.masked_fill(is_own[:, None], -torch.inf).amax(dim=2).maximum(rest)
        changed = logits.masked_fill(~is_own[:, None], -torch.inf).amax(dim=2)
        own = torch.where(is_own.any(dim=1, keepdim=True), changed, self._own[rows])
        return own - other if self.targeted else other - own
