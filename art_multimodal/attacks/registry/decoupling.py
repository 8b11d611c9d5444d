"""MUROAN's attack: pixels and words are removed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from art_multimodal.attacks.evasion.decoupling import DecouplingAttack
from art_multimodal.attacks.registry.entry import (
    ATTACKS,
    PAIRS,
    RETRIEVAL,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    Budget,
    Estimator,
    Prepare,
    Run,
)
from art_multimodal.attacks.registry.gallery import on_gallery
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.prompts import fill_templates, removable_words


def _decoupling(search: str, modalities: tuple[str, ...] = ("image", "text")) -> Prepare:
    def prepare(estimator: Estimator, budget: Budget) -> Run:
        attack = DecouplingAttack(
            estimator,
            search=search,
            modalities=modalities,
            max_queries=budget.max_queries,
            batch_size=budget.batch_size,
            verbose=False,
        )

        def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
            adversarial = attack.generate(x)
            # Where a removed word stood: (number of the text, number of the word).
            if isinstance(estimator, FusionClassifier):
                places = [[(0, word) for word in record.words] for record in attack.records]
            else:
                removable = removable_words(estimator.templates)
                places = [[removable[word] for word in record.words] for record in attack.records]
            labels = np.array([record.label_after for record in attack.records], dtype=np.int64)
            details = [
                {
                    "share_removed": record.share_removed,
                    "pixels": record.pixels,
                    "blocks": [[block.row, block.column, block.height, block.width] for block in record.blocks],
                    "words": len(record.words),
                    "removed_words": [list(place) for place in words],
                    "queries": record.queries,
                }
                for record, words in zip(attack.records, places, strict=True)
            ]
            prompts = None
            if isinstance(estimator, ZeroShotClassifier) and estimator.templates:
                prompts = _prompts_without(estimator, [attack.templates_of(record) for record in attack.records])
            return Attacked(adversarial, labels, details, prompts=prompts)

        return run

    return on_gallery(prepare)


def _prompts_without(estimator: ZeroShotClassifier, templates: Sequence[Sequence[str]]) -> np.ndarray:
    """Prompts ``(N, K)`` of the classes by the templates that each sample was left with."""
    prompts = np.empty((len(templates), estimator.nb_classes), dtype=object)
    for row, left in enumerate(templates):
        for number, entry in enumerate(fill_templates(estimator.class_names, left)):
            prompts[row, number] = entry
    return prompts


ATTACKS.add(
    "decoupling_guided",
    AttackEntry("decoupling", "white box", "removes as few pixels and words as it can (ours)", _decoupling("guided")),
)
ATTACKS.add(
    "decoupling_image",
    AttackEntry(
        "decoupling",
        "white box",
        "removes as few pixels as it can (ours)",
        _decoupling("guided", ("image",)),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
    ),
)
ATTACKS.add(
    "decoupling_exhaustive",
    AttackEntry(
        "decoupling",
        "black box",
        "removes blocks of pixels and single words (MUROAN's search)",
        _decoupling("exhaustive"),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
    ),
)
