"""``search="guided"``: removes far less than the published procedure, for a fixed number of queries.

Two forms. *White box* asks for the saliency of points at the states it tries, and removes ever fewer of the points that
were most salient over them, those of all modalities in one ranking. *Black box* refines a tree over each modality where
removal lowers the margin most per side length, removes the smallest prefix of the leaves, and gives back by bisection
down to single points. Both try words first, and spend what is left on the published tree.
"""

from __future__ import annotations

from dataclasses import replace

from art_multimodal.attacks.evasion.decoupling.black_box import by_tree
from art_multimodal.attacks.evasion.decoupling.hunt import Hunt, Step, give_back_by_halves
from art_multimodal.attacks.evasion.decoupling.search import RemovalOutcome, RemovalTask, Removing
from art_multimodal.attacks.evasion.decoupling.white_box import by_saliency
from art_multimodal.functional.points import Removal

#: Words that lower the margin by no more, relative to it, do nothing.
_ROUNDING = 1e-5


def guided_search(task: RemovalTask, max_queries: int = 500, white_box: bool = True) -> Removing:
    """Search for the smallest removal within a budget of queries.

    :param max_queries: Most evaluations, the intact sample included; a saliency counts as two.
    :param white_box: Use saliencies.
    """
    if task.is_solved:
        return RemovalOutcome(removal=Removal(), answer=task.clean, success=True, queries=1)
    hunt = Hunt(task, max_queries)
    yield from _words(hunt)
    search = by_saliency if white_box else by_tree
    if hunt.has_dear_words:
        words, hunt.words, hunt.later = hunt.words, (), hunt.left // 2
        yield from search(hunt)
        hunt.words, hunt.later = words, 0
    if hunt.size and not hunt.is_least:
        yield from search(hunt)
    yield from _spare_words(hunt)
    if hunt.size and not hunt.is_least:
        yield from _published_tree(hunt)
        yield from give_back_by_halves(hunt)
    return RemovalOutcome(
        removal=hunt.best or Removal(),
        answer=hunt.best_answer,
        success=hunt.best is not None,
        queries=hunt.max_queries - hunt.left,
        progress=tuple(hunt.progress),
    )


def _words(hunt: Hunt) -> Step:
    """Each word alone, then prefixes of the words in the order of their effect: the best stays removed."""
    if not hunt.layout.words:
        return
    singles = [Removal(words=(word,)) for word in range(hunt.layout.words)]
    answers = yield from hunt.ask(singles)
    if hunt.best is not None:
        return
    known = [(answer.margin, word) for word, answer in enumerate(answers) if answer is not None]
    clean = hunt.task.clean.margin
    order = [word for margin, word in sorted(known) if margin < clean - _ROUNDING * max(1, abs(clean))]
    tried = {Removal(words=(order[0],)): min(known)[0]} if order else {}
    for length in range(2, len(order) + 1):
        removal = Removal(words=tuple(sorted(order[:length])))
        (answer,) = yield from hunt.ask([removal])
        if hunt.best is not None:
            return
        if answer is not None:
            tried[removal] = answer.margin
    # What comes closest is where other points go on.
    hunt.words = min(tried, key=lambda removal: tried[removal]).words if tried else ()


def _spare_words(hunt: Hunt) -> Step:
    """Put back words that turned out not to be needed."""
    needed = () if hunt.best is None else hunt.best.words
    for word in needed:
        best = hunt.best
        if best is not None and not hunt.is_least:
            yield from hunt.ask([replace(best, words=tuple(other for other in best.words if other != word))])


def _published_tree(hunt: Hunt) -> Step:
    """Replay the published drill-down with what is left."""
    shapes = hunt.layout.shapes
    level = [root for root in hunt.layout.roots() if hunt.task.is_divided(root)]
    hunt.release()
    while level and hunt.left > 0:
        parts = [part for cube in level for part in cube.parts_inside(shapes[cube.modality])]
        answers = yield from hunt.ask([Removal(blocks=(box,)) for _, box in parts])
        level = [
            part
            for (part, _), answer in zip(parts, answers, strict=True)
            if answer is not None and hunt.task.is_candidate(answer) and hunt.task.is_divided(part)
        ]
