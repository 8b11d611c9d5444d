"""A dual encoder from callables is the model that they make; what breaks the contract is said in one line."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TinyEncoder
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal import CustomDualEncoder, ImageTextRetriever, InputError, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.evasion import CharacterAttack, DecouplingAttack, ProjectedGradientDescentDualEncoder
from art_multimodal.models.checks import check_dual_encoder
from art_multimodal.models.defended import defended

NAMES = ("cat", "dog", "bird")
IMAGES = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def custom(own: TinyEncoder | None = None, **changes: Any) -> CustomDualEncoder:
    """A tiny encoder again, from its parts."""
    own = (own or TinyEncoder()).eval()
    parts = {
        "encode_image": own.visual,
        "encode_text": own.text,
        "tokenize": lambda texts: own.token_ids(texts, 64),
        "image_size": 8,
        "mean": MEAN,
        "std": STD,
        "logit_scale": own.logit_scale,
    }
    return CustomDualEncoder(**{**parts, **changes})


def masked(own: TinyEncoder, texts: list[str]) -> dict[str, Tensor]:
    ids = own.token_ids(texts, 64)
    return {"input_ids": ids, "attention_mask": (ids != own.pad_id).long()}


def test_it_is_the_model_that_its_parts_make() -> None:
    own = TinyEncoder().eval()
    for model in (
        custom(own),
        custom(own, encode_image=own.image_tower, encode_text=own.text_tower),
        custom(own, encode_image=lambda x: own.visual(x), encode_text=lambda t: own.text(t), module=own),
        custom(
            own, tokenize=lambda texts: masked(own, texts), encode_text=lambda t: own.text(t["input_ids"]), module=own
        ),
    ):
        expected, found = (ZeroShotClassifier(one, NAMES, device_type="cpu") for one in (own, model))
        np.testing.assert_allclose(found.predict(IMAGES), expected.predict(IMAGES), atol=1e-5)
        labels = np.array([0, 1, 2, 0])
        np.testing.assert_allclose(
            found.loss_gradient(IMAGES, labels), expected.loss_gradient(IMAGES, labels), atol=1e-6
        )
        wanted = {id(p) for p in (*own.visual.parameters(), *own.text.parameters(), own.logit_scale)}
        assert {id(p) for p in model.parameters()} == wanted
        assert model.double().dtype == torch.float64
        model.float()


def test_attacks_take_it_and_it_trains() -> None:
    own = TinyEncoder(seed=1)
    model = custom(own, tokenize=lambda texts: masked(own, texts), encode_text=lambda t: own.text(t["input_ids"]))
    classifier = ZeroShotClassifier(model, NAMES, device_type="cpu")
    labels = classifier.predict_labels(IMAGES)
    attacked = ProjectedGradientDescentDualEncoder(classifier, eps=0.3, max_iter=10, verbose=False).generate(
        IMAGES, labels
    )
    assert (classifier.predict_labels(attacked) != labels).any()
    assert CharacterAttack(classifier, verbose=False).generate(None).shape == (3,)
    DecouplingAttack(classifier, verbose=False).generate(IMAGES[:1], labels[:1])
    trained = custom(TinyEncoder())
    retriever = ImageTextRetriever(trained, optimizer=torch.optim.SGD(trained.parameters(), lr=0.1), device_type="cpu")
    pairs = image_text_pairs(IMAGES, ["a", "b", "c", "d"])
    before = retriever.compute_loss(pairs).mean()
    retriever.fit(pairs, nb_epochs=20)
    assert retriever.compute_loss(pairs).mean() < before


def test_copies_and_views() -> None:
    model = custom()
    with torch.no_grad():
        expected = model.encode_image(torch.from_numpy(IMAGES))
        other = copy.deepcopy(model)
        for parameter in other.parameters():
            parameter.zero_()
        torch.testing.assert_close(model.encode_image(torch.from_numpy(IMAGES)), expected)
    upper = defended(model, texts=[lambda texts: [text.upper() for text in texts]])
    assert torch.equal(upper.tokenize("a cat"), model.tokenize("A CAT"))


def test_modes_of_the_parts_decide() -> None:
    own = TinyEncoder().train()
    model = CustomDualEncoder(own.visual, own.text, lambda texts: own.token_ids(texts, 64), 8)
    assert model.training and own.visual.training
    assert not custom().training


def test_bias_and_scale() -> None:
    model = custom(logit_scale=math.log(10), logit_bias=-3.0)
    with torch.no_grad():
        logits = model(torch.from_numpy(IMAGES), model.tokenize(NAMES))
        cosines = model.encode_image(torch.from_numpy(IMAGES)) @ model.encode_text(model.tokenize(NAMES)).T
    torch.testing.assert_close(logits, 10 * cosines - 3)


def test_texts_beyond_the_context() -> None:
    own = TinyEncoder().eval()
    encode = lambda t: own.text(t["input_ids"])  # noqa: E731
    model = custom(own, tokenize=lambda texts: masked(own, texts), encode_text=encode, context_length=20)
    model.tokenize(["a cat"])
    with pytest.raises(InputError, match="more than the 20 that this model reads: 'a rather long"):
        model.tokenize(["a cat", "a rather long text about cats"])
    with pytest.raises(InputError, match="empty"):
        model.tokenize(["a cat", " "])
    assert model.tokenize(["a cat", ""], allow_empty=True).shape[0] == 2


def alone_and_not(x: Tensor) -> Tensor:
    return x.flatten(1)[:, :6] - x.flatten(1)[:, :6].mean(dim=0) * 0.9 + 0.1


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"encode_text": lambda t: torch.ones(6)}, r"encode_text must return embeddings \[N, D\].*\(6,\)"),
    ({"encode_text": lambda t: None}, "encode_text must return a tensor.*NoneType"),
    ({"encode_text": lambda t: torch.ones(len(t), 5, 6)}, "encode_text must return embeddings"),
    ({"encode_text": lambda t: t[:, :6]}, "floating numbers.*int64"),
    ({"encode_text": lambda t: torch.ones(len(t) + 1, 6)}, "encode_text must return embeddings"),
    ({"encode_text": lambda t: t[:, :6] * torch.nan}, "encode_text returns NaN"),
    ({"encode_text": lambda t: t[:, :6] * 0.0}, "encode_text returns an embedding of zeros"),
    ({"encode_text": lambda t: torch.ones(len(t), 6)}, "encode_text returns the same embedding"),
    ({"encode_text": lambda t: t[:, :5].float()}, "length 6, encode_text of length 5"),
    ({"encode_text": lambda t: 1 / 0}, "encode_text fails with ZeroDivisionError: division by zero"),
    ({"encode_image": lambda x: x.flatten(1)[:, :6] / 0}, "encode_image returns NaN"),
    ({"encode_image": lambda x: x.detach().flatten(1)[:, :6]}, "encode_image gives no gradient.*robustness"),
    ({"encode_image": alone_and_not}, "encode_image embeds an input in another way"),
    ({"tokenize": lambda texts: [[1, 2]] * len(texts)}, "tokenize must return a tensor or a dict.*list"),
    ({"tokenize": lambda texts: torch.ones(1, 4, dtype=torch.long)}, "one row per text.*for 2 texts"),
    ({"tokenize": lambda texts: torch.ones(len(texts), 4)}, "whole numbers.*float32"),
    ({"tokenize": lambda texts: {"ids": torch.ones(2, 4).long(), "mask": torch.ones(2, 3).long()}}, "one shape"),
    ({"tokenize": lambda texts: {}["a"]}, "tokenize fails with KeyError"),
    ({"logit_scale": 100.0}, "logit_scale is 100.*logarithm.*math.log"),
    ({"logit_scale": math.nan}, "logit_scale is nan"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_what_breaks_the_contract_is_said_in_one_line(change: dict[str, Callable], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        custom(**change)
    assert "\n" not in str(error.value)


class Unnormalised(TinyEncoder):
    def encode_text(self, tokens: Tensor, normalize: bool = True) -> Tensor:
        return self.text_tower(tokens) * 3


class InTrainingOnly(TinyEncoder):
    def image_tower(self, pixels: Tensor) -> Tensor:
        assert not self.training
        return super().image_tower(pixels)


def test_any_dual_encoder_can_be_checked() -> None:
    check_dual_encoder(TinyEncoder())
    with pytest.raises(InputError, match="encode_text must return unit embeddings"):
        check_dual_encoder(Unnormalised())
    model = InTrainingOnly(dropout=0.5).train()
    model.text.eval()
    check_dual_encoder(model)
    assert model.training and model.visual.training and not model.text.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_layer_that_mixes_the_batch_is_found_in_training_mode_only() -> None:
    tower = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.BatchNorm1d(6))
    tower(torch.rand(16, 3, 8, 8))
    model = custom(encode_image=tower)
    # It is tried in evaluation mode, and left as it was.
    assert tower.training and model.training
    norms = model.eval().encode_image(torch.from_numpy(IMAGES)).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(4))
    assert F.cosine_similarity(norms, norms, dim=0) > 0
