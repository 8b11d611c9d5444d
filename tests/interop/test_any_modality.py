"""ART's evasion attacks on views of images, sequences and tables, and on all of them packed into one vector."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from art.attacks import evasion
from interop.any_modality import (
    ATTACKS,
    BUDGETS,
    FINDING,
    MOVING,
    PACKED,
    RISING,
    TARGETED,
    VIEWS,
    Witness,
    cases,
    checks_values,
    model_samples,
    packed_subject,
    subject,
)
from several import one_hot

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion.for_each_sample import for_each_sample

# Attacks leave the box on their way, and are warned; ART warns about much.
pytestmark = pytest.mark.filterwarnings("ignore")


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


def lead(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far the first answers are ahead of all others."""
    rows, others = np.arange(len(labels)), scores.copy()
    others[rows, labels] = -np.inf
    return scores[rows, labels] - others.max(axis=1)


def check_what_was_done(attack: str, classifier: FusionClassifier, before: np.ndarray, after: np.ndarray) -> None:
    old, new = classifier.predict(before), classifier.predict(after)
    labels = old.argmax(axis=1)
    if attack in RISING:
        assert lead(new, labels).mean() < lead(old, labels).mean()
    if attack in MOVING:
        assert (np.abs(new - old).max(axis=1) > 0).all()
    if attack in FINDING:
        assert (new.argmax(axis=1) != labels).any()


@pytest.fixture(autouse=True)
def seeded() -> None:
    np.random.seed(0)
    torch.manual_seed(0)


def attack_view(attack: str, view: str, kind: str) -> None:
    classifier, x, name = subject(view, kind)
    before = copy.deepcopy(x)
    labels = classifier.predict(x).argmax(axis=1)
    y = one_hot((labels + 1) % 3 if attack in TARGETED else labels)
    witness = Witness(classifier.multimodal, x, name)
    after = for_each_sample(witness.noting(ATTACKS[attack]), classifier, x, y, modality=name)
    assert witness.rows >= len(x)
    assert witness.wrong == 0, f"{witness.wrong} of {witness.rows} rows met others that are not theirs"
    own = model_samples(classifier.multimodal, before)
    assert after.dtype == own.dtype
    for field in after.dtype.names:
        assert same(x[field], before[field]), field
        if field == name:
            checks_values(classifier.modalities[name], own[name], after[name], BUDGETS.get(attack))
        else:
            assert same(after[field], own[field]), field
    check_what_was_done(attack, classifier, own, after)


@pytest.mark.parametrize(("attack", "view"), cases(VIEWS, 6))
def test_modalities_that_meet_at_once(attack: str, view: str) -> None:
    attack_view(attack, view, "joint")


@pytest.mark.parametrize(("attack", "view"), cases(["image-3", "sequence", "table"], 3))
def test_modalities_with_towers_of_their_own(attack: str, view: str) -> None:
    attack_view(attack, view, "concat")


@pytest.mark.parametrize(("attack", "view"), cases(PACKED, 2))
def test_packed(attack: str, view: str) -> None:
    packed, x, classifier = packed_subject(view)
    labels = classifier.predict(x).argmax(axis=1)
    y = one_hot((labels + 1) % 3 if attack in TARGETED else labels)
    # Nothing is bound: no row can be mixed up.
    assert not packed.model.fusion.others
    assert packed.model.fusion.row_of_sample is None
    vectors = packed.pack(x)
    found = ATTACKS[attack](packed).generate(vectors, y)
    assert found.shape == vectors.shape
    after, own = packed.unpack(found, x), model_samples(classifier.multimodal, x)
    for (name, modality), unit in zip(classifier.modalities.items(), packed.packing.eps, strict=True):
        norm, most = BUDGETS.get(attack, (None, 0.0))
        checks_values(modality, own[name], after[name], None if norm is None else (norm, most * unit))
    check_what_was_done(attack, classifier, own, after)


@pytest.mark.parametrize("kind", ["concat", "joint"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_witness_counts(view: str, kind: str) -> None:
    classifier, x, name = subject(view, kind)
    y = one_hot(np.zeros(len(x), int))
    witness = Witness(classifier.multimodal, x, name)
    values = np.ascontiguousarray(classifier.modalities[name].values(x[name]))
    turned = classifier.modality_view(name, np.roll(x, 1))
    witness.noting(lambda v: evasion.FastGradientMethod(v, eps=0.01, batch_size=7))(turned).generate(values, y)
    # A row is right where the one before it has the same others.
    right = (witness.own == np.roll(witness.own, 1)).sum()
    assert witness.wrong > 0
    assert witness.wrong * 7 == witness.rows * (7 - right)
    witness.rows = witness.wrong = 0
    alone = classifier.modality_view(name, x[:1])
    witness.noting(lambda v: evasion.FastGradientMethod(v, eps=0.01))(alone).generate(values, y)
    assert 0 < witness.wrong < witness.rows
