"""What is remembered of the weights does not outlive them, however they were written; no other optimizer is slowed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Forked
from tiny import TinyEncoder, TinyFusion
from torch import nn

from art_multimodal import FusionClassifier, ImageTextRetriever, ZeroShotClassifier, image_text_pairs
from art_multimodal.defences.preprocessor import UnicodeNormalisation
from art_multimodal.demo.towers import byte_tokens
from art_multimodal.estimators.asking.memory import memory_of
from art_multimodal.estimators.modules import frozen, parts_of
from art_multimodal.estimators.weights import WeightState

NAMES = ("cat", "dog", "bird")


def through_data(model: nn.Module) -> None:
    for parameter in model.text.parameters():
        parameter.data.add_(0.1 * torch.sign(parameter.data))


def in_place(model: nn.Module) -> None:
    with torch.no_grad():
        model.text.weight.mul_(-1)


def other_data(model: nn.Module) -> None:
    model.text.weight.data = model.text.weight.data.flip(0).clone()


def loaded(model: nn.Module) -> None:
    state = {name: tensor * 1.5 if name.startswith("text") else tensor for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: -tensor if name == "text.weight" else tensor for name, tensor in state.items()})


def replaced(model: nn.Module) -> None:
    model.text.weight = nn.Parameter(model.text.weight.detach().flip(1))


def fused_step(model: nn.Module) -> None:
    parameters = list(model.text.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.1, fused=True)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def trained_through_data(model: nn.Module) -> None:
    """One row of a large matrix, in training mode: no comparison of samples could see it."""
    model.train()
    model.text.weight.data[int(byte_tokens(["a"], 3)[0, 1])] -= torch.arange(6.0)
    model.eval()


WRITES = [through_data, in_place, other_data, loaded, replaced, fused_step, trained_through_data]
writes = pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
defences = pytest.mark.parametrize("defence", [None, UnicodeNormalisation()], ids=["plain", "defended"])


@writes
@defences
def test_prompts_are_embedded_again(tiny_images: np.ndarray, write: Callable, defence: object) -> None:
    model = TinyEncoder().eval()
    classifier = ZeroShotClassifier(model, NAMES, preprocessing_defences=defence, device_type="cpu")
    before = classifier.predict(tiny_images)
    write(model)
    fresh = ZeroShotClassifier(copy.deepcopy(model), NAMES, device_type="cpu").predict(tiny_images)
    np.testing.assert_allclose(classifier.predict(tiny_images), fresh, atol=1e-5)
    assert np.abs(fresh - before).max() > 1e-2


@writes
@defences
def test_bound_texts_are_embedded_again(tiny_images: np.ndarray, write: Callable, defence: object) -> None:
    model = TinyFusion().eval()
    view = FusionClassifier(model, preprocessing_defences=defence, device_type="cpu").image_view("a cat")
    before = view.predict(tiny_images)
    write(model)
    fresh = FusionClassifier(copy.deepcopy(model), device_type="cpu").image_view("a cat").predict(tiny_images)
    np.testing.assert_allclose(view.predict(tiny_images), fresh, atol=1e-5)
    assert np.abs(fresh - before).max() > 1e-3


@writes
@defences
def test_captions_are_embedded_again(tiny_images: np.ndarray, write: Callable, defence: object) -> None:
    model = TinyEncoder().eval()
    retriever = ImageTextRetriever(model, preprocessing_defences=defence, device_type="cpu")
    pairs = image_text_pairs(tiny_images[:3], NAMES)
    before, kept = retriever.predict(pairs), memory_of(retriever.dual_encoder)
    kept.keep(["cat"], torch.ones(1, 6))
    write(model)
    fresh = ImageTextRetriever(copy.deepcopy(model), device_type="cpu").predict(pairs)
    np.testing.assert_allclose(retriever.predict(pairs), fresh, atol=1e-5)
    assert np.abs(fresh - before).max() > 1e-2
    assert "cat" not in memory_of(retriever.dual_encoder).row_of


def test_training_within_a_view_reaches_all_views(tiny_images: np.ndarray) -> None:
    model = TinyEncoder().eval()
    views = [ZeroShotClassifier(model, NAMES, preprocessing_defences=UnicodeNormalisation(), device_type="cpu")]
    views.append(ZeroShotClassifier(model, NAMES, device_type="cpu"))
    for view in views:
        view.predict(tiny_images)
    trained_through_data(views[0].dual_encoder)
    fresh = ZeroShotClassifier(copy.deepcopy(model), NAMES, device_type="cpu").predict(tiny_images)
    for view in views:
        np.testing.assert_allclose(view.predict(tiny_images), fresh, atol=1e-5)


def test_moved_and_converted_weights(tiny_images: np.ndarray) -> None:
    model = TinyEncoder().eval()
    classifier = ZeroShotClassifier(model, NAMES, device_type="cpu")
    classifier.predict(tiny_images)
    model.double()
    assert classifier.class_features().dtype == torch.float64


class Adapter(nn.Linear):
    """A layer with what peft's layers have: the weights stay, what is added to them is switched."""

    merged_adapters: tuple[str, ...] = ()
    disable_adapters = False
    active_adapters = ("own",)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return super().forward(states) if self.disable_adapters else -super().forward(states)


