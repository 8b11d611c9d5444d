"""Vision transformers on some of the patches: equal to attention in which the hidden ones do not exist."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from models.conftest import randomise
from models.families import FAMILIES
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, set_model_preprocess_cfg
from tiny import TinyEncoder
from torch.utils.flop_counter import FlopCounterMode

from art_multimodal import load_model
from art_multimodal.errors import InputError
from art_multimodal.models.defended import defended
from art_multimodal.models.families.hugging_face.encoder import HuggingFaceEncoder
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.models.fast_gradients import with_fast_gradients

#: Of the images, of a patch, and how many patches there are.
SIDE, PATCH, COUNT = 32, 8, 16
LAYERS, WIDTH, HEADS = 3, 32, 2


def of_open_clip(**vision: Any) -> OpenCLIPEncoder:
    settings = {"layers": LAYERS, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": PATCH, "image_size": SIDE}
    text = CLIPTextCfg(context_length=16, width=16, heads=2, layers=1)
    model = CLIP(12, CLIPVisionCfg(**{**settings, **vision}), text)
    size = vision.get("image_size", SIDE)
    set_model_preprocess_cfg(model, {"size": size, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)})
    return OpenCLIPEncoder(randomise(model), open_clip.SimpleTokenizer(context_length=16)).eval()


def of_hugging_face(family: str = "clip") -> HuggingFaceEncoder:
    model, tokenizer, processor = FAMILIES[family]()
    return HuggingFaceEncoder(randomise(model), tokenizer, processor).eval()


ENCODERS = {"open_clip": of_open_clip, "transformers": of_hugging_face}
both = pytest.mark.parametrize("family", ENCODERS)


def images(count: int = 3, side: int = SIDE) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def drawn(count: int, k: int, seed: int = 0, of: int = COUNT) -> torch.Tensor:
    """Tokens ``[count, k]`` in any order."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.permutation(of)[:k] for _ in range(count)]))


def weights_of(encoder: Any) -> dict[str, Any]:
    """What both families hold, by the same names, in float64."""
    if isinstance(encoder, OpenCLIPEncoder):
        visual = encoder.model.visual
        blocks = [
            {
                "norms": (block.ln_1, block.ln_2),
                "qkv": (block.attn.in_proj_weight, block.attn.in_proj_bias),
                "out": block.attn.out_proj,
                "mlp": (block.mlp.c_fc, block.mlp.c_proj),
            }
            for block in visual.transformer.resblocks
        ]
        return {
            "patch": visual.conv1.weight,
            "first": visual.class_embedding,
            "positions": visual.positional_embedding,
            "norms": (visual.ln_pre, visual.ln_post),
            "blocks": blocks,
            "project": visual.proj,
            "heads": HEADS,
            "gate": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        }
    model = encoder.model
    vision, config = model.vision_model, model.config.vision_config
    assert config.hidden_act == "quick_gelu"
    blocks = [
        {
            "norms": (layer.layer_norm1, layer.layer_norm2),
            "qkv": tuple(
                torch.cat([getattr(getattr(layer.self_attn, f"{one}_proj"), kind) for one in "qkv"])
                for kind in ("weight", "bias")
            ),
            "out": layer.self_attn.out_proj,
            "mlp": (layer.mlp.fc1, layer.mlp.fc2),
        }
        for layer in vision.encoder.layers
    ]
    return {
        "patch": vision.embeddings.patch_embedding.weight,
        "first": vision.embeddings.class_embedding,
        "positions": vision.embeddings.position_embedding.weight,
        "norms": (vision.pre_layrnorm, vision.post_layernorm),
        "blocks": blocks,
        "project": model.visual_projection.weight.T,
        "heads": config.num_attention_heads,
        "gate": lambda x: x * torch.sigmoid(1.702 * x),
    }


def normed(x: torch.Tensor, layer: Any) -> torch.Tensor:
    mean, variance = x.mean(dim=-1, keepdim=True), x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(variance + layer.eps) * layer.weight + layer.bias


