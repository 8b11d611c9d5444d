"""Roads in colours and exact depth, drawn by a pinhole camera: two classes for each pixel, certified pixel by pixel.

They stand in for KITTI Road, whose images cannot be shipped: what is comparable is the method, not the numbers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.ablation import Blocks, Elements, Keep, mean_fill
from art_multimodal.estimators.certification import AblatedSegmenter, Independent, Joint, Masks, Partition
from art_multimodal.modalities import image
from art_multimodal.sample_arrays import samples, with_field

#: Rows and columns of 8 x 9 blocks: groups of the partition are diagonals, and no columns.
HEIGHT, WIDTH, BLOCK = 32, 36, 4
KEPT = 9
TRAINED, TESTED, STEPS, BATCH, LEARNING_RATE = 1000, 24, 500, 32, 4e-3
#: Of the camera: focal length in pixels. Its height above the road is 1.
FOCAL = 24.0
BUDGETS = ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (1, 2), (2, 1), (2, 2))


@dataclass(frozen=True)
class Scenes:
    """Scenes and which of their pixels show the road.

    :param x: Samples of ``rgb`` ``(3, 32, 36)`` and ``depth`` ``(1, 32, 36)``, in [0, 1]. Depth is that of the nearest
        pixel of the road, divided by the pixel's: 0 is infinitely far.
    :param road: Booleans ``(N, 32, 36)``.
    """

    x: np.ndarray
    road: np.ndarray


def scenes(count: int, seed: int) -> Scenes:
    """Draw scenes: a road that bends, a verge that is higher, lower or of another colour, boxes, sky.

    In a third of the scenes the verge has the colour of the road, and in another third its height, so that either
    sensor alone is not enough.
    """
    rng = np.random.default_rng(seed)
    rgb, depth, road = (np.empty((count, *shape, HEIGHT, WIDTH), dtype=np.float32) for shape in ((3,), (1,), ()))
    for number in range(count):
        rgb[number], depth[number, 0], road[number] = _scene(rng)
    return Scenes(samples(rgb=rgb, depth=depth), road > 0.5)


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    horizon, centre = rng.uniform(6, 15), WIDTH / 2 + rng.uniform(-5, 5)
    below = np.maximum(rows - horizon, 1e-3)
    nearest = FOCAL / (HEIGHT - horizon)
    kind = rng.integers(3)
    road_colour = np.full(3, rng.uniform(0.3, 0.5))
    verge_colour = road_colour + 0.02 if kind == 0 else rng.uniform((0.15, 0.35, 0.05), (0.45, 0.6, 0.25))
    raised = 0.0 if kind == 1 else rng.choice([-1, 1]) * rng.uniform(0.15, 0.3)
    # Where a ray meets the road's plane, and whether there is a road.
    far = FOCAL / below
    middle = rng.uniform(-1.2, 1.2) + rng.uniform(-0.03, 0.03) * far**2
    on_road = (np.abs((columns - centre) * far / FOCAL - middle) < rng.uniform(0.5, 1.8)) & (rows > horizon)
    inverse = np.where(rows > horizon, np.where(on_road, 1.0, 1 / (1 - raised)) / far, 0.0)
    colours = np.where(on_road, road_colour[:, None, None], verge_colour[:, None, None])
    sky = rng.uniform((0.4, 0.5, 0.6), (0.7, 0.8, 1.0))
    colours = np.where(rows > horizon, colours, sky[:, None, None])
    for _ in range(rng.integers(0, 4)):
        at, across, height = rng.uniform(1.3, 6) * nearest, rng.uniform(-3, 3), rng.uniform(0.5, 1.6)
        left, right = (centre + FOCAL * (across + side) / at for side in (-0.45, 0.45))
        top, bottom = (horizon + FOCAL * (1 - up) / at for up in (height, 0.0))
        box = (columns > left) & (columns < right) & (rows > top) & (rows < bottom) & (inverse < 1 / at + 1e-6)
        inverse, on_road = np.where(box, 1 / at, inverse), on_road & ~box
        colours = np.where(box, rng.uniform(0.05, 0.95, 3)[:, None, None], colours)
    lit = rng.uniform(0.7, 1.2) * (1 + rng.uniform(-0.2, 0.2) * (columns / WIDTH - 0.5))
    noisy = colours * lit + rng.normal(0, 0.03, colours.shape)
    return noisy.clip(0, 1), (inverse * nearest).clip(0, 1), on_road.astype(float)


class Segmenter(nn.Module):
    """Two halvings, a wide look at what is left, and back to pixels; it is told which pixels are hidden."""

    def __init__(self, fills: dict[str, np.ndarray], channels: int = 16) -> None:
        super().__init__()
        for name, fill in fills.items():
            self.register_buffer(name, torch.from_numpy(fill))
        self.fine = nn.Conv2d(6, channels, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.wide = nn.ModuleList(
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=step, dilation=step) for step in (1, 2, 3)
        )
        self.back = nn.Conv2d(3 * channels, 2 * channels, 3, padding=1)
        self.out = nn.ConvTranspose2d(2 * channels, 2, 2, stride=2)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Scores of both classes, ``(N, 2, 32, 36)``."""
        hidden = [(part == fill).all(dim=1, keepdim=True) for part, fill in ((rgb, self.rgb), (depth, self.depth))]
        fine = self.fine(torch.cat([rgb, depth, *(one.to(rgb.dtype) for one in hidden)], dim=1)).relu()
        coarse = self.coarse(fine).relu()
        for layer in self.wide:
            coarse = coarse + layer(coarse).relu()
        larger = nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return self.out(self.back(torch.cat([fine, larger], dim=1)).relu())

    @torch.no_grad()
    def labels(self, x: np.ndarray) -> np.ndarray:
        """The class of each pixel, 1 where there is a road."""
        return self(*(torch.from_numpy(x[name].copy()) for name in ("rgb", "depth"))).argmax(dim=1).numpy()


