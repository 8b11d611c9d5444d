"""Hidden words beside noisy numbers, and certificates of pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import norm
from several import classifier, make_samples
from torch import nn

from art_multimodal import FusionClassifier
from art_multimodal.ablation import Points, Steps, Words
from art_multimodal.errors import InputError
from art_multimodal.estimators.certification import (
    ABSTAINED,
    AblatedSegmenter,
    Bernoulli,
    HybridSmoothing,
    Independent,
    Partition,
)
from art_multimodal.functional.certificates.confidence import one_sided_lower
from art_multimodal.modalities import table
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.sample_arrays import samples


def linear() -> FusionClassifier:
    """Class 1 where the sum of the numbers is positive: smoothed, the answer is a half-space whose share is known."""
    numbers, steps = table("numbers", 4, clip_values=(-5.0, 5.0)), table("bits", 4)
    towers = [Tower(numbers, nn.Linear(4, 1, bias=False), 1), Tower(steps, nn.Linear(4, 1, bias=False), 1)]
    model = ModularModel(towers, "concat", ("below", "above"), hidden=0)
    with torch.no_grad():
        towers[0].module.weight.fill_(1.0)
        towers[1].module.weight.fill_(0.0)
        head = next(layer for layer in model.fusion.head.modules() if isinstance(layer, nn.Linear))
        head.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        head.bias.zero_()
    return FusionClassifier(model.eval(), device_type="cpu")


def test_a_half_space_is_certified_to_its_distance() -> None:
    one = linear()
    x = samples(numbers=np.array([[1.0, 0.5, 0.25, 0.25]]), bits=np.zeros((1, 4)))
    smooth = HybridSmoothing(
        one, {"bits": Points(one.modalities["bits"])}, Bernoulli({"bits": 0.5}, samples=4000), {"numbers": 0.7}
    )
    (certificate,) = smooth.certify(x)
    # The share of noise that stays above is Phi(distance / sigma): Cohen's radius is the distance, but for confidence.
    distance = 2.0 / np.sqrt(4)
    assert certificate.prediction == 1
    assert certificate.votes[1] / 4000 == pytest.approx(norm.cdf(distance / 0.7), abs=4 * np.sqrt(0.1 * 0.9 / 4000))
    share = one_sided_lower(int(certificate.votes[1]), 4000, 0.001)
    assert certificate.radius_of("numbers") == pytest.approx(0.7 * norm.ppf(share), abs=1e-9)
    assert certificate.radius_of("numbers") < distance
    assert certificate.covers({}, {"numbers": 0.9 * certificate.radius_of("numbers")})
    # One bit changed is seen by half of the draws: no majority is left.
    assert certificate.radius({"bits": 1}) == 0 and not certificate.covers({"bits": 1}, {})
    with pytest.raises(InputError, match="'numbers'"):
        certificate.radius({"numbers": 1})
    with pytest.raises(InputError, match="has no noise"):
        certificate.radius_of("bits")


def test_edits_shrink_the_distance_and_few_are_seen_where_little_is_kept() -> None:
    one = linear()
    x = samples(numbers=np.array([[2.0, 1.5, 1.25, 1.25]]), bits=np.zeros((1, 4)))
    smooth = HybridSmoothing(
        one, {"bits": Points(one.modalities["bits"])}, Independent({"bits": 1}, samples=2000), {"numbers": 0.7}
    )
    (certificate,) = smooth.certify(x)
    radii = [certificate.radius({"bits": edits}) for edits in range(4)]
    assert radii[0] > radii[1] > 0 == radii[2] == radii[3]


def test_words_are_hidden_and_numbers_are_noisy() -> None:
    one = classifier("late")
    x = make_samples(notes=("a cat", "red", "what is this?", "a cat", "blue", "big cat"))
    elements = {"note": Words(one.modalities["note"])}
    masks = Bernoulli({"note": 0.5}, samples=40, choosing=10)
    smooth = HybridSmoothing(one, elements, masks, {"rgb": 0.05, "audio": 0.1}, edits="any", batch_size=16)
    certificates = smooth.certify(x)
    assert [certificate.votes.sum() for certificate in certificates] == [40] * 6
    assert smooth.predict(x).shape == (6, 3)
    again = smooth.certify(x[3:])
    assert [one.votes.tolist() for one in again] == [one.votes.tolist() for one in certificates[3:]]
    undecided = [certificate for certificate in certificates if certificate.prediction == ABSTAINED]
    assert all(certificate.radius() == 0 for certificate in undecided)


@pytest.mark.parametrize(
    ("sigma", "said"),
    [
        ({}, "positive number for at least one modality"),
        ({"rgb": 0.0}, "positive number"),
        ({"note": 1.0}, "cannot have noise, too"),
        ({"depth": 1.0}, "Noise needs a modality of numbers"),
    ],
)
def test_noise_that_cannot_be_used_is_refused(sigma: dict, said: str) -> None:
    one = classifier("late")
    with pytest.raises(InputError, match=said):
        HybridSmoothing(one, {"note": Words(one.modalities["note"])}, Bernoulli({"note": 0.5}), sigma)


class Centred(nn.Linear):
    """Depends on the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        return out - out.mean(dim=0)