def by_hand(encoder: Any, pixels: torch.Tensor, visible: set[int]) -> torch.Tensor:
    """One image through all tokens, with attention to hidden ones masked out: features ``[D]``."""
    w = weights_of(encoder)
    patch = w["patch"].shape[-1]
    cells = [pixels[:, y : y + patch, x : x + patch] for y in range(0, SIDE, patch) for x in range(0, SIDE, patch)]
    x = torch.stack([w["first"], *((w["patch"] * cell).sum(dim=(1, 2, 3)) for cell in cells)]) + w["positions"]
    hidden = torch.tensor([False, *(number not in visible for number in range(len(cells)))])
    x = normed(x, w["norms"][0])
    for block in w["blocks"]:
        weight, bias = block["qkv"]
        q, k, v = (normed(x, block["norms"][0]) @ weight.T + bias).chunk(3, dim=1)
        heads = []
        for head in range(w["heads"]):
            own = slice(head * q.shape[1] // w["heads"], (head + 1) * q.shape[1] // w["heads"])
            logits = q[:, own] @ k[:, own].T / math.sqrt(own.stop - own.start)
            shares = logits.masked_fill(hidden, -torch.inf).exp()
            heads.append(shares / shares.sum(dim=1, keepdim=True) @ v[:, own])
        x = x + torch.cat(heads, dim=1) @ block["out"].weight.T + block["out"].bias
        into, out = block["mlp"]
        x = x + w["gate"](normed(x, block["norms"][1]) @ into.weight.T + into.bias) @ out.weight.T + out.bias
    return normed(x[0], w["norms"][1]) @ w["project"]


@both
@pytest.mark.parametrize("k", [0, 1, 5, 15, 16])
@torch.no_grad()
def test_it_equals_masked_attention(family: str, k: int) -> None:
    encoder = ENCODERS[family]().double()
    of = math.prod(encoder.token_grid)
    k = min(k, of)
    x, tokens = images().double(), drawn(3, k, of=of)
    expected = [
        by_hand(encoder, pixels, set(own.tolist())) for pixels, own in zip(encoder.pixels(x), tokens, strict=True)
    ]
    found = encoder.encode_visible(x, tokens, normalize=False)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-9, atol=1e-9)
    unit = encoder.encode_visible(x, tokens)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(3, dtype=torch.float64))
    if k == of:
        # Where all are visible, it is the tower itself; by hand as well, so that the hand can be trusted.
        torch.testing.assert_close(found, encoder.encode_image(x, normalize=False), rtol=1e-9, atol=1e-9)
    else:
        assert (found - encoder.encode_image(x, normalize=False)).abs().max() > 1e-3


