"""What is compared: a fusion with the training that its paper gives it, clean or under attack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from art_multimodal import FusionClassifier
from art_multimodal.defences.trainer import FusionTrainer, ScoreAscent, TrainingSettings
from art_multimodal.models.families.modular.towers import fitting_model
from benchmarks.fusions.problems import Problem

#: Gradient steps of an attack in training; joint and in-turn take as many more as there are modalities, so that a step
#: costs as much as that of most-vulnerable, which attacks each.
STEPS = 5
BATCH, WIDTH, LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 50, 32, 3e-3, 0.02, 0.15


@dataclass(frozen=True)
class Contender:
    """A fusion and how it is trained.

    :param fusion: Name of the registry of fusions.
    :param method: Name of the registry of methods.
    :param schedule: Of the attack on half of each batch; empty for none.
    :param radius: Which of the three radii that attack has.
    :param options: Of the fusion.
    """

    fusion: str
    method: str = "plain"
    schedule: str = ""
    radius: int = 1
    options: dict[str, Any] = field(default_factory=dict)


CONTENDERS = {
    "concat": Contender("concat"),
    "gated": Contender("gated"),
    "bilinear": Contender("bilinear"),
    "cross_attention": Contender("cross_attention"),
    "mcmult": Contender("mcmult", options={"layers": 2}),
    "deq": Contender("deq"),
    "unis_mmc": Contender("unis_mmc", "unis_mmc"),
    "late": Contender("late", "auxiliary"),
    "mmlora": Contender("late", "mmlora"),
    "qmf": Contender("qmf", "qmf"),
    "mla": Contender("mla", "mla"),
    "orthogonal": Contender("orthogonal", "crmt"),
    "median": Contender("median", "auxiliary"),
    "consensus": Contender("consensus", "auxiliary"),
    "concat, joint": Contender("concat", "plain", "joint"),
    "concat, in-turn": Contender("concat", "plain", "in-turn"),
    "concat, most-vulnerable": Contender("concat", "plain", "most-vulnerable"),
    "late, most-vulnerable": Contender("late", "auxiliary", "most-vulnerable"),
    "qmf, most-vulnerable": Contender("qmf", "qmf", "most-vulnerable"),
    "median, most-vulnerable": Contender("median", "auxiliary", "most-vulnerable"),
    "consensus, most-vulnerable": Contender("consensus", "auxiliary", "most-vulnerable"),
    "concat, most-vulnerable, large": Contender("concat", "plain", "most-vulnerable", 2),
    "late, most-vulnerable, large": Contender("late", "auxiliary", "most-vulnerable", 2),
    "orthogonal, most-vulnerable, large": Contender("orthogonal", "crmt", "most-vulnerable", 2),
    "consensus, most-vulnerable, large": Contender("consensus", "auxiliary", "most-vulnerable", 2),
    "consensus, joint": Contender("consensus", "auxiliary", "joint"),
}


def trained(contender: Contender, problem: Problem, seed: int) -> FusionClassifier:
    """Train a contender with small towers."""
    torch.manual_seed(seed)
    x, y = problem.train
    model = fitting_model(
        contender.fusion, problem.modalities, problem.class_names, x, width=WIDTH, **contender.options
    )
    if problem.start is not None:
        problem.start(model, seed, WIDTH)
    classifier = FusionClassifier(model, device_type="cpu")
    attack, more = None, {}
    if contender.schedule:
        attack = ScoreAscent(
            {name: radii[contender.radius] for name, radii in problem.radii.items()}, contender.schedule
        )
        more = {"ratio": 0.5}
    times = 1 if contender.schedule == "most-vulnerable" else len(problem.radii)
    settings = TrainingSettings(
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        modality_dropout=DROPOUT,
        max_iter=STEPS * times,
        seed=seed,
    )
    FusionTrainer(classifier, contender.method, settings, attack, **more).fit(
        x, y, batch_size=BATCH, nb_epochs=problem.epochs
    )
    return classifier
