"""Cascades: the worst case of their members, who did it, and no more work than needed; and the ensembles of audits."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from art.attacks.evasion import AutoProjectedGradientDescent
from attacks.text_attacks import pairs as some_pairs
from hypothesis import given
from hypothesis import strategies as st
from tiny import TinyEncoder, TinyFusion

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs
from art_multimodal.errors import InputError, notes_of
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.evaluations.suite import (
    ATTACKS,
    PAIRS,
    Attacked,
    AttackEntry,
    Budget,
    Detail,
    PreparedAttack,
    targeted,
)
from art_multimodal.evaluations.suite.cascade import Cascade, member_seed
from art_multimodal.evaluations.suite.targeted import MOST_TARGETS
from art_multimodal.evaluations.suite.worst import LEAST_STEPS, TARGETED_PGD, ensemble_budget
from art_multimodal.pairs import is_pairs

EPS = 0.03
BUDGET = Budget("inf", EPS, EPS / 4, 8, 30, 4)
SMALL = Budget("inf", 0.004, 0.001, 8, 30, 4)
REAL = ("square", "pgd", "co_attack", "character_attack", "bert_attack", "bert_attack_margin", "apgd", "joint")


def zero_shot(seed: int = 0, classes: tuple[str, ...] = ("cat", "dog", "bird", "fish")) -> ZeroShotClassifier:
    return ZeroShotClassifier(TinyEncoder(seed=seed).eval(), classes, "a small photo of a {}.", device_type="cpu")


def samples(estimator: ZeroShotClassifier, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(7).random((count, 3, 8, 8), dtype=np.float32)
    return images, estimator.predict_labels(images)


class Scripted(PreparedAttack):
    """Breaks the samples whose first pixel says a number in ``breaks``, and notes what it was given."""

    def __init__(self, estimator, budget, breaks: set[int], shade: float, seen: list, detail: dict) -> None:
        super().__init__(estimator, budget)
        self.breaks, self.shade, self.seen, self.detail = breaks, shade, seen, detail

    def attack(self, x, y, seed) -> Attacked:
        numbers = np.round(x[:, 0, 0, 0] * 100).astype(int)
        self.seen.append((numbers.tolist(), seed, self.budget))
        after = x.copy()
        after[:, 2] = self.shade
        labels = np.where([number in self.breaks for number in numbers], y + 1, y)
        return Attacked(after, labels, [Detail(**self.detail)] * len(x), {"looked": len(x)})


def scripted(name: str, breaks: set[int], shade: float, seen: list, entry_settings: dict | None = None, **detail):
    make = partial(Scripted, breaks=breaks, shade=shade, seen=seen, detail=detail)
    return AttackEntry(name, "image", "black box", "scripted", make, **entry_settings or {})


def numbered(count: int) -> np.ndarray:
    images = np.full((count, 3, 4, 4), 0.5, dtype=np.float32)
    images[:, 0, 0, 0] = np.arange(count) / 100
    return images


@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=4), st.integers(0, 8))
def test_the_worst_case_of_every_member_on_every_sample(breaks: list[set[int]], count: int) -> None:
    seen: list = []
    members = [scripted(f"member {k}", broken, k / 10, seen, text_queries=k) for k, broken in enumerate(breaks)]
    y = np.zeros(count, dtype=np.int64)
    attacked = Cascade(zero_shot(), BUDGET, members)(numbered(count), y, 5)
    for sample in range(count):
        first = next((k for k, broken in enumerate(breaks) if sample in broken), None)
        last = len(breaks) - 1 if first is None else first
        assert (attacked.labels[sample] != 0) == (first is not None)
        who = None if first is None else f"member {first}"
        assert attacked.details[sample] == Detail(text_queries=sum(range(last + 1)), broken_by=who)
        # The sample is as the one that broke it left it, or the last that tried.
        assert attacked.x[sample, 0, 0, 0] == np.float32(sample / 100)
        assert (attacked.x[sample, 2] == np.float32(last / 10)).all()
    # Nobody sees a sample that is broken already, or is called for nothing.
    left = set(range(count))
    calls = iter(seen)
    for k, broken in enumerate(breaks):
        if left:
            numbers, seed, _ = next(calls)
            assert set(numbers) == left and seed == member_seed(5, f"member {k}")
            left -= broken
    assert next(calls, None) is None
    assert attacked.flags.get("looked", 0) == sum(len(numbers) for numbers, *_ in seen)


def test_seeds_do_not_depend_on_who_else_runs() -> None:
    seen: list = []
    a, b, c = (scripted(name, set(), 0.1, seen) for name in "abc")
    y = np.zeros(2, dtype=np.int64)
    Cascade(zero_shot(), BUDGET, [a, b, c])(numbered(2), y, 9)
    Cascade(zero_shot(), BUDGET, [c, a])(numbered(2), y, 9)
    Cascade(zero_shot(), BUDGET, [b])(numbered(2), y, 10)
    seeds = [seed for _, seed, _ in seen]
    assert seeds[3:5] == [seeds[2], seeds[0]]
    assert len(set(seeds)) == 4


@pytest.mark.parametrize("row", range(6))
def test_real_attacks_each_alone_or_in_a_row(row) -> None:
    """With one sample at a time random numbers are the same, so the cascade must equal all of its members together."""
    estimator = zero_shot()
    x, y = (part[row : row + 1] for part in samples(estimator))
    cascade = Cascade(estimator, SMALL, REAL)(x, y, 3)
    for name in REAL:
        alone = ATTACKS[name].run(estimator, x, y, SMALL, member_seed(3, name))
        if alone.labels[0] != y[0]:
            break
    assert cascade.details[0].broken_by == (name if alone.labels[0] != y[0] else None)
    assert cascade.labels[0] == alone.labels[0]
    np.testing.assert_array_equal(cascade.x, alone.x)
    assert cascade.details[0].texts == (alone.details[0].texts if alone.details else None)


def test_real_attacks_break_different_samples() -> None:
    estimator = zero_shot()
    x, y = samples(estimator)
    assert len({d.broken_by for d in Cascade(estimator, SMALL, REAL)(x, y, 3).details}) >= 3


def test_on_pairs() -> None:
    estimator = FusionClassifier(TinyFusion().eval(), device_type="cpu")
    pairs = some_pairs()
    labels, given_pairs = estimator.predict_labels(pairs), pairs.copy()
    members = ("bert_attack_margin", "character_attack_margin", "art_pgd", "pgd", "joint")
    attacked = Cascade(estimator, BUDGET, members)(pairs, labels, 0)
    assert is_pairs(attacked.x)
    np.testing.assert_array_equal(attacked.labels, estimator.predict_labels(attacked.x))
    assert pairs["text"].tolist() == given_pairs["text"].tolist()
    np.testing.assert_array_equal(pairs["image"], given_pairs["image"])
    broken = {detail.broken_by for detail in attacked.details}
    assert broken & {"bert_attack_margin", "character_attack_margin"} and len(broken) >= 2
    for before, after, detail in zip(pairs, attacked.x, attacked.details, strict=True):
        if detail.texts is not None:
            assert detail.texts == ((before["text"], after["text"]),)
            assert detail.text_queries > 0
    # pgd knows no pairs: it is left out where it would have come, and named.
    if "not_tried_by:pgd" in attacked.flags:
        assert attacked.flags["not_tried_by:pgd"] == sum(d.broken_by in (None, "joint") for d in attacked.details)


def test_who_cannot_work_is_left_out_and_named() -> None:
    seen: list = []
    members = [
        scripted("pairs only", set(), 0.1, seen, {"tasks": (PAIRS,)}),
        scripted("many classes", set(), 0.1, seen, {"minimum_classes": 5}),
        scripted("works", {0}, 0.1, seen),
        scripted("large images", set(), 0.1, seen, {"applies": lambda shape, budget: shape[1] > 4}),
    ]
    attacked = Cascade(zero_shot(), BUDGET, members)(numbered(3), np.zeros(3, dtype=np.int64), 0)
    assert len(seen) == 1
    assert attacked.flags == {
        "not_tried_by:pairs only": 3,
        "not_tried_by:many classes": 3,
        "looked": 3,
        "not_tried_by:large images": 2,
    }
    alone = Cascade(zero_shot(), BUDGET, members[:1])(numbered(2), np.ones(2, dtype=np.int64), 0)
    np.testing.assert_array_equal(alone.x, numbered(2))
    assert alone.labels.tolist() == [1, 1] and alone.details == [Detail()] * 2


def test_a_cascade_in_a_cascade_knows_who_it_was() -> None:
    seen: list = []
    inner = [scripted("a", {0}, 0.1, seen), scripted("b", {1}, 0.2, seen)]
    entry = AttackEntry("inner", "worst", "white box", "two in a row", partial(Cascade, members=inner))
    members = [entry, scripted("c", {2}, 0.3, seen)]
    attacked = Cascade(zero_shot(), BUDGET, members)(numbered(4), np.zeros(4, dtype=np.int64), 0)
    assert [detail.broken_by for detail in attacked.details] == ["a", "b", "c", None]


def test_what_cannot_be_a_cascade() -> None:
    with pytest.raises(InputError, match="Did you mean apgd"):
        Cascade(zero_shot(), BUDGET, ["apgdd"])
    with pytest.raises(InputError, match="square comes twice"):
        Cascade(zero_shot(), BUDGET, ["square", "apgd", "square"])
    with pytest.raises(InputError, match="not a ImageTextRetriever"):
        Cascade(ImageTextRetriever(TinyEncoder().eval(), device_type="cpu"), BUDGET, ["bert_attack"])


class Failing(PreparedAttack):
    def attack(self, x, y, seed) -> Attacked:
        raise ArithmeticError("out of numbers")


@pytest.mark.parametrize("deep", [False, True])
def test_an_error_says_in_which_attack_it_was(deep) -> None:
    """However deep it happened: a traceback of ensembles in ensembles says who, and each of them once."""
    failing = AttackEntry("failing", "image", "black box", "fails", Failing)
    outer = AttackEntry("outer", "worst", "black box", "", partial(Cascade, members=[failing]))
    with pytest.raises(ArithmeticError, match="out of numbers") as raised:
        (outer if deep else failing).run(zero_shot(), numbered(2), np.zeros(2, dtype=np.int64), BUDGET, 0)
    notes = ("in the attack failing", "in the attack outer")
    assert notes_of(raised.value) == (notes if deep else notes[:1])
    frames = [frame.name for frame in raised.traceback]
    assert "run" not in frames[2:]


def test_an_attack_says_what_it_is() -> None:
    worst = ATTACKS["worst_text"].prepare(zero_shot(), BUDGET)
    assert repr(worst).startswith("Ensemble(text_exhaustive, bert_attack, ")
    assert repr(ATTACKS["pgd"].prepare(zero_shot(), BUDGET)) == "ImageAttack('pgd', on a ZeroShotClassifier)"
    assert repr(ATTACKS["pgd"]) == "AttackEntry('pgd': image, white box)"


# The ensembles.


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_inside_the_budget_and_repeatable(norm) -> None:
    """Of the ensemble that tests/testing/test_in_tree.py leaves out."""
    name = "worst_multimodal"
    estimator = zero_shot()
    x, y = samples(estimator, 5)
    eps = EPS if norm == "inf" else 0.2
    budget = Budget(norm, eps, eps / 4, 5, 20, 3)
    first, again = (ATTACKS[name].run(estimator, x, y, budget, 2) for _ in range(2))
    np.testing.assert_array_equal(first.x, again.x)
    assert first.details == again.details
    delta = (first.x.astype(np.float64) - x).reshape(len(x), -1)
    lengths = np.abs(delta).max(axis=1) if norm == "inf" else np.linalg.norm(delta, axis=1)
    assert (lengths <= eps + 1e-6).all() and lengths.max() > 0.5 * eps
    assert first.x.min() >= 0 and first.x.max() <= 1


@pytest.mark.parametrize("classes", [("cat", "dog"), ("cat", "dog", "bird")])
def test_few_classes(classes) -> None:
    estimator = zero_shot(classes=classes)
    x, y = samples(estimator)
    attacked = ATTACKS["worst_image"].run(estimator, x, y.astype(np.int32), BUDGET, 0)
    assert any(attacked.labels != y)
    assert not any(flag.startswith("not_tried_by") for flag in attacked.flags)


def test_images_of_another_shape() -> None:
    estimator = zero_shot()
    x = np.random.default_rng(0).random((3, 3, 9, 2), dtype=np.float32)
    attacked = ATTACKS["worst_image"].run(estimator, x, estimator.predict_labels(x), Budget(eps=1e-4), 0)
    assert attacked.x.shape == x.shape
    assert attacked.flags["not_tried_by:square"] == sum(d.broken_by is None for d in attacked.details) > 0


def test_an_ensemble_takes_its_time() -> None:
    assert ensemble_budget(Budget(max_iter=3)).max_iter == LEAST_STEPS
    assert ensemble_budget(Budget(max_iter=LEAST_STEPS + 7)) == Budget(max_iter=LEAST_STEPS + 7)


def test_targets_one_by_one_on_pairs_with_a_text_each() -> None:
    estimator = FusionClassifier(TinyFusion().eval(), device_type="cpu")
    x = np.random.default_rng(1).random((7, 3, 8, 8), dtype=np.float32)
    pairs = image_text_pairs(x, [f"what is {row}" for row in range(7)])
    labels = estimator.predict_labels(pairs)
    whole = TARGETED_PGD.run(estimator, pairs, labels, Budget("inf", 0.2, 0.05, 20, 100, 3), 0)
    np.testing.assert_array_equal(whole.labels, estimator.predict_labels(whole.x))
    assert whole.x["text"].tolist() == pairs["text"].tolist()
    assert (whole.labels != labels).sum() >= 3


def test_targets_find_what_one_loss_does_not() -> None:
    """Towards every class by brute force: no sample survives that a long descent to some class would break."""
    estimator = zero_shot()
    x, y = samples(estimator, 40)
    budget = Budget("inf", 0.012, 0.003, 40, 100, 40)
    left = TARGETED_PGD.run(estimator, x, y, budget, 0).labels == y
    for name in ("pgd", "apgd", "apgd_dlr"):
        other = ATTACKS[name].run(estimator, x, y, budget, 0).labels == y
        assert left.sum() <= other.sum()
        # Nothing that another attack broke was missed, apart from a sample by chance.
        assert (left & ~other).sum() <= 1


def test_what_is_raised_and_what_is_kept() -> None:
    estimator = zero_shot()
    x, y = samples(estimator, 6)
    targets = (y + 1) % 4
    objective = targeted._difference_of_logits(estimator, torch.from_numpy(y), torch.from_numpy(targets))
    raised, kept = (part.detach().numpy() for part in objective(torch.from_numpy(x)))
    for row, scores in enumerate(estimator.predict(x).astype(np.float64)):
        assert raised[row] == pytest.approx(scores[targets[row]] - scores[y[row]], abs=1e-4)
        # Any other class will do, not only the target.
        assert kept[row] == pytest.approx(np.delete(scores, y[row]).max() - scores[y[row]], abs=1e-4)


def test_stages_go_on_from_the_best_images(monkeypatch) -> None:
    estimator = zero_shot()
    x, y = samples(estimator, 3)
    stages: list = []
    ascend = targeted.ascend

    def watched(classifier, clean, objective, stage, start, best):
        if stages:
            assert torch.equal(start, best.images - clean)
        ascend(classifier, clean, objective, stage, start, best=best)
        stages.append((stage.eps_step, stage.max_iter))

    monkeypatch.setattr(targeted, "ascend", watched)
    monkeypatch.setattr(targeted, "MOST_TARGETS", 1)
    TARGETED_PGD.run(estimator, x, y, Budget("inf", 0.08, 0.01, 10, 100, 3), 0)
    assert stages == [(0.04, 3), (0.02, 3), (0.01, 2), (0.005, 2)]


def test_no_more_targets_than_may_be() -> None:
    names = tuple(f"class {chr(97 + index)}" for index in range(14))
    estimator = zero_shot(classes=names)
    x, y = samples(estimator, 1)
    forwards: list[int] = []
    estimator.model.image_encoder.register_forward_hook(lambda module, inputs, output: forwards.append(len(output)))
    attacked = TARGETED_PGD.run(estimator, x, y, Budget("inf", 1e-6, 1e-6, 8, 100, 4), 0)
    assert attacked.labels[0] == y[0]
    # The scores, and for each target 8 steps, the end of each of 4 stages, and the answer.
    assert sum(forwards) == 1 + MOST_TARGETS * (8 + 4 + 1)


# What is wrong with ART's targeted difference of logits, and why it is not used.


def art_targeted(estimator: ZeroShotClassifier) -> AutoProjectedGradientDescent:
    return AutoProjectedGradientDescent(
        estimator,
        eps=0.1,
        eps_step=0.2,
        max_iter=5,
        targeted=True,
        nb_random_init=1,
        loss_type="difference_logits_ratio",
        verbose=False,
    )


def test_art_has_no_gradient_towards_the_third_class() -> None:
    estimator = zero_shot(classes=("cat", "dog", "bird"))
    x, _ = samples(estimator, 4)
    attack = art_targeted(estimator)
    third = np.eye(3, dtype=np.float32)[np.argsort(estimator.predict(x), axis=1)[:, 0]]
    np.testing.assert_allclose(attack.estimator.compute_loss(x=x, y=third, reduction="none"), 1, rtol=1e-5)
    assert np.abs(attack.estimator.loss_gradient(x, third)).max() < 1e-6
    second = np.eye(3, dtype=np.float32)[np.argsort(estimator.predict(x), axis=1)[:, 1]]
    assert np.abs(attack.estimator.loss_gradient(x, second)).max() > 1e-3


def test_art_needs_three_classes() -> None:
    estimator = zero_shot(classes=("cat", "dog"))
    x, y = samples(estimator, 2)
    with pytest.raises(IndexError):
        art_targeted(estimator).generate(x, 1 - y)


def test_the_scores_of_a_broken_model_are_refused() -> None:
    estimator = zero_shot()
    x, y = samples(estimator, 2)
    with torch.no_grad():
        estimator.dual_encoder.logit_scale.fill_(torch.nan)
    with pytest.raises(InputError, match="NaN or infinite"):
        ATTACKS["worst_image"].run(estimator, x, y, BUDGET, 0)
