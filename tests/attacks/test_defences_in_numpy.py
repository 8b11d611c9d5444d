"""A preprocessing defence in numpy hides no gradient: attacks see through it by the gradient that it defines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.defences.preprocessor.preprocessor import Preprocessor
from attacks.text_attacks import fusion, pairs

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.defences.trainer import METHODS, TrainingSettings
from art_multimodal.defences.trainer.fusion.learner import SampleLearner
from art_multimodal.modalities import image, table
from art_multimodal.models.families.modular.towers import fitting_model
from art_multimodal.sample_arrays import samples

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


class Numbers(Preprocessor):
    """Makes a number of NaN, as a compression of images does; in numpy."""

    def __call__(self, x: np.ndarray, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        assert not np.isnan(x).any()
        return 0.5 * np.nan_to_num(x), y


def test_what_is_missing_stays_so_behind_a_defence() -> None:
    """In prediction, in an attack and in training: the model is told, and no defence is shown NaN."""
    rng = np.random.default_rng(0)
    rgb, lab = rng.random((6, 1, 4, 4), dtype=np.float32), rng.random((6, 3), dtype=np.float32)
    rgb[::2] = np.nan
    x = samples(rgb=rgb, lab=lab)
    torch.manual_seed(0)
    model = fitting_model("late", [image("rgb", 1, 4, 4), table("lab", 3)], ("a", "b", "c"))
    plain = FusionClassifier(model, device_type="cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    defended = FusionClassifier(
        model, optimizer=optimizer, preprocessing_defences={"rgb": Numbers()}, device_type="cpu"
    )
    changed = defended.predict(x) != plain.predict(x)
    assert not changed[::2].any() and changed[1::2].all()
    attack = ProjectedGradientDescentMultimodal(defended, {"rgb": 0.1}, max_iter=2, seed=0, verbose=False)
    found = attack.generate(x, np.arange(6) % 3)["rgb"]
    assert np.isnan(found[::2]).all() and (found[1::2] != rgb[1::2]).any()
    defended.fit(x, np.arange(6) % 3, batch_size=3, nb_epochs=1)
    learner = SampleLearner(defended, METHODS["plain"], TrainingSettings(), count=6)
    part = learner.parts(x)["rgb"]
    assert part.present.tolist() == [False, True] * 3
    np.testing.assert_array_equal(part.values[1::2].numpy(), 0.5 * rgb[1::2])
