"""What the published decoupling search costs with one model call per probe, and what it costs here.

    python benchmarks/decoupling_cost.py

Late fusion over the geometry of CLIP ViT-B/32 with random weights. Both sides run the same search on the same samples
and must agree in every record; CPU seconds of one thread, alternating, medians of the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from art_multimodal import FusionClassifier, image_text_pairs
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling.search import Linearisation, Probe, RemovalTask, exhaustive_search
from art_multimodal.attacks.searching import Answer, run_searches
from art_multimodal.functional.points import Costs, Layout, Removal
from art_multimodal.models.families.late_fusion.model import LateFusion
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.models.fast_gradients import with_fast_gradients
from art_multimodal.texts import without_words

ROOT = Path(__file__).parents[1]
TEXTS = ("is there a red car on the hill", "two people play chess in a park", "what does the small sign say")
PROTOCOL = (
    "Exhaustive search (label decision, image and text, squares down to `min_block` pixels) on late fusion over "
    "the geometry of CLIP ViT-B/32 (random weights, 224 x 224 pixels, 77 tokens, a linear predictor whose bias makes "
    "the classes even, so that many probes flip). `one call per probe`: clone the image, remove, run the whole model "
    "on one sample. `here`: DecouplingAttack. CPU seconds of one thread, medians of alternating repeats; the records "
    "are identical."
)


def build() -> FusionClassifier:
    """Late fusion on an untrained ViT-B/32, its classes made even on noise."""
    torch.manual_seed(0)
    clip = open_clip.create_model("ViT-B-32")
    with_fast_gradients(clip)
    encoder = OpenCLIPEncoder(clip, open_clip.get_tokenizer("ViT-B-32"))
    model = LateFusion(encoder, ("a", "b", "c")).eval()
    classifier = FusionClassifier(model, device_type="cpu")
    scores = classifier.predict(samples(6, seed=1))
    with torch.no_grad():
        # Embeddings of an untrained model hardly differ: what they have in common must not decide.
        model.predictor[0].bias -= torch.from_numpy(scores.mean(axis=0))
    return classifier


def samples(count: int, seed: int = 0) -> np.ndarray:
    """Pairs of smooth random pictures and questions."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((count, 3, 7, 7), dtype=np.float32))
    images = torch.nn.functional.interpolate(coarse, (224, 224), mode="bicubic").clamp(0, 1)
    return image_text_pairs(images.numpy(), [TEXTS[row % len(TEXTS)] for row in range(count)])


def one_call_per_probe(classifier: FusionClassifier, pairs: np.ndarray, min_block: int) -> list[tuple[Any, ...]]:
    """The same search, asked the plain way."""
    model = classifier.model
    fill = model.preprocess.mean
    results = []
    for pair in pairs:
        image, text = torch.from_numpy(pair["image"].copy()), pair["text"]
        layout = Layout((tuple(image.shape[1:]),), len(text.split()))

        def ask(
            probes: list[tuple[int, Probe]],
            image: torch.Tensor = image,
            text: str = text,
            layout: Layout = layout,
        ) -> list[Answer]:
            answers = []
            for _, removal in probes:
                assert not isinstance(removal, Linearisation)
                occluded = image.clone()
                mask = torch.from_numpy(removal.mask(layout).reshape(image.shape[1:]))
                occluded = torch.where(mask, fill, occluded)
                with torch.no_grad():
                    tokens = model.tokenize([without_words(text, removal.words)])
                    label = int(model(occluded[None], tokens).argmax())
                answers.append(Answer(label))
            return answers

        clean = ask([(0, Removal())])[0]
        task = RemovalTask(clean=clean, layout=layout, costs=Costs.of_points(layout), min_block=min_block)
        (outcome,) = run_searches([exhaustive_search(task)], ask)
        results.append((outcome.success, outcome.removal, outcome.answer.label, outcome.queries))
    return results


def here(classifier: FusionClassifier, pairs: np.ndarray, min_block: int) -> list[tuple[Any, ...]]:
    """The attack as it is shipped."""
    attack = DecouplingAttack(classifier, search="exhaustive", min_block=min_block, verbose=False)
    attack.generate(pairs)
    return [(r.success, Removal(r.blocks, r.words), r.label_after, r.queries) for r in attack.records]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--min-block", type=int, default=14)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "decoupling_cost.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    classifier, pairs = build(), samples(options.samples)
    seconds: dict[str, list[float]] = {"one call per probe": [], "here": []}
    towers = {"image": 0, "text": 0}
    for _ in range(options.repeats):
        found = []
        for name, run in (("one call per probe", one_call_per_probe), ("here", here)):
            started = time.process_time()
            found.append(run(classifier, pairs, options.min_block))
            seconds[name].append(time.process_time() - started)
        if found[0] != found[1]:
            raise SystemExit("The two do not agree, so their costs cannot be compared.")
    encoder = classifier.model.dual_encoder
    for name in towers:
        tower = f"{name}_tower"
        plain = getattr(encoder, tower)
        setattr(encoder, tower, lambda x, n=name, f=plain: (towers.__setitem__(n, towers[n] + len(x)), f(x))[1])
    here(classifier, pairs, options.min_block)
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    probes = sum(record[3] for record in found[1])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "protocol": PROTOCOL,
        "command": "python benchmarks/decoupling_cost.py",
        "settings": {"samples": options.samples, "min_block": options.min_block, "repeats": options.repeats},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "seconds": seconds,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "probes": probes,
        "towers_here": towers,
        "successes": sum(record[0] for record in found[1]),
        "table": {
            "header": ["way", "CPU seconds", "image tower", "text tower", "times as much as here"],
            "rows": [
                [
                    "one call per probe",
                    f"{medians['one call per probe']:.1f}",
                    probes,
                    probes,
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                ],
                ["here", f"{medians['here']:.1f}", towers["image"], towers["text"], "1"],
            ],
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("ratio", "ratios", "probes", "towers_here", "successes")}, indent=2))
    return result


if __name__ == "__main__":
    main()
