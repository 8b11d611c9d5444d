"""Attacks made on one classifier and judged on another: weights are shared, and of several results the worst counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.defences.preprocessor.preprocessor import Preprocessor
from art.estimators.estimator import BaseEstimator
from attacks.voting import classifier, drawn, model
from several import classifier as of_several
from several import make_samples

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import (
    ProjectedGradientDescentMultimodal,
    SurrogateGradient,
    unrolled_classifiers,
    with_fusion_options,
)
from art_multimodal.errors import InputError
from art_multimodal.sample_arrays import with_field

LABELS = np.array([0, 1, 2, 0, 1, 2, 0])


def pgd(found: FusionClassifier) -> ProjectedGradientDescentMultimodal:
    return ProjectedGradientDescentMultimodal(found, {"a": 0.3}, max_iter=4, loss="margin", seed=0, verbose=False)


def margin(found: FusionClassifier, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    scores = found.predict(x).astype(np.float64)
    own = scores[np.arange(len(x)), labels].copy()
    scores[np.arange(len(x)), labels] = -np.inf
    return scores.max(axis=1) - own


def test_weights_are_shared() -> None:
    found, x = classifier("consensus", beta=20.0), drawn()
    smooth = with_fusion_options(found, beta=0.5)
    assert smooth.multimodal.fusion.beta == 0.5 and found.multimodal.fusion.beta == 20.0
    own, other = (dict(one.multimodal.named_parameters()) for one in (found, smooth))
    assert own.keys() == other.keys() and all(own[name] is other[name] for name in own)
    before = smooth.predict(x)
    with torch.no_grad():
        found.multimodal.towers["a"].module.weight.add_(1.0)
    assert not np.allclose(smooth.predict(x), before)
    assert not smooth.multimodal.training and not smooth.model.training
    # With the same options it is the same model, bit for bit.
    assert with_fusion_options(found).predict(x).tobytes() == found.predict(x).tobytes()


def test_defences_stand_before_both() -> None:
    class Halving(Preprocessor):
        params: list[str] = []

        def __call__(self, x, y=None):
            return x / 2, y

    settings = {"preprocessing_defences": {"a": Halving()}, "device_type": "cpu"}
    found, x = FusionClassifier(model("consensus"), **settings), drawn()
    assert not np.allclose(found.predict(x), classifier("consensus").predict(x))
    assert with_fusion_options(found).predict(x).tobytes() == found.predict(x).tobytes()


def test_no_random_numbers_are_drawn_for_it() -> None:
    found = classifier("deq")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    unrolled_classifiers(found)
    assert torch.equal(torch.get_rng_state(), before)


def test_unrolled_models_come_to_the_fixed_point() -> None:
    found, x = classifier("deq", seed=3, tolerance=1e-12, max_iter=1000), drawn()
    one, five, many = unrolled_classifiers(found, (1, 5, 400))
    scores = found.predict(x)
    np.testing.assert_allclose(many.predict(x), scores, atol=1e-5)
    gaps = [np.abs(of.predict(x) - scores).max() for of in (one, five, many)]
    assert gaps[0] > gaps[2] and gaps[1] > gaps[2]
    np.testing.assert_allclose(
        many.loss_gradient(x, LABELS, modality="a"), found.loss_gradient(x, LABELS, modality="a"), atol=1e-5
    )


class Fixed(EvasionAttack):
    """Writes one number into a field, whatever the labels."""

    _estimator_requirements = (BaseEstimator, FusionClassifier)

    def __init__(self, found: FusionClassifier, value: float, asked: list[int]) -> None:
        super().__init__(estimator=found)
        self.value, self.asked = value, asked

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs) -> np.ndarray:
        self.asked.append(len(x))
        return with_field(x, "a", np.full_like(x["a"], self.value))


def test_of_several_results_the_worst_counts() -> None:
    found, x = classifier("mla"), drawn()
    labels = found.predict(x).argmax(axis=1)
    others = [classifier("mla", seed=seed) for seed in (1, 2, 3)]
    values = {id(other): value for other, value in zip(others, (-0.9, 0.1, 0.9), strict=True)}
    asked: list[int] = []
    attack = SurrogateGradient(found, lambda on: Fixed(on, values[id(on)], asked), others, verbose=False)
    after = attack.generate(x, labels)
    best, which = margin(found, x, labels), np.full(len(x), -1)
    left = []
    for number, other in enumerate(others):
        left.append(int((best <= 0).sum()))
        changed = margin(found, with_field(x, "a", np.full_like(x["a"], values[id(other)])), labels)
        better = (changed > best) & (best <= 0)
        best, which = np.where(better, changed, best), np.where(better, number, which)
    assert attack.best.tolist() == which.tolist() and (which >= 0).any()
    np.testing.assert_allclose(margin(found, after, labels), best, atol=1e-6)
    # A sample that is misled is left alone.
    assert asked == [count for count in left if count]
    assert after[which < 0].tobytes() == x[which < 0].tobytes()


@pytest.mark.parametrize(("fusion", "options"), [("deq", {"unroll": 5}), ("consensus", {"beta": 3.0})])
def test_with_the_model_itself_among_them_it_is_no_weaker(fusion: str, options: dict) -> None:
    found, x = classifier(fusion, seed=3), drawn(missing=(1,))
    alone = pgd(found).generate(x, LABELS)
    surrogates = [found, with_fusion_options(found, **options)]
    after = SurrogateGradient(found, pgd, surrogates, verbose=False).generate(x, LABELS)
    right = found.predict_labels(after) == LABELS
    assert not (right & (found.predict_labels(alone) != LABELS)).any()
    there = np.arange(len(x)) != 1
    assert np.abs(after["a"][there].astype(np.float64) - x["a"][there]).max() <= 0.3 + 1e-6
    assert after["a"][1].tobytes() == x["a"][1].tobytes() and after["b"].tobytes() == x["b"].tobytes()
    for row in (0, 4):
        one = SurrogateGradient(found, pgd, surrogates, verbose=False)
        np.testing.assert_allclose(
            one.generate(x[row : row + 1], LABELS[row : row + 1])["a"][0], after["a"][row], atol=1e-6
        )


def test_sequences_and_texts_come_through() -> None:
    found, x = of_several("late"), make_samples()
    labels = found.predict_labels(x)
    attack = SurrogateGradient(
        found,
        lambda on: ProjectedGradientDescentMultimodal(on, {"audio": 0.5}, max_iter=2, seed=0, verbose=False),
        [found],
        verbose=False,
    )
    after = attack.generate(x, labels)
    assert after["note"].tolist() == x["note"].tolist() and after["rgb"].tobytes() == x["rgb"].tobytes()
    assert len(attack.generate(x[:0], labels[:0])) == 0


def test_what_cannot_be_used() -> None:
    found = classifier("consensus")
    for options, said in (
        ({"beta": -1.0}, "beta must be at least 0"),
        ({"unroll": 3}, r"^Consensus has no option 'unroll'; it has beta\."),
    ):
        with pytest.raises(InputError, match=said):
            with_fusion_options(found, **options)
    with pytest.raises(InputError, match="With another hidden Concat has other weights"):
        with_fusion_options(classifier("concat"), hidden=7)
    with pytest.raises(InputError, match="are those of a ModularModel, not of a Joint"):
        with_fusion_options(of_several("joint"), beta=1.0)
    with pytest.raises(InputError, match="needs a model whose fusion is an equilibrium"):
        unrolled_classifiers(found)
    with pytest.raises(InputError, match="at least 1"):
        unrolled_classifiers(classifier("deq"), (1, 0))
    for surrogates, said in (
        ([], "Give at least one surrogate"),
        ([found.model], "A surrogate is a FusionClassifier"),
        ([of_several("late")], "A surrogate must take the same modalities"),
    ):
        with pytest.raises(InputError, match=said):
            SurrogateGradient(found, pgd, surrogates)
    with pytest.raises(InputError, match="^attack is a function"):
        SurrogateGradient(found, "pgd", [found])
    attack = SurrogateGradient(found, pgd, [found])
    with pytest.raises(InputError, match="Give at least one surrogate"):
        attack.set_params(surrogates=[])