def test_answers_that_depend_on_the_batch_are_refused() -> None:
    x = samples(numbers=np.ones((1, 4)), bits=np.arange(4)[None] / 4)
    towers = [Tower(table("numbers", 4), nn.Linear(4, 1), 1), Tower(table("bits", 4), Centred(4, 1), 1)]
    one = FusionClassifier(ModularModel(towers, "concat", ("below", "above"), hidden=0).eval(), device_type="cpu")
    elements = {"bits": Points(one.modalities["bits"])}
    smoothed = HybridSmoothing(one, elements, Independent({"bits": 1}, 60), {"numbers": 1.0})
    with pytest.raises(InputError, match="answers differently about the same input in another batch"):
        smoothed.certify(x)

    def says(x: np.ndarray) -> np.ndarray:
        return np.repeat((x["row"] > x["row"].mean()).astype(int)[:, None], 2, axis=1)

    picture = AblatedSegmenter(says, {"row": Points(ROW)}, Partition({"row": 1}), {"row": ROW}, 2, batch_size=3)
    with pytest.raises(InputError, match="answers differently about the same input in another batch"):
        picture.certify(samples(row=np.array([[0.1, 0.4, 0.7, 1.0]])))


def test_distances_in_the_form_of_art() -> None:
    x = samples(numbers=np.array([[0.8, 0, 0, 0], [0, 0, 0, 0.01]]), bits=np.ones((2, 4)))
    smoothed = HybridSmoothing(
        one := linear(),
        {"bits": Points(one.modalities["bits"])},
        Bernoulli({"bits": 0.1}, 500, seed=2),
        {"numbers": 0.5},
    )
    certificates = smoothed.certify(x)
    predictions, radii = certificates.as_art("numbers", {"bits": 1})
    assert predictions.tolist() == [1, ABSTAINED] and radii[1] == 0
    assert radii[0] == certificates[0].radius({"bits": 1}) * 0.5 > 0
    assert (certificates.radii("numbers") >= radii).all() and len(certificates[:1]) == 1
    assert certificates[1:].predictions.tolist() == [ABSTAINED]


def test_masks_that_are_counted_are_refused_beside_noise() -> None:
    one = classifier("late")
    with pytest.raises(InputError, match="masks are, too"):
        HybridSmoothing(one, {"audio": Steps(one.modalities["audio"])}, Partition({"audio": 1}), {"rgb": 1.0})


# --- Pixels -----------------------------------------------------------------------------------------------------------

ROW = table("row", 4, fill=0.5)
PIXELS = (2, 3)


class AnyPicture:
    """A base function that says anything of each pixel."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.table = rng.choice(3, size=(3**4, *PIXELS), p=[0.05, 0.9, 0.05])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.table[(2 * x["row"]).astype(int) @ 3 ** np.arange(4)]


def segmenter(seed: int, masks) -> AblatedSegmenter:
    return AblatedSegmenter(AnyPicture(seed), {"row": Points(ROW)}, masks, {"row": ROW}, 3)


def test_no_certified_pixel_is_ever_wrong() -> None:
    world = samples(row=np.array(list(itertools.product((0, 1), repeat=4)), dtype=np.float32))
    apart, certified = (world["row"][:, None] != world["row"]).sum(axis=2), 0
    for seed in range(6):
        found = segmenter(seed, Partition({"row": 1})).certify(world)
        predicted = np.stack([one.prediction for one in found])
        for row, one in enumerate(found):
            for edits in range(5):
                stays = one.covers({"row": edits})
                assert stays.all() or edits
                near = predicted[apart[row] <= edits]
                assert (near == one.prediction)[:, stays].all()
                certified += int(stays.sum()) * (edits > 0)
                truth = np.random.default_rng(row).integers(0, 2, PIXELS)
                worst = one.lower_bounds(truth, {"row": edits})
                assert all(worst["accuracy"] <= (other == truth).mean() + 1e-12 for other in near)
                positive = truth == 1
                for other in near:
                    both = int(((other == 1) & positive).sum())
                    union = int(((other == 1) | positive).sum())
                    assert worst["iou"] <= both / max(1, union) + 1e-12 or not union
                    assert worst["recall"] <= both / max(1, int(positive.sum())) + 1e-12
    assert certified > 100


def test_random_votes_test_all_pixels_together() -> None:
    world = samples(row=np.ones((1, 4), dtype=np.float32))

    def says(x: np.ndarray) -> np.ndarray:
        last = (x["row"][:, :1, None] == 1).astype(int)
        return np.broadcast_to(np.where(np.arange(6).reshape(PIXELS) < 5, 1, last), (len(x), *PIXELS)).astype(np.int64)

    one = AblatedSegmenter(says, {"row": Points(ROW)}, Independent({"row": 1}, samples=300), {"row": ROW}, 2)
    (found,) = one.certify(world, truth=np.ones((1, *PIXELS), dtype=int))
    # All votes agree on five pixels: 1 - S is a quarter with one edit, a half with two.
    assert found.covers({"row": 1}).sum() == 5 and not found.covers({"row": 2}).any()
    assert not found.covers({"row": 0}).ravel()[5]
    (chosen,) = one.certify(world)
    assert chosen.prediction.ravel()[5] == 0 and chosen.covers({"row": 0}).ravel()[:5].all()
    with pytest.raises(InputError, match="truth must give a class"):
        one.certify(world, truth=np.full((1, *PIXELS), 5))
    with pytest.raises(InputError, match="a class index, or a row of scores"):
        AblatedSegmenter(
            lambda x: np.zeros(len(x)), {"row": Points(ROW)}, Partition({"row": 1}), {"row": ROW}, 2
        ).certify(world)
