"""Views of models behind defences: what they share, what they change, and their mean over random draws."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tiny import TinyEncoder, TinyFusion, TinyJointFusion
from torch.nn import functional as F

from art_multimodal.models.defended import defended, text_defences_of

KINDS = [TinyEncoder, TinyFusion, TinyJointFusion]


def lower(texts):
    return [text.lower() for text in texts]


class Halves:
    """Not random: draw ``d`` of an image is scaled by ``1 / (d + 1)``."""

    def __init__(self, draws: int) -> None:
        self.draws = draws

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        scale = 1 / torch.arange(1, self.draws + 1, dtype=images.dtype).repeat_interleave(len(images) // self.draws)
        return images * scale[:, None, None, None]


def outputs(model, images: torch.Tensor, texts: list[str]) -> torch.Tensor:
    return model(images, model.tokenize(texts))


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_shares_weights_and_leaves_its_model_alone(kind) -> None:
    model, images = kind().eval(), torch.rand(2, 3, 8, 8)
    before = outputs(model, images, ["A CAT", "b"])
    view = defended(model, [lower], [lambda x: 1 - x])
    assert isinstance(view, kind)
    assert list(view.state_dict()) == list(model.state_dict())
    assert all(a is b for a, b in zip(view.parameters(), model.parameters(), strict=True))
    torch.testing.assert_close(outputs(view, images, ["A CAT", "B"]), outputs(model, 1 - images, ["a cat", "b"]))
    torch.testing.assert_close(outputs(model, images, ["A CAT", "b"]), before)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    torch.testing.assert_close(outputs(view, images, ["A CAT", "B"]), outputs(model, 1 - images, ["a cat", "b"]))


@pytest.mark.parametrize("kind", KINDS)
def test_views_of_views_replace_and_copies_keep(kind) -> None:
    model, images = kind().eval(), torch.rand(2, 3, 8, 8)
    view = defended(defended(model, [lower]), images=[torch.zeros_like])
    assert text_defences_of(model) == text_defences_of(view) == ()
    texts = ["Abc", "b"]
    torch.testing.assert_close(outputs(view, images, texts), outputs(model, torch.zeros_like(images), texts))
    repairing = defended(model, [lower])
    for again in (copy.deepcopy(repairing), pickle.loads(pickle.dumps(repairing))):
        assert text_defences_of(again) == (lower,)
        assert next(again.parameters()) is not next(model.parameters())
        torch.testing.assert_close(outputs(again, images, texts), outputs(repairing, images, texts))


def test_draws_of_a_dual_encoder_average_unit_embeddings() -> None:
    model, images = TinyEncoder().eval(), torch.rand(5, 3, 8, 8, requires_grad=True)
    view = defended(model, images=[Halves(3)], draws=3)
    mean = torch.stack([model.encode_image(images / d) for d in (1, 2, 3)]).mean(dim=0)
    torch.testing.assert_close(view.encode_image(images, normalize=False), mean)
    torch.testing.assert_close(view.encode_image(images), F.normalize(mean, dim=-1))
    found, expected = (
        torch.autograd.grad(out[:, 0].sum(), images)[0] for out in (view.encode_image(images, False), mean)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", [TinyFusion, TinyJointFusion])
def test_draws_of_a_fusion_model(kind) -> None:
    model, images, texts = kind().eval(), torch.rand(4, 3, 8, 8), ["a", "bc", "d", "e"]
    view, tokens = defended(model, images=[Halves(2)], draws=2), model.tokenize(texts)
    if model.separate_towers:
        mean = (model.encode_image(images) + model.encode_image(images / 2)) / 2
        expected = model.join(mean, model.encode_text(tokens))
        torch.testing.assert_close(view.encode_image(images), mean)
    else:
        expected = (model.fuse(images, tokens) + model.fuse(images / 2, tokens)) / 2
    torch.testing.assert_close(view.fuse(images, tokens), expected)
