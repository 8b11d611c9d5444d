"""What a model takes on its data: a short calibration, from which the time of whatever is planned follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from art_multimodal.datasets import UnreadableSample
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.passes import Pass
from art_multimodal.evaluations.audit.plan import BACKWARD, PlannedPass
from art_multimodal.evaluations.suite import SAMPLES, ZERO_SHOT
from art_multimodal.evaluations.suite.selection import SMOOTHED

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit.run import Audit

#: Samples and texts of a calibration, at most, and how often each question is timed; the shortest time counts.
_SAMPLES, _TEXTS, _TIMES = 32, 64, 3
#: A question that takes so many seconds is not asked again, and one about several samples is about a few.
_LONG, _FEW = 0.5, 4


@dataclass(frozen=True)
class Calibration:
    """What a model takes on its data.

    :param forward: Seconds of a forward pass, for each sample.
    :param backward: Seconds of the backward pass besides.
    :param text: Seconds to read a text.
    :param right: Share of the samples that it has right: only these are attacked.
    """

    forward: float
    backward: float
    text: float
    right: float

    def seconds(self, one: PlannedPass) -> float:
        """Of a pass over all its samples, those that are wrong before left out: what it usually asks."""
        if one.cost is None:
            return 0.0
        forward, backward = one.forward, one.backward
        if one.calls is not None:
            forward, backward = one.samples * one.calls.forward, one.samples * one.calls.backward
        usual = forward * self.forward + backward * self.backward + one.texts * self.text
        everyone = one.name in (CLEAN, SMOOTHED) or Pass.of(one.name).entry.of_everyone
        return one.typical * usual * (1.0 if everyone else self.right)


def calibrate(audit: Audit) -> Calibration:
    """Time a model on some of its samples.

    :param audit: Of the model and data; nothing of it is run.
    :raises InputError: If none of the samples can be read.
    """
    with audit.subject.seeded(audit.settings.seed):
        return _calibrated(audit)


def _calibrated(audit: Audit) -> Calibration:
    subject, size = audit.subject, audit.settings.batch_size
    indices, samples = _readable(audit)
    rows = max(subject.by_shape(samples), key=len)
    picked, chosen = [indices[row] for row in rows], [samples[row] for row in rows]
    # The first questions also prepare what is prepared once, such as the features of prompts.
    taken = _seconds(lambda: subject.answers(picked[:1], chosen[:1], size)) if subject.class_names else 0.0
    if taken > _LONG:
        taken = _seconds(lambda: subject.answers(picked[:1], chosen[:1], size))
    few = taken > _LONG
    picked, chosen = (picked[:_FEW], chosen[:_FEW]) if few else (picked, chosen)
    said = subject.answers(picked, chosen, size) if subject.class_names else []
    # In retrieval all samples are attacked.
    right = sum(record.right for record in said) / len(said) if said else 1.0
    # A full batch, in which some stand several times: attacks fill theirs.
    most = max(len(chosen), _FEW if few else min(size, _SAMPLES))
    full = [chosen[place % len(chosen)] for place in range(most)]
    # Of the one that answers, once: a defence at test time takes several passes for that.
    passes, estimator = subject.views.passes[0], subject.estimator
    if not subject.class_names:
        images = np.stack([sample.image for sample in full])
        forward = _shortest(lambda: estimator.image_features(images, size)) / len(full)
        return Calibration(forward, BACKWARD * forward, _of_texts(subject.model), right)
    x, y = subject.stack(full), subject.labels(full)
    of = len(full) * passes
    forward, backward = _shortest(lambda: estimator.predict(x, batch_size=size)) / of, 0.0
    if has_gradients(audit):
        one_hot = np.eye(estimator.nb_classes, dtype=np.float32)[y]
        # Of several modalities one has to be named; the pass backwards is through all of the model.
        named: dict[str, Any] = {"modality": next(_numeric(audit))} if subject.task == SAMPLES else {}
        backward = max(_shortest(lambda: estimator.loss_gradient(x, one_hot, **named)) / of - forward, 0.0)
    # Of a model that joins both, a text is read with its sample.
    text = _of_texts(subject.model) if subject.task == ZERO_SHOT and has_gradients(audit) else forward
    return Calibration(forward, backward, text, right)


def has_gradients(audit: Audit) -> bool:
    """Whether there is more to ask than answers: of a function each of these may cost something."""
    if audit.subject.task == SAMPLES:
        return any(_numeric(audit))
    return not audit.subject.class_names or hasattr(audit.estimator, "loss_gradient")


def _numeric(audit: Audit) -> Iterator[str]:
    """Names of the modalities of numbers."""
    return (name for name, modality in audit.estimator.modalities.items() if modality.numeric)


def _of_texts(model: Any) -> float:
    """Seconds in which a dual encoder reads a text."""
    import torch

    texts = [f"a photo of the number {number}." for number in range(_TEXTS)]

    def read() -> None:
        with torch.no_grad():
            model.encode_text(model.tokenize(texts).to(model.device))

    return _shortest(read) / len(texts)


def _readable(audit: Audit) -> tuple[list[int], list[Any]]:
    """Some samples that can be read."""
    most = min(_SAMPLES, max(1, audit.settings.batch_size))
    indices: list[int] = []
    samples: list[Any] = []
    for index in map(int, audit.order):
        try:
            samples.append(audit.subject.read(index))
        except UnreadableSample as error:
            reason = error
            continue
        indices.append(index)
        if len(samples) == most:
            break
    if not samples:
        raise reason
    return indices, samples


def _shortest(ask: Callable[[], Any]) -> float:
    """Seconds of a question: of one that is quick, once it has been asked before."""
    found = _seconds(ask)
    return found if found > _LONG else min(_seconds(ask) for _ in range(_TIMES))


def _seconds(ask: Callable[[], Any]) -> float:
    started = time.perf_counter()
    ask()
    return time.perf_counter() - started