def test_adapters_that_are_switched_off(tiny_images: np.ndarray) -> None:
    model = TinyEncoder()
    model.text = nn.Sequential(model.text, Adapter(6, 6))
    model.eval()
    classifier = ZeroShotClassifier(model, NAMES, device_type="cpu")
    before = classifier.class_features()
    model.text[1].disable_adapters = True
    torch.testing.assert_close(classifier.class_features(), -before)


def test_what_has_not_changed_is_not_computed_again(tiny_images: np.ndarray) -> None:
    model = TinyEncoder().eval()
    asked = []
    model.text.register_forward_hook(lambda *_: asked.append(1))
    classifier = ZeroShotClassifier(model, NAMES, device_type="cpu")
    for _ in range(3):
        classifier.predict(tiny_images)
        classifier.loss_gradient(tiny_images, np.eye(3)[[0, 1, 2, 0, 1, 2]])
    model.visual[1].weight.data.add_(1)
    classifier.predict(tiny_images)
    # The default text parameters are all of them, so the image tower counts once.
    assert len(asked) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.randn(64, 40),
        lambda: torch.randn(64, 80)[:, ::2],
        lambda: torch.randn(64, 40).t(),
        lambda: torch.randn(1, 40).expand(64, 40),
        lambda: torch.randn(8, 5, 8, 8).contiguous(memory_format=torch.channels_last),
        lambda: torch.randn(64, 40).half(),
        lambda: torch.tensor(1.5),
    ],
    ids=["plain", "strided", "transposed", "expanded", "channels_last", "half", "scalar"],
)
def test_any_layout_of_memory_is_compared(make: Callable[[], torch.Tensor]) -> None:
    weight = make()
    state = WeightState([weight])
    assert state.holds([weight])
    weight.data.copy_(weight.data.clone() * 0.5) if weight.stride()[:1] != (0,) else weight.data[:1].mul_(0.5)
    assert not state.holds([weight])


def test_odd_tensors_are_told_by_their_versions() -> None:
    weights = [torch.empty(0), torch.eye(3).to_sparse(), torch.empty(3, device="meta")]
    assert WeightState(weights).holds(weights)
    assert not WeightState(weights).holds(weights[:2])


def test_copies_do_not_carry_what_was_remembered(tiny_images: np.ndarray) -> None:
    classifier = ZeroShotClassifier(TinyEncoder().eval(), NAMES, device_type="cpu")
    empty = len(pickle.dumps(classifier.model))
    expected = classifier.predict(tiny_images)
    assert len(pickle.dumps(classifier.model)) == empty
    np.testing.assert_allclose(copy.deepcopy(classifier).predict(tiny_images), expected, atol=1e-6)


def test_no_optimizer_of_the_process_is_hooked(tmp_path: Path) -> None:
    code = (
        "import torch.optim.optimizer as o; "
        "import art_multimodal.estimators.zero_shot, art_multimodal.estimators.fusion, art_multimodal.attacks.evasion; "
        "import art_multimodal.estimators.retriever, art_multimodal.defences.trainer; "
        "assert not o._global_optimizer_post_hooks and not o._global_optimizer_pre_hooks; "
        "import torch.nn.modules.module as m; assert not m._has_any_global_hook()"
    )
    done = Forked(tmp_path, "-c", code)
    assert done.wait() == 0, done.stderr


def test_parts_are_those_that_torch_names() -> None:
    """Shared modules and places that are empty included: what is frozen is every parameter, and is set back."""
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared), nn.BatchNorm1d(2, affine=False))
    model.register_module("nobody", None)
    model[1].register_parameter("none", None)
    assert {*parts_of(model)} == {*model.modules()}
    shared.bias.requires_grad_(False)
    with frozen(model):
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False]


def test_parameters_stay_out_of_the_graphs_of_many_passes() -> None:
    """Inside, no graph knows of them, whoever asks; gradients are the same, and flags are what they were afterwards."""
    model = TinyEncoder().eval()
    model.text.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    module = ZeroShotClassifier(model, NAMES, device_type="cpu").model
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = torch.autograd.grad(module(images).square().sum(), images)[0]
    with module.without_parameters():
        assert not any(parameter.requires_grad for parameter in model.parameters())
        with module.without_parameters(), frozen(module):
            assert torch.equal(torch.autograd.grad(module(images).square().sum(), images)[0], expected)
        assert module.apart
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not module.apart
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    with pytest.raises(ZeroDivisionError), module.without_parameters():
        _ = 1 / 0
    assert not module.apart
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    with module.trainable(), module.without_parameters():
        assert [parameter.requires_grad for parameter in model.parameters()] == flags
