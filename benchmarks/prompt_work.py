"""What embedding 1,000 classes in 80 templates takes, by how it is done: tokens, operations, and the least time.

python benchmarks/prompt_work.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ROOT = Path(__file__).parents[1]
#: The text tower of CLIP's ViT-B/32.
WIDTH, LAYERS = 512, 12
CORES = 2
PROTOCOL = (
    "The 80 prompt templates of the CLIP paper with the names of ImageNet's classes, in the tokens of open_clip's "
    "ViT-B-32, whose text tower has 12 layers of width 512. Tokens that go through it, and the operations of its "
    "matrix products; attention among tokens is left out. The least time is that of these products alone in float32, "
    "at the speed that products of 512 tokens reach on a core of this machine (the best of thirty, in processor time), "
    "on two cores. The last row is what is done here."
)


def speed(dtype: torch.dtype, tokens: int = 512) -> float:
    """Operations in a second of processor time, in matrix products of the text tower's size: the best of thirty."""
    states, weights = (torch.randn(rows, WIDTH).to(dtype) for rows in (tokens, 4 * WIDTH))
    seconds = []
    for _ in range(30):
        started = time.process_time()
        F.linear(states, weights)
        seconds.append(time.process_time() - started)
    return 2 * states.numel() * len(weights) / min(seconds)


def ways(tokens: Tensor, ends: Tensor, at_once: int) -> list[tuple[str, int, int]]:
    """Ways to embed texts: tokens that go through the tower, and operations.

    :param tokens: Of distinct texts, ``[M, L]``.
    :param ends: The last column of each that matters, ``[M]``.
    :param at_once: Tokens of a pass that computes common beginnings once.
    """
    from art_multimodal.functional.prefix_tree import prefix_trees
    from art_multimodal.models.causal_text import TREES_AT_ONCE

    # Of a token in a layer: queries, keys, values; what is behind the heads, a projection and two wide layers.
    heads, behind = 2 * 3 * WIDTH**2, 2 * 9 * WIDTH**2
    of_token = LAYERS * (heads + behind)
    once, opened = 0, 0
    trees = prefix_trees(tokens, ends, at_once)
    while group := list(islice(trees, TREES_AT_ONCE)):
        places = [pair for tree in group for pair in zip(tree.positions.tolist(), tree.ids.tolist(), strict=True)]
        once += len(places)
        opened += len(set(places))
    counts = {
        "all positions of the context": tokens.numel(),
        "up to the longest end among 256 texts": sum(len(part) * int(part.max() + 1) for part in ends.split(256)),
        "each text up to its end": int((ends + 1).sum()),
        "common beginnings once": once,
    }
    rows = [(way, count, count * of_token) for way, count in counts.items()]
    # Behind the last attention only the ends of texts go on.
    ends_alone = once * of_token - (once - len(ends)) * behind
    return [
        *rows,
        ("and the end of the last layer for ends alone", once, ends_alone),
        ("and the heads of the first for a token at a position once", once, ends_alone - (once - opened) * heads),
    ]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    import open_clip

    from art_multimodal.datasets.named.imagenet import imagenet_templates
    from art_multimodal.models.causal_text import POSITIONS_AT_ONCE

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--classes", type=int, default=1000, help="the first ones, for a short run")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "prompt_work.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = list(open_clip.IMAGENET_CLASSNAMES)[: options.classes]
    texts = list(dict.fromkeys(one.replace("{}", name) for name in names for one in imagenet_templates()))
    tokens = open_clip.get_tokenizer("ViT-B-32")(texts)
    found = ways(tokens, tokens.argmax(dim=1), POSITIONS_AT_ONCE)
    speeds = {str(dtype).removeprefix("torch."): speed(dtype) for dtype in (torch.float32, torch.bfloat16)}
    per_second = CORES * speeds["float32"]
    result = {
        "protocol": PROTOCOL,
        "command": "python benchmarks/prompt_work.py",
        "machine": {"cores": os.cpu_count(), "threads": 1, "python": platform.python_version(),
                    "torch": version("torch")},
        "texts": len(texts),
        "operations_per_second_and_core": speeds,
        "tables": [
            {"title": "By how it is done", "header": ["way", "tokens", "10^12 operations", "least time on two cores"],
             "rows": [[way, f"{n:,}", f"{all_ / 1e12:.1f}", f"{all_ / per_second:.0f} s"] for way, n, all_ in found]},
            {"title": "Speed of matrix products on one core", "header": ["dtype", "10^9 operations a second"],
             "rows": [[dtype, f"{value / 1e9:.0f}"] for dtype, value in speeds.items()]},
        ],
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in result["tables"][0]["rows"] + result["tables"][1]["rows"]:
        print(" | ".join(row))
    return result


if __name__ == "__main__":
    main()
