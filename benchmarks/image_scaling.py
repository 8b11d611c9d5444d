"""What can be hidden in a large picture by each resize: what the closed form says, and what the attack does.

    python benchmarks/image_scaling.py

Two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import ImageScalingAttack
from art_multimodal.demo.digits_data import DigitsData
from art_multimodal.functional.image_scaling import price, share_seen
from art_multimodal.functional.resizing import RESIZERS
from art_multimodal.models.resized import with_resize

ROOT = Path(__file__).parents[1]
FACTORS = (2, 4, 8)
#: What large pictures are reduced to in the closed form, which hardly depends on it.
SIDE = 64
#: The attack is made at this factor.
FACTOR = 8
PROTOCOL = (
    f"The closed form: a picture is reduced to {SIDE} x {SIDE} pixels; the root mean square of the least "
    "change, over all pixels of the large picture, for each unit of white noise that is hidden, and the share "
    "of its pixels that the resize looks at. The attack: digits that `demo:digits` was not trained on, "
    f"enlarged by {FACTOR} (each pixel a square), in each of which the next digit of another class is hidden, "
    "in 8 bits. `seen as hidden`: the share that the model with this resize takes for the hidden digit; `by "
    "Pillow`: that the model with its own resize does, which is nearer to what a person sees."
)


def closed_form() -> dict[str, Any]:
    """The price of each resize, whatever the pictures."""
    rows = []
    for name, resizer in RESIZERS.items():
        cells = []
        for factor in FACTORS:
            matrix = resizer.matrix(factor * SIDE, SIDE)
            cells += [f"{price((matrix, matrix)):.3f}", f"{100 * share_seen((matrix, matrix)):.1f} %"]
        rows.append([f"`{name}`", *cells])
    header = ["resize", *(cell for factor in FACTORS for cell in (f"price at {factor}×", f"pixels at {factor}×"))]
    return {"title": "What the closed form says", "header": header, "rows": rows}


def pictures(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, DigitsData]:
    """Large pictures, what is to be hidden in each, and the labels of that."""
    data = DigitsData()
    images = np.stack([data.image(index) for index in range(len(data))])
    labels = np.array([data.label_of(index) for index in range(len(data))])
    other = [next(j for j in range(index + 1, len(data)) if labels[j] != labels[index]) for index in range(count)]
    large = np.kron(images[:count], np.ones((1, 1, FACTOR, FACTOR), dtype=np.float32))
    return large, images[other], labels[other], data


def attacked(count: int) -> list[dict[str, Any]]:
    """The attack by each resize."""
    large, targets, labels, data = pictures(count)
    model = load_model("demo:digits")
    own = ZeroShotClassifier(model, data.class_names, data.templates, device_type="cpu")
    found = []
    for name in RESIZERS:
        victim = ZeroShotClassifier(with_resize(model, name), data.class_names, data.templates, device_type="cpu")
        attack = ImageScalingAttack(victim, max_iter=200, verbose=False)
        hidden = attack.generate(large, targets=targets)
        mean = {key: float(np.mean([getattr(one, key) for one in attack.records])) for key in vars(attack.records[0])}
        found.append(
            {
                "resize": name,
                **mean,
                "largest_residual": max(one.residual for one in attack.records),
                "predicted": attack.price(*large.shape[2:]) * mean["difference"],
                "changed": float((np.abs(hidden - large).max(axis=1) > 0.5 / 255).mean()),
                "seen_as_hidden": float((victim.predict_labels(hidden) == labels).mean()),
                "by_pillow": float((own.predict_labels(hidden) == labels).mean()),
            }
        )
    return found


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "image_scaling.json")
    options = parser.parse_args(arguments)
    found = attacked(options.count)
    rows = [
        [
            f"`{one['resize']}`",
            f"{one['difference']:.3f}",
            f"{one['predicted']:.3f}",
            f"{one['closed_form']:.3f}",
            f"{one['change']:.3f}",
            f"{100 * one['changed']:.0f} %",
            f"{255 * one['largest_residual']:.1f}",
            f"{100 * one['seen_as_hidden']:.0f} %",
            f"{100 * one['by_pillow']:.0f} %",
        ]
        for one in found
    ]
    header = ["resize", "hidden (rms)", "as white noise", "closed form", "change (rms)", "pixels changed"]
    header += ["largest residual of 255", "seen as hidden", "by Pillow"]
    title = f"The attack at {FACTOR}×, on {options.count} digits"
    result = {
        "protocol": PROTOCOL,
        "command": "python benchmarks/image_scaling.py",
        "settings": {"count": options.count},
        "attacked": found,
        "tables": [closed_form(), {"title": title, "header": header, "rows": rows}],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in rows:
        print(*row, sep="  ")
    return result


if __name__ == "__main__":
    main()
