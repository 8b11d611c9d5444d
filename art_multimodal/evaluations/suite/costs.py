"""What attacks may cost: at most so many passes through a model for each sample, within a budget.

Each attack says it beside its entry, in these terms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.decoupling.search import MOST_COMBINATIONS
from art_multimodal.attacks.evasion.multimodal.raising import MOST_CLASSES
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
    :param votes: How many losses on the votes of single modalities the model allows.
    :param task: What the model is asked to do.
    :param on_defence: Attacks that are about a defence at test time in front of it.
    """

    classes: int
    own: float
    shared: float
    words: float
    edits: float
    point_axes: tuple[int, ...] = (2,)
    votes: int = 0
    task: str = ""
    on_defence: int = 0


#: What an attack costs at most.
CostOf = Callable[[Budget, Texts], Cost]
#: What it costs exactly; ``None`` where that depends on what it finds.
CallsOf = Callable[[Budget, Texts], Cost | None]


def asks(steps: int, gradients: int, looks: int | Mapping[str, int]) -> CallsOf:
    """What each attacked sample is asked about, exactly: nothing that is found on the way ends the attack sooner.

    :param steps: Forward passes in each gradient step.
    :param gradients: Those among them that a gradient is taken of.
    :param looks: Further forward passes, by task where tasks differ; of others the attack promises nothing.
    """

    def cost(budget: Budget, texts: Texts) -> Cost | None:
        further = looks if isinstance(looks, int) else looks.get(texts.task)
        return None if further is None else Cost(steps * budget.max_iter + further, gradients * budget.max_iter)

    return cost


def fixed(forward: float, backward: float = 0.0) -> CostOf:
    """So many passes, whatever the budget.

    >>> from art_multimodal.attacks.budget import Budget
    >>> fixed(3, 1)(Budget(), Texts(10, 0, 10, 7, 200)).forward
    3

    :param forward: Forward passes for each sample.
    :param backward: Those of them that a gradient is taken of.
    """
    return lambda budget, texts: Cost(forward, backward)


def steps(starts: int, forward: int) -> CostOf:
    """As many gradient steps as the budget has, and so many further forward passes.

    >>> from art_multimodal.attacks.budget import Budget
    >>> steps(starts=1, forward=4)(Budget(max_iter=10), Texts(10, 0, 10, 7, 200)).forward
    14

    :param starts: How often the steps are taken.
    :param forward: Further forward passes for each sample.
    """
    return lambda budget, texts: Cost(starts * budget.max_iter + forward, starts * budget.max_iter)


#: One descent, with looks at its start and its result.
DESCENT = steps(1, 4)


def auto_descent(budget: Budget, texts: Texts) -> Cost:
    """Of ART's APGD: it asks for the loss once more in each step, and looks at its start and its result."""
    return Cost(2 * budget.max_iter + 6, budget.max_iter)


def of_votes(budget: Budget, texts: Texts) -> Cost:
    """A descent towards each of the most likely other classes, and two looks."""
    classes = min(MOST_CLASSES, max(1, texts.classes - 1))
    return Cost(2 + classes * (budget.max_iter + 1), classes * budget.max_iter)


def queries(budget: Budget, texts: Texts) -> Cost:
    """All queries of the budget."""
    return Cost(budget.max_queries)


def removal(budget: Budget, texts: Texts) -> Cost:
    """Of the guided search, where a gradient counts as two queries."""
    return Cost(budget.max_queries, budget.max_queries / 2)


def exhaustive_removal(budget: Budget, texts: Texts) -> Cost:
    """Of the published search, which no limit of queries binds. Of prompts, words of all templates are removed."""
    texts_of_a_sample = max(texts.own, texts.shared / max(1, texts.classes))
    blocks = sum(sum((2**axes) ** level for level in range(1, LEVELS + 1)) for axes in texts.point_axes)
    return Cost(1 + blocks + MOST_COMBINATIONS + texts_of_a_sample * texts.words)


def words(budget: Budget, texts: Texts) -> Cost:
    """Proposals of the language model, word after word."""
    return _tried(texts, texts.words * budget.text.top_k, budget.text.max_words)


def edits(budget: Budget, texts: Texts) -> Cost:
    """Typing errors, one after the other."""
    return _tried(texts, texts.edits, budget.text.max_edits)


def _tried(texts: Texts, changes: float, rounds: int) -> Cost:
    """Changed texts: what is tried on prompts in the first round is the same for all images."""
    later = texts.shared * changes * (rounds - 1)
    return Cost(2, 0, texts.own * (changes * rounds + texts.words) + later, texts.shared * (changes + texts.words))


def total(*parts: CostOf) -> CostOf:
    """One after the other."""
    return lambda budget, texts: sum((part(budget, texts) for part in parts), Cost())
