"""TAPT: statistics of layers by hand, and one step against a second way to compute it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import TinyEncoder
from torch.nn import functional as F

from art_multimodal import InputError
from art_multimodal.defences.test_time import LayerStatistics, TestTimeAdversarialPromptTuning
from art_multimodal.defences.test_time.prompt_tuning import TunablePrompts

from .guarded import classifier, images, small_clip


@pytest.fixture(scope="module")
def clip():
    return small_clip()


@pytest.fixture(scope="module")
def statistics(clip):
    return LayerStatistics.of(classifier(clip), images(6, seed=9).numpy(), batch_size=4)


def test_layers_together_are_the_tower(clip) -> None:
    tower, pixels = clip.layered_images, clip.pixels(images(3))
    states = tower.embed(pixels)
    for layer in tower.layers:
        states = layer(states)
    torch.testing.assert_close(tower.project(states), clip.encode_image(images(3), normalize=False))


def test_statistics_are_means_and_variances_over_images_and_states(clip, statistics) -> None:
    states, x = [], clip.pixels(images(6, seed=9))
    with torch.no_grad():
        states.append(clip.visual.embed(x))
        for block in clip.visual.blocks:
            states.append(block(states[-1]))
    rows = [of.flatten(0, 1).double() for of in states]
    torch.testing.assert_close(statistics.first, rows[0].mean(dim=0), rtol=1e-4, atol=1e-6)
    for level, of in enumerate(rows[1:]):
        torch.testing.assert_close(statistics.means[level], of.mean(dim=0), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(statistics.variances[level], of.var(dim=0), rtol=1e-3, atol=1e-6)


def test_one_step_is_what_autograd_says(clip, statistics) -> None:
    other = LayerStatistics(statistics.first, 0.5 * statistics.means, 2 * statistics.variances)
    defence = TestTimeAdversarialPromptTuning(statistics, other, views=1, selected=1.0, prompts=3, alpha=0.25, lr=0.02)
    guarded, x = classifier(clip, defence), images(2)
    found = guarded.predict(x.numpy())
    prompts, blocks = TunablePrompts.of(guarded.model.head), clip.visual.blocks
    for row in range(len(x)):
        added = statistics.first.float().repeat(1, 3, 1).requires_grad_(True)
        moved = prompts.zeros(1, x).requires_grad_(True)

        def answer(added: torch.Tensor, moved: torch.Tensor, row: int = row) -> tuple[torch.Tensor, torch.Tensor]:
            own = clip.visual.embed(clip.pixels(x[row : row + 1]))
            states, distances = torch.cat([own, added], dim=1), []
            for level, block in enumerate(blocks):
                states = block(states)
                seen = states[0, : own.shape[1]]
                for of, share in ((other, 0.25), (statistics, 0.75)):
                    mean, variance = of.means[level].float(), of.variances[level].float()
                    distances.append(share * F.l1_loss(seen.mean(dim=0), mean, reduction="sum"))
                    distances.append(share * F.l1_loss(seen.var(dim=0), variance, reduction="sum"))
            feature = clip.visual.project(states[:, : own.shape[1]])
            logits = guarded.model.head.similarity_of(feature, prompts.class_features(moved))
            entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum()
            return logits, entropy + torch.stack(distances).sum() / len(blocks)

        slopes = torch.autograd.grad(answer(added, moved)[1], (added, moved))
        with torch.no_grad():
            stepped = added - 0.02 * slopes[0].sign(), moved - 0.02 * slopes[1].sign()
            logits = answer(*stepped)[0]
        np.testing.assert_allclose(found[row], logits[0].numpy(), rtol=1e-3, atol=1e-3)
    without = classifier(clip, defence.with_params(lr=0.0)).predict(x.numpy())
    assert np.abs(without - found).max() > 1e-2


def test_what_is_refused(clip, statistics) -> None:
    with pytest.raises(InputError, match="whose layers are known"):
        LayerStatistics.of(classifier(TinyEncoder()), images(2, side=8).numpy())
    with pytest.raises(InputError, match="need images; none were given"):
        LayerStatistics.of(classifier(clip), images(2).numpy()[:0])
    with pytest.raises(InputError, match="alpha must be a number from 0 to 1"):
        TestTimeAdversarialPromptTuning(statistics, alpha=2)
    guarded = classifier(clip, TestTimeAdversarialPromptTuning(statistics, views=2))
    with pytest.raises(InputError, match="own prompts"):
        guarded.predict_on(images(1).numpy(), ["one", "two", "three"])
