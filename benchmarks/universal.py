"""What one perturbation for all images does to images and models that it was not learned on.

    python benchmarks/universal.py

Some five minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
from art_multimodal.attacks.evasion.universal import (
    UniversalPatch,
    UniversalPatchAttack,
    UniversalPerturbation,
    UniversalPerturbationAttack,
    random_perturbation,
)
from art_multimodal.demo.digits_data import DigitsData, ink_on_paper, load_strokes
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing

ROOT = Path(__file__).parents[1]
PATCH_SHARE = 0.1
PROTOCOL = (
    "Handwritten digits, 32 x 32 pixels, black on white. Perturbations are learned on digits of the training set "
    "without their labels, and measured on digits that neither they nor the models have seen: the share whose "
    "answer is another one, with 95 % intervals. Models: the embedded `demo:digits` and `demo:digits/robust`, and "
    "two image towers that this script trains under noise beside the text tower of the first, a convolutional network "
    "and a vision transformer. A star marks surrogates of the row; the other models are unseen ones. `noise`: corners "
    "of the same ball, the mean of five. `each image by itself`: PGD with 20 steps on the model itself, which knows "
    f"everything. Patches cover {100 * PATCH_SHARE:.0f} % of the image, at random places."
)


class OtherTower(DualEncoder):
    """Another image tower beside the text tower of a demo model."""

    def __init__(self, demo: DualEncoder, tower: nn.Module) -> None:
        super().__init__(ImagePreprocessing((32, 32), (0.5,) * 3, (0.5,) * 3), demo.context_length, demo.pad_id)
        self.demo, self.tower = demo, tower
        self.logit_scale = nn.Parameter(demo.logit_scale.detach().clone())

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.tower(pixels)

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.demo.text_tower(tokens)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        return self.demo.token_ids(texts, length)


class SmallTransformer(nn.Module):
    """A vision transformer with patches of 4 pixels and two layers."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.positions = nn.Parameter(0.02 * torch.randn(64, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, out)

    def forward(self, pixels: Tensor) -> Tensor:
        states = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.layers(states).mean(dim=1))


def convolutional(width: int, out: int) -> nn.Module:
    """Three convolutions."""
    return nn.Sequential(
        *(nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(2 * width, 2 * width, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * width * 16, out)),
    )


