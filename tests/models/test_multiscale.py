"""Cross-modal transformers over sequences: MulT by hand, padding, lengths, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.functional.sequences import largest_over_steps, mean_over_steps, positions_of
from art_multimodal.models.fusions import MultiScale, new_fusion

WIDTHS, STEPS, CLASSES = {"a": 3, "b": 4, "c": 2}, {"a": 5, "b": 7, "c": 1}, 3
#: Of each modality, how many steps the samples have.
LENGTHS = {"a": (5, 2, 0, 4, 1), "b": (3, 7, 6, 0, 1), "c": (1, 1, 1, 1, 0)}


def made(seed: int = 0, widths: dict[str, int] = WIDTHS, **options: object) -> MultiScale:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        options = {"hidden": 6, "heads": 2, "layers": 3, "self_layers": 2} | options
        fusion = new_fusion("mcmult", widths, CLASSES, **options).double().eval()
        for name, weights in fusion.named_parameters():
            # What is 0 or 1 at the start might as well not be there.
            if weights.ndim == 1 or name in ("levels", "tokens"):
                nn.init.normal_(weights, 0.5, 0.3)
    assert isinstance(fusion, MultiScale)
    return fusion


def drawn(seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: (5, STEPS[name], WIDTHS[name]) for name in WIDTHS}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def there() -> dict[str, Tensor]:
    return {name: torch.arange(STEPS[name]) < torch.tensor(LENGTHS[name])[:, None] for name in WIDTHS}


def whole(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones(len(values), dtype=torch.bool) for name, values in features.items()}


def answer(fusion: MultiScale, features: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
    return fusion.predict(fusion(features, present))


# --- by hand


def attended(block: nn.Module, states: Tensor, source: Tensor) -> Tensor:
    """A layer of a transformer by its formula, of one sample without padding, with torch's attention."""
    attention = nn.MultiheadAttention(states.shape[2], block.attention.num_heads, batch_first=True).double()
    attention.load_state_dict(block.attention.state_dict())

    def norm(values: Tensor, layer: nn.Module) -> Tensor:
        return F.layer_norm(values, values.shape[2:], layer.weight, layer.bias)

    states = states + attention(norm(states, block.before), norm(source, block.before), norm(source, block.before))[0]
    first, _, second = block.further
    hidden = F.relu(F.linear(norm(states, block.between), first.weight, first.bias))
    return states + F.linear(hidden, second.weight, second.bias)


def by_hand(fusion: MultiScale, features: dict[str, Tensor], scales: str) -> Tensor:
    """Scores of one sample whose steps are all there."""
    start = {}
    for name, values in features.items():
        layer = fusion.into[name]
        start[name] = F.linear(values, layer.weight[:, :, 0], layer.bias)
        steps, hidden = values.shape[1], layer.weight.shape[0]
        for t in range(steps):
            for i in range(0, hidden, 2):
                angle = t / 10000 ** (i / hidden)
                start[name][:, t, i] += np.sin(angle)
                start[name][:, t, i + 1] += np.cos(angle)
    streams = {(source, target): [start[target]] for target in features for source in features if source != target}
    for number in range(fusion.layers):
        for (source, target), levels in {pair: list(levels) for pair, levels in streams.items()}.items():
            other = streams[target, source][: number + 1]
            looked_at = {
                "first": lambda other: other[0],
                "last": lambda other: other[-1],
                "all": lambda other: torch.cat([level + fusion.levels[i] for i, level in enumerate(other)], dim=1),
            }[scales](other)
            block = fusion.streams[f"{source}->{target}"][number]
            streams[source, target].append(attended(block, levels[-1], looked_at))
    fused = []
    for target in features:
        seen = []
        for source in features:
            if source != target:
                end = fusion.ends[f"{source}->{target}"]
                states = streams[source, target][-1]
                seen.append(F.layer_norm(states, states.shape[2:], end.weight, end.bias))
        states = torch.cat(seen, dim=2)
        for block in fusion.over_time[target]:
            states = attended(block, states, states)
        last = fusion.lasts[target]
        fused.append(F.layer_norm(states, states.shape[2:], last.weight, last.bias).mean(dim=1))
    vector = torch.cat(fused, dim=1)
    first, _, second = fusion.further
    inner = F.linear(F.relu(F.linear(vector, first.weight, first.bias)), second.weight, second.bias)
    return F.linear(vector + inner, fusion.head.weight, fusion.head.bias)


@pytest.mark.parametrize("scales", ["first", "last", "all"])
def test_what_it_is_said_to_compute(scales: str) -> None:
    """With ``first`` this is MulT, from torch's own attention."""
    fusion = made(scales=scales)
    features = drawn()
    found = answer(fusion, features, whole(features))
    for row in range(5):
        one = {name: values[row : row + 1] for name, values in features.items()}
        torch.testing.assert_close(found[row : row + 1], by_hand(fusion, one, scales), atol=1e-10, rtol=1e-10)


def test_scales_are_three_different_things() -> None:
    features = drawn()
    said = []
    for scales in ("first", "last", "all"):
        fusion = made(scales=scales)
        fusion.load_state_dict({k: v for k, v in made().state_dict().items() if k != "levels" or scales == "all"})
        said.append(answer(fusion, features, whole(features)))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (said[one] - said[other]).abs().max() > 1e-3


