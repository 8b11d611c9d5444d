"""Staircases against every budget asked one by one."""

import json
from itertools import product
from math import log2

import numpy as np
import pytest

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.bound import holds
from art_multimodal.functional.certificates.frontier import Frontier, frontier
from art_multimodal.functional.certificates.overlap import overlap


class Question:
    """Whether a budget is within one of some corners; counts how often it is asked, and sees no budget outside."""

    def __init__(self, corners, limits):
        self.corners, self.limits, self.asked = corners, limits, 0

    def __call__(self, budget):
        self.asked += 1
        assert all(0 <= r <= limit for r, limit in zip(budget, self.limits, strict=True))
        return any(all(r <= c for r, c in zip(budget, corner, strict=True)) for corner in self.corners)


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
def test_against_every_budget(modalities):
    rng = np.random.default_rng(modalities)
    names = tuple("abcd"[:modalities])
    for _ in range(60):
        limits = tuple(int(limit) for limit in rng.integers(0, [14, 9, 6, 4][modalities - 1], size=modalities))
        ask = Question(rng.integers(0, 9, size=(int(rng.integers(0, 5)), modalities)).tolist(), limits)
        found = frontier(names, limits, ask)
        held = [budget for budget in product(*(range(limit + 1) for limit in limits)) if ask(budget)]
        assert [b for b in product(*(range(limit + 2) for limit in limits)) if found.covers(b)] == held
        assert found.count == len(held)
        assert found.diagonal == max((b[0] for b in held if len(set(b)) == 1), default=-1)
        for i, name in enumerate(names):
            others = [b[:i] + b[i + 1 :] for b in held]
            assert found.radius(name) == max(
                (b[i] for b, o in zip(held, others, strict=True) if not any(o)), default=-1
            )
        # No corner covers another.
        assert Frontier(names, found.corners) == found
        assert len(set(found.corners)) == len(found.corners)


def test_two_modalities_ask_as_often_as_there_are_steps():
    rng = np.random.default_rng(3)
    for _ in range(100):
        radii = rng.integers(0, 60, size=2)
        steps = int(rng.integers(1, 40))
        corners = np.stack([np.sort(rng.integers(0, r + 1, size=steps)) for r in radii], axis=1)
        corners[:, 1] = corners[::-1, 1]
        limits = (10**6, 10**6)
        ask = Question(corners.tolist(), limits)
        frontier(("a", "b"), limits, ask)
        assert ask.asked <= 3 * (radii.sum() + 3) + 4 * log2(10**6) * (radii.max() == 0)


def test_long_stairs_take_few_questions():
    ask = Question([(10**6, 3), (10, 10**6)], (10**6, 10**6))
    found = frontier(("a", "b"), ask.limits, ask)
    assert found.corners == ((10, 10**6), (10**6, 3))
    assert ask.asked < 200
    assert found.count == 11 * (10**6 + 1) + (10**6 - 10) * 4


def test_nothing_and_everything():
    nothing = frontier(("image", "text"), (3, 3), lambda budget: False)
    assert (nothing.corners, nothing.count, nothing.diagonal, nothing.radius("text")) == ((), 0, -1, -1)
    assert not nothing.covers((0, 0))
    everything = frontier(("image", "text"), (3, 2), lambda budget: True)
    assert (everything.corners, everything.count) == (((3, 2),), 12)
    assert everything.covers({}) and everything.covers({"text": 2}) and not everything.covers({"image": 4})


def test_a_certificate_of_votes():
    def certified(budget):
        return holds(1, 0, overlap(3, 1, modified=budget[0]) * overlap(2, 1, modified=budget[1]))

    assert frontier(("a", "b"), (3, 2), certified).corners == ((1, 0),)


def test_json_and_back():
    one = Frontier(("image", "text"), ((0, 3), (2, 1), (1, 1)))
    assert one.corners == ((0, 3), (2, 1))
    assert Frontier.from_json(json.loads(json.dumps(one.as_json()))) == one
    with pytest.raises(InputError, match="A frontier is"):
        Frontier.from_json({"names": ["image"]})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda one: one.covers((1,)), r"A budget needs 2 numbers \(image, text\), not 1"),
        (lambda one: one.covers({"txt": 1}), "Did you mean text"),
        (lambda one: one.covers((1, -1)), "Budget of text must be at least 0, not -1"),
        (lambda one: one.covers((1, 0.5)), "Budget of text must be a whole number, not 0.5"),
        (lambda one: one.radius("imag"), "Did you mean image"),
        (lambda one: Frontier(("a", "a")), "need names of their own"),
        (lambda one: frontier((), (), bool), "need names of their own"),
        (lambda one: frontier(("a",), (1, 2), bool), "1 modalities need as many limits, not 2"),
        (lambda one: frontier(("a",), (-1,), bool), "Limit of a must be at least 0"),
    ],
)
def test_nonsense_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(Frontier(("image", "text"), ((1, 1),)))
