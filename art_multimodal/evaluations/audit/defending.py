"""A model behind the defences of an audit: as it answers, and as those attack it who know of them or do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from art_multimodal.defences.registry import parse_defence
from art_multimodal.estimators.straight_through import straight_through
from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.defended import defended

T = TypeVar("T")
U = TypeVar("U")
Model = TypeVar("Model", bound=ImageTextModel)


@dataclass(frozen=True)
class Views(Generic[T]):
    """A model, or an estimator, seen in three ways; without defences all are the same.

    :param evaluated: Behind the defences; answers are its.
    :param adaptive: What attacks are made on that know the defences: the expectation over random ones.
    :param naive: What attacks are made on that do not: the model itself.
    :param draws: Draws of random defences; 1 where none is random.
    """

    evaluated: T
    adaptive: T
    naive: T
    draws: int = 1

    def map(self, make: Callable[[T], U]) -> Views[U]:
        """The views of what is made of each; what is the same stays the same."""
        evaluated = make(self.evaluated)
        adaptive = evaluated if self.adaptive is self.evaluated else make(self.adaptive)
        naive = evaluated if self.naive is self.evaluated else make(self.naive)
        return Views(evaluated, adaptive, naive, self.draws)


def behind(model: Model, defences: Sequence[str], known_words: Sequence[str], draws: int) -> Views[Model]:
    """Put defences in front of a model.

    :param defences: As for :func:`parse_defence`.
    :param known_words: That repair of texts takes for right.
    :param draws: For each image, where a defence is random.
    :raises InputError: If one cannot be made.
    """
    if not defences:
        return Views(model, model, model)
    texts, images, random = [], [], False
    for defence in map(parse_defence, defences):
        preprocessor = defence.build(known_words)
        if defence.entry.modality == "text":
            texts.append(preprocessor.repair)
        else:
            images.append(straight_through(preprocessor))
        random = random or defence.entry.random
    evaluated = defended(model, texts, images)
    if not random:
        return Views(evaluated, evaluated, model)
    return Views(evaluated, defended(model, texts, images, draws), model, draws)
