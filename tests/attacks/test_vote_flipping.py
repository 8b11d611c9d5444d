"""The attack on smoothed classifiers: within its budget always, and never inside a certificate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from several import classifier, make_samples
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier
from art_multimodal.ablation import Blocks, Elements, Points, Steps, Words
from art_multimodal.attacks.evasion import VoteFlippingAttack
from art_multimodal.errors import InputError
from art_multimodal.estimators.certification import AblatedEnsemble, Design, Independent, Masks, Partition
from art_multimodal.modalities import table
from art_multimodal.sample_arrays import samples

NOTES = ("a cat", "red dog", "what is this?", "a cat", "blue", "big cat")


def elements_of(one, names) -> dict[str, Elements]:
    kinds = {"rgb": lambda m: Blocks(m, 2), "audio": Steps, "lab": Points, "note": Words}
    return {name: kinds[name](one.modalities[name]) for name in names}


def edits(elements: dict[str, Elements], x: np.ndarray, attacked: np.ndarray) -> dict[str, np.ndarray]:
    """How many elements of each modality differ, ``(N,)``: one at a time is shown, and both compared."""
    found = {}
    for name, of in elements.items():
        before, after = x[name], attacked[name]
        if name == "note":
            found[name] = np.array(
                [
                    sum(a != b for a, b in zip(one.split(), other.split(), strict=True))
                    for one, other in zip(before, after, strict=True)
                ]
            )
            continue
        apart = np.zeros(len(x), dtype=int)
        for element in range(int(of.count(before).max(initial=0))):
            only = np.zeros((len(x), int(of.count(before).max())), dtype=bool)
            only[:, element] = True
            shown = [of.modality.values(of.keep(field, only)) for field in (before, after)]
            apart += (shown[0] != shown[1]).reshape(len(x), -1).any(axis=1)
        found[name] = apart
    return found


@pytest.mark.parametrize("kind", ["late", "joint"])
@pytest.mark.parametrize(
    ("masks", "budget"),
    [
        (Partition({"rgb": 1, "note": 1}), {"rgb": 2, "note": 1}),
        (Partition({"audio": 1, "lab": 1}), {"audio": 2, "lab": 3}),
        (Independent({"rgb": 3, "lab": 2}, samples=40), {"rgb": 3, "lab": 1}),
    ],
    ids=repr,
)
def test_it_stays_within_its_budget_and_outside_certificates(kind: str, masks: Masks, budget: dict) -> None:
    one, x = classifier(kind), make_samples(notes=NOTES)
    elements = elements_of(one, masks.keep)
    ensemble = AblatedEnsemble(one, elements, masks, batch_size=16)
    certificates = ensemble.certify(x)
    attack = VoteFlippingAttack(ensemble, budget, max_iter=8, verbose=False)
    attacked = attack.generate(x)
    for name, of in edits(elements, x, attacked).items():
        assert (of <= budget[name]).all()
    for name in set(one.modalities) - set(elements):
        np.testing.assert_array_equal(attacked[name], x[name])
    # Values are those that a model takes.
    ensemble.checked(attacked)
    turned = ensemble.predict(attacked).argmax(axis=1) != ensemble.predict(x).argmax(axis=1)
    # The mean of all modalities is hard to turn by some of them.
    assert turned.any() or kind == "late"
    assert not (turned & certificates.covers(budget)).any()
    unchanged = [row for row in range(len(x)) if not turned[row]]
    for name in x.dtype.names:
        np.testing.assert_array_equal(attacked[name][unchanged], x[name][unchanged])


def test_what_the_worst_places_allow_is_found_where_values_can_say_anything() -> None:
    """Each column votes by itself for what it is rounded to: every budget that is not certified is broken."""
    row = table("row", 5, fill=0.5)
    ensemble = AblatedEnsemble(
        lambda x: np.where((x["row"] > 0.5).any(axis=1), 1, 0),
        {"row": Points(row)},
        Partition({"row": 1}),
        modalities={"row": row},
        nb_classes=2,
    )
    x = samples(row=np.array(list(itertools.product((0.0, 1.0), repeat=5)), dtype=np.float32))
    certificates = ensemble.certify(x)
    for budget in range(1, 4):
        attacked = VoteFlippingAttack(ensemble, {"row": budget}, verbose=False).generate(x)
        turned = ensemble.predict(attacked).argmax(axis=1) != certificates.predictions
        assert turned.tolist() == (~certificates.covers({"row": budget})).tolist()


def test_images_of_a_zero_shot_classifier() -> None:
    one = ZeroShotClassifier(TinyEncoder(), ["cat", "dog", "owl"], device_type="cpu")
    x = np.random.default_rng(0).random((4, 3, 9, 9), dtype=np.float32)
    ensemble = AblatedEnsemble(one, {"image": Blocks(one.modalities["image"], 3)}, Design({"image": 3}))
    right = ensemble.predict(x).argmax(axis=1)
    wrong = (right + 1) % 3
    attack = VoteFlippingAttack(ensemble, {"image": 4}, max_iter=10, verbose=False)
    # Samples that are wrong before stay as they are.
    np.testing.assert_array_equal(attack.generate(x, wrong), x)
    attacked = attack.generate(x, right)
    assert (ensemble.predict(attacked).argmax(axis=1) != right).any()
    assert attacked.min() >= 0 and attacked.max() <= 1


def test_gradients_are_those_of_the_mean_soft_vote() -> None:
    from art_multimodal.attacks.evasion import vote_flipping

    one, x = classifier("late"), make_samples(notes=NOTES)[:1]
    names = ("rgb", "audio")
    elements = elements_of(one, names)
    ensemble = AblatedEnsemble(one, elements, Partition({"rgb": 3, "audio": 1}))
    counts, ballot, votes = next(iter(ensemble.voted(x)))
    sample = vote_flipping._Sample(ensemble, x, counts, ballot, votes, ensemble.answer(votes))
    touched, rival = ((0, 4), (1,)), (ensemble.answer(votes) + 1) % 3
    values = {name: sample.start(name, np.zeros(()), np.random.default_rng(0), 0) for name in names}
    gradients = sample._gradients(values, touched, rival)
    hit = sample._hit(touched)

    def mean_margin(name: str, place: tuple[int, ...], by: float) -> float:
        moved = {**values, name: values[name].copy()}
        moved[name][place] += by
        views = ensemble.voters.views(ensemble.fields(sample.with_values(moved)), 0, ballot, in_place=True)
        scores = ensemble.voters.answers(views, ballot.seen[hit], 64).astype(np.float64)
        soft = np.exp(scores - scores.max(axis=1, keepdims=True))
        soft /= soft.sum(axis=1, keepdims=True)
        return float((soft[:, rival] - soft[:, sample.answer]).sum())

    for name, place in (("rgb", (0, 0, 0, 0)), ("rgb", (0, 2, 3, 1)), ("audio", (0, 1, 2)), ("audio", (0, 3, 0))):
        step = 1e-2
        slope = (mean_margin(name, place, step) - mean_margin(name, place, -step)) / (2 * step)
        # Scores are of single precision, so their differences are to 1e-6 over the step; and the curvature.
        assert gradients[name][place] == pytest.approx(slope, abs=5e-4)


def test_what_it_cannot_attack_is_refused() -> None:
    one = classifier("late")
    ensemble = AblatedEnsemble(one, elements_of(one, ("audio",)), Partition({"audio": 1}))
    with pytest.raises(InputError, match="counts no elements in 'rgb'; it does in audio"):
        VoteFlippingAttack(ensemble, {"rgb": 1})
    x = make_samples()
    # Sample 3 has one step, which nobody else outvotes; budgets beyond the elements are cut.
    attacked = VoteFlippingAttack(ensemble, {"audio": 99}, max_iter=3, verbose=False).generate(x[:1])
    assert attacked.shape == (1,)
    np.testing.assert_array_equal(VoteFlippingAttack(ensemble, {"audio": 0}, verbose=False).generate(x), x)
