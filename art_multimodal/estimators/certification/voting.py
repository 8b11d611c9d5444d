"""How votes about one sample are collected: each view of each modality is looked at once, then they meet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from art_multimodal.ablation import Elements
from art_multimodal.errors import InputError
from art_multimodal.estimators.certification.masks import Ballot
from art_multimodal.modalities.modality import Modality
from art_multimodal.sample_arrays import check_samples, fields_of, samples

#: A vote for no class: scores were not finite.
NO_CLASS = -1
#: By how much scores may differ between batches, relative to the largest: rounding.
_ROUNDING = 1e-4
#: Which share of labels may differ between batches, where a function returns no scores: near ties rounding decides.
_TURNED = 0.01


class Voters(ABC):
    """A base classifier that votes about what views leave of a sample.

    :param elements: Of the modalities that are hidden in part, by name; the others are always seen whole.
    :param batch_size: Votes, or views, per pass of the model.
    """

    def __init__(self, elements: Mapping[str, Elements], batch_size: int = 128) -> None:
        self.elements = dict(elements)
        self.batch_size = batch_size
        #: Views that each modality's own part of the model was asked about, and votes that were counted.
        self.passes: dict[str, int] = {}

    @property
    @abstractmethod
    def modalities(self) -> Mapping[str, Modality]:
        """What samples consist of, by name."""

    @abstractmethod
    def checked(self, x: np.ndarray) -> np.ndarray:
        """Samples as the base classifier takes them.

        :raises InputError: If they are not.
        """

    @abstractmethod
    def fields(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of samples by the name of the modality."""

    def counts(self, x: np.ndarray) -> list[dict[str, int]]:
        """How many elements each sample has in each modality that is hidden in part."""
        fields = self.fields(x)
        found = {name: elements.count(fields[name]) for name, elements in self.elements.items()}
        return [{name: int(of[row]) for name, of in found.items()} for row in range(len(x))]

    def views(
        self, fields: Mapping[str, np.ndarray], row: int, ballot: Ballot, in_place: bool
    ) -> dict[str, np.ndarray]:
        """What the views leave of one sample: a field of ``G`` entries for each modality; whole ones have one."""
        found = {}
        for name, field in fields.items():
            own = field[row : row + 1]
            if name in self.elements:
                elements, kept = self.elements[name], ballot.kept[name]
                repeated = np.repeat(own, len(kept), axis=0)
                found[name] = elements.keep(repeated, kept) if in_place else elements.squeeze(repeated, kept)
            else:
                found[name] = own
        return found

    @abstractmethod
    def answers(self, views: Mapping[str, np.ndarray], seen: np.ndarray, batch_size: int) -> np.ndarray:
        """What each vote says: scores ``(V, K)`` of a floating dtype, or integers: class indices ``(V,)``, of pixels
        ``(V, ...)``.

        :param views: From :meth:`views`.
        :param seen: Which view of each modality that is hidden in part a vote sees, ``(V, M)``.
        :param batch_size: Votes, or views, per pass of the model.
        """

    def votes(self, views: Mapping[str, np.ndarray], seen: np.ndarray) -> np.ndarray:
        """The class that each vote says, ``(V,)`` or, of pixels, ``(V, ...)``; :data:`NO_CLASS` for none."""
        answers = self.answers(views, seen, self.batch_size)
        return labels_of(answers) if answers.dtype.kind == "f" else answers

    def check_batches(self, views: Mapping[str, np.ndarray], seen: np.ndarray) -> None:
        """Ask twice, in different batches: a certificate holds for a model that answers about each input by itself.

        :raises InputError: If the answers differ by more than rounding.
        """
        passes = dict(self.passes)
        first = self.answers(views, seen, self.batch_size)
        # Other neighbours, in another order.
        sizes = np.array([len(views[name]) for name in self.elements])
        turned = {name: field[::-1].copy() for name, field in views.items()}
        second = self.answers(turned, (sizes - 1 - seen)[::-1].copy(), max(2, self.batch_size // 3))[::-1]
        self.passes = passes
        if first.dtype.kind == "f":
            there = np.isfinite(first) & np.isfinite(second)
            scale = max(1.0, float(np.abs(first[there]).max(initial=0.0)))
            apart = np.abs(first - second, where=there, out=np.zeros(first.shape)).max(initial=0.0) > _ROUNDING * scale
            apart |= bool((np.isfinite(first) != np.isfinite(second)).any())
        else:
            # Near a tie rounding may turn a label.
            apart = bool((first != second).mean() > _TURNED)
        if apart:
            raise InputError(
                "The model answers differently about the same input in another batch, so nothing can be certified: "
                "use evaluation mode, and no statistics or padding of a batch."
            )

    def rows(self, name: str, seen: np.ndarray) -> np.ndarray:
        """Which view of a modality each vote sees."""
        return seen[:, list(self.elements).index(name)] if name in self.elements else np.zeros(len(seen), np.int64)

    def _count(self, what: str, number: int) -> None:
        self.passes[what] = self.passes.get(what, 0) + number


class EstimatorVoters(Voters):
    """A :class:`ZeroShotClassifier` or :class:`FusionClassifier` votes.

    Where each modality is embedded by itself, its views are embedded once: ``G_1 + G_2`` passes of towers for
    ``G_1 * G_2`` votes.
    """

    def __init__(self, estimator: Any, elements: Mapping[str, Elements], batch_size: int = 128) -> None:
        super().__init__(elements, batch_size)
        self.estimator = estimator
        self.asking = estimator.asking(batch_size)
        prompts = getattr(estimator, "texts_are_prompts", False)
        for name in elements:
            if name not in self.asking.modalities or (prompts and name != "image"):
                known = ["image"] if prompts else list(self.asking.modalities)
                raise InputError(f"The model has no modality {name!r} to hide a part of; it has {', '.join(known)}.")

    @property
    def modalities(self) -> Mapping[str, Modality]:
        return self.asking.modalities

    def checked(self, x: np.ndarray) -> np.ndarray:
        check = getattr(self.estimator, "checked", None)
        return np.asarray(x) if check is None or self.estimator.of_pairs else check(x)

    def fields(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return self.asking.fields(x)

    def see(self, name: str, field: np.ndarray) -> Any:
        """What the model makes of the views of one modality by themselves."""
        if self.asking.modalities[name].numeric:
            return self.asking.see_field(name, field)
        return self.asking.see_texts(name, field.tolist())

    def answers(self, views: Mapping[str, np.ndarray], seen: np.ndarray, batch_size: int) -> np.ndarray:
        asking, parts = self.asking, {}
        asking.batch_size = batch_size
        for name, field in views.items():
            parts[name] = self.see(name, field)
            if asking.separate:
                self._count(name, len(field))
        found = []
        for start in range(0, len(seen), batch_size):
            some = seen[start : start + batch_size]
            taken = {
                name: part.take(torch.from_numpy(self.rows(name, some)).to(asking.device))
                for name, part in parts.items()
            }
            with torch.no_grad():
                found.append(asking.predicted(asking.scores(asking.fused(taken))))
        self._count("votes", len(seen))
        return np.concatenate(found)


class CallableVoters(Voters):
    """A function votes.

    :param function: Takes samples and returns class indices ``(N,)``, labels of pixels ``(N, ...)`` of an integer
        dtype, or scores ``(N, K)`` of a floating dtype.
    :param modalities: What samples consist of.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        modalities: Mapping[str, Modality],
        elements: Mapping[str, Elements],
        batch_size: int = 128,
    ) -> None:
        super().__init__(elements, batch_size)
        self.function, self._modalities = function, dict(modalities)
        if strange := [name for name in elements if name not in self.modalities]:
            raise InputError(
                f"The samples have no modality {strange[0]!r} to hide a part of; they have "
                f"{', '.join(self.modalities)}."
            )

    @property
    def modalities(self) -> Mapping[str, Modality]:
        return self._modalities

    def checked(self, x: np.ndarray) -> np.ndarray:
        return check_samples(x, self.modalities.values())

    def fields(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return fields_of(x)

    def answers(self, views: Mapping[str, np.ndarray], seen: np.ndarray, batch_size: int) -> np.ndarray:
        found = []
        for start in range(0, len(seen), batch_size):
            some = seen[start : start + batch_size]
            answers = np.asarray(
                self.function(samples(**{name: field[self.rows(name, some)] for name, field in views.items()}))
            )
            scores = answers.dtype.kind == "f" and answers.ndim == 2
            if len(answers) != len(some) or not (scores or answers.dtype.kind in "iu"):
                raise InputError(
                    f"The base classifier returned {answers.dtype} of shape {answers.shape} about {len(some)} inputs: "
                    "a class index, or a row of scores, is needed for each."
                )
            found.append(answers)
        self._count("votes", len(seen))
        return np.concatenate(found)


def labels_of(scores: np.ndarray) -> np.ndarray:
    """The class of each row of scores ``(N, K)``, the first among equals; none where a score is not finite."""
    labels = np.where(np.isfinite(scores), scores, -np.inf).argmax(axis=1)
    return np.where(np.isfinite(scores).all(axis=1), labels, NO_CLASS)
