"""Fusion models from callables."""

from __future__ import annotations

import copy

import pytest
import torch
from models.families import bert_tokenizer
from models.gradients import assert_gradient_is_true
from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.models.families.custom.fusion import CustomFusion, CustomLateFusion

CLASSES = ["yes", "no"]
SIZE = (12, 16)


class Network(nn.Module):
    """Someone's model: mean embedding of the words beside a convolution of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 5)
        self.patches = nn.Conv2d(3, 5, 4, stride=4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(10, 2)

    def image(self, pixels):
        return self.patches(pixels).tanh().mean(dim=(2, 3))

    def text(self, tokens):
        mask = tokens["attention_mask"][..., None].to(self.words.weight)
        return (self.words(tokens["input_ids"]) * mask).sum(dim=1)

    def fuse(self, pixels, tokens):
        return self.join(self.image(pixels), self.text(tokens))

    def join(self, image, text):
        return self.drop(torch.cat([image * text, image], dim=1))


def words(texts):
    return bert_tokenizer()(texts, padding=True, return_tensors="pt")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network()


def custom(network, **changes):
    parts = {"fuse": network.fuse, "predict": network.head, "tokenize": words, "class_names": CLASSES}
    return CustomFusion(**{**parts, "image_size": SIZE, "module": network, **changes})


def custom_late(network, **changes):
    parts = {
        "encode_image": network.image,
        "encode_text": network.text,
        "join": network.join,
        "predict": network.head,
        "tokenize": words,
        "class_names": CLASSES,
    }
    return CustomLateFusion(**{**parts, "image_size": SIZE, "module": network, **changes})


@pytest.fixture(params=[custom, custom_late])
def make(request):
    return request.param


@torch.no_grad()
def test_it_computes_what_the_callables_do(make, network, texts):
    model = make(network, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)).eval()
    assert model.image_size == SIZE
    assert model.class_names == tuple(CLASSES)
    images = torch.rand(len(texts), 3, *SIZE)
    pixels = (images - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    tokens = model.tokenize(texts)
    assert type(tokens) is dict
    fused = network.fuse(pixels, words(texts))
    torch.testing.assert_close(model.fuse(images, tokens), fused)
    torch.testing.assert_close(model(images, tokens), network.head(fused))
    assert model(torch.rand(len(texts), 3, 30, 20), tokens).shape == (len(texts), 2)
    assert model(images[:1], model.tokenize([""])).shape == (1, 2)


def test_towers_are_separate_where_they_are_given(network, texts):
    assert not custom(network).separate_towers
    late = custom_late(network).eval()
    assert late.separate_towers
    images, tokens = torch.rand(len(texts), 3, *SIZE), late.tokenize(texts)
    parts = late.join(late.encode_image(images), late.encode_text(tokens))
    assert torch.equal(parts, late.fuse(images, tokens))


@pytest.mark.parametrize("size", [SIZE, (20, 30)])
def test_gradient_to_the_pixels(make, network, size):
    assert_gradient_is_true(make(network).eval(), *size)


def test_the_module_is_part_of_the_model(make, network, texts):
    model = make(network)
    assert {id(p) for p in model.parameters()} == {id(p) for p in network.parameters()}
    model.eval()
    assert not network.drop.training
    model.train()
    assert network.drop.training
    model(torch.rand(len(texts), 3, *SIZE), model.tokenize(texts)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert model.double().dtype == torch.float64
    assert network.head.weight.dtype == torch.float64


def test_a_module_among_the_callables_is_registered(network):
    model = custom(network, fuse=lambda pixels, tokens: pixels.flatten(1)[:, :10], module=None)
    assert {id(p) for p in model.parameters()} == {id(p) for p in network.head.parameters()}


@torch.no_grad()
def test_a_copy_is_independent(make, network):
    model = make(network).eval()
    twin = copy.deepcopy(model)
    images, tokens = torch.rand(1, 3, *SIZE), model.tokenize(["a cat"])
    before = model(images, tokens)
    for parameter in twin.parameters():
        parameter.zero_()
    assert torch.equal(model(images, tokens), before)
    assert not twin(images, tokens).any()


def test_ids_alone_and_one_number_for_the_size(network):
    ids = torch.tensor([[1, 2], [3, 4]])
    model = custom(
        network,
        fuse=lambda pixels, tokens: torch.cat([network.image(pixels), network.words(tokens).sum(dim=1)], dim=1),
        tokenize=lambda texts: ids,
        image_size=16,
    )
    assert model.image_size == (16, 16)
    assert model.tokenize(["a", "b"]) is ids
    assert model(torch.rand(2, 3, 9, 20), ids).shape == (2, 2)


# --- what the callables return ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokenize", "named"),
    [
        (lambda texts: [[1, 2]], "list"),
        (lambda texts: bert_tokenizer()(texts), "'input_ids' is list.*return_tensors"),
        (lambda texts: torch.ones(5, 2), "one row per text: 'tokens' has 5 for 2"),
        (lambda texts: {"ids": torch.ones(2, 3), "mask": torch.ones(1, 3)}, "'mask' has 1 for 2"),
    ],
)
def test_tokens_of_another_form(network, tokenize, named):
    with pytest.raises(InputError, match=named):
        custom(network, tokenize=tokenize).tokenize(["a", "b"])


@pytest.mark.parametrize(("texts", "named"), [(b"a cat", "bytes"), ([], "no texts"), (["a", None], "NoneType")])
def test_what_is_not_a_list_of_texts(network, texts, named):
    with pytest.raises(InputError, match=named):
        custom(network).tokenize(texts)


@pytest.mark.parametrize(
    ("predict", "named"),
    [(nn.Linear(10, 3), r"\(2, 2\).*\(2, 3\)"), (lambda z: z[:, 0], r"\(2,\)"), (lambda z: None, "NoneType")],
)
def test_scores_of_another_shape(make, network, predict, named):
    model = make(network, predict=predict)
    with pytest.raises(InputError, match=f"predict must return scores.*{named}"):
        model(torch.rand(2, 3, *SIZE), model.tokenize(["a", "b"]))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [(torch.zeros(2, 3, 4), r"\(2, 3, 4\)"), (torch.zeros(1, 3), r"\(1, 3\)"), ("a", "str")],
)
def test_fused_vectors_of_another_shape(network, wrong, named):
    images, tokens = torch.rand(2, 3, *SIZE), dict(words(["a", "b"]))
    with pytest.raises(InputError, match=f"fuse must return.*{named}"):
        custom(network, fuse=lambda pixels, tokens: wrong)(images, tokens)
    with pytest.raises(InputError, match=f"join must return.*{named}"):
        custom_late(network, join=lambda image, text: wrong)(images, tokens)
