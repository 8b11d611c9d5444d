"""What attacks may cost: at most so many passes through a model for each sample, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.decoupling.search import MOST_COMBINATIONS
from art_multimodal.evaluations.suite.entry import EACH
from art_multimodal.evaluations.suite.exhaustive import MOST_TEXTS, MOST_TEXTS_OF_A_SAMPLE
from art_multimodal.evaluations.suite.samples import DONORS
from art_multimodal.evaluations.suite.targeted import MOST_TARGETS, STAGES, steps_from_clean
from art_multimodal.evaluations.suite.worst import ensemble_budget
from art_multimodal.functional.points import LEVELS


@dataclass(frozen=True)
class Cost:
    """Passes through a model.

    :param forward: Forward passes of an image, for each sample.
    :param backward: Those followed by a backward pass.
    :param texts: Texts that are read for each sample.
    :param shared_texts: Texts that are read once for all samples.
    """

    forward: float = 0.0
    backward: float = 0.0
    texts: float = 0.0
    shared_texts: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.forward + other.forward,
            self.backward + other.backward,
            self.texts + other.texts,
            self.shared_texts + other.shared_texts,
        )

    def times(self, draws: int) -> Cost:
        """The cost where each answer is the mean over so many draws of a random defence."""
        return replace(self, forward=self.forward * draws, backward=self.backward * draws)


@dataclass(frozen=True)
class Texts:
    """The texts that attacks may change.

    :param classes: Number of classes.
    :param own: Texts of each sample: 1 in a pair, an image's captions in retrieval, 0 where there are prompts.
    :param shared: Prompts of all classes together.
    :param words: Words of a text, on average.
    :param edits: Single typing errors in all words of a text, on average.
    :param point_axes: Of each modality of numbers, along how many axes its points lie: 2 for pixels.
    """

    classes: int
    own: float
    shared: float
    words: float
    edits: float
    point_axes: tuple[int, ...] = (2,)


#: At most; ``None`` where nobody knows.
CostOf = Callable[[Budget, Texts], Cost]


def _steps(starts: int, forward: int) -> CostOf:
    """Gradient steps, and so many further forward passes."""
    return lambda budget, texts: Cost(starts * budget.max_iter + forward, starts * budget.max_iter)


def _apgd(budget: Budget, texts: Texts) -> Cost:
    # ART asks for the loss once more in each step, and looks at its start and its result.
    return Cost(2 * budget.max_iter + 6, budget.max_iter)


def _queries(budget: Budget, texts: Texts) -> Cost:
    return Cost(budget.max_queries)


def _removal(budget: Budget, texts: Texts) -> Cost:
    # A gradient counts as two queries.
    return Cost(budget.max_queries, budget.max_queries / 2)


def _exhaustive_removal(budget: Budget, texts: Texts) -> Cost:
    # The limit of queries does not bound the published search. Of prompts, words of all templates are removed.
    texts_of_a_sample = max(texts.own, texts.shared / max(1, texts.classes))
    blocks = sum(sum((2**axes) ** level for level in range(1, LEVELS + 1)) for axes in texts.point_axes)
    return Cost(1 + blocks + MOST_COMBINATIONS + texts_of_a_sample * texts.words)


def _tried(texts: Texts, changes: float, rounds: int) -> Cost:
    """Changed texts: what is tried on prompts in the first round is the same for all images."""
    later = texts.shared * changes * (rounds - 1)
    return Cost(2, 0, texts.own * (changes * rounds + texts.words) + later, texts.shared * (changes + texts.words))


def _words(budget: Budget, texts: Texts) -> Cost:
    return _tried(texts, texts.words * budget.text.top_k, budget.text.max_words)


def _edits(budget: Budget, texts: Texts) -> Cost:
    return _tried(texts, texts.edits, budget.text.max_edits)


def _every(budget: Budget, texts: Texts) -> Cost:
    """Words and edits together, up to the most that are embedded."""
    found = _words(budget, texts) + _edits(budget, texts)
    most = _every_word(budget, texts)
    # A limit of those that all samples share holds for what single ones need beyond, too.
    own = min(found.texts, most.texts) if texts.own else found.texts
    return replace(found, texts=own, shared_texts=min(found.shared_texts, most.shared_texts))


def _every_word(budget: Budget, texts: Texts) -> Cost:
    """With the whole vocabulary of a language model, whose size only its loading tells."""
    return Cost(4, 0, texts.own * MOST_TEXTS_OF_A_SAMPLE, MOST_TEXTS if texts.shared else 0)


def _sum(*parts: CostOf) -> CostOf:
    def cost(budget: Budget, texts: Texts) -> Cost:
        return sum((part(budget, texts) for part in parts), Cost())

    return cost


def _in_ensemble(*parts: CostOf) -> CostOf:
    """The budget of members has more steps."""
    return lambda budget, texts: _sum(*parts)(ensemble_budget(budget), texts)


def _targeted(budget: Budget, texts: Texts) -> Cost:
    targets = min(MOST_TARGETS, max(1, texts.classes - 1))
    return Cost(1 + targets * (budget.max_iter + STAGES + 1), targets * budget.max_iter)


def _targeted_from_clean(budget: Budget, texts: Texts) -> Cost:
    steps = steps_from_clean(budget.max_iter, min(MOST_TARGETS, max(1, texts.classes - 1)))
    return _targeted(replace(budget, max_iter=steps), texts)


#: A look for hidden gradients at every sample of a batch: two gradients, two answers, and two lengths of steps along a
#: gradient and eight random directions.
LOOK = Cost(24, 2)


def _look(budget: Budget, texts: Texts) -> Cost:
    return LOOK


def _swap(budget: Budget, texts: Texts) -> Cost:
    # And one look at the result.
    return Cost(DONORS + 1)


def _outage(budget: Budget, texts: Texts) -> Cost:
    return Cost(1)


def _scales(budget: Budget, texts: Texts) -> Cost:
    return Cost(5 * budget.max_iter + 4, 5 * budget.max_iter)


_PGD = _steps(1, 4)
_CO_ATTACK = _sum(_PGD, _words)
#: Rounds of words and images, from the clean image and from random starts.
_JOINT = _sum(_steps(6, 8), _every, _every)
_ALL_TEXTS = _sum(_every_word, _words, _words, _edits, _edits)

#: By the name of the attack. Of another one nothing is known, and a plan says so.
COSTS: Mapping[str, CostOf] = {
    "pgd": _PGD,
    "art_pgd": _PGD,
    "apgd": _apgd,
    "apgd_dlr": _apgd,
    "pgd_targeted": _targeted_from_clean,
    "square": _queries,
    "similarity_pgd": _PGD,
    "bert_attack": _words,
    "bert_attack_margin": _words,
    "character_attack": _edits,
    "character_attack_margin": _edits,
    "text_exhaustive": _every,
    "independent": _CO_ATTACK,
    "co_attack": _CO_ATTACK,
    "joint": _JOINT,
    "set_level_guidance": _sum(_scales, _words, _words),
    "typographic": _queries,
    f"pgd{EACH}": _steps(1, 2),
    f"art_pgd{EACH}": _PGD,
    f"apgd{EACH}": _apgd,
    f"square{EACH}": _queries,
    "pgd_multimodal": _steps(1, 2),
    f"modality_swap{EACH}": _swap,
    f"modality_missing{EACH}": _outage,
    f"modality_removed{EACH}": _outage,
    f"worst{EACH}": _in_ensemble(_apgd, _steps(2, 4), _queries),
    "worst_image": _in_ensemble(_apgd, _targeted, _queries, _look, _PGD),
    "worst_text": _ALL_TEXTS,
    "worst_multimodal": _in_ensemble(_JOINT, _every_word, _CO_ATTACK, _CO_ATTACK, _scales),
    "decoupling_guided": _removal,
    "decoupling_image": _removal,
    "decoupling_exhaustive": _exhaustive_removal,
}

#: What part of its passes at most an attack asks for, where that is far less; else 1. The published search looks into
#: quadrants that change the answer alone: measured were 13 to 26 queries on average, of 1,870 at most, on demo:digits,
#: all of demo:shapes, and a model of CIFAR-10.
TYPICAL: Mapping[str, float] = {"decoupling_exhaustive": 0.02}


def cost_of(name: str, budget: Budget, texts: Texts) -> Cost | None:
    """What an attack may cost; ``None`` where nobody knows.

    :param name: Of the attack, on one modality too.
    """
    known = COSTS.get(_form(name))
    return None if known is None else known(budget, texts)


def typical_share(name: str) -> float:
    """What part of its passes at most an attack usually asks for."""
    return TYPICAL.get(_form(name), 1.0)


def _form(name: str) -> str:
    return name.partition("@")[0] + EACH if "@" in name else name