def elements_of_roads(x: np.ndarray) -> dict[str, Elements]:
    """Blocks of 4 x 4 pixels of colours and of depth, hidden ones filled with the mean."""
    found: dict[str, Elements] = {}
    for name, channels in (("rgb", 3), ("depth", 1)):
        blocks = Blocks(image(name, channels, HEIGHT, WIDTH), BLOCK)
        found[name] = blocks.with_fill(mean_fill(blocks.modality, x[name]))
    return found


def trained(of: Scenes, elements: dict[str, Elements], seed: int, steps: int = STEPS, masked: bool = True) -> Segmenter:
    """Train on scenes of which an eighth of the blocks of each sensor is seen, or all."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Segmenter({name: np.asarray(one.modality.fill, dtype=np.float32) for name, one in elements.items()})
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    road = torch.from_numpy(of.road.astype(np.int64))
    for _ in range(steps):
        rows = rng.integers(len(of.x), size=BATCH)
        seen = of.x[rows]
        for name, one in elements.items() if masked else ():
            seen = with_field(seen, name, Keep(one, KEPT).ablated(seen[name], rng))
        scores = model(*(torch.from_numpy(seen[name].copy()) for name in ("rgb", "depth")))
        optimizer.zero_grad()
        nn.functional.cross_entropy(scores, road[rows]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


#: By name.
WAYS: dict[str, Masks] = {
    "mmcert": Independent({"rgb": KEPT, "depth": KEPT}, 100, choosing=1),
    "joint": Joint({"rgb": KEPT, "depth": KEPT}, 100, choosing=1),
    "one-sided": Independent({"rgb": KEPT, "depth": KEPT}, 1000, choosing=1),
    "partition": Partition({"rgb": KEPT, "depth": KEPT}),
}


def measured(
    seed: int, steps: int = STEPS, tested: int = TESTED, count: int = TRAINED, masked: bool = True
) -> dict[str, np.ndarray]:
    """By a way, a measure and a budget, ``"partition/iou/1,0"``, the least that it can be for each scene, ``(N,)``."""
    train, test = scenes(count, 2 * seed), scenes(tested, 2 * seed + 1)
    elements = elements_of_roads(train.x)
    started = time.process_time()
    model = trained(train, elements, seed, steps, masked)
    found = {"seconds/training": np.array(time.process_time() - started)}
    found["base"] = np.array((model.labels(test.x) == test.road).mean())
    # What is right of an answer that looks at nothing.
    found["prior"] = np.array(((train.road.mean(axis=0) > 0.5) == test.road).mean())
    modalities = {name: of.modality for name, of in elements.items()}
    for way, masks in WAYS.items():
        started = time.process_time()
        segmenter = AblatedSegmenter(model.labels, elements, masks, modalities, 2, batch_size=128)
        certificates = segmenter.certify(test.x, test.road.astype(np.int64))
        for budget in BUDGETS:
            of = [
                one.lower_bounds(truth, dict(zip(elements, budget, strict=True)))
                for one, truth in zip(certificates, test.road, strict=True)
            ]
            for measure in ("accuracy", "f", "iou"):
                found[f"{way}/{measure}/{','.join(map(str, budget))}"] = np.array([one[measure] for one in of])
        found[f"{way}/seconds"] = np.array((time.process_time() - started) / tested)
        found[f"{way}/votes"] = np.array(segmenter.ensemble.passes["votes"] / tested)
    return found
