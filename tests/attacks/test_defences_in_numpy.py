"""A preprocessing defence in numpy hides no gradient: attacks see through it by the gradient that it defines."""

from __future__ import annotations

import numpy as np
import pytest
from art.defences.preprocessor.preprocessor import Preprocessor
from attacks.text_attacks import fusion, pairs

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal

Y = np.array([0, 1, 2, 0, 1])


class Unchanged(Preprocessor):
    """Changes nothing, in numpy; its gradient is the one behind it, which is ART's default."""

    def __call__(self, x: np.ndarray, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        return x.copy(), y


ATTACKS = {
    "pgd": lambda of: ProjectedGradientDescentMultimodal(of, {"image": 0.06}, seed=0, verbose=False),
    "margin": lambda of: ProjectedGradientDescentMultimodal(
        of, {"image": 0.5}, 2, loss="margin", seed=0, verbose=False
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("joint", [False, True])
def test_a_defence_that_changes_nothing_changes_no_attack(attack: str, joint: bool) -> None:
    plain = fusion(joint)
    defended = FusionClassifier(plain.model, preprocessing_defences=Unchanged(), device_type="cpu")
    make = ATTACKS[attack]
    expected, found = (make(of).generate(pairs(), Y) for of in (plain, defended))
    assert not np.array_equal(expected["image"], pairs()["image"])
    np.testing.assert_array_equal(found["image"], expected["image"])
    assert found["text"].tolist() == expected["text"].tolist()
