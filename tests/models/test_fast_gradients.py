"""Layers with faster gradients compute what torch's own do."""

from __future__ import annotations

import copy
import pickle

import open_clip
import pytest
import torch
from torch import nn

from art_multimodal.models.fast_gradients import PatchEmbedding, SelfAttention, with_fast_gradients


def both(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A module as torch made it, and a copy of the other class."""
    fast = copy.deepcopy(module)
    with_fast_gradients(fast)
    return module, fast


def run(module: nn.Module, x: torch.Tensor, **options):
    """Output, and gradients of input and parameters, of some sum of the outputs."""
    x = x.clone().requires_grad_(True)
    torch.manual_seed(5)
    found = module(x, x, x, **options)[0] if isinstance(module, nn.MultiheadAttention) else module(x)
    weights = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view(found.shape)
    return found.detach(), *torch.autograd.grad((found * weights).sum(), [x, *module.parameters()])


@pytest.mark.parametrize("size", [(24, 24), (27, 30), (8, 12)])
@pytest.mark.parametrize("kernel", [(8, 8), (4, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_patches_are_convolved_as_by_torch(size, kernel, bias):
    slow, fast = both(nn.Sequential(nn.Conv2d(3, 5, kernel, kernel, bias=bias)).double())
    assert type(fast[0]) is PatchEmbedding
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    for own, expected in zip(run(fast[0], x), run(slow[0], x), strict=True):
        assert own.shape == expected.shape
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 16, 16), (0, 3, 16, 16), (2, 3, 7, 16), (2, 1, 16, 16)])
def test_other_shapes_are_torchs(shape):
    slow, fast = both(nn.Sequential(nn.Conv2d(3, 5, 8, 8)))
    try:
        expected = slow(torch.ones(shape))
    except RuntimeError:
        with pytest.raises(RuntimeError):
            fast(torch.ones(shape))
    else:
        torch.testing.assert_close(fast(torch.ones(shape)), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 4},
        {"stride": 8, "padding": 1},
        {"stride": 8, "padding": "valid", "dilation": 2},
        {"stride": 8, "groups": 3},
    ],
)
def test_other_convolutions_stay(options):
    layer = nn.Sequential(nn.Conv2d(3, 6, 8, **options), nn.Conv2d(64, 8, 2, 2))
    with_fast_gradients(layer)
    assert all(type(part) is nn.Conv2d for part in layer)


MASK = torch.full((7, 7), -torch.inf).triu(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("options", [{"need_weights": False}, {}, {"need_weights": False, "attn_mask": MASK}])
@pytest.mark.parametrize("layer", [{}, {"bias": False}, {"dropout": 0.3}, {"add_bias_kv": True}])
def test_attention_is_torchs_bit_for_bit(dtype, options, layer):
    torch.manual_seed(0)
    slow, fast = both(nn.MultiheadAttention(12, 3, batch_first=True, **layer).to(dtype))
    assert type(fast) is SelfAttention
    x = torch.randn(4, 7, 12).to(dtype)
    options = {name: value.to(dtype) if name == "attn_mask" else value for name, value in options.items()}
    for own, expected in zip(run(fast, x, **options), run(slow, x, **options), strict=True):
        # What a weight gets is a sum over tokens, in another order.
        torch.testing.assert_close(own, expected, rtol=0.02 if dtype == torch.bfloat16 else 1e-5, atol=1e-5)
    assert torch.equal(run(fast, x, **options)[0], run(slow, x, **options)[0])
    slow.eval(), fast.eval()
    with torch.no_grad():
        assert torch.equal(fast(x, x, x, **options)[0], slow(x, x, x, **options)[0])


def test_attention_weights_and_padding():
    torch.manual_seed(0)
    slow, fast = both(nn.MultiheadAttention(12, 3, batch_first=True))
    x = torch.randn(4, 7, 12, requires_grad=True)
    padding = torch.zeros(4, 7, dtype=torch.bool)
    padding[1, 4:] = True
    for average in (True, False):
        options = {"key_padding_mask": padding, "average_attn_weights": average}
        for own, expected in zip(fast(x, x, x, **options), slow(x, x, x, **options), strict=True):
            assert own.shape == expected.shape
            torch.testing.assert_close(own, expected)


@pytest.mark.parametrize("batch_first", [True, False])
def test_what_is_no_self_attention_is_torchs(batch_first):
    slow, fast = both(nn.MultiheadAttention(12, 3, batch_first=batch_first))
    q, k = torch.randn(4, 7, 12, requires_grad=True), torch.randn(4, 7, 12)
    assert torch.equal(fast(q, k, k)[0], slow(q, k, k)[0])
    assert torch.equal(fast(q, q, q)[0], slow(q, q, q)[0])
    assert torch.equal(fast(q[0], q[0], q[0])[0], slow(q[0], q[0], q[0])[0])


def test_a_tower_is_the_same_and_can_be_copied_and_stored():
    torch.manual_seed(0)
    vision = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    model = open_clip.CLIP(8, vision, {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 2})
    slow, fast = both(model.eval())
    kinds = [type(module) for module in fast.modules()]
    assert kinds.count(PatchEmbedding) == 1 and kinds.count(SelfAttention) == 4
    assert list(fast.state_dict()) == list(slow.state_dict())
    images, tokens = torch.rand(2, 3, 64, 64), torch.randint(1, 50, (3, 8))
    for one in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert [type(module) for module in one.modules()] == kinds
        torch.testing.assert_close(one.encode_image(images), slow.encode_image(images))
        assert torch.equal(one.encode_text(tokens), slow.encode_text(tokens))
    with_fast_gradients(fast)
    assert [type(module) for module in fast.modules()] == kinds
