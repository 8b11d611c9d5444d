"""What an audit is going to do: passes through the model, at most, and how long the usual ones take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from art_multimodal.attacks.evasion.multimodal.raising import losses_on_votes
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.passes import Pass
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES
from art_multimodal.evaluations.suite.costs import Cost, Texts
from art_multimodal.evaluations.suite.defended import on_defence
from art_multimodal.evaluations.suite.looking import LOOK
from art_multimodal.evaluations.suite.selection import FLIPPED, SMOOTHED
from art_multimodal.evaluations.suite.text import one_text
from art_multimodal.language.words import words_of

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit.calibration import Calibration
    from art_multimodal.evaluations.audit.run import Audit

#: A backward pass takes some two times as long as a forward pass.
BACKWARD = 2.0
#: Texts that are looked at for their length.
_LOOKED_AT = 200


@dataclass(frozen=True)
class PlannedPass:
    """An attack on all samples; the number of passes is that of all of them.

    :param name: Of the pass; or ``clean``.
    :param samples: How many may be attacked.
    :param cost: Of each sample, at most; ``None`` where it is not known.
    :param typical: What part of it is usual.
    :param calls: What each attacked sample costs exactly; ``None`` where that depends on what is found.
    """

    name: str
    samples: int
    cost: Cost | None
    typical: float = 1.0
    calls: Cost | None = None

    @property
    def forward(self) -> float:
        """Forward passes of images."""
        return 0.0 if self.cost is None else self.samples * self.cost.forward

    @property
    def backward(self) -> float:
        """Backward passes."""
        return 0.0 if self.cost is None else self.samples * self.cost.backward

    @property
    def texts(self) -> float:
        """Texts that are read."""
        return 0.0 if self.cost is None else self.samples * self.cost.texts + self.cost.shared_texts

    @property
    def work(self) -> float:
        """The usual number of passes in units of a forward pass. A text is taken to cost what an image does."""
        return self.typical * (self.forward + BACKWARD * self.backward + self.texts)


@dataclass(frozen=True)
class Plan:
    """What is run on every batch, in this order, the first without any attack."""

    passes: tuple[PlannedPass, ...]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.passes[0].samples

    @property
    def attacks(self) -> int:
        """Number of attacks."""
        attacks = (Pass.of(planned.name) for planned in self.passes if planned.name not in (CLEAN, SMOOTHED))
        return sum(one == Pass(one.attack) for one in attacks)


def plan_of(audit: Audit) -> Plan:
    """The plan of an audit: passes at most, since a sample that is wrong or falls early costs less."""
    texts, samples = _texts(audit), len(audit.order)
    draws = audit.subject.views.draws
    answering, attacking = audit.subject.views.passes
    clean = Cost(1.0 + len(audit.subject.weighed), shared_texts=texts.shared).times(draws * answering)
    passes = [PlannedPass(CLEAN, samples, clean)]
    for name in audit.passes:
        one = Pass.of(name)
        attack = one.entry
        cost = None if attack.cost is None else attack.cost(audit.budget_of(name), texts)
        if cost is not None:
            looking = LOOK if name in audit.subject.looks else Cost()
            cost = (cost + looking).times(1 if one.naive else draws * attacking)
        # How much who looks at gradients, or answers behind a defence, asks depends on what is found.
        exact = attack.calls is not None and name not in audit.subject.looks and not audit.settings.defences
        calls = attack.calls(audit.budget_of(name), texts) if exact and attack.calls is not None else None
        passes.append(PlannedPass(name, samples, cost, attack.typical_share, calls))
    if audit.smoothed is not None:
        passes.append(PlannedPass(SMOOTHED, samples, Cost(float(audit.smoothed.votes))))
        passes.append(PlannedPass(FLIPPED, samples, None))
    return Plan(tuple(passes))


def _texts(audit: Audit) -> Texts:
    subject = audit.subject
    looked_at = audit.order[:_LOOKED_AT]
    if subject.task == SAMPLES:
        axes = tuple(len(modality.point_axes) for modality in subject.estimator.modalities.values() if modality.numeric)
        name = one_text(subject.estimator)
        found = [str(subject.read(int(index)).x[name][0]) for index in looked_at] if name else []
        votes = len(losses_on_votes(subject.estimator.multimodal))
        words, edits = _words_and_edits(found)
        return Texts(len(subject.class_names), float(bool(name)), 0, words, edits, axes, votes, subject.task)
    if subject.task == RETRIEVAL:
        data: Any = subject.data
        captions = [data.captions_of(int(index)) for index in looked_at]
        found = [text for some in captions for text in some]
        classes, own, shared = len(audit.order), len(found) / max(1, len(captions)), 0
    elif subject.task == PAIRS:
        found = [subject.data.text_of(int(index)) or "" for index in looked_at]
        classes, own, shared = len(subject.class_names), 1.0, 0
    else:
        found = [text for prompts in subject.estimator.prompts for text in prompts]
        classes, own, shared = len(subject.class_names), 0.0, len(found)
        found = found[:_LOOKED_AT]
    about = len(on_defence(subject.estimator))
    return Texts(classes, own, shared, *_words_and_edits(found), task=subject.task, on_defence=about)


def _words_and_edits(texts: Sequence[str]) -> tuple[float, float]:
    """Of a text, on average, words and single typing errors."""
    lengths = [[len(word.text) for word in words_of(text)] for text in texts] or [[]]
    # Deletions and swaps, and 26 letters in each place that is there or between two.
    edits = [sum(54 * length + 25 for length in words) for words in lengths]
    return float(np.mean([len(words) for words in lengths])), float(np.mean(edits))


class Estimate:
    """How long a run takes still, from what its parts have taken: better as it goes on.

    What has been run on a batch tells of itself; of the rest a calibration does, or else the time of a forward pass on
    the first batch.

    :param plan: Of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self._planned = {planned.name: planned for planned in plan.passes}
        #: Which pass tells how long a forward pass takes.
        self._first = plan.passes[0].name
        self._samples = dict.fromkeys(self._planned, 0)
        self._seconds = dict.fromkeys(self._planned, 0.0)
        #: What the model takes on its data, once somebody knows.
        self.calibration: Calibration | None = None

    def told(self, name: str, samples: int, seconds: float) -> None:
        """Take notice of a pass over some samples."""
        if samples:
            self._samples[name] += samples
            self._seconds[name] += seconds

    @property
    def done(self) -> float:
        """Seconds of all that was told."""
        return sum(self._seconds.values())

    @property
    def unit(self) -> float | None:
        """Seconds of a forward pass of an image; ``None`` before the first batch."""
        if self.calibration is not None:
            return self.calibration.forward
        clean, samples = self._planned[self._first], self._samples[self._first]
        if not samples or clean.cost is None:
            return None
        return self._seconds[self._first] / (samples * clean.cost.forward)

    def left(self) -> float | None:
        """Seconds that are left, at most but for attacks that usually ask far less; ``None`` before the first batch."""
        if not self._samples[self._first] or self.unit is None:
            return None
        total = 0.0
        for name, planned in self._planned.items():
            ahead = planned.samples - self._samples[name]
            if self._samples[name]:
                total += self._seconds[name] * ahead / self._samples[name]
            elif planned.samples:
                total += self._expected(planned) * ahead / planned.samples
        return total

    def _expected(self, planned: PlannedPass) -> float:
        """Seconds of a pass that nothing was told of."""
        if self.calibration is not None:
            return self.calibration.seconds(planned)
        return (self.unit or 0.0) * planned.work
