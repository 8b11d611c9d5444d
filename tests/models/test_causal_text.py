"""Text towers that leave out padding, and compute common beginnings once, give the embeddings that they gave before."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from models.conftest import HILL, randomise
from tiny import TinyEncoder

from art_multimodal.demo.digits import DigitsEncoder
from art_multimodal.demo.towers import END
from art_multimodal.errors import InputError
from art_multimodal.models import causal_text
from art_multimodal.models.loading import load_model

CAUSAL = ["tiny-test", "tiny-test-sigmoid", "tiny-test-rectangle", "tiny-test-eos", "tiny-test-eos-custom"]
OTHERS = ["tiny-test-coca", "tiny-test-stripped", "tiny-test-end-is-pad"]
FAMILIES = [
    "align",
    "altclip",
    "blip",
    "chinese_clip",
    "clip",
    "clip_other_pad",
    "clipseg",
    "metaclip_2",
    "siglip",
]
WORDS = ["red", "cat", "dog", "car", "hill", "boat", "very", "small"]
SHARED = [f"a photo of the {one} {other}" for one in WORDS for other in WORDS] + ["a cat", "a cat", "dog!"]


@pytest.fixture
def make(open_clip_checkpoint, saved):
    """``make(name)``: an encoder, and the features of its tokens as its library computes them in full length."""

    def build(name):
        if name == "digits":
            encoder = DigitsEncoder().eval()
            randomise(encoder.text)
            return encoder, lambda tokens: byte_features(encoder.text, tokens)
        if name in FAMILIES:
            encoder = load_model(f"hf:{saved(name).folder}")

            def features(tokens):
                inputs = {"input_ids": tokens}
                if name != "siglip":
                    inputs["attention_mask"] = encoder._mask(tokens)
                return encoder.model.get_text_features(**inputs).pooler_output

            return encoder, features
        encoder = load_model(f"open_clip:{name}/{open_clip_checkpoint(name)[1]}")
        return encoder, lambda tokens: encoder.model.encode_text(tokens, normalize=False)

    return build


def longest(encoder) -> str:
    """A text that fills the context, or nearly."""
    text = "cat"
    try:
        while True:
            encoder.tokenize([f"{text} cat"])
            text += " cat"
    except InputError:
        return text


def byte_features(tower, tokens):
    """All 128 positions, with torch's own causal attention."""
    states = tower.tokens(tokens) + tower.positions
    for block in tower.blocks:
        states = block(states, causal=True)
    ends = (tokens == END).int().argmax(dim=1)
    return tower.projection(tower.norm(states[torch.arange(len(tokens)), ends]))


def positions_seen(encoder, run, layer=-1) -> int:
    """How many positions went into a layer of the text tower."""
    seen = []
    names = (torch.nn.Linear, torch.nn.MultiheadAttention)
    parts = [
        module
        for name, module in encoder.named_modules()
        if isinstance(module, names) and "vis" not in name and name.endswith(("attn", "qkv", "k_proj"))
    ]
    hook = parts[layer].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[:-1].numel()))
    run()
    hook.remove()
    return sum(seen)


