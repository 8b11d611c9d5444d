"""What certifies: the published samplers and rules, and ours, of the same budget of passes or of a larger one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb, prod
from typing import Any

from art_multimodal.estimators.certification import (
    AblatedEnsemble,
    AllSubsets,
    Design,
    Independent,
    Joint,
    Masks,
    Partition,
)
from benchmarks.certificates.problems import Problem

ALPHA = 0.001
#: Votes about one sample that are worth while where all subsets vote.
_MOST = 20_000


@dataclass(frozen=True)
class Method:
    """A way to certify.

    :param title: As tables show it.
    :param masks: Of the numbers of elements that are kept.
    :param location_aware: Whether the worst places are searched.
    :param rule: Of votes drawn at random.
    :param fits: Whether a problem has few enough votes for it.
    """

    title: str
    masks: Callable[[dict[str, int]], Masks]
    location_aware: bool = False
    rule: str = "majority"
    fits: Callable[[Problem], bool] = lambda problem: True

    def ensemble(self, classifier: Any, problem: Problem) -> AblatedEnsemble:
        """The smoothed classifier."""
        return AblatedEnsemble(
            classifier,
            problem.elements,
            self.masks(dict(problem.keep)),
            location_aware=self.location_aware,
            rule=self.rule,
            alpha=ALPHA,
            batch_size=512,
        )


def counts_of(problem: Problem) -> dict[str, int]:
    """Elements of a sample in each modality."""
    x = problem.test[0][:1]
    return {name: int(of.count(x[name])[0]) for name, of in problem.elements.items()}


def _few_subsets(problem: Problem) -> bool:
    counts = counts_of(problem)
    return prod(comb(counts[name], kept) for name, kept in problem.keep.items()) <= _MOST


METHODS = {
    "mmcert": Method("MMCert, N = 100", lambda keep: Independent(keep, 100, choosing=1), rule="published"),
    "joint": Method("randomised ablation, N = 100", lambda keep: Joint(keep, 100, choosing=1), rule="published"),
    "one-sided": Method("MMCert's draws, one-sided majority, N = 1000", lambda keep: Independent(keep, 1000)),
    "partition": Method("partition", Partition),
    "partition-located": Method("partition, worst places", Partition, location_aware=True),
    "design": Method("design", Design),
    "all": Method("all subsets", AllSubsets, fits=_few_subsets),
}
#: What the others are compared with, and what is attacked.
OURS, ATTACKED = "partition-located", "partition-located"


def without(place: int) -> Method:
    """The control: votes see nothing of the modality of this number, so that it can be changed at will."""

    def masks(keep: dict[str, int]) -> Masks:
        return Partition({name: 0 if number == place else kept for number, (name, kept) in enumerate(keep.items())})

    return Method("partition, nothing of {}", masks, location_aware=True)
