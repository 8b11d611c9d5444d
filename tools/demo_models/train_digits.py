"""Train ``demo:digits`` and write its weights; about ten minutes on two cores.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_digits --steps 2500 --seed 0

The objective is CLIP's, with several positives: a caption is a positive of every image in the batch that it is true of.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.demo.captions import DIGIT_NAMES, HELD_OUT_TEMPLATES, INKS, PAPERS
from art_multimodal.demo.digits import WEIGHTS, DigitsEncoder
from art_multimodal.demo.digits_data import ink_on_paper, load_strokes
from tools.demo_models.digit_captions import random_caption
from tools.demo_models.training import training_options, write_weights


def augment(strokes: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shear and shift ``[N, H, W]`` strokes a little, and vary their weight."""
    n = len(strokes)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(n).uniform_(low, high, generator=generator)

    angle, scale, shear = uniform(-0.25, 0.25), uniform(0.8, 1.15), uniform(-0.2, 0.2)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    theta = torch.stack(
        [
            torch.stack([cos, -sin + shear, uniform(-0.15, 0.15)], dim=1),
            torch.stack([sin, cos, uniform(-0.15, 0.15)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [n, 1, *strokes.shape[1:]], align_corners=False)
    moved = F.grid_sample(strokes[:, None], grid, align_corners=False)[:, 0]
    return moved.clamp(0, 1) ** uniform(0.6, 1.5)[:, None, None]


def multi_positive_loss(logits: Tensor, positives: Tensor) -> Tensor:
    """Symmetric cross-entropy against targets spread evenly over the true pairs of each row and column.

    The mean of ``functional.contrastive.contrastive_cross_entropy`` but for rounding, which the shipped weights keep.
    """
    rows = positives / positives.sum(dim=1, keepdim=True)
    columns = positives.T / positives.T.sum(dim=1, keepdim=True)
    return 0.5 * (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, columns))


@torch.no_grad()
def accuracy(model: DigitsEncoder, images: Tensor, labels: Tensor, template: str) -> float:
    """Zero-shot accuracy under one template."""
    tokens = model.tokenize([template.format(name) for name in DIGIT_NAMES])
    return float((model(images, tokens).argmax(dim=1) == labels).float().mean())


def train(steps: int, batch_size: int, learning_rate: float, seed: int) -> DigitsEncoder:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    strokes, labels = load_strokes("train")
    test_strokes, test_labels = load_strokes("test")
    test_images = torch.from_numpy(ink_on_paper(test_strokes, np.array(INKS["black"]), np.array(PAPERS["white"])))
    inks, papers = list(INKS), list(PAPERS)
    model = DigitsEncoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    started = time.perf_counter()
    for step in range(steps):
        chosen = rng.integers(len(strokes), size=batch_size)
        ink = [inks[i] for i in rng.integers(len(inks), size=batch_size)]
        paper = [papers[i] for i in rng.integers(len(papers), size=batch_size)]
        captions = [random_caption(int(labels[i]), ink[j], paper[j], rng) for j, i in enumerate(chosen)]
        positives = torch.tensor(
            [
                [
                    caption.digit == labels[i] and caption.ink in (None, ink[j]) and caption.paper in (None, paper[j])
                    for caption in captions
                ]
                for j, i in enumerate(chosen)
            ],
            dtype=torch.float32,
        )
        drawn = augment(torch.from_numpy(strokes[chosen]), generator).numpy()
        painted = ink_on_paper(
            drawn, np.array([INKS[name] for name in ink]), np.array([PAPERS[name] for name in paper])
        )
        images = torch.from_numpy(painted)
        images = (images + 0.03 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
        loss = multi_positive_loss(model(images, model.tokenize([c.text for c in captions])), positives)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 100 == 99 or step == steps - 1:
            model.eval()
            clean = accuracy(model, test_images, torch.from_numpy(test_labels), "a photo of the handwritten digit {}.")
            unseen = [accuracy(model, test_images, torch.from_numpy(test_labels), t) for t in HELD_OUT_TEMPLATES]
            print(
                f"step {step + 1}: loss {loss.item():.3f}, held-out digits {clean:.3f}, "
                f"unseen templates mean {np.mean(unseen):.3f} "
                f"min {min(unseen):.3f} ({HELD_OUT_TEMPLATES[int(np.argmin(unseen))]!r}), "
                f"{time.perf_counter() - started:.0f} s",
                flush=True,
            )
            model.train()
    return model.eval()


def main() -> None:
    parser = training_options(__doc__, steps=2500, learning_rate=1e-3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--out", default=str(WEIGHTS))
    arguments = parser.parse_args()
    model = train(arguments.steps, arguments.batch_size, arguments.learning_rate, arguments.seed)
    write_weights(model, arguments.out)


if __name__ == "__main__":
    main()
