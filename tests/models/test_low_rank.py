"""Low-rank adapters: nothing changes at first, nothing else is trained, and the layers come back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from models.test_saving_fusions import convolutional, edited, refusal
from several import Joint, separate
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal import FusionClassifier
from art_multimodal.errors import InputError
from art_multimodal.modalities import table
from art_multimodal.models.adapters import (
    LowRank,
    adapter_parameters,
    add_low_rank,
    drop_low_rank,
    merge_low_rank,
    without_adapters,
)
from art_multimodal.models.families.modular.layers import described_layer, made_layer
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.loading import load_model
from art_multimodal.models.saving import save_model
from art_multimodal.sample_arrays import samples

LAYERS = ["towers.thermal.module.0", "towers.thermal.module.5", "towers.gene.module.0", "towers.gene.module.3"]


def inputs(count: int = 9) -> np.ndarray:
    generator = np.random.default_rng(0)
    low, high = np.array([-1.0, 0.0, 0.1]), np.array([1.0, 0.7, 3.0])
    genes = low + (high - low) * generator.random((count, 3))
    return samples(thermal=generator.uniform(-1, 2, (count, 1, 9, 7)), gene=genes)


def adapted(rank: int = 2, seed: int = 0, **options: object) -> ModularModel:
    """With matrices that are not zero."""
    model = convolutional("late")
    add_low_rank(model, rank, **options)
    generator = torch.Generator().manual_seed(seed)
    for matrix in adapter_parameters(model):
        matrix.data = 0.3 * torch.randn(matrix.shape, generator=generator)
    return model


@torch.no_grad()
def scores(model: ModularModel) -> Tensor:
    return model(model.collate(inputs()))


def trained(model: ModularModel, steps: int = 3) -> None:
    optimizer = torch.optim.Adam(adapter_parameters(model), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(model.collate(inputs())), torch.arange(9) % 3).backward()
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_the_start_answers_are_the_same_bits(dtype: torch.dtype) -> None:
    """Those of the mean of the modalities' own answers: the baseline of unimodal training."""
    model = convolutional("late").to(dtype)
    before = scores(model)
    own = dict(model.named_modules())
    assert add_low_rank(model) == LAYERS
    assert torch.equal(scores(model), before)
    assert all(matrix.dtype == dtype for matrix in adapter_parameters(model))
    for name in LAYERS:
        wrapper = model.get_submodule(name)
        assert isinstance(wrapper, LowRank) and wrapper.layer is own[name] and (wrapper.rank, wrapper.scale) == (8, 8)


def test_parameters_are_counted_by_their_widths() -> None:
    model = convolutional("late")
    add_low_rank(model, rank=3)
    # Of the convolution a window of 1 x 3 x 2; then 8 to 5, 3 to 6, 6 to 4.
    assert sum(of.numel() for of in adapter_parameters(model)) == 3 * ((6 + 4) + (8 + 5) + (3 + 6) + (6 + 4))


def test_the_first_gradient_is_that_of_one_matrix() -> None:
    model = convolutional("late")
    add_low_rank(model)
    F.cross_entropy(model(model.collate(inputs())), torch.arange(9) % 3).backward()
    for name in LAYERS:
        wrapper = model.get_submodule(name)
        assert not wrapper.down.grad.any() and wrapper.up.grad.abs().max() > 0


def test_training_moves_the_adapters_alone() -> None:
    model = convolutional("late")
    frozen = copy.deepcopy(model.state_dict())
    before = scores(model)
    add_low_rank(model, modalities=["gene"])
    assert all(isinstance(model.get_submodule(name), LowRank) is ("gene" in name) for name in LAYERS)
    trained(model)
    assert (scores(model) - before).abs().max() > 1e-3
    own = {name.replace(".layer.", "."): of for name, of in model.state_dict().items()}
    for name, of in frozen.items():
        assert torch.equal(own[name], of), name
    # The tower that has none answers as ever.
    parts = model.collate(inputs())
    again = convolutional("late")
    assert torch.equal(model.encode("thermal", parts["thermal"]), again.encode("thermal", parts["thermal"]))
    with without_adapters(model):
        assert torch.equal(scores(model), before)
    drop_low_rank(model)
    assert torch.equal(scores(model), before)
    assert list(model.state_dict()) == list(frozen)


