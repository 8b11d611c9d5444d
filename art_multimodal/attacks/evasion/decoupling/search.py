"""Searches for a small removal that decouples the modalities: what they know of a sample, and the published one."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from art_multimodal.attacks.searching import Answer, Outcome, Search, Task
from art_multimodal.functional.points import LEVELS, Box, Costs, Cube, Layout, Removal

#: Combinations of candidates that the published search tries for a sample.
MOST_COMBINATIONS = 500
#: Blocks of five levels of its quadtree.
MOST_BLOCKS = sum(4**level for level in range(1, LEVELS + 1))


@dataclass(frozen=True)
class Linearisation:
    """A probe that asks for the saliency too. It costs two queries: a forward and a backward pass.

    :param toward: Take the margin over this class, instead of over the largest other one.
    """

    removal: Removal
    toward: int | None = None


Probe = Removal | Linearisation


@dataclass(frozen=True, kw_only=True)
class RemovalTask(Task):
    """One sample from which points are removed.

    :param layout: The points that may be removed.
    :param costs: What removing them costs.
    :param rivals: Other classes worth aiming at, the most promising first.
    :param min_block: Cubes of at most this side are not divided; ``None`` for five levels at any size.
    """

    layout: Layout
    costs: Costs
    rivals: tuple[int, ...] = ()
    min_block: int | None = None

    @property
    def is_solved(self) -> bool:
        """Whether the intact sample is a success already, as where it has the wanted label."""
        return self.is_success(self.clean)

    def is_divided(self, cube: Cube) -> bool:
        """Whether the drill-down looks into the parts of a cube."""
        return cube.is_divided if self.min_block is None else cube.side > max(1, self.min_block)

    def is_candidate(self, answer: Answer) -> bool:
        """Whether the decision changed."""
        return answer.watched != self.clean.watched


@dataclass(frozen=True, kw_only=True)
class RemovalOutcome(Outcome):
    """What a search for a removal found; a saliency counts as two queries.

    :param removal: The best removal; empty without success, and where the intact sample has the wanted label already.
    :param block_candidates: Candidate blocks, in the order in which the search recorded them.
    :param word_candidates: Candidate words, likewise.
    :param combinations: Number of combinations tried.
    :param progress: (queries so far, the intact sample included; points) of each removal that was the best yet.
    """

    removal: Removal
    block_candidates: tuple[Box, ...] = ()
    word_candidates: tuple[int, ...] = ()
    combinations: int = 0
    progress: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class DecouplingRecord:
    """The result for one sample.

    >>> from art_multimodal.attacks.evasion import DecouplingAttack
    >>> attack = DecouplingAttack(fusion, modalities="text", max_queries=40, verbose=False)
    >>> attacked = attack.generate(pairs[:1])
    >>> record = attack.records[0]
    >>> isinstance(record, DecouplingRecord), record.pixels
    (True, 0)

    :param success: Whether the attack had what it wanted: another predicted label, or the target.
    :param share_removed: Distinct removed points / points of the sample, words included; with ``cost="modalities"`` the
        mean of the shares of each modality. 0 without success.
    :param pixels: Number of distinct removed points that are no words: pixels, steps, columns.
    :param words: Indices of the removed words.
    :param blocks: Removed boxes; empty where single points were removed.
    :param label_before: Predicted for the intact sample.
    :param label_after: Predicted for the returned sample.
    :param queries: Evaluations of the model for this sample, the intact one included.
    :param combinations: Combinations tried in the last stage.
    :param progress: For ``"guided"``: (queries so far, removed points) of each removal that was the best yet.
    :param removed: Of each modality which share of its points was removed, by name.
    """

    success: bool
    share_removed: float
    pixels: int
    words: tuple[int, ...]
    blocks: tuple[Box, ...]
    label_before: int
    label_after: int
    queries: int
    combinations: int
    progress: tuple[tuple[int, int], ...] = ()
    removed: Mapping[str, float] = field(default_factory=dict, hash=False)


#: A search of this attack: yields removals to try, and is sent one answer for each.
Removing = Search[Probe, Answer, RemovalOutcome]


def exhaustive_search(task: RemovalTask, max_combinations: int = MOST_COMBINATIONS) -> Removing:
    """The published procedure (arXiv:2112.12792): drill down a tree, delete words, combine candidates.

    Its order is the published one, modality by modality. Cubes of one level are asked about together, which changes
    nothing but speed.
    """
    if task.is_solved:
        return RemovalOutcome(removal=Removal(), answer=task.clean, success=True, queries=1)
    known: dict[Removal, Answer] = {}
    blocks = yield from _drill_down(task, known)
    words = yield from _single_words(task, known)
    candidates = [Removal(blocks=(block,)) for block in sorted(blocks, key=lambda block: block.area)]
    candidates += [Removal(words=(word,)) for word in words]
    tried, best = 0, Removal()
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
            best = removal
            break
    return RemovalOutcome(
        removal=best,
        answer=known[best] if best != Removal() else task.clean,
        success=best != Removal(),
        queries=len(known) + 1,
        block_candidates=tuple(blocks),
        word_candidates=tuple(words),
        combinations=tried,
    )


def _combinations(candidates: Sequence[Removal]) -> Generator[tuple[Removal, ...]]:
    for size in range(1, len(candidates) + 1):
        yield from combinations(candidates, size)


def _drill_down(task: RemovalTask, known: dict[Removal, Answer]) -> Generator[list[Probe], Sequence[Answer], list[Box]]:
    """Return the candidate blocks in depth-first order, filling ``known``."""
    shapes = task.layout.shapes
    roots = task.layout.roots()
    flipping: dict[Cube, list[Cube]] = {}
    level = [root for root in roots if task.is_divided(root)]
    while level:
        parts = {cube: cube.parts_inside(shapes[cube.modality]) for cube in level}
        # Equal blocks (possible where clipping meets) are asked about once.
        blocks = dict.fromkeys(box for inside in parts.values() for _, box in inside)
        probes = [probe for box in blocks if (probe := Removal(blocks=(box,))) not in known]
        if probes:
            known.update(zip(probes, (yield [*probes]), strict=True))
        level = []
        for cube, inside in parts.items():
            flipping[cube] = [part for part, box in inside if task.is_candidate(known[Removal(blocks=(box,))])]
            level += [part for part in flipping[cube] if task.is_divided(part)]
    candidates: list[Box] = []
    stack = [part for root in reversed(roots) for part in reversed(flipping.get(root, []))]
    while stack:
        cube = stack.pop()
        block = cube.clipped(shapes[cube.modality])
        assert block is not None
        candidates.append(block)
        stack += reversed(flipping.get(cube, []))
    return candidates


def _single_words(
    task: RemovalTask, known: dict[Removal, Answer]
) -> Generator[list[Probe], Sequence[Answer], list[int]]:
    """Return the words whose deletion changes the decision, filling ``known``."""
    probes = [Removal(words=(word,)) for word in range(task.layout.words)]
    if probes:
        known.update(zip(probes, (yield [*probes]), strict=True))
    return [probe.words[0] for probe in probes if task.is_candidate(known[probe])]
