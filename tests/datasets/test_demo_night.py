"""The scenes by day and by night: a rule that is right by enumeration, and the data that it rules."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from art_multimodal import InputError
from art_multimodal.datasets import open_data
from art_multimodal.demo import night_data
from art_multimodal.demo.night_data import SCENES, NightData, Scenes, bayes, bayes_alone
from art_multimodal.sample_arrays import samples

#: Two classes on two pixels, each of which counts one photon, under two conditions: 256 samples are possible.
SMALL = Scenes(np.array([[[1, 0]], [[0, 1]]], dtype=bool), 1, np.array([[0.9, 0.05, 0.7], [0.3, 0.3, 0.3]]))
SENSORS = ("rgb", "thermal")


@pytest.fixture(scope="module")
def data() -> NightData:
    return NightData()


def every_sample() -> np.ndarray:
    """All samples that the small scenes can give."""
    values = np.array(list(product((0.0, 1.0), repeat=8)))
    return samples(rgb=values[:, :6].reshape(-1, 3, 1, 2), thermal=values[:, 6:].reshape(-1, 1, 1, 2))


def by_hand(x: np.ndarray) -> np.ndarray:
    """Probabilities of the samples under each class, condition and choice of signs, pixel by pixel: (N, K, C, 2^4)."""
    found = np.zeros((len(x), 2, 2, 16))
    for row, k, c in np.ndindex(len(x), 2, 2):
        light, heat, _ = SMALL.conditions[c]
        for choice, signs in enumerate(product((-1, 1), repeat=4)):
            chance = 1.0
            for channel, pixel in np.ndindex(4, 2):
                thermal = channel == 3
                share, step = (0.5, heat) if thermal else (0.1 + 0.4 * light, 0.24 * light**2)
                share += signs[channel] * step * SMALL.templates[k, 0, pixel]
                value = x["thermal"][row, 0, 0, pixel] if thermal else x["rgb"][row, channel, 0, pixel]
                chance *= share if value else 1 - share
            found[row, k, c, choice] = chance
    return found


def test_the_rule_is_that_of_bayes_by_enumeration() -> None:
    x = every_sample()
    chances = by_hand(x)
    np.testing.assert_allclose(chances.sum(axis=0), 1, rtol=1e-12)  # over all samples, for each of the rest
    likelihoods = chances.mean(axis=3)
    for sensors in (SENSORS, ("rgb",), ("thermal",)):
        seen = likelihoods
        if len(sensors) == 1:
            # The other sensor is summed over: rows that agree in this one have the sum of all.
            _, group = np.unique(x[sensors[0]].reshape(len(x), -1), axis=0, return_inverse=True)
            seen = np.stack([likelihoods[group == one].sum(axis=0) for one in group])
        joint = (seen * SMALL.conditions[:, 2]).sum(axis=2)
        np.testing.assert_allclose(SMALL.bayes(x, sensors), joint / joint.sum(axis=1, keepdims=True), rtol=1e-11)
    product_of_both = np.exp(SMALL.log_likelihoods(x, "rgb") + SMALL.log_likelihoods(x, "thermal"))
    np.testing.assert_allclose(product_of_both, likelihoods, rtol=1e-12)


def test_several_photons_add_the_ways_to_arrive_and_nothing_else() -> None:
    scenes = Scenes(SMALL.templates, 3, np.array([[1.0, 0.2, 1.0]]))
    values = np.array(list(product(range(4), repeat=2)), dtype=np.float64)
    x = samples(thermal=values.reshape(-1, 1, 1, 2) / 3)
    chances = (
        np.exp(scenes.log_likelihoods(x, "thermal"))[:, :, 0] * binom(3, 0.5).pmf(values).prod(axis=1)[:, None] * 64
    )
    np.testing.assert_allclose(chances.sum(axis=0), 1, rtol=1e-6)  # float32 holds thirds to 1e-7
    expected = np.mean([binom(3, 0.5 + s * 0.2).pmf(values[:, 0]) for s in (-1, 1)], axis=0) * binom(3, 0.5).pmf(
        values[:, 1]
    )
    np.testing.assert_allclose(chances[:, 0], expected, rtol=1e-6)


def test_evidence_is_the_mean_logarithm_of_the_ratio_of_two_classes() -> None:
    # Both classes are alike but for the places of the two pixels, so each pair says as much.
    x = every_sample()
    for sensor, field in (("rgb", slice(0, 3)), ("thermal", slice(3, 4))):
        for c in range(2):
            light, heat, _ = SMALL.conditions[c]
            share, step = (0.5, heat) if sensor == "thermal" else (0.1 + 0.4 * light, 0.24 * light**2)
            by_sign = []
            for sign in (-1, 1):
                on = np.array([share + sign * step, share])
                one, other = (np.where(x["thermal"][:4, 0, 0] == 1, p, 1 - p).prod(axis=1) for p in (on, on[::-1]))
                by_sign.append((one * np.log(one / other)).sum())
            channels = field.stop - field.start
            assert SMALL.evidence(sensor)[c] == pytest.approx(channels * np.mean(by_sign), rel=1e-12)


def test_values_are_steps_of_a_level_that_nothing_clips(data) -> None:
    x = data.samples()
    for name, modality in data.modalities.items():
        modality.check(x[name])
        steps = x[name] * np.float64(SCENES.levels)
        np.testing.assert_allclose(steps, steps.round(), atol=SCENES.levels * 1e-7)
    # By day values at both ends occur, and under every class every value could.
    for sensor in SENSORS:
        assert np.isfinite(SCENES.log_likelihoods(x[:50], sensor)).all()


def test_the_rule_is_right_as_often_as_it_says(data) -> None:
    x = data.samples()
    for told in (bayes(x), bayes_alone(x, "rgb"), bayes_alone(x, "thermal")):
        np.testing.assert_allclose(told.sum(axis=1), 1, rtol=1e-12)
        right, sure = told.argmax(axis=1) == data.labels, told.max(axis=1)
        # Given what is seen each answer is right with the probability that the rule gives: four standard deviations.
        assert abs(right.sum() - sure.sum()) < 4 * np.sqrt((sure * (1 - sure)).sum()) + 1
    both, rgb, thermal = (
        (told.argmax(axis=1) == data.labels).mean()
        for told in (bayes(x), bayes_alone(x, "rgb"), bayes_alone(x, "thermal"))
    )
    assert both > 0.95 and max(rgb, thermal) < 0.8


def test_which_sensor_is_good_depends_on_the_sample(data) -> None:
    weights = data.oracle_weights
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    assert (weights[data.light >= 5 / 8, 0] > 0.95).all() and (weights[data.light <= 1 / 8, 1] > 0.95).all()
    dusk = (data.light > 1 / 8) & (data.light < 5 / 8)
    assert ((weights[dusk, 0] > 0.1) & (weights[dusk, 0] < 0.9)).mean() > 0.5
    # By the weights, the better sensor alone is right nearly as often as both.
    x = data.samples()
    alone = np.stack([bayes_alone(x, sensor).argmax(axis=1) for sensor in SENSORS])
    chosen = alone[weights.argmax(axis=1), np.arange(len(x))]
    assert (chosen == data.labels).mean() > (bayes(x).argmax(axis=1) == data.labels).mean() - 0.02


def test_splits_repeat_and_differ(data) -> None:
    # Drawn anew, and not from what was kept.
    night_data._drawn.cache_clear()
    assert np.array_equal(data.samples(slice(5))["rgb"], NightData().samples(np.arange(5))["rgb"])
    train = NightData("train")
    assert len(train) == 2000 and len(data) == 1000 and set(train.labels) == set(range(4))
    seen = {row.tobytes() for row in train.samples()}
    assert not any(row.tobytes() in seen for row in data.samples())
    few = data.samples(slice(2))
    few["rgb"] = 0
    assert data.samples(slice(2))["rgb"].any()


def test_names_and_bad_input() -> None:
    assert isinstance(open_data("demo:night"), NightData)
    with pytest.raises(InputError, match="split of demo:night"):
        NightData("dusk")
    with pytest.raises(InputError, match="sensor of demo:night"):
        bayes_alone(NightData().samples(slice(1)), "radar")
    for conditions in ([[2.0, 0.1, 1.0]], [[0.5, 0.5, 1.0]], [[0.5, 0.1, 0.9]]):
        with pytest.raises(InputError):
            Scenes(SMALL.templates, 1, np.array(conditions))
