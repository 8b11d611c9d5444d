"""What is measured of one model: for each test sample whether it is right in every condition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import DecouplingAttack, ProjectedGradientDescentMultimodal
from art_multimodal.evaluations.single_source import SingleSource
from art_multimodal.sample_arrays import with_field
from benchmarks.fusions.problems import Problem

#: Standard deviations of the noise, in shares of a modality's range.
NOISE = (0.1, 0.3, 0.5)
#: Of the attacks.
STEPS, STARTS = 40, 1
#: Samples that are decoupled, and queries for each.
DECOUPLED, QUERIES = 40, 150


def measured(classifier: FusionClassifier, problem: Problem, seed: int) -> dict[str, np.ndarray]:
    """By the name of a condition, ``"single/fou/0.1"``, which samples are right; and facts about weights."""
    x, y = problem.test

    def right(changed: np.ndarray) -> np.ndarray:
        return classifier.predict_labels(changed, batch_size=500) == y

    found = {"clean": right(x)}
    for name in problem.radii:
        modality = classifier.modalities[name]
        low, high = modality.clip_values
        rng = np.random.default_rng(seed)
        for level in NOISE:
            values = np.array(modality.values(x[name]))
            noisy = values + level * (np.max(high) - np.min(low)) * rng.standard_normal(values.shape).astype(np.float32)
            found[f"noise/{name}/{level}"] = right(
                with_field(x, name, modality.with_values(x[name], np.clip(noisy, low, high).astype(np.float32)))
            )
    # Who may change more may change less: what has fallen at a smaller radius is not attacked again.
    standing = {name: np.ones(len(y), dtype=bool) for name in problem.radii}
    joint = np.ones(len(y), dtype=bool)
    for number in range(len(next(iter(problem.radii.values())))):
        at = {name: radii[number] for name, radii in problem.radii.items()}
        for name, radius in at.items():
            rows = np.flatnonzero(standing[name])
            if len(rows):
                single = SingleSource(
                    classifier,
                    {name: radius},
                    max_iter=STEPS,
                    num_random_init=STARTS,
                    batch_size=500,
                    seed=seed,
                    verbose=False,
                )
                source = single.evaluate(x[rows], y[rows]).sources[name]
                standing[name][rows] = source.attacked
                if number == 0:
                    found[f"removed/{name}"] = source.removed
                    if source.left_out is not None:
                        found[f"missing/{name}"] = source.left_out
            found[f"single/{name}/{radius:.4g}"] = standing[name].copy()
        # Who may attack all may attack one.
        joint &= np.all(list(standing.values()), axis=0)
        for loss in ("cross_entropy", "margin"):
            if joint.any():
                attack = ProjectedGradientDescentMultimodal(
                    classifier,
                    at,
                    loss=loss,
                    max_iter=STEPS,
                    num_random_init=STARTS,
                    batch_size=500,
                    seed=seed,
                    verbose=False,
                )
                joint[joint] = classifier.predict_labels(attack.generate(x[joint], y[joint])) == y[joint]
        found[f"joint/{number}"] = joint.copy()
    return found | dict(_weights(classifier, problem, seed)) | dict(_decoupled(classifier, problem))


def _weights(classifier: FusionClassifier, problem: Problem, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Mean weight of each modality, and its correlation with the modality's own loss, before and after an attack on it.

    The attack is that on the margin, at the middle radius.
    """
    if not classifier.multimodal.weighs:
        return
    x, y = problem.test
    for name, radii in problem.radii.items():
        attack = ProjectedGradientDescentMultimodal(
            classifier,
            {name: radii[1]},
            loss="margin",
            max_iter=STEPS,
            num_random_init=STARTS,
            batch_size=500,
            seed=seed,
            verbose=False,
        )
        for when, samples in (("before", x), ("after", attack.generate(x, y))):
            yield f"weights/{name}/{when}", _weight_and_correlation(classifier, samples, y, name)


@torch.no_grad()
def _weight_and_correlation(classifier: FusionClassifier, x: np.ndarray, y: np.ndarray, name: str) -> np.ndarray:
    asking = classifier.asking(500)
    seen: Any = {one: asking.see_field(one, field) for one, field in asking.fields(x).items()}
    said = asking.weighed(seen)
    assert said is not None
    losses = torch.nn.functional.cross_entropy(said.scores[name], torch.from_numpy(y), reduction="none")
    weights = said.weights[name]
    if float(weights.std()) < 1e-6 * float(weights.abs().mean()):
        return np.array([float(weights.mean()), np.nan])
    return np.array([float(weights.mean()), float(torch.corrcoef(torch.stack([weights, losses]))[0, 1])])


def _decoupled(classifier: FusionClassifier, problem: Problem) -> Iterator[tuple[str, np.ndarray]]:
    """Share of each modality that has to be removed for another answer, and of how many samples that succeeds."""
    x, y = problem.test
    rows = np.flatnonzero(classifier.predict_labels(x, batch_size=500) == y)[:DECOUPLED]
    if not len(rows):
        return
    for name in problem.radii:
        attack = DecouplingAttack(classifier, modalities=(name,), max_queries=QUERIES, batch_size=200, verbose=False)
        attack.generate(x[rows], y[rows])
        shares = [record.share_removed for record in attack.records if record.success]
        yield f"decoupling/{name}", np.array([np.mean(shares) if shares else np.nan, len(shares), len(rows)])