def test_attention_is_over_the_steps_that_there_are() -> None:
    fusion, features, present = made(), drawn(), there()
    asked: list[tuple] = []

    def ask(module: nn.Module, args: tuple, kwargs: dict) -> None:
        asked.append((module, args, kwargs))

    hooks = [
        block.attention.register_forward_pre_hook(ask, with_kwargs=True)
        for stream in fusion.streams.values()
        for block in stream
    ]
    fusion(features, present)
    for hook in hooks:
        hook.remove()
    pairs = [tuple(key.split("->")) for key in fusion.streams] * fusion.layers
    assert len(asked) == len(pairs)
    for number, ((source, _), (module, args, kwargs)) in enumerate(zip(pairs, asked, strict=True)):
        _, weights = module(*args, **{**kwargs, "need_weights": True})
        levels = number // len(fusion.streams) + 1
        keys = present[source].repeat(1, levels)
        assert weights.shape[2] == STEPS[source] * levels
        some = keys.any(dim=1)
        real = torch.where(keys[:, None], weights, 0.0).sum(dim=2)[some]
        torch.testing.assert_close(real, torch.ones_like(real), atol=1e-12, rtol=0)
        assert not weights.masked_select(~keys[:, None] & some[:, None, None]).any()


# --- padding, batches, lengths


@pytest.mark.parametrize("options", [{}, {"pooling": "token"}, {"kernel": 3}, {"scales": "first", "self_layers": 0}])
def test_a_sample_is_answered_as_it_is_alone_and_unpadded(options: dict) -> None:
    fusion, features, present = made(**options), drawn(), there()
    given = {name: values.clone().requires_grad_() for name, values in features.items()}
    found = answer(fusion, given, present)
    found.square().sum().backward()
    for row in range(5):
        lengths = {name: max(1, LENGTHS[name][row]) for name in WIDTHS}
        one = {name: values[row : row + 1, : lengths[name]] for name, values in features.items()}
        alone = answer(fusion, one, {name: present[name][row : row + 1, : lengths[name]] for name in WIDTHS})
        torch.testing.assert_close(found[row], alone[0], atol=1e-10, rtol=1e-10)
    for name, values in given.items():
        assert values.grad is not None
        assert not values.grad[~present[name]].any()
        assert values.grad[present[name]].abs().amax(dim=1).min() > 0
    # Whatever stands behind a length.
    spoiled = {name: torch.where(present[name][:, :, None], values, 1e3) for name, values in features.items()}
    torch.testing.assert_close(answer(fusion, spoiled, present), found, atol=1e-12, rtol=1e-12)


def test_what_is_missing_is_not_there_in_any_form() -> None:
    """Of two modalities, without the other one: its own perceptrons are all that is left."""
    widths = {"a": 3, "b": 4}
    fusion = made(widths=widths)
    features = {name: drawn()[name] for name in widths}
    gone = {"a": torch.ones(5, dtype=torch.bool), "b": torch.zeros(5, dtype=torch.bool)}
    found = fusion(features, gone)
    assert not found[:, 6:].any() and found[:, :6].any()
    given = features["b"].clone().requires_grad_()
    answer(fusion, {**features, "b": given}, gone).sum().backward()
    assert given.grad is not None and not given.grad.any()
    nothing = dict.fromkeys(widths, torch.zeros(5, dtype=torch.bool))
    assert not fusion(features, nothing).any()


def test_a_whole_modality_is_a_sequence_of_one_step() -> None:
    fusion, features = made(), drawn()
    vectors = {**features, "c": features["c"][:, 0]}
    torch.testing.assert_close(answer(fusion, vectors, whole(features)), answer(fusion, features, whole(features)))


def test_one_modality_looks_at_itself() -> None:
    fusion = made(widths={"a": 3})
    found = answer(fusion, {"a": drawn()["a"]}, {"a": there()["a"]})
    assert torch.isfinite(found).all() and not torch.allclose(found[0], found[1])


def test_without_positions_a_modality_may_be_shifted_in_time() -> None:
    """Its steps come earlier or later, in a circle; the others stay."""
    features = drawn()
    shifted = {**features, "b": features["b"].roll(2, dims=1)}
    for positions in (False, True):
        fusion = made(positions=positions)
        moved = answer(fusion, shifted, whole(features)) - answer(fusion, features, whole(features))
        assert (moved.abs().max() < 1e-10) is not positions
    assert moved.abs().max() > 1e-3
    # Behind a delay, where the first steps are padding.
    fusion, late = made(positions=False), torch.zeros(5, 10, 4, dtype=torch.float64)
    late[:, 3:] = features["b"]
    present = {**whole(features), "b": (torch.arange(10) >= 3).expand(5, -1)}
    delayed = answer(fusion, {**features, "b": late}, present)
    torch.testing.assert_close(delayed, answer(fusion, features, whole(features)), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hidden": 7}, "multiple of heads"),
        ({"layers": 0}, "layers at least 1"),
        ({"kernel": 2}, "kernel .2. odd"),
        ({"self_layers": -1}, "self_layers .-1. must be at least 0"),
        ({"scales": "lasst"}, "Did you mean last"),
        ({"pooling": "max"}, "pooling"),
    ],
)
def test_options_that_are_none(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        made(**options)


# --- helpers


def test_steps_by_hand() -> None:
    values = torch.tensor([[[1.0, -5.0], [3.0, -7.0], [9.0, 9.0]], [[4.0, 4.0], [8.0, 8.0], [8.0, 8.0]]])
    present = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_over_steps(values, present).tolist() == [[2.0, -6.0], [0.0, 0.0]]
    assert largest_over_steps(values, present).tolist() == [[3.0, -5.0], [0.0, 0.0]]
    marks = positions_of(3, 3, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(marks[2], torch.tensor([np.sin(2), np.cos(2), np.sin(2 * 10000 ** (-2 / 3))]))