def trained(demo: DualEncoder, tower: nn.Module, classes: Tensor, x: Tensor, y: Tensor, epochs: int) -> OtherTower:
    """A tower that was taught to meet the embeddings of the class prompts."""
    model = OtherTower(demo, tower)
    optimizer = torch.optim.AdamW(tower.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * -(-len(x) // 64))
    draw = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=draw).split(64):
            noisy = x[rows] + 0.1 * torch.randn(x[rows].shape, generator=draw)
            logits = 20 * model.encode_image(noisy.clamp(0, 1)) @ classes.T
            loss = nn.functional.cross_entropy(logits, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def models(epochs: int, count: int) -> tuple[dict[str, ZeroShotClassifier], np.ndarray, np.ndarray]:
    """All classifiers; the images to learn on; and unseen ones."""
    data = DigitsData()
    strokes, labels = load_strokes("train")
    x = ink_on_paper(strokes, np.zeros(3, np.float32), np.ones(3, np.float32))
    demo, robust = load_model("demo:digits"), load_model("demo:digits/robust")

    def classifier(model: DualEncoder) -> ZeroShotClassifier:
        return ZeroShotClassifier(model, data.class_names, data.templates, device_type="cpu")

    found = {"demo:digits": classifier(demo), "demo:digits/robust": classifier(robust)}
    classes = found["demo:digits"].class_features().detach()
    images, truth = torch.from_numpy(x), torch.from_numpy(labels)
    torch.manual_seed(0)
    for name, tower in (
        ("convolutional", convolutional(16, classes.shape[1])),
        ("transformer", SmallTransformer(48, classes.shape[1])),
    ):
        found[name] = classifier(trained(demo, tower, classes, images, truth, epochs))
    unseen = np.stack([data.image(index) for index in range(count)])
    return found, x[:256], unseen


def changed(victim: ZeroShotClassifier, x: np.ndarray, attacked: np.ndarray) -> np.ndarray:
    """Of each image whether the answer is another one."""
    return victim.predict_labels(attacked) != victim.predict_labels(x)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Learn, measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--eps", type=float, default=32 / 255)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "universal.json")
    options = parser.parse_args(arguments)
    victims, x, unseen = models(options.epochs, options.count)
    ball = {"eps": options.eps, "eps_step": options.eps / 10, "max_iter": options.steps, "verbose": False}
    demo, pair = ["demo:digits"], ["demo:digits", "convolutional"]
    records: dict[str, Any] = {}

    def learned(names: list[str], kind: type = UniversalPerturbationAttack, **settings: Any) -> Any:
        given = {**(ball if kind is UniversalPerturbationAttack else {}), "loss": "cross_entropy", **settings}
        attack = kind(victims[names[0]], [victims[name] for name in names], surrogate_names=names, **given)
        attack.fit(x)
        records[f"{kind.__name__} {given['loss']} {given.get('arms', 1)} of {len(names)}: {names[-1]}"] = [
            vars(record) for record in attack.records
        ]
        return attack.perturbation if kind is UniversalPerturbationAttack else attack.patch

    rows: dict[str, list[Any]] = {
        "one surrogate": [learned(demo)],
        "one surrogate, `similarity`": [learned(demo, loss="similarity")],
        "another surrogate": [learned(["convolutional"])],
        "a transformer as surrogate": [learned(["transformer"])],
        "two surrogates, a bandit chooses one": [learned(pair)],
        "two surrogates, both in each step": [learned(pair, arms=2)],
    }
    like = rows["one surrogate"][0]
    rows = {"noise": [random_perturbation(like, seed) for seed in range(5)], **rows}
    patch = {"side": 12, "share_min": PATCH_SHARE / 2, "share_max": PATCH_SHARE, "max_iter": options.steps}
    draw = np.random.default_rng(0)
    rows["random patch"] = [UniversalPatch(draw.random((3, 12, 12), dtype=np.float32)) for _ in range(5)]
    rows["patch, two surrogates"] = [learned(pair, UniversalPatchAttack, verbose=False, **patch)]
    found: list[dict[str, Any]] = []
    for name, universals in rows.items():
        for victim, classifier in victims.items():
            flips = [changed(classifier, unseen, _applied(of, unseen)) for of in universals]
            own = any(victim in of.surrogates for of in universals)
            cell = {"perturbation": name, "victim": victim, "surrogate": own, "share": float(np.mean(flips))}
            found.append({**cell, "of": len(unseen)})
    for victim, classifier in victims.items():
        attack = ProjectedGradientDescentDualEncoder(
            classifier, eps=options.eps, eps_step=options.eps / 8, max_iter=20, seed=0, verbose=False
        )
        share = float(changed(classifier, unseen, attack.generate(unseen)).mean())
        cell = {"perturbation": "each image by itself", "victim": victim, "surrogate": False, "share": share}
        found.append({**cell, "of": len(unseen)})
    cells: dict[str, list[str]] = {}
    for cell in found:
        low, high = proportion_ci95(round(cell["share"] * cell["of"]), cell["of"])
        cells.setdefault(cell["perturbation"], []).append(
            f"{'* ' if cell['surrogate'] else ''}{100 * cell['share']:.1f} % ({100 * low:.0f}–{100 * high:.0f})"
        )
    result = {
        "protocol": f"{PROTOCOL} Radius {round(255 * options.eps)}/255 in l_inf, {options.steps} steps.",
        "command": "python benchmarks/universal.py",
        "settings": {key: value for key, value in vars(options).items() if key != "out"},
        "found": found,
        "surrogates": records,
        "table": {
            "header": ["perturbation", *victims],
            "rows": [[name, *row] for name, row in cells.items()],
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in result["table"]["rows"]:
        print(*row, sep="  ")
    return result


def _applied(universal: UniversalPerturbation | UniversalPatch, x: np.ndarray) -> np.ndarray:
    if isinstance(universal, UniversalPatch):
        return universal.applied(x, PATCH_SHARE)
    return universal.applied(x)


if __name__ == "__main__":
    main()