@pytest.mark.parametrize("scale", [None, 0.5])
def test_merged_weights_answer_alike_and_differ_by_a_rank(scale: float | None) -> None:
    model = adapted(rank=2, scale=scale)
    wrappers = {name: model.get_submodule(name) for name in LAYERS}
    own = {
        name: (wrapper.layer, wrapper.layer.weight, wrapper.layer.weight.detach().clone())
        for name, wrapper in wrappers.items()
    }
    before, bare = scores(model), scores(convolutional("late"))
    assert (before - bare).abs().max() > 1e-2
    merge_low_rank(model)
    torch.testing.assert_close(scores(model), before, atol=1e-5, rtol=1e-5)
    for name, (layer, weight, then) in own.items():
        assert model.get_submodule(name) is layer and layer.weight is weight
        added = (weight.detach() - then).flatten(1).double()
        assert torch.linalg.matrix_rank(added, atol=1e-5) == min(2, *added.shape)
        expected = (2 if scale is None else scale) / 2 * (wrappers[name].up @ wrappers[name].down)
        torch.testing.assert_close(added.float(), expected, atol=1e-6, rtol=1e-5)
    with pytest.raises(InputError, match="has no adapters"):
        drop_low_rank(model)
    # And again from there.
    assert add_low_rank(model) == LAYERS


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Linear(5, 3), (2, 4, 5)),
        (lambda: nn.Linear(5, 3, bias=False), (5,)),
        (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2), (2, 4, 11)),
        (lambda: nn.Conv1d(4, 6, 3), (4, 11)),
        (lambda: nn.Conv2d(4, 6, (3, 2), groups=2, padding=1), (2, 4, 7, 6)),
        (lambda: nn.Conv2d(4, 4, 3, groups=4, bias=False), (2, 4, 7, 6)),
        (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 2, 7, 6)),
        (lambda: nn.Conv2d(2, 3, 3, padding="same", padding_mode="reflect"), (2, 2, 7, 6)),
        (lambda: nn.Conv3d(2, 3, 2), (2, 2, 4, 3, 5)),
    ],
)
def test_layers_compute_what_their_weights_say(make: Callable[[], nn.Module], shape: tuple) -> None:
    torch.manual_seed(0)
    plain = make().double()
    wrapper = LowRank(copy.deepcopy(plain), rank=2, scale=3.0)
    nn.init.normal_(wrapper.up)
    with torch.no_grad():
        plain.weight += 1.5 * (wrapper.up @ wrapper.down).view_as(plain.weight)
    values = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(wrapper(values), plain(values), atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(wrapper.weight, plain.weight, atol=1e-12, rtol=1e-10)
    assert wrapper.bias is wrapper.layer.bias
    given = (values, wrapper.down, wrapper.up)
    assert torch.autograd.gradcheck(lambda *_: wrapper(values), given)
    again = made_layer(json.loads(json.dumps(described_layer(wrapper)))).double()
    again.load_state_dict(wrapper.state_dict())
    assert torch.equal(again(values), wrapper(values)) and repr(again) == repr(wrapper)


def test_layers_that_are_called_are_called() -> None:
    model, called = convolutional("late"), []
    layer = model.get_submodule(LAYERS[0])
    layer.register_forward_hook(lambda *_: called.append(1))
    add_low_rank(model)
    scores(model)
    assert called == [1] and type(layer) is nn.Conv2d


def test_some_layers_by_their_names() -> None:
    model = convolutional("late")
    assert add_low_rank(model, layers="*.gene.*") == LAYERS[2:]
    assert add_low_rank(model, modalities=["thermal"], layers=["*.5", "*.7"]) == LAYERS[1:2]
    drop_low_rank(model)
    assert not any(isinstance(module, LowRank) for module in model.modules())


def test_a_layer_at_two_places_has_one_adapter() -> None:
    shared = nn.Linear(4, 4)
    towers = [Tower(table(name, 4), nn.Sequential(shared, nn.Tanh(), shared), 4) for name in ("a", "b")]
    model = ModularModel(towers, "late", ("no", "yes"))
    assert add_low_rank(model, rank=1) == ["towers.a.module.0", "towers.b.module.0"]
    places = [model.towers[name].module[at] for name in "ab" for at in (0, 2)]
    assert len(set(places)) == 1 and len(adapter_parameters(model)) == 2
    nn.init.ones_(places[0].up)
    x = samples(a=np.full((2, 4), 0.3), b=np.full((2, 4), 0.6))
    before = model(model.collate(x))
    merge_low_rank(model)
    torch.testing.assert_close(model(model.collate(x)), before)
    assert [model.towers[name].module[at] for name in "ab" for at in (0, 2)] == [shared] * 4


def test_weights_that_two_layers_share_are_not_merged() -> None:
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight
    model = ModularModel([Tower(table("a", 4), nn.Sequential(one, other), 4)], "late", ("no", "yes"))
    add_low_rank(model)
    before = one.weight.detach().clone()
    with pytest.raises(InputError, match="shares its weights with a Linear"):
        merge_low_rank(model)
    assert torch.equal(one.weight, before)
    drop_low_rank(model)
    assert other.weight is one.weight


def test_layers_whose_weights_are_read() -> None:
    """A transformer's layer passes its weights on in evaluation mode: they are read with what is added."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

        def forward(self, values: Tensor) -> Tensor:
            return self.inner(values[:, None]).squeeze(1)

    model = ModularModel([Tower(table("a", 4), Encoder(), 4)], "late", ("no", "yes")).eval()
    assert add_low_rank(model) == ["towers.a.module.inner.linear1", "towers.a.module.inner.linear2"]
    for matrix in adapter_parameters(model):
        nn.init.normal_(matrix)
    x = samples(a=np.random.default_rng(0).random((3, 4)))
    with torch.no_grad():
        fast = model(model.collate(x))
        torch.testing.assert_close(model(model.collate(x)), fast)
        merge_low_rank(model)
        torch.testing.assert_close(model(model.collate(x)), fast, atol=1e-5, rtol=1e-5)


def test_what_is_remembered_is_that_of_the_adapters() -> None:
    """A view embeds what it binds once, and again when adapters have been added, trained, switched or dropped."""
    model, x = convolutional("late"), inputs(4)
    found = FusionClassifier(model, device_type="cpu")
    view = found.modality_view("thermal", x)
    said = {}

    def same(when: str) -> None:
        said[when] = view.predict(x["thermal"])
        np.testing.assert_allclose(said[when], found.predict(x), atol=1e-6, err_msg=when)

    same("before")
    add_low_rank(model, modalities=["gene"])
    same("added")
    trained(model)
    model.eval()
    same("trained")
    with without_adapters(model):
        same("without")
    same("with")
    merge_low_rank(model)
    same("merged")
    np.testing.assert_array_equal(said["without"], said["before"])
    assert np.abs(said["with"] - said["before"]).max() > 1e-3
    np.testing.assert_array_equal(said["with"], said["trained"])


def test_a_model_with_adapters_is_saved(tmp_path) -> None:
    model = adapted(rank=3, scale=1.5, layers=["*.0", "*.3"])
    save_model(model, tmp_path / "best")
    again = load_model(f"checkpoint:{tmp_path}")
    assert torch.equal(scores(again), scores(model))
    for one in (model, again):
        merge_low_rank(one)
    assert torch.equal(scores(again), scores(model))
    save_model(adapted(), tmp_path / "best")
    for key, to in (("rank", 10**9), ("rank", 0), ("scale", "wide"), ("module", {"layer": "ReLU", "inplace": False})):
        save_model(adapted(), tmp_path / "best")
        edited(tmp_path / "best", "towers", 1, "module", "layers", "0", key, to=to)
        assert "\n" not in refusal(tmp_path)


def test_copies_have_adapters_of_their_own() -> None:
    model = adapted()
    twin = copy.deepcopy(model)
    drop_low_rank(model)
    assert (scores(twin) - scores(model)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda model: add_low_rank(model, rank=0), r"rank \(0\) must be at least 1"),
        (lambda model: add_low_rank(model, scale=float("inf")), "scale .inf. finite"),
        (lambda model: add_low_rank(model, modalities=["genes"]), "Did you mean gene"),
        (lambda model: add_low_rank(model, modalities="gene"), "modalities must be a list of names"),
        (lambda model: add_low_rank(model, layers="*.q_proj"), r"thermal, gene is called like \*\.q_proj"),
        (lambda model: [add_low_rank(model), add_low_rank(model, modalities=["gene"])], "gene is adapted already"),
        (merge_low_rank, "The model has no adapters; add_low_rank"),
        (drop_low_rank, "no adapters"),
        (adapter_parameters, "no adapters"),
        (lambda model: without_adapters(model).__enter__(), "no adapters"),
        (lambda model: add_low_rank(Joint()), "for the towers of a ModularModel, not for a Joint"),
        (lambda model: LowRank(nn.Embedding(3, 4)), "can be adapted, and no Embedding"),
    ],
)
def test_what_is_refused(ask: Callable, said: str) -> None:
    model = convolutional("late")
    with pytest.raises(InputError, match=said):
        ask(model)


def test_towers_of_ones_own_are_adapted() -> None:
    model = separate("concat")
    assert "towers.audio.module.step" in add_low_rank(model)
    drop_low_rank(model)
