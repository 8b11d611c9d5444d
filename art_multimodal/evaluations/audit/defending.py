"""A model behind the defences of an audit: as it answers, and as those attack it who know of them or do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from art_multimodal.defences.registry import Defence, parse_defence
from art_multimodal.errors import InputError
from art_multimodal.estimators.straight_through import straight_through
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
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
    :param draws: Draws of random defences in front of the model; 1 where none is random.
    :param passes: Forward passes of the image tower for one answer of the defended model, and for one of the one that
        is attacked by those who know of it; 1 without a defence that computes at test time.
    """

    evaluated: T
    adaptive: T
    naive: T
    draws: int = 1
    passes: tuple[int, int] = (1, 1)

    def map(self, make: Callable[[T], U]) -> Views[U]:
        """The views of what is made of each; what is the same stays the same."""
        evaluated = make(self.evaluated)
        adaptive = evaluated if self.adaptive is self.evaluated else make(self.adaptive)
        naive = evaluated if self.naive is self.evaluated else make(self.naive)
        return Views(evaluated, adaptive, naive, self.draws, self.passes)


def behind(model: Model, defences: Sequence[str], known_words: Sequence[str], draws: int) -> Views[Model]:
    """Put defences in front of a model.

    :param defences: As for :func:`parse_defence`.
    :param known_words: That repair of texts takes for right.
    :param draws: For each image, where a defence is random.
    :raises InputError: If one cannot be made.
    """
    preprocessors = [one for one in map(parse_defence, defences) if not one.entry.test_time]
    if not preprocessors:
        return Views(model, model, model)
    texts, images, random = [], [], False
    for defence in preprocessors:
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


def defence_at_test_time(defences: Sequence[str]) -> Defence | None:
    """The defence that computes at test time, if one is named.

    :raises InputError: If there are several, or others stand in front of images, too.
    """
    parsed = [parse_defence(spec) for spec in defences]
    found = [one for one in parsed if one.entry.test_time]
    images = [one.name for one in parsed if one.entry.modality == "image"]
    if not found:
        return None
    if len(images) > 1:
        raise InputError(
            f"{found[0].name} computes at test time and stands alone in front of images; {', '.join(images)} were "
            "given. Audit them one by one."
        )
    return found[0]


def refuse_test_time(defences: Sequence[str], what: str) -> None:
    """Refuse a defence that computes at test time.

    :param what: What it does not go with, as a sentence begins.
    :raises InputError: If one is named.
    """
    if (defence := defence_at_test_time(defences)) is not None:
        raise InputError(f"{what}: {defence.name} computes at test time, in front of a zero-shot classifier of images.")


def at_test_time(
    views: Views[ZeroShotClassifier], defences: Sequence[str], draws: int, seed: int
) -> Views[ZeroShotClassifier]:
    """Put the defence that computes at test time in front of classifiers, if one is named.

    It answers once, with its own draws. Attacks that know of it follow the expectation over others.

    :param views: Behind the other defences.
    :param draws: Of a random one, for those who attack it.
    :param seed: Of its draws.
    :raises InputError: If it cannot be made, or does not work with the model.
    """
    named = defence_at_test_time(defences)
    if named is None:
        return views
    defence: Any = named.build().with_params(seed=seed)
    once = defence.passes().forward
    evaluated = views.evaluated.with_test_time_defence(defence)
    defence.check(evaluated.model.head.bare)
    if not defence.random:
        return Views(evaluated, evaluated, views.naive, views.draws, (once, once))
    # With other draws than those that answer, or what is found would be the luck of these.
    attacked = evaluated.with_test_time_defence(defence.with_params(seed=seed + 1, draws=draws))
    return Views(evaluated, attacked, views.naive, views.draws, (once, once * draws))


def notes_at_test_time(views: Views[ZeroShotClassifier]) -> tuple[str, ...]:
    """What a user should know about the defence that computes at test time, if there is one, with the model.

    :param views: From :func:`at_test_time`.
    """
    defence: Any = views.evaluated.test_time_defence
    return () if defence is None else defence.notes(views.evaluated.model.head.bare)