@both
@pytest.mark.parametrize("views", [1, 2, 7])
@torch.no_grad()
def test_views_of_an_image_are_as_each_alone(family: str, views: int) -> None:
    """Below and above the number of patches, where patches are embedded after or before they are taken."""
    encoder = ENCODERS[family]().double()
    of = math.prod(encoder.token_grid)
    x, tokens = images().double(), drawn(3 * views, of // 3, of=of).reshape(3, views, -1)
    found = encoder.encode_visible(x, tokens)
    alone = [encoder.encode_visible(x, tokens[:, view]) for view in range(views)]
    assert found.shape[:2] == (3, views)
    torch.testing.assert_close(found, torch.stack(alone, dim=1), rtol=1e-9, atol=1e-9)
    # Visible patches are a set.
    torch.testing.assert_close(encoder.encode_visible(x, tokens.flip(-1)), found, rtol=1e-9, atol=1e-9)


@both
def test_hidden_patches_are_not_looked_at(family: str) -> None:
    encoder = ENCODERS[family]()
    rows, columns = encoder.token_grid
    x, tokens = images().requires_grad_(True), drawn(3, 2, of=rows * columns)
    (gradient,) = torch.autograd.grad(encoder.encode_visible(x, tokens).sum(dim=1).square().sum(), x)
    patch = SIDE // rows
    seen = gradient.abs().unfold(2, patch, patch).unfold(3, patch, patch).sum(dim=(1, 4, 5)).flatten(1) > 0
    assert [sorted(row.nonzero().flatten().tolist()) for row in seen] == tokens.sort(dim=1).values.tolist()
    hidden = torch.where(gradient == 0, torch.rand_like(x), x)
    with torch.no_grad():
        assert torch.equal(encoder.encode_visible(hidden, tokens), encoder.encode_visible(x, tokens))


@both
@pytest.mark.parametrize("k", [1, 7])
@torch.no_grad()
def test_it_costs_what_the_visible_tokens_do(family: str, k: int) -> None:
    encoder = ENCODERS[family]()
    of = math.prod(encoder.token_grid)
    k, x, seen = min(k, of - 1), images(), []
    blocks = encoder.model.visual.transformer.resblocks if family == "open_clip" else None
    for block in blocks or encoder.model.vision_model.encoder.layers:
        layer = block.mlp.c_fc if blocks else block.mlp.fc1
        layer.register_forward_hook(lambda layer, given, out: seen.append(tuple(given[0].shape[:2])))

    def operations(count: int) -> int:
        with FlopCounterMode(display=False) as counter:
            encoder.encode_visible(x, drawn(3, count, of=of))
        return counter.get_total_flops()

    some, every = operations(k), operations(of)
    layers = len(seen) // 2
    assert seen == [(3, 1 + k)] * layers + [(3, 1 + of)] * layers
    # All but the projection of the class token is work on visible tokens, or on pairs of them.
    width, embedding = weights_of(encoder)["project"].shape
    last = 3 * 2 * width * embedding
    assert 0 < some - last <= (1 + k) / (1 + of) * (every - last)


@torch.no_grad()
def test_fast_gradients_and_a_rectangle() -> None:
    plain = of_open_clip(image_size=(SIDE, 48))
    fast = copy.deepcopy(plain)
    with_fast_gradients(fast.model)
    assert plain.token_grid == fast.token_grid == (4, 6)
    x, tokens = torch.rand(2, 3, SIDE, 48, generator=torch.Generator().manual_seed(2)), drawn(2, 9, of=24)
    torch.testing.assert_close(fast.encode_visible(x, tokens), plain.encode_visible(x, tokens), rtol=1e-5, atol=1e-6)
    everything = torch.arange(24).expand(2, -1)
    torch.testing.assert_close(plain.encode_visible(x, everything), plain.encode_image(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_is_resized_spreads_over_neighbours() -> None:
    """The docstring's warning: a pixel of a smaller image is seen in patches beside its own."""
    encoder, small = of_open_clip(), images(1, 16)
    moved = small.clone()
    moved[0, :, 0, 3] = 1 - moved[0, :, 0, 3]
    # The pixel lies in the first patch, and the second one is looked at.
    second = torch.tensor([[1]])
    assert not torch.allclose(encoder.encode_visible(small, second), encoder.encode_visible(moved, second), atol=1e-4)


@torch.no_grad()
def test_a_defended_model_drops_tokens_behind_its_defences() -> None:
    encoder, x, tokens = of_open_clip(), images(), drawn(3, 4)
    darker = defended(encoder, images=[lambda of: of / 2])
    assert darker.drops_tokens and darker.token_grid == (4, 4)
    torch.testing.assert_close(darker.encode_visible(x, tokens), encoder.encode_visible(x / 2, tokens))
    # Of random defences the mean over draws is the model.
    assert not defended(encoder, images=[lambda of: of / 2], draws=2).drops_tokens


def mixes(module: Any, given: Any, output: torch.Tensor) -> torch.Tensor:
    return output + output.mean(dim=1, keepdim=True)


CHANGES = {
    "a hook": lambda of: of.model.visual.transformer.resblocks[1].register_forward_hook(mixes),
    "another forward": lambda of: setattr(of.model.visual, "forward", of.model.visual.forward),
    "another tower": lambda of: setattr(of, "image_tower", of.image_tower),
    "another model": lambda of: setattr(of.model, "encode_image", of.model.encode_image),
    "positions": lambda of: setattr(of.preprocess, "size", (SIDE, 2 * SIDE)),
}


class Louder(OpenCLIPEncoder):
    def image_tower(self, pixels: torch.Tensor) -> torch.Tensor:
        return -super().image_tower(pixels)


OTHERS = {
    "residual": lambda: of_open_clip(layers=(1, 1, 1, 1), width=8),
    "mean": lambda: of_open_clip(pool_type="avg"),
    "attention": lambda: of_open_clip(attentional_pool=True, attn_pooler_heads=2),
    "siglip": lambda: of_hugging_face("siglip"),
    "derived": lambda: Louder(of_open_clip().model, open_clip.SimpleTokenizer(context_length=16)).eval(),
    "tiny": TinyEncoder,
    "demo": lambda: load_model("demo:digits"),
}


@pytest.mark.parametrize("kind", [*OTHERS, *CHANGES])
def test_models_that_cannot_say_so(kind: str) -> None:
    if kind in OTHERS:
        encoder = OTHERS[kind]()
    else:
        encoder = of_open_clip()
        assert encoder.drops_tokens
        CHANGES[kind](encoder)
    assert not encoder.drops_tokens
    for attempt in (lambda: encoder.token_grid, lambda: encoder.encode_visible(images(), drawn(3, 4))):
        with pytest.raises(InputError, match="cannot leave out patches of an image") as caught:
            attempt()
        assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("batch_first", [True, False])
def test_layers_together_are_the_tower(batch_first: bool) -> None:
    encoder = of_open_clip()
    encoder.model.visual.transformer.batch_first = batch_first
    for block in encoder.model.visual.transformer.resblocks:
        block.attn.batch_first = batch_first
    tower, x = encoder.known_layers, images()
    states = tower.embed(encoder.pixels(x))
    for layer in tower.layers:
        states = layer(states)
        assert states.shape == (len(x), 1 + COUNT, WIDTH)
    torch.testing.assert_close(tower.project(states), encoder.encode_image(x, normalize=False))


@pytest.mark.parametrize("kind", ["derived", "residual", "another tower", "a hook"])
def test_layers_that_are_not_known(kind: str) -> None:
    encoder = OTHERS[kind]() if kind in OTHERS else of_open_clip()
    if kind in CHANGES:
        CHANGES[kind](encoder)
    assert encoder.known_layers is None


def test_what_are_no_tokens_is_refused() -> None:
    encoder, x = of_open_clip(), images()
    for tokens, message in [
        (drawn(2, 4), r"of shape \[3, k\] or \[3, views, k\], not torch.int64 of shape \[2, 4\]"),
        (drawn(3, 4).float(), "not torch.float32"),
        (drawn(3, 4).int(), "not torch.int32"),
        (drawn(3, 4)[0], r"of shape \[4\]"),
        (drawn(3, 4) + 13, "from 0 to 15; these lie in"),
        (drawn(3, 4) - 16, "from 0 to 15"),
        (torch.tensor([[0, 1], [2, 3], [4, 4]]), "A patch stands twice"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            encoder.encode_visible(x, tokens)
        assert "\n" not in str(caught.value)
