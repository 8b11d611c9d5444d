"""What a certificate costs: the whole frontier of 100 images, and 56 masks of a ViT-B/32 in passes of an image.

python -m benchmarks.certificates.cost
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_multimodal import FusionClassifier, ZeroShotClassifier, load_model
from art_multimodal.ablation import Blocks, Elements, Points
from art_multimodal.estimators.certification import AblatedEnsemble, Design, Masks, Partition
from art_multimodal.functional.designs import affine_plane

RESULTS = Path(__file__).parents[1] / "results" / "certificate_cost.json"
#: What is asked for: seconds on two cores, and passes of whole images.
MOST_SECONDS, MOST_PASSES = 60.0, 12.0
PROTOCOL = (
    "Whole frontiers of so many samples, worst places searched, with the models as they are shipped (which certify "
    "little, but cost the same). ViT-B/32: the geometry of CLIP's image tower with random weights, 7 of 49 patches in "
    "each of the 56 masks of the affine plane; hidden patches are dropped (encode_visible). The ratio is the median "
    "over repeats of the time of all masks of an image over that of a pass of the whole image."
)


def frontiers(samples: int) -> list[list[str]]:
    """Seconds of the frontiers of samples of the demos."""
    from art_multimodal.demo.digits_data import DigitsData
    from art_multimodal.demo.views_data import ViewsData

    digits, views = DigitsData(), ViewsData()
    images = np.stack([digits.image(row) for row in range(samples)])
    zero_shot = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, device_type="cpu")
    zero_shot_image = Blocks(zero_shot.asking(1).modalities["image"], 5)
    fusion = FusionClassifier(load_model("demo:views/concat"), device_type="cpu")
    of_views: dict[str, Elements] = {"pix": Blocks(views.modalities["pix"], 4), "fou": Points(views.modalities["fou"])}
    rows = []
    contenders: tuple[tuple[str, Any, dict[str, Elements], Masks, np.ndarray], ...] = (
        ("`demo:digits`, 49 blocks, design", zero_shot, {"image": zero_shot_image}, Design({"image": 7}), images),
        (
            "`demo:views/concat`, partition",
            fusion,
            of_views,
            Partition({"pix": 2, "fou": 9}),
            views.samples()[:samples],
        ),
    )
    for title, classifier, elements, masks, x in contenders:
        ensemble = AblatedEnsemble(classifier, elements, masks)
        started = time.perf_counter()
        certificates = ensemble.certify(x)
        seconds = time.perf_counter() - started
        votes = int(certificates[0].votes.sum()) + certificates[0].without_class
        rows.append([title, str(votes), str(len(x)), f"{seconds:.1f}", str(seconds <= MOST_SECONDS)])
    return rows


@torch.no_grad()
def passes(repeats: int, model: str = "ViT-B-32") -> float:
    """Of a whole image, that all masks of one cost."""
    import open_clip

    encoder = ZeroShotClassifier(
        open_clip.create_model(model).eval(), ["a", "b"], tokenizer=open_clip.get_tokenizer(model), device_type="cpu"
    ).dual_encoder
    side = 7
    tokens = torch.from_numpy(np.nonzero(affine_plane(side))[1].reshape(1, side * side + side, side))
    image = torch.rand(1, 3, 224, 224)
    encoder.encode_image(image), encoder.encode_visible(image, tokens)
    ratios = []
    for _ in range(repeats):
        started = time.process_time()
        encoder.encode_image(image)
        middle = time.process_time()
        encoder.encode_visible(image, tokens)
        ratios.append((time.process_time() - middle) / (middle - started))
    return statistics.median(ratios)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    rows = frontiers(options.samples)
    ratio = passes(options.repeats)
    result = {
        "protocol": PROTOCOL,
        "command": "python -m benchmarks.certificates.cost",
        "threads": torch.get_num_threads(),
        "passes": round(ratio, 2),
        "tables": [
            {"header": ["model and masks", "votes", "samples", "seconds", f"at most {MOST_SECONDS:g}"], "rows": rows},
            {
                "header": ["56 masks of ViT-B/32", "passes of an image", f"at most {MOST_PASSES:g}"],
                "rows": [["7 of 49 patches each", f"{ratio:.1f}", str(ratio <= MOST_PASSES)]],
            },
        ],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for table in result["tables"]:
        for row in (table["header"], *table["rows"]):
            print("  ".join(f"{cell:<34}" for cell in row))
    return result


if __name__ == "__main__":
    main()
