"""Searches for a small removal that decouples the modalities.

A search is a generator for one sample: it yields lists of removals to try and is sent what the model answers. It knows
no model and no batches; :func:`run_searches` runs many of them side by side and puts their probes into common batches.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from art_multimodal.functional.occlusion import LEVELS, Block, Removal, Square, quadtree_root

#: Combinations of candidates that the published search tries for a sample.
MOST_COMBINATIONS = 500
#: Blocks of five levels of its quadtree.
MOST_BLOCKS = sum(4**level for level in range(1, LEVELS + 1))


@dataclass(frozen=True)
class Answer:
    """What the model says about one removal.

    :param decision: What the attack watches: the largest coordinate of the fused vector, or the predicted label.
    :param label: The predicted label.
    :param margin: How far the sample is from success: score of the clean label less the largest other one (targeted:
        largest other score less the target's). Negative on success.
    :param saliency: ``(H, W)``, where it was asked for: by how much the margin would fall, to first order, if a pixel
        were removed (for a removed pixel: by how much it has fallen).
    """

    decision: int
    label: int
    margin: float = 0.0
    saliency: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Linearisation:
    """A probe that asks for the saliency too. It costs two queries: a forward and a backward pass.

    :param toward: Take the margin over this class, instead of over the largest other one.
    """

    removal: Removal
    toward: int | None = None


Probe = Removal | Linearisation


@dataclass(frozen=True)
class Task:
    """One sample as a search sees it.

    :param height: Of the image, in pixels; 0 when the image may not be touched.
    :param width: Of the image, in pixels; 0 when the image may not be touched.
    :param words: Number of words that may be removed.
    :param clean: The model's answer to the intact sample.
    :param target: The wanted label, or ``None`` for any other than the clean one.
    :param rivals: Other classes worth aiming at, the most promising first.
    :param min_block: Squares of at most this side are not divided; ``None`` for five levels at any size.
    """

    height: int
    width: int
    words: int
    clean: Answer
    target: int | None = None
    rivals: tuple[int, ...] = ()
    min_block: int | None = None

    def is_divided(self, square: Square) -> bool:
        """Whether the drill-down looks into the quadrants of a square."""
        return square.is_divided if self.min_block is None else square.side > max(1, self.min_block)

    def is_success(self, answer: Answer) -> bool:
        """Whether the predicted label changed, or became the target."""
        return answer.label != self.clean.label if self.target is None else answer.label == self.target

    def is_candidate(self, answer: Answer) -> bool:
        """Whether the decision changed."""
        return answer.decision != self.clean.decision


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    :param removal: The best removal; empty without success, and where the intact sample has the wanted label already.
    :param answer: The model's answer to it; the clean one without success.
    :param success: Whether the label changed (or became the target).
    :param image_candidates: Candidate blocks, in the order in which the search recorded them.
    :param text_candidates: Candidate words, likewise.
    :param combinations: Number of combinations tried.
    :param progress: (queries so far, the intact sample included; points) of each removal that was the best yet.
    """

    removal: Removal
    answer: Answer
    success: bool
    image_candidates: tuple[Block, ...] = ()
    text_candidates: tuple[int, ...] = ()
    combinations: int = 0
    progress: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class DecouplingRecord:
    """The result for one sample.

    :param success: Whether the predicted label changed (or became the target).
    :param share_removed: Distinct removed pixels and words / (pixels + words); 0 without success.
    :param pixels: Number of distinct removed pixels.
    :param words: Indices of the removed words.
    :param blocks: Removed rectangles; empty where single pixels were removed.
    :param label_before: Predicted for the intact sample.
    :param label_after: Predicted for the returned sample.
    :param queries: Evaluations of the model for this sample, the intact one included.
    :param combinations: Combinations tried in the last stage.
    :param progress: For ``"guided"``: (queries so far, removed points) of each removal that was the best yet.
    """

    success: bool
    share_removed: float
    pixels: int
    words: tuple[int, ...]
    blocks: tuple[Block, ...]
    label_before: int
    label_after: int
    queries: int
    combinations: int
    progress: tuple[tuple[int, int], ...] = ()


#: Yields removals to try, is sent one answer for each, and returns the outcome.
Search = Generator[list[Probe], list[Answer], Outcome]


def exhaustive_search(task: Task, max_combinations: int = MOST_COMBINATIONS) -> Search:
    """The published procedure (arXiv:2112.12792): drill down a quadtree, delete words, combine candidates.

    Its order is the published one; squares of one level are asked about together, which changes nothing but speed.
    """
    if task.target is not None and task.is_success(task.clean):
        return Outcome(Removal(), task.clean, True)
    known: dict[Removal, Answer] = {}
    blocks = yield from _drill_down(task, known)
    words = yield from _single_words(task, known)
    candidates = [Removal(blocks=(block,)) for block in sorted(blocks, key=lambda block: block.area)]
    candidates += [Removal(words=(word,)) for word in words]
    tried = 0
    for chosen in _combinations(candidates):
        if tried == max_combinations:
            break
        tried += 1
        removal = chosen[0]
        for other in chosen[1:]:
            removal |= other
        if removal not in known:
            known[removal] = (yield [removal])[0]
        if task.is_success(known[removal]):
            return Outcome(removal, known[removal], True, tuple(blocks), tuple(words), tried)
    return Outcome(Removal(), task.clean, False, tuple(blocks), tuple(words), tried)


def _combinations(candidates: Sequence[Removal]) -> Generator[tuple[Removal, ...]]:
    for size in range(1, len(candidates) + 1):
        yield from combinations(candidates, size)


def _drill_down(task: Task, known: dict[Removal, Answer]) -> Generator[list[Probe], list[Answer], list[Block]]:
    """Return the candidate blocks in depth-first order, filling ``known``."""
    if not task.height or not task.width:
        return []
    root = quadtree_root(task.height, task.width)
    flipping = {}
    level = [root] if task.is_divided(root) else []
    while level:
        quadrants = {square: square.quadrants() for square in level}
        # Squares beyond the border are not there; equal blocks (possible where clipping meets) are asked about once.
        blocks = {
            block: None
            for squares in quadrants.values()
            for s in squares
            if (block := s.clipped(task.height, task.width))
        }
        probes = [probe for block in blocks if (probe := Removal(blocks=(block,))) not in known]
        if probes:
            known.update(zip(probes, (yield [*probes]), strict=True))
        level = []
        for square, squares in quadrants.items():
            flipping[square] = [
                s
                for s in squares
                if (block := s.clipped(task.height, task.width)) and task.is_candidate(known[Removal(blocks=(block,))])
            ]
            level += [s for s in flipping[square] if task.is_divided(s)]
    candidates: list[Block] = []
    stack = list(reversed(flipping.get(root, [])))
    while stack:
        square = stack.pop()
        block = square.clipped(task.height, task.width)
        assert block is not None
        candidates.append(block)
        stack += reversed(flipping.get(square, []))
    return candidates


def _single_words(task: Task, known: dict[Removal, Answer]) -> Generator[list[Probe], list[Answer], list[int]]:
    """Return the words whose deletion changes the decision, filling ``known``."""
    probes = [Removal(words=(word,)) for word in range(task.words)]
    if probes:
        known.update(zip(probes, (yield [*probes]), strict=True))
    return [probe.words[0] for probe in probes if task.is_candidate(known[probe])]


def run_searches(
    searches: Sequence[Search], ask: Callable[[list[tuple[int, Probe]]], list[Answer]]
) -> tuple[list[Outcome], list[int]]:
    """Run searches side by side until all have returned.

    :param searches: One per sample.
    :param ask: Answers probes ``(index of the sample, removal)``.
    :return: Outcomes, and the number of probes that each search asked for.
    """
    outcomes: list[Outcome | None] = [None] * len(searches)
    queries = [0] * len(searches)
    replies: dict[int, list[Answer] | None] = dict.fromkeys(range(len(searches)))
    while replies:
        wanted: dict[int, list[Probe]] = {}
        for index, reply in replies.items():
            try:
                wanted[index] = next(searches[index]) if reply is None else searches[index].send(reply)
            except StopIteration as stop:
                outcomes[index] = stop.value
        probes = [(index, removal) for index, removals in wanted.items() for removal in removals]
        answers = iter(ask(probes) if probes else [])
        replies = {index: [next(answers) for _ in removals] for index, removals in wanted.items()}
        for index, removals in wanted.items():
            queries[index] += sum(2 if isinstance(probe, Linearisation) else 1 for probe in removals)
    return [outcome for outcome in outcomes if outcome is not None], queries
