"""A vote of modalities: exactly what no replacement of a few of them can turn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from several import classifier, make_samples
from torch import nn

from art_multimodal import FusionClassifier
from art_multimodal.errors import InputError
from art_multimodal.estimators.certification import ABSTAINED, ModalityVote
from art_multimodal.modalities import table
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.sample_arrays import samples

CLASSES = 3


def model_of(modalities: int, fusion: str = "late") -> FusionClassifier:
    """Each modality says its own scores as they are given, so an attacker says any."""
    towers = [
        Tower(table(f"m{number}", CLASSES, clip_values=(-9.0, 9.0)), nn.Identity(), CLASSES)
        for number in range(modalities)
    ]
    model = ModularModel(towers, fusion, ("a", "b", "c"))
    with torch.no_grad():
        for head in model.fusion.heads.children():
            for layer in head.children() if list(head.children()) else [head]:
                layer.weight.copy_(torch.eye(CLASSES))
                layer.bias.zero_()
    return FusionClassifier(model.eval(), device_type="cpu")


def said(votes: np.ndarray) -> np.ndarray:
    """Samples whose modalities vote so, ``(N, M)``."""
    rng = np.random.default_rng(0)
    scores = np.eye(CLASSES)[votes] * 2 + rng.uniform(0, 1, (*votes.shape, CLASSES))
    return samples(**{f"m{number}": scores[:, number] for number in range(votes.shape[1])})


@pytest.mark.parametrize("rule", ["majority", "median"])
@pytest.mark.parametrize("modalities", [3, 4, 5])
def test_certificates_are_what_enumeration_says(rule: str, modalities: int) -> None:
    one = model_of(modalities)
    vote = ModalityVote(one, rule)
    every = np.array(list(itertools.product(range(CLASSES), repeat=modalities)))
    x = said(every[:: max(1, len(every) // 40)])
    extremes = np.array([[9, -9, -9], [-9, 9, -9], [-9, -9, 9], [9, 9, -9], [9, -9, 9], [-9, 9, 9]], dtype=np.float32)
    found = 0
    for row, certificate in enumerate(vote.certify(x)):
        for replaced in itertools.product((0, 1), repeat=modalities):
            budget = {f"m{number}": of for number, of in enumerate(replaced)}
            places = [number for number, of in enumerate(replaced) if of]
            attacked = np.repeat(x[row : row + 1], len(extremes) ** min(2, len(places)), axis=0)
            for at, chosen in enumerate(itertools.product(extremes, repeat=min(2, len(places)))):
                # Beyond two, the others say what the second does: together they pull one way.
                for order, number in enumerate(places):
                    attacked[f"m{number}"][at] = chosen[min(order, 1)]
            stays = bool((vote.predict(attacked).argmax(axis=1) == certificate.prediction).all())
            if rule == "majority":
                assert certificate.covers(budget) == stays
            else:
                # Log-probabilities of an attacker come near 0, not to it.
                assert stays or not certificate.covers(budget)
            found += certificate.covers(budget) and any(replaced)
    assert found > 10


def test_of_three_that_agree_one_may_say_anything_and_of_two_none() -> None:
    (agree,) = ModalityVote(model_of(3)).certify(said(np.array([[1, 1, 1]])))
    assert agree.prediction == 1 and agree.radius == {"m0": 1, "m1": 1, "m2": 1} and agree.frontier.diagonal == 0
    (split,) = ModalityVote(model_of(3)).certify(said(np.array([[1, 1, 2]])))
    # The one that disagrees may be replaced, of the others none: the two that are left would be one each.
    assert split.radius == {"m0": 0, "m1": 0, "m2": 1}
    (first,) = ModalityVote(model_of(2)).certify(said(np.array([[0, 0]])))
    # A tie goes to the class that comes first.
    assert first.radius == {"m0": 1, "m1": 1}
    (second,) = ModalityVote(model_of(2)).certify(said(np.array([[1, 1]])))
    assert second.radius == {"m0": 0, "m1": 0}


def test_the_median_answers_as_the_fusion_of_its_name() -> None:
    one = classifier("median")
    x = make_samples()
    answers = ModalityVote(one, "median").predict(x)
    there = np.stack([~modality.missing(x[name]) for name, modality in one.modalities.items()]).any(axis=0)
    assert answers[there] == pytest.approx(one.predict(x)[there], rel=1e-4, abs=1e-5)


def test_what_is_missing_does_not_vote() -> None:
    x = make_samples(notes=("a cat",) * 6)
    x["rgb"][0] = np.nan
    (certificate, *_) = ModalityVote(classifier("late")).certify(x)
    assert certificate.votes.sum() == 3
    nothing = make_samples(lengths=(0,), notes=("",))
    nothing["rgb"], nothing["lab"] = np.nan, np.nan
    (of_nothing,) = ModalityVote(classifier("late")).certify(nothing)
    assert of_nothing.prediction == ABSTAINED


def test_models_without_answers_of_each_modality_are_refused() -> None:
    with pytest.raises(InputError, match="in this one they meet"):
        ModalityVote(classifier("joint"))
    with pytest.raises(InputError, match="says nothing of a modality alone"):
        ModalityVote(classifier("concat")).certify(make_samples())
    with pytest.raises(InputError, match="Unknown rule"):
        ModalityVote(classifier("late"), "mean")
