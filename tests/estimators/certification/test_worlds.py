"""Certificates in worlds so small that every attack can be tried: none is ever wrong."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from art_multimodal.ablation import Points, Words
from art_multimodal.estimators.certification import (
    AblatedEnsemble,
    AllSubsets,
    Bernoulli,
    Design,
    Independent,
    Joint,
    Masks,
    Partition,
)
from art_multimodal.estimators.certification.deciding import Counted, Estimated
from art_multimodal.modalities import table, text
from art_multimodal.sample_arrays import samples

CLASSES = 3
#: Two tables of bits; what is hidden becomes a half.
LEFT, RIGHT = table("left", 4, fill=0.5), table("right", 3, fill=0.5)
ELEMENTS = {"left": Points(LEFT), "right": Points(RIGHT)}
WORLD = samples(
    left=np.array([bits[:4] for bits in itertools.product((0, 1), repeat=7)], dtype=np.float32),
    right=np.array([bits[4:] for bits in itertools.product((0, 1), repeat=7)], dtype=np.float32),
)


class AnyFunction:
    """A base classifier that says anything: a class drawn once for each ablated input; sometimes none."""

    def __init__(self, seed: int, bias: float, none: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        shares = np.full(CLASSES, (1 - bias) / (CLASSES - 1))
        shares[rng.integers(CLASSES)] = bias
        self.table = rng.choice(CLASSES, size=3**7, p=shares)
        self.table[rng.random(3**7) < none] = -1

    def __call__(self, x: np.ndarray) -> np.ndarray:
        digits = (2 * np.concatenate([x["left"], x["right"]], axis=1)).astype(int)
        return self.table[digits @ 3 ** np.arange(7)]


def edits_between(x: np.ndarray, row: int) -> np.ndarray:
    """How many elements of each modality differ between one sample and all, ``(N, 2)``."""
    return np.stack([(x[name] != x[name][row]).sum(axis=1) for name in ("left", "right")], axis=1)


def budgets(x: np.ndarray) -> Iterator[tuple[int, int]]:
    return itertools.product(range(5), range(4))


def check_no_certificate_is_wrong(certificates: Sequence, predicted: np.ndarray) -> int:
    """Look at every attacked input of every certificate; return how many certificates of edits there were."""
    found = 0
    for row, certificate in enumerate(certificates):
        apart = edits_between(WORLD, row)
        for budget in budgets(WORLD):
            if certificate.covers(dict(zip(("left", "right"), budget, strict=True))):
                within = (apart <= budget).all(axis=1)
                assert (predicted[within] == certificate.prediction).all(), (row, budget)
                found += any(budget)
    return found


@pytest.mark.parametrize("location_aware", [False, True])
@pytest.mark.parametrize(
    "masks",
    [
        AllSubsets({"left": 2, "right": 1}),
        AllSubsets({"left": 0, "right": 2}),
        Partition({"left": 1, "right": 1}),
        Partition({"left": 1, "right": 3}),
        Partition({"left": 2, "right": 0}, layout="contiguous"),
    ],
    ids=repr,
)
def test_no_certificate_of_counted_votes_is_wrong(masks: Masks, location_aware: bool) -> None:
    certified = 0
    for seed in range(6):
        function = AnyFunction(seed, bias=(0.5, 0.8, 0.95)[seed % 3], none=0.05 * (seed % 2))
        ensemble = AblatedEnsemble(
            function,
            ELEMENTS,
            masks,
            modalities={"left": LEFT, "right": RIGHT},
            nb_classes=CLASSES,
            location_aware=location_aware,
        )
        certificates = ensemble.certify(WORLD)
        predicted = ensemble.predict(WORLD).argmax(axis=1)
        assert (
            certificates.predictions[certificates.predictions >= 0] == predicted[certificates.predictions >= 0]
        ).all()
        certified += check_no_certificate_is_wrong(certificates, predicted)
    assert certified > 100


#: Enough elements for a plane of three points on a line: of 12 votes one element reaches 4.
LINE = table("line", 7, fill=0.5)


@pytest.mark.parametrize("location_aware", [False, True])
def test_no_certificate_of_votes_about_lines_is_wrong(location_aware: bool) -> None:
    world = samples(line=np.array(list(itertools.product((0, 1), repeat=7)), dtype=np.float32))
    apart, certified = (world["line"][:, None] != world["line"]).sum(axis=2), 0
    for seed in range(9):
        rng = np.random.default_rng(seed)
        said = rng.choice(CLASSES, size=3**7, p=[0.9, 0.07, 0.03])
        ensemble = AblatedEnsemble(
            lambda x, said=said: said[(2 * x["line"]).astype(int) @ 3 ** np.arange(7)],
            {"line": Points(LINE)},
            Design({"line": 3}),
            modalities={"line": LINE},
            nb_classes=CLASSES,
            location_aware=location_aware,
        )
        predicted = ensemble.predict(world).argmax(axis=1)
        for row, certificate in enumerate(ensemble.certify(world)):
            for edits in range(1, 8):
                if certificate.covers({"line": edits}):
                    assert (predicted[apart[row] <= edits] == certificate.prediction).all()
                    certified += 1
    assert certified > 100


def test_looking_for_the_worst_places_is_never_looser_and_is_exact() -> None:
    more = 0
    for seed in range(4):
        function = AnyFunction(seed, bias=0.8)
        for masks in (Partition({"left": 1, "right": 1}), AllSubsets({"left": 2, "right": 3})):
            plain, aware = (
                AblatedEnsemble(
                    function,
                    ELEMENTS,
                    masks,
                    modalities={"left": LEFT, "right": RIGHT},
                    nb_classes=CLASSES,
                    location_aware=wanted,
                )
                for wanted in (False, True)
            )
            for row, (loose, tight) in enumerate(zip(plain.certify(WORLD), aware.certify(WORLD), strict=True)):
                for budget in budgets(WORLD):
                    named = dict(zip(("left", "right"), budget, strict=True))
                    assert tight.covers(named) or not loose.covers(named)
                    more += tight.covers(named) and not loose.covers(named)
                if seed < 2 and row % 16 == 0:
                    check_against_any_relabelling(aware, row, tight)
    assert more > 5


def check_against_any_relabelling(ensemble: AblatedEnsemble, row: int, certificate) -> None:
    """What is not certified can be turned by a base classifier that says anything where a touched element is seen."""
    counts, ballot, votes = next(iter(ensemble.voted(WORLD[row : row + 1])))
    seen = ballot.elements_seen
    for budget in budgets(WORLD):
        turned = False
        for touched in itertools.product(
            *(itertools.combinations(range(n), r) for n, r in zip(counts.values(), budget, strict=True))
        ):
            hit = np.zeros(len(votes), dtype=bool)
            for of, elements in zip(seen, touched, strict=True):
                hit |= of[:, list(elements)].any(axis=1)
            for other in range(CLASSES):
                answers = np.where(hit, other, votes)
                turned |= np.bincount(answers[answers >= 0], minlength=CLASSES).argmax() != certificate.prediction
        assert certificate.covers(dict(zip(counts, budget, strict=True))) == (not turned), budget


@pytest.mark.parametrize("rule", ["majority", "paired", "published"])
@pytest.mark.parametrize("kind", [Independent, Joint, Bernoulli])
def test_votes_at_random_certify_what_holds_of_the_true_shares(kind, rule: str) -> None:
    keep = {"left": 0.5, "right": 0.4} if kind is Bernoulli else {"left": 2, "right": 1}
    certified = 0
    for seed in range(2):
        # The prediction of the true shares is that of all subsets, each with its chance.
        function = AnyFunction(seed, bias=0.95)
        masks = kind(keep, samples=800, choosing=100, seed=seed)
        ensemble = AblatedEnsemble(
            function, ELEMENTS, masks, modalities={"left": LEFT, "right": RIGHT}, nb_classes=CLASSES, rule=rule
        )
        certificates = ensemble.certify(WORLD[::8])
        shares = true_shares(function, kind, keep)
        for row, certificate in zip(range(0, len(WORLD), 8), certificates, strict=True):
            apart = edits_between(WORLD, row)
            for budget in budgets(WORLD):
                if certificate.covers(dict(zip(("left", "right"), budget, strict=True))):
                    within = (apart <= budget).all(axis=1)
                    assert (shares[within].argmax(axis=1) == certificate.prediction).all()
                    certified += any(budget)
    assert certified > 10


def true_shares(function: AnyFunction, kind: type[Masks], keep: dict[str, float]) -> np.ndarray:
    """The chance of each class for every sample of the world, by going through all subsets, ``(N, K)``."""
    shares = np.zeros((len(WORLD), CLASSES))
    for kept in itertools.product((False, True), repeat=7):
        left, right = np.array(kept[:4]), np.array(kept[4:])
        if kind is Bernoulli:
            chance = np.prod(np.where(left, keep["left"], 1 - keep["left"]))
            chance *= np.prod(np.where(right, keep["right"], 1 - keep["right"]))
        elif kind is Joint:
            chance = float(sum(kept) == sum(keep.values()))
        else:
            chance = float(left.sum() == keep["left"] and right.sum() == keep["right"])
        if chance:
            hidden = samples(left=np.where(left, WORLD["left"], 0.5), right=np.where(right, WORLD["right"], 0.5))
            shares[np.arange(len(WORLD)), function(hidden)] += chance
    return shares / shares.sum(axis=1, keepdims=True)


WORDS = text("said")


class AnyTextFunction:
    """A base classifier of texts that says anything of what is left of one; what stands where, it does not see."""

    def __init__(self, seed: int, bias: float) -> None:
        self.rng, self.bias, self.said = np.random.default_rng(seed), bias, {}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for one in x["said"]:
            if one not in self.said:
                self.said[one] = 0 if self.rng.random() < self.bias else int(self.rng.integers(1, CLASSES))
        return np.array([self.said[one] for one in x["said"]])


def least_edits(one: Sequence[str], other: Sequence[str]) -> int:
    """The least number of words that are modified, deleted and added from one text to another."""
    costs = list(range(len(other) + 1))
    for row, word in enumerate(one, start=1):
        last, costs[0] = costs[0], row
        for column, against in enumerate(other, start=1):
            last, costs[column] = costs[column], min(costs[column] + 1, costs[column - 1] + 1, last + (word != against))
    return costs[-1]


def test_no_certificate_of_texts_that_change_their_length_is_wrong() -> None:
    texts = [" ".join(words) for length in range(2, 6) for words in itertools.product("ab", repeat=length)]
    world, certified = samples(said=texts), 0
    apart = np.array([[least_edits(one.split(), other.split()) for other in texts] for one in texts])
    for seed in range(12):
        ensemble = AblatedEnsemble(
            AnyTextFunction(seed, bias=(0.85, 0.97)[seed % 2]),
            {"said": Words(WORDS)},
            AllSubsets({"said": 2 - seed % 3 // 2}),
            modalities={"said": WORDS},
            nb_classes=CLASSES,
            edits="any",
        )
        predicted = ensemble.predict(world).argmax(axis=1)
        for row, certificate in enumerate(ensemble.certify(world)):
            for edits in range(1, 5):
                if certificate.covers({"said": edits}):
                    within = apart[row] <= edits
                    assert (predicted[within] == certificate.prediction).all(), (texts[row], edits)
                    certified += 1
    assert certified > 20


def test_protocol_decisions_are_of_the_kind_that_fits_the_masks() -> None:
    """What is counted is never bounded, and what is drawn never taken as known."""
    function = AnyFunction(0, bias=0.95)
    for masks, wanted in (
        (Partition({"left": 1, "right": 1}), Counted),
        (Independent({"left": 1, "right": 1}), Estimated),
    ):
        ensemble = AblatedEnsemble(
            function, ELEMENTS, masks, modalities={"left": LEFT, "right": RIGHT}, nb_classes=CLASSES
        )
        (counts, ballot, votes) = next(iter(ensemble.voted(WORLD[:1])))
        assert isinstance(ensemble._decision(WORLD[:1], 0, counts, ballot, votes, ensemble.tally(votes)), wanted)
