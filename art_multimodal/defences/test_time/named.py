"""Defences that compute at test time, by the names that ``--defence`` takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from art_multimodal.defences.entry import DEFENCES, DefenceEntry, DefenceOption

#: How attacks that know the defence come through it; ``smooth`` answers otherwise than the defence, and is for Python.
_GRADIENT = DefenceOption("unrolled", kind=str, choices=("unrolled", "bpda"))


def _number(default: float, low: float, high: float) -> DefenceOption:
    return DefenceOption(default, low, high, kind=float)


def _build(kind: str, **options: Any) -> Any:
    from art_multimodal.defences import test_time

    return getattr(test_time, kind)(**options)


def _build_tapt(statistics: str, robust: str | None, **options: Any) -> Any:
    from art_multimodal.defences.test_time import LayerStatistics, TestTimeAdversarialPromptTuning

    other = None if robust is None else LayerStatistics.load(robust)
    return TestTimeAdversarialPromptTuning(LayerStatistics.load(statistics), other, **options)


def _register(
    name: str, kind: str | Callable[..., Any], summary: str, random: bool = True, **options: DefenceOption
) -> None:
    build = partial(_build, kind) if isinstance(kind, str) else kind
    options = {**options, "gradient": _GRADIENT}
    DEFENCES.add(name, DefenceEntry("image", summary, build, options, random=random, test_time=True))


_register(
    "ttc",
    "TestTimeCounterattack",
    "test time: counterattack away from the image's own embedding (TTC, arXiv:2503.03613)",
    eps=_number(4 / 255, 0, 1),
    max_iter=DefenceOption(2, 0, 100),
    beta=_number(2.0, -100, 100),
    threshold=_number(0.2, 1e-6, 100),
)
_register(
    "r_tpt",
    "RobustPromptTuning",
    "test time: prompts tuned on views, views weighed by how alike they are (R-TPT, arXiv:2504.11195)",
    views=DefenceOption(64, 1, 1000),
    selected=_number(0.1, 1e-6, 1),
    neighbours=DefenceOption(20, 1, 1000),
    temperature=_number(0.01, 1e-6, 1e6),
    lr=_number(0.005, 0, 100),
)
_register(
    "tapt",
    _build_tapt,
    "test time: prompts of both towers tuned on views, towards statistics of clean images (TAPT's objective, "
    "arXiv:2411.13136)",
    statistics=DefenceOption(
        None,
        kind=str,
        required="what clean images look like in the model's layers, which art-multimodal statistics MODEL --data DATA "
        "--out FILE writes",
    ),
    robust=DefenceOption(None, kind=str),
    views=DefenceOption(64, 1, 1000),
    selected=_number(0.1, 1e-6, 1),
    prompts=DefenceOption(2, 1, 1000),
    alpha=_number(0.5, 0, 1),
    lr=_number(5e-4, 0, 100),
)
_register(
    "et3",
    "EnergyGuidedTransformation",
    "test time: gradient steps to lower energy (ET3, arXiv:2603.26984)",
    random=False,
    eps=_number(1.0, 0, 1000),
    max_iter=DefenceOption(2, 0, 100),
)
_register(
    "dbd",
    "DirectionalBiasDefence",
    "test time: embedding moved along the shift of 31 transformations (DBD, arXiv:2606.06186)",
    kept=DefenceOption(16, 1, 31),
    threshold=_number(0.8, -1, 1 - 1e-6),
    amplification=_number(2.5, 0, 100),
)
_register(
    "resize_pad",
    "RandomResizePad",
    "test time: random size and place on a canvas (arXiv:1711.01991)",
    smallest=_number(0.8, 0.1, 1),
)
_register(
    "view_voting",
    "ViewVoting",
    "test time: mean of the probabilities of random views",
    views=DefenceOption(8, 1, 1000),
    smallest=_number(0.7, 0.01, 1),
    sigma=_number(0.03, 0, 10),
)
_register(
    "purification",
    "Purification",
    "test time: steps of denoising by total variation",
    random=False,
    strength=_number(0.05, 0, 100),
    max_iter=DefenceOption(5, 0, 1000),
)
_register(
    "coarse_grid",
    "CoarseGrid",
    "test time: a coarse grid of few greys, whose worst case can be counted (ours)",
    random=False,
    side=DefenceOption(8, 1, 1000),
    levels=DefenceOption(3, 2, 256),
)
