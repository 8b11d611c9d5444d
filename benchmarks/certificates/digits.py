"""An anchor: real digits cut into two halves, of which votes see a quarter each, certified in six ways.

The base classifier is a perceptron on what is left of both halves. With 8 blocks in each all 28 x 28 = 784 choices of
2 and 2 blocks can be asked.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from art_multimodal.ablation import Blocks, Elements, Keep, mean_fill
from art_multimodal.estimators.certification import AblatedEnsemble, AllSubsets, Independent, Masks, Partition
from art_multimodal.modalities import image
from art_multimodal.sample_arrays import samples, with_field

HALVES, KEPT, TESTED = ("left", "right"), 2, 497
BUDGETS = ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0))
HIDDEN, STEPS, BATCH, LEARNING_RATE = 256, 2000, 128, 2e-3

#: By name: which elements votes see, whether the worst places are searched, and the rule of random votes.
WAYS: dict[str, tuple[Masks, bool, str]] = {
    "published": (Independent(dict.fromkeys(HALVES, KEPT), 100, choosing=1), False, "published"),
    "one-sided": (Independent(dict.fromkeys(HALVES, KEPT), 1000), False, "majority"),
    "all": (AllSubsets(dict.fromkeys(HALVES, KEPT)), False, "majority"),
    "all-located": (AllSubsets(dict.fromkeys(HALVES, KEPT)), True, "majority"),
    "partition": (Partition(dict.fromkeys(HALVES, KEPT)), False, "majority"),
    "partition-located": (Partition(dict.fromkeys(HALVES, KEPT)), True, "majority"),
}


def halves() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], dict[str, Elements]]:
    """Samples and labels to train on, others to test on, and the blocks: 2 x 2 pixels, 8 of each half."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images / 16).astype(np.float32)[:, None]
    x = samples(left=pixels[..., :4].copy(), right=pixels[..., 4:].copy())
    rows = np.random.default_rng(0).permutation(len(x))
    test, train = rows[:TESTED], rows[TESTED:]
    elements: dict[str, Elements] = {}
    for name in HALVES:
        blocks = Blocks(image(name, 1, 8, 4), 2)
        elements[name] = blocks.with_fill(mean_fill(blocks.modality, x[train][name]))
    return (x[train], digits.target[train]), (x[test], digits.target[test]), elements


class InkAndPaper(nn.Module):
    """Ink and paper of each pixel, neither of which is there where a pixel is hidden."""

    def __init__(self, fills: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("fills", fills)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """``[N, 64]`` to ``[N, 128]``."""
        hidden = pixels == self.fills
        return torch.cat([pixels.masked_fill(hidden, 0), (1 - pixels).masked_fill(hidden, 0)], dim=1)


def perceptron(x: np.ndarray, y: np.ndarray, elements: dict[str, Elements], seed: int, steps: int = STEPS) -> nn.Module:
    """Train a perceptron on what random choices of blocks leave."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    fills = torch.cat([torch.full((32,), float(np.asarray(of.modality.fill).item())) for of in elements.values()])
    layers = [nn.Linear(128, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10)]
    model = nn.Sequential(InkAndPaper(fills), *layers)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    keeps = {name: Keep(of, KEPT) for name, of in elements.items()}
    for _ in range(steps):
        rows = rng.integers(len(x), size=BATCH)
        seen = x[rows]
        for name, keep in keeps.items():
            seen = with_field(seen, name, keep.ablated(seen[name], rng))
        loss = nn.functional.cross_entropy(model(_flat(seen)), torch.from_numpy(y[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _flat(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([x[name].reshape(len(x), -1) for name in HALVES], axis=1))


def measured(seed: int, steps: int = STEPS, tested: int = TESTED) -> dict[str, np.ndarray]:
    """By a way and a budget, ``"all/1,0"``, which test digits are certified to be right."""
    train, (x, y), elements = halves()
    x, y = x[:tested], y[:tested]
    model = perceptron(*train, elements, seed, steps)

    @torch.no_grad()
    def scores(some: np.ndarray) -> np.ndarray:
        return model(_flat(some)).numpy()

    modalities = {name: of.modality for name, of in elements.items()}
    found: dict[str, np.ndarray] = {}
    for way, (masks, located, rule) in WAYS.items():
        started = time.process_time()
        ensemble = AblatedEnsemble(
            scores,
            elements,
            masks,
            modalities=modalities,
            nb_classes=10,
            location_aware=located,
            rule=rule,
            batch_size=1024,
        )
        certificates = ensemble.certify(x)
        right = certificates.predictions == y
        for budget in BUDGETS:
            covered = certificates.covers(dict(zip(HALVES, budget, strict=True)))
            found[f"{way}/{','.join(map(str, budget))}"] = right & covered
        if way == "all":
            shares = np.array([one.votes[label] / one.votes.sum() for one, label in zip(certificates, y, strict=True)])
            found["view"] = np.array(shares.mean())
        found[f"{way}/seconds"] = np.array(time.process_time() - started)
    return found
