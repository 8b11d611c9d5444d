"""Models put together from towers and a fusion: what they are made of, and what they refuse."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from several import ANSWERS, WIDTH, MaskedMean, make_samples, separate, sequences
from torch import nn

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion.for_each_sample import for_each_sample
from art_multimodal.errors import InputError
from art_multimodal.modalities import image, sequence, table, text
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.fusions import FUSIONS, Concat, Fusion, Late, new_fusion
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.sample_arrays import fields_of, samples, with_field


def towers(*names: str, width: int = WIDTH) -> list[Tower]:
    return [Tower(table(name, 4), nn.Linear(4, width), width) for name in names]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusions_leave_out_what_is_missing(fusion: str) -> None:
    model = separate(fusion)
    x = make_samples()
    inputs = model.collate(x)
    features = {name: model.encode(name, part) for name, part in inputs.items()}
    present = {name: torch.ones(len(x), dtype=torch.bool) for name in features}
    for name in features:
        there = {**present, name: torch.tensor([True, False] * 3)}
        left = model.combine(features, there)
        assert torch.isfinite(left).all()
        other = {**features, name: torch.where(there[name][:, None], features[name], 1e6)}
        torch.testing.assert_close(model.combine(other, there), left)
        assert not torch.allclose(model.predict(left)[1::2], model.predict(model.combine(features, present))[1::2])
        torch.testing.assert_close(left[::2], model.combine(features, present)[::2])
    nothing = {name: torch.zeros(len(x), dtype=torch.bool) for name in features}
    assert torch.isfinite(model.predict(model.combine(features, nothing))).all()
    weights = model.fusion.weights(features, {**present, "rgb": torch.zeros(6, dtype=torch.bool)})
    if weights is not None:
        assert not weights["rgb"].any()
        assert all(weight.shape == (6,) for weight in weights.values())
    if isinstance(model.fusion, Late):
        assert weights is not None
        torch.testing.assert_close(sum(weights.values()), torch.ones(6))


def test_what_collate_makes() -> None:
    model, x = separate(), make_samples(lengths=(5, 0, 3, 1, 5, 4))
    x["rgb"][2] = np.nan
    inputs = model.collate(x)
    assert list(inputs) == ["rgb", "audio", "lab", "note"]
    assert inputs["rgb"].present.tolist() == [True, True, False, True, True, True]
    assert (inputs["rgb"].values[2] == torch.tensor(0.4)).all()
    assert inputs["audio"].present.tolist() == [True, False, True, True, True, True]
    assert inputs["audio"].lengths.tolist() == [5, 0, 3, 1, 5, 4]
    # What is missing has one step, of zeros, so that a mean over steps is a number.
    assert inputs["audio"].mask.sum(dim=1).tolist() == [5, 1, 3, 1, 5, 4]
    assert not inputs["audio"].values[1].any()
    assert inputs["note"].present.tolist() == [True] * 5 + [False]
    assert list(model.collate(x, ["lab"])) == ["lab"]
    assert np.shares_memory(model.collate(x)["lab"].values.numpy(), x)
    assert not np.shares_memory(inputs["rgb"].values.numpy(), x)  # it has been filled
    np.testing.assert_array_equal(model.collate(x[::-1])["audio"].values, inputs["audio"].values.flip(0))
    x.setflags(write=False)
    inputs = model.collate(x)
    inputs["lab"].values.zero_()
    assert x["lab"].any()


def test_values_behind_a_length_never_reach_a_tower() -> None:
    part = separate().collate(make_samples(lengths=(5, 0, 3, 1, 5, 4)))["audio"]
    given = torch.full_like(part.values, float("nan"), requires_grad=True)
    with torch.no_grad():
        for row, length in enumerate(part.lengths):
            given[row, : int(length)] = 1.0
    kept = part.with_values(given)
    assert kept.values.sum() == 18 * 3
    kept.values.sum().backward()
    assert given.grad is not None
    assert given.grad.sum() == 18 * 3
    taken = kept.take(torch.tensor([3, 1]))
    assert (taken.lengths.tolist(), taken.present.tolist()) == ([1, 0], [True, False])


def test_copies_of_models() -> None:
    model, x = separate("gated"), make_samples()
    expected = model(model.collate(x))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(twin(twin.collate(x)), expected)
    other = separate("gated", seed=1)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(other.collate(x)), expected)


def test_names_of_pairs_for_other_modalities() -> None:
    """Modalities may be called as those of pairs are; what is missing is left out there too."""
    rgb, _, _, note = separate().towers.values()
    picture, words = copy.deepcopy(rgb), copy.deepcopy(note)
    picture.modality, words.modality = image("image", 3, 6, 6), text("text")
    found = FusionClassifier(ModularModel([picture, words], "late", ANSWERS).eval(), device_type="cpu")
    x = samples(image=make_samples()["rgb"], text=["a", "b", "", "a", "b", "c"])
    x["image"][1] = np.nan
    from art.attacks.evasion import FastGradientMethod

    after = for_each_sample(lambda view: FastGradientMethod(view, eps=0.1), found, x, np.zeros(6, int))
    assert np.isnan(after["image"][1]).all()
    assert np.isfinite(np.delete(after["image"], 1, axis=0)).all()
    assert (after["image"][0] != x["image"][0]).any()
    assert np.isfinite(found.predict(after)).all()


def test_views_and_fields_of_no_numbers() -> None:
    _, _, _, note = separate().towers.values()
    model = ModularModel([note], "late", ANSWERS)
    with pytest.raises(
        InputError, match=r"^A FusionClassifier needs a modality that holds numbers; this model takes te"
    ):
        FusionClassifier(model, device_type="cpu")


def test_sizes_that_are_left_open() -> None:
    depth = image("depth", 1)
    tower = Tower(depth, nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, WIDTH)), WIDTH)
    lab = towers("lab")[0]
    found = FusionClassifier(ModularModel([tower, lab], "late", ANSWERS).eval(), device_type="cpu")
    x = samples(depth=np.random.default_rng(0).random((3, 1, 5, 7)), lab=np.full((3, 4), 0.5))
    with pytest.raises(InputError, match=r"^depth: the model leaves the size open; say which one with input_shape\.$"):
        found.modality_view("depth", x[["lab"]])
    for view in (found.modality_view("depth", x), found.modality_view("depth", x[["lab"]], input_shape=(1, 5, 7))):
        assert view.input_shape == (1, 5, 7)
        np.testing.assert_allclose(view.predict(x["depth"]), found.predict(x), atol=1e-6)
    packed = found.packed_view(["depth", "lab"], {"depth": 0.1, "lab": 0.1}, x)
    np.testing.assert_allclose(packed.predict(packed.pack(x)), found.predict(x), atol=1e-5)
    with pytest.raises(InputError, match="input_shape"):
        found.packed_view(["depth", "lab"], {"depth": 0.1, "lab": 0.1})


class Wrong(Fusion):
    def forward(self, features, present):
        return features["a"]

    def predict(self, fused):
        return fused


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MultimodalModel([], ANSWERS), "A model needs at least one modality."),
        (
            lambda: MultimodalModel([table("a", 2), image("a")], ANSWERS),
            "Two modalities are called 'a'; give each a name",
        ),
        (lambda: ModularModel(towers("a", "a"), "late", ANSWERS), "Two modalities are called 'a'; give each a name"),
        (
            lambda: ModularModel(towers("values"), "late", ANSWERS),
            "A modality cannot be called 'values': torch has that",
        ),
        (lambda: new_fusion("gated", {"items": 3}, 3), "A modality cannot be called 'items': torch has that name for"),
        (lambda: new_fusion("late", {"training": 3}, 3), "A modality cannot be called 'training': torch has that name"),
        (lambda: ModularModel(towers("a"), "lat", ANSWERS), "lat"),
        (lambda: ModularModel(towers("a"), "late", ANSWERS, hidden=3), "Fusion 'late': "),
        (
            lambda: ModularModel(towers("a"), "concat", ANSWERS, hidden=-1),
            "hidden must be at least 1, the width of the",
        ),
        (
            lambda: ModularModel(towers("a"), Concat({"b": 5}, 3), ANSWERS),
            "The fusion is made for b and 3 classes, the mod",
        ),
        (
            lambda: ModularModel(towers("a"), Wrong({"a": 5}, 4), ANSWERS),
            "made for a and 4 classes, the model has a and 3.",
        ),
        (lambda: Wrong({}, 3), "A fusion needs at least one modality."),
        (lambda: Wrong({"a": 3}, 1), "A fusion needs at least two classes, not 1."),
        (lambda: ModularModel(towers("a"), "late", ["one"]), "class"),
        (
            lambda: ModularModel([Tower(table("a", 4), nn.Linear(4, 3), 5)], "late", ANSWERS).encode(
                "a", ModularModel(towers("a"), "late", ANSWERS).collate(samples(a=np.zeros((2, 4))))["a"]
            ),
            "a: the tower must return embeddings of shape (2, 5), not (2, 3).",
        ),
        (
            lambda: ModularModel([Tower(text("t"), nn.Identity(), 5)], "late", ANSWERS).collate(samples(t=["a"])),
            "t: a tower of texts needs tokenize(); make a subclass of Tower.",
        ),
    ],
)
def test_what_is_refused_in_one_line(make, said: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_fixed_sequence_has_no_mask() -> None:
    class Flat(MaskedMean):
        def forward(self, values):
            return torch.tanh(self.step(values)).mean(dim=1)

    fixed = sequence("audio", 5, 3, variable=False)
    found = FusionClassifier(ModularModel([Tower(fixed, Flat(), WIDTH)], "late", ANSWERS).eval(), device_type="cpu")
    values = np.stack(sequences([5, 5])) / 2
    x = samples(audio=values)
    assert found.predict(x).shape == (2, 3)
    np.testing.assert_allclose(found.modality_view("audio").predict(values), found.predict(x), atol=1e-6)
    assert list(fields_of(with_field(x, "audio", values))) == ["audio"]