@pytest.mark.parametrize("name", [*CAUSAL, *OTHERS, *FAMILIES, "digits"])
@torch.no_grad()
def test_embeddings_are_those_of_the_full_length(make, texts, name):
    encoder, features = make(name)
    for batch in (texts, texts[:1], [*texts, longest(encoder)], SHARED):
        tokens = encoder.tokenize(batch)
        expected = features(tokens)
        torch.testing.assert_close(encoder.encode_text(tokens, normalize=False), expected, rtol=1e-5, atol=2e-5)
        shared, count = encoder.encode_texts_sharing_prefixes(tokens, normalize=False)
        torch.testing.assert_close(shared, expected, rtol=1e-5, atol=2e-5)
        assert 0 < count <= encoder.count_tokens(tokens)
        unit, _ = encoder.encode_texts_sharing_prefixes(tokens)
        torch.testing.assert_close(unit, encoder.encode_text(tokens), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", [*CAUSAL, "clip", "metaclip_2", "digits"])
def test_gradients_in_training_are_those_of_the_full_length(make, texts, name):
    encoder, features = make(name)
    # In float64: some gradients are zero in exact arithmetic (of the bias of keys), and only rounding is left of them.
    encoder.double().train()
    tokens = encoder.tokenize(texts)
    parameters = dict(encoder.named_parameters())
    found = []
    for run in (
        lambda: encoder.encode_text(tokens, normalize=False),
        lambda: encoder.encode_texts_sharing_prefixes(tokens, normalize=False)[0],
        lambda: features(tokens),
    ):
        # The square makes every text's gradient another one.
        run().square().sum().backward()
        found.append({key: p.grad.clone() for key, p in parameters.items() if p.grad is not None})
        encoder.zero_grad(set_to_none=True)
    assert found[0].keys() == found[1].keys() == found[2].keys() and len(found[0]) > 10
    scale = max(float(gradient.abs().max()) for gradient in found[2].values())
    for key, gradient in found[2].items():
        for other in found[:2]:
            torch.testing.assert_close(other[key], gradient, rtol=1e-7, atol=1e-10 * scale, msg=key)


@pytest.mark.parametrize("name", [*CAUSAL, "clip", "digits"])
@torch.no_grad()
def test_no_position_is_computed_twice_or_for_nothing(make, name, monkeypatch):
    encoder, _ = make(name)
    assert encoder.causal_text is not None
    tokens = encoder.tokenize(SHARED)
    ends = encoder.causal_text.ends(tokens)
    rows = [tuple(row[: end + 1]) for row, end in zip(tokens.tolist(), ends.tolist(), strict=True)]
    beginnings = {row[:end] for row in rows for end in range(1, len(row) + 1)}
    monkeypatch.setattr(causal_text, "POSITIONS_AT_ONCE", 10**6)
    counts = []
    seen = positions_seen(encoder, lambda: counts.append(encoder.encode_texts_sharing_prefixes(tokens)[1]))
    assert seen == counts[0] == len(beginnings)
    assert positions_seen(encoder, lambda: encoder.encode_text(tokens)) == len(rows) * max(map(len, rows))
    monkeypatch.setattr(causal_text, "POSITIONS_AT_ONCE", len(beginnings) // 2)
    seen = positions_seen(encoder, lambda: counts.append(encoder.encode_texts_sharing_prefixes(tokens)[1]))
    assert len(beginnings) < seen == counts[1] < sum(map(len, rows)) / 2


@pytest.mark.parametrize("name", ["clip", "digits"])
@torch.no_grad()
def test_the_first_layer_sees_a_token_at_a_position_once(make, name, monkeypatch):
    encoder, _ = make(name)
    texts = list(dict.fromkeys(SHARED))
    tokens = encoder.tokenize(texts)
    ends = encoder.causal_text.ends(tokens)
    rows = [row[: end + 1] for row, end in zip(tokens.tolist(), ends.tolist(), strict=True)]
    run = lambda: encoder.encode_texts_sharing_prefixes(tokens)  # noqa: E731
    monkeypatch.setattr(causal_text, "POSITIONS_AT_ONCE", 2 * len(rows[0]))
    distinct = len({pair for row in rows for pair in enumerate(row)})
    assert positions_seen(encoder, run, layer=0) == distinct < positions_seen(encoder, run) / 2
    # A tree at a time: as often as trees have it.
    monkeypatch.setattr(causal_text, "TREES_AT_ONCE", 1)
    assert distinct < positions_seen(encoder, run, layer=0) <= positions_seen(encoder, run)


@pytest.mark.parametrize("name", ["clip", "clip_other_pad", "clipseg", "metaclip_2", "chinese_clip"])
@torch.no_grad()
def test_padding_of_transformers_is_left_out(make, texts, name):
    encoder, _ = make(name)
    lengths = []
    plain = encoder.model.get_text_features
    encoder.model.get_text_features = lambda **inputs: lengths.append(inputs["input_ids"].shape[1]) or plain(**inputs)
    tokens = encoder.tokenize(texts[:1])
    encoder.encode_text(tokens)
    assert lengths == [encoder.count_tokens(tokens)] and lengths[0] < tokens.shape[1]


@pytest.mark.parametrize(("at_once", "rows"), [(10**6, 3), (40, 3), (24, 8), (17, 100), (1, 1)])
@pytest.mark.parametrize("name", [*CAUSAL, "clip", "digits"])
@torch.no_grad()
def test_layer_by_layer_in_windows_embeddings_are_the_same(make, texts, name, at_once, rows, monkeypatch):
    encoder, features = make(name)
    encoder.double()
    monkeypatch.setattr(causal_text, "POSITIONS_AT_ONCE", at_once)
    monkeypatch.setattr(causal_text, "_ROWS", rows)
    tokens = encoder.tokenize([*texts, *SHARED, longest(encoder)])
    expected = features(tokens)
    assert encoder.causal_text.layers()
    found, _ = encoder.encode_texts_sharing_prefixes(tokens, normalize=False)
    # Sums of a few hundred terms in double precision, and a few layers of them.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["tiny-test", "clip", "digits"])
@torch.no_grad()
def test_behind_the_last_attention_only_ends_of_texts_go_on(make, name):
    encoder, _ = make(name)
    last = {
        "tiny-test": lambda: encoder.model.transformer.resblocks[-1],
        "clip": lambda: encoder.model.text_model.encoder.layers[-1],
        "digits": lambda: encoder.text.blocks[-1],
    }[name]()
    seen = []
    last.mlp.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    texts = list(dict.fromkeys(SHARED))
    encoder.encode_texts_sharing_prefixes(encoder.tokenize(texts))
    assert sum(seen) == len(texts)


@torch.no_grad()
def test_attention_that_is_not_plain_is_asked_itself(make):
    class Doubled(torch.nn.MultiheadAttention):
        def forward(self, *args, **kwargs):
            found, weights = super().forward(*args, **kwargs)
            return 2 * found, weights

    def attention_of(encoder):
        if encoder.family == "hf":
            return encoder.model.text_model.encoder.layers[0].self_attn
        return encoder.model.transformer.resblocks[0].attn

    changes = {
        "another class": lambda attention: setattr(attention, "__class__", Doubled),
        "a hook": lambda attention: attention.register_forward_hook(lambda m, i, o: (3 * o[0], *o[1:])),
        "another forward": lambda attention: setattr(
            attention, "forward", lambda *a, real=attention.forward, **k: (2 * real(*a, **k)[0], None)
        ),
    }
    for name, known in (("tiny-test", changes), ("clip", ["a hook", "another forward"])):
        for change in known:
            encoder, features = make(name)
            tokens = encoder.tokenize(SHARED)
            before = features(tokens)
            assert encoder.causal_text.layers()
            changes[change](attention_of(encoder))
            assert encoder.causal_text.layers() is None
            expected = features(tokens)
            assert (expected - before).abs().max() > 1e-3
            found, _ = encoder.encode_texts_sharing_prefixes(tokens, normalize=False)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


def test_attention_that_drops_something_is_asked_itself(make):
    encoder, _ = make("clip")
    for layer in encoder.model.text_model.encoder.layers:
        layer.self_attn.dropout = 0.5
    assert encoder.causal_text.layers()
    encoder.train()
    assert encoder.causal_text.layers() is None
    encoder, _ = make("tiny-test")
    encoder.model.transformer.grad_checkpointing = True
    assert encoder.causal_text.layers() is None


def test_the_word_that_stands_for_an_end_token(open_clip_architectures):
    assert open_clip.get_tokenizer("tiny-test")(["hill"])[0, 1] == HILL


def test_what_is_not_known_to_be_causal_is_left_alone(make):
    for name in (*OTHERS, "metaclip_2", "siglip"):
        assert make(name)[0].causal_text is None, name
    assert TinyEncoder().causal_text is None

    class Derived(open_clip.model.CLIP):
        pass

    known = make("tiny-test")[0]
    for change in (
        lambda model: setattr(model, "__class__", Derived),
        lambda model: setattr(model, "encode_text", model.encode_text),
        lambda model: setattr(model, "text_pool_type", "last"),
        lambda model: setattr(model, "attn_mask", None),
        lambda model: model.attn_mask[0].zero_(),
    ):
        encoder = copy.deepcopy(known)
        assert encoder.causal_text is not None
        change(encoder.model)
        assert encoder.causal_text is None


def test_a_clip_of_transformers_is_taken_apart_where_it_is_as_published(make):
    encoder = make("clip")[0]
    assert encoder.causal_text is not None
    for change in (
        lambda model: setattr(model, "get_text_features", model.get_text_features),
        lambda model: setattr(model.text_model.config, "_attn_implementation", "flash_attention_2"),
        lambda model: model.text_model.encoder.layers[0].register_forward_hook(lambda *_: None),
    ):
        other = copy.deepcopy(encoder)
        change(other.model)
        assert other.causal_text is None


@torch.no_grad()
def test_a_changed_tower_is_asked_itself():
    class Louder(DigitsEncoder):
        def text_tower(self, tokens):
            return -super().text_tower(tokens)

    for encoder in (Louder().eval(), DigitsEncoder().eval()):
        if isinstance(encoder, Louder):
            plain = DigitsEncoder().eval()
            plain.load_state_dict(encoder.state_dict())
        else:
            plain = copy.deepcopy(encoder)
            encoder.text_tower = lambda tokens, tower=encoder.text: -tower(tokens)
        assert plain.shares_prefixes and not encoder.shares_prefixes
        tokens = encoder.tokenize(SHARED)
        found, count = encoder.encode_texts_sharing_prefixes(tokens)
        torch.testing.assert_close(found, -plain.encode_text(tokens))
        assert count == encoder.count_tokens(tokens)


@torch.no_grad()
def test_a_copy_computes_with_its_own_weights(make, texts):
    encoder, _ = make("tiny-test")
    other = copy.deepcopy(encoder)
    tokens = encoder.tokenize(texts)
    before = encoder.encode_text(tokens)
    other.model.token_embedding.weight.add_(torch.randn_like(other.model.token_embedding.weight))
    torch.testing.assert_close(encoder.encode_text(tokens), before)
    assert not torch.allclose(other.encode_text(tokens), before, atol=1e-3)


@pytest.mark.parametrize("name", ["tiny-test", "tiny-test-eos-custom", "digits"])
@torch.no_grad()
def test_what_was_hooked_in_takes_part(make, texts, name):
    """A hook that mixes tokens, or changes what comes out, is neither passed by nor given a tree for a text."""

    def mixes(module, inputs, output):
        return output + output.flip(-1).mean(dim=-2, keepdim=True)

    def places(module, inputs, output):
        return output.index_add(-2, torch.tensor([2]), output[..., 1:2, :].flip(-1))

    plain, _ = make(name)
    texts = [*texts, longest(plain)]
    tokens = plain.tokenize(texts)
    of_clip = name == "tiny-test"
    tower = plain.model if of_clip else plain.text if name == "digits" else plain.model.text
    blocks = tower.blocks if name == "digits" else tower.transformer.resblocks
    embedding = tower.tokens if name == "digits" else tower.token_embedding
    before = plain.encode_text(tokens)
    changes = [
        lambda: blocks[0].register_forward_hook(mixes).remove,
        lambda: embedding.register_forward_hook(places).remove,
        lambda: embedding.register_forward_hook(mixes).remove,
    ]
    if not of_clip:
        changes.append(lambda: tower.register_forward_hook(lambda module, inputs, output: output.flip(-1)).remove)
        changes.append(lambda: tower.register_forward_pre_hook(lambda module, inputs: inputs[0].flip(0)).remove)
    for change in changes:
        undo = change()
        full = tower(tokens) if not of_clip else tower.encode_text(tokens)
        expected = torch.nn.functional.normalize(full, dim=-1)
        assert (expected - before).abs().max() > 1e-3
        torch.testing.assert_close(plain.encode_text(tokens), expected)
        torch.testing.assert_close(plain.encode_texts_sharing_prefixes(tokens)[0], expected)
        undo()
        assert plain.causal_text is not None


@torch.no_grad()
def test_a_block_of_another_kind_is_asked_itself(make):
    class Mixing(open_clip.transformer.ResidualAttentionBlock):
        def forward(self, *args, **kwargs):
            states = super().forward(*args, **kwargs)
            return states + states.flip(-1).mean(dim=1, keepdim=True)

    encoder, features = make("tiny-test")
    encoder.model.transformer.resblocks[0].__class__ = Mixing
    assert encoder.causal_text is None
    tokens = encoder.tokenize(SHARED)
    torch.testing.assert_close(encoder.encode_texts_sharing_prefixes(tokens, normalize=False)[0], features(tokens))
