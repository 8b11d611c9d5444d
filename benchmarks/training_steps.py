"""One step of MMCoA's training twice: by the library, and written down plainly. Measured by training_step_cost.py."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bert_attack_cost import TEMPLATE, Models, attack_text
from torch import Tensor
from torch.nn import functional as F

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import BertAttack
from art_multimodal.defences.trainer import AdversarialTrainerMMCoA, TrainingSettings
from art_multimodal.defences.trainer.samples import generator_of, shuffled_rows
from art_multimodal.language.words import ProtectedWords
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.models.fast_gradients import with_fast_gradients

PHASES = ("attack on images", "attack on texts", "update")


@dataclass(frozen=True)
class Job:
    """What a step is taken on.

    :param models: A CLIP model of open_clip and a masked language model.
    :param class_names: One prompt each.
    :param images: ``(N, 3, H, W)`` in [0, 1].
    :param labels: ``(N,)``.
    :param settings: Of the library's trainer; the plain step reads its numbers, too, but for ``precision``.
    """

    models: Models
    class_names: list[str]
    images: np.ndarray
    labels: np.ndarray
    settings: TrainingSettings

    @classmethod
    def drawn(
        cls, models: Models, class_names: list[str], batch_size: int, settings: TrainingSettings, seed: int = 0
    ) -> Job:
        """A job on random images, with labels at random."""
        rng = np.random.default_rng(seed)
        side = models.clip.visual.image_size
        shape = (batch_size, 3, *((side, side) if isinstance(side, int) else side))
        images = rng.random(shape, dtype=np.float32)
        return cls(models, class_names, images, rng.integers(len(class_names), size=batch_size), settings)


class Clock:
    """Reads the time at the borders of phases.

    :param synchronise: Called before; an accelerator may still be at work.
    """

    def __init__(self, synchronise: Callable[[], None] = lambda: None) -> None:
        self.synchronise = synchronise
        self.seconds: dict[str, list[float]] = {}
        self._last = (0.0, 0.0)

    def mark(self, phase: str | None = None) -> None:
        """Add what has passed since the last mark to a phase, as CPU and wall seconds; ``None`` begins."""
        self.synchronise()
        now = (time.process_time(), time.perf_counter())
        if phase is not None:
            passed = [after - before for after, before in zip(now, self._last, strict=True)]
            earlier = self.seconds.get(phase, [0.0, 0.0])
            self.seconds[phase] = [a + b for a, b in zip(earlier, passed, strict=True)]
        self._last = (time.process_time(), time.perf_counter())


@dataclass
class Taken:
    """What a step did.

    :param loss: Of the adversarial batch.
    :param images: The adversarial images, in the order of the step.
    :param texts: The adversarial texts, likewise.
    :param update: What was added to each parameter.
    :param seconds: CPU and wall seconds of each phase.
    :param peak_bytes: Memory beyond what there was before trainer and optimizer were made; ``None`` if unknown.
    """

    loss: float
    images: Tensor
    texts: list[str]
    update: dict[str, Tensor]
    seconds: dict[str, list[float]]
    peak_bytes: int | None = field(default=None)


class PeakMemory:
    """The most memory that a process holds at a time beyond what it holds now: resident pages, of Linux alone.

    What was freed before and is kept for later by the C library is returned first: used again, it would not count.
    """

    def __init__(self) -> None:
        self._status = Path("/proc/self/status")
        self._before = None
        if self._status.exists():
            gc.collect()
            with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
                ctypes.CDLL(None).malloc_trim(0)
            # Forget the peak so far: loading took more than what is left of it.
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            self._before = self._read("VmRSS")

    def beyond(self) -> int | None:
        """The peak since, in bytes."""
        return None if self._before is None else self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        (line,) = [line for line in self._status.read_text().splitlines() if line.startswith(name)]
        return int(line.split()[1]) * 1024


def ours(job: Job) -> Taken:
    """One step of AdversarialTrainerMMCoA, as it is shipped; nothing is remembered from earlier steps."""
    models = job.models
    # As the models that are loaded by name.
    with_fast_gradients(models.clip)
    encoder = OpenCLIPEncoder(models.clip, models.tokenizer).eval()
    classifier = ZeroShotClassifier(encoder, job.class_names, TEMPLATE, device_type="cpu")
    attack = BertAttack(classifier, models.language_model(), verbose=False)
    before = {name: p.detach().clone() for name, p in models.clip.named_parameters()}
    clock, memory = Clock(), PeakMemory()
    seen: dict[str, Any] = {}

    def timed(texts: list[str], perturb: Callable[[list[str]], list[str]] = attack.perturb) -> list[str]:
        clock.mark(PHASES[0])
        found = perturb(texts)
        seen["texts"] = dict(zip(texts, found, strict=True))
        clock.mark(PHASES[1])
        return found

    def done(record: Any) -> None:
        clock.mark(PHASES[2])
        seen.update(loss=record.loss, peak=memory.beyond())
        seen["update"] = {name: p.detach() - before[name] for name, p in models.clip.named_parameters()}
        hook.remove()

    attack.perturb = timed
    # What is encoded last in a step: the clean images, and behind them the adversarial ones.
    hook = encoder.preprocess.register_forward_pre_hook(lambda module, inputs: seen.update(images=inputs[0].detach()))
    trainer = AdversarialTrainerMMCoA(classifier, job.settings, attack)
    trainer.fit(
        job.images,
        job.labels,
        batch_size=len(job.images),
        nb_epochs=1,
        callback=done,
        epoch_callback=lambda epochs: clock.mark() if epochs == 0 else None,
    )
    count = len(job.images)
    if len(seen["images"]) != 2 * count:
        raise RuntimeError("The trainer has not encoded clean and adversarial images together at last.")
    own = [TEMPLATE.format(job.class_names[label]) for label in job.labels[order_of(job)]]
    texts = [seen["texts"][text] for text in own]
    return Taken(seen["loss"], seen["images"][count:], texts, seen["update"], clock.seconds, seen["peak"])


def plain(job: Job) -> Taken:
    """The same step as a script would have it: everything is computed where it is used."""
    models, settings, budget = job.models, job.settings, job.settings.image_budget
    clip = models.clip
    before = {name: p.detach().clone() for name, p in clip.named_parameters()}
    clock, memory = Clock(), PeakMemory()
    mean = torch.tensor(clip.visual.image_mean).view(-1, 1, 1)
    std = torch.tensor(clip.visual.image_std).view(-1, 1, 1)
    dtype = clip.logit_scale.dtype

    def image_features(images: Tensor) -> Tensor:
        return clip.encode_image(((images - mean) / std).to(dtype), normalize=True)

    def text_features(texts: list[str]) -> Tensor:
        return clip.encode_text(models.tokenizer(texts), normalize=True)

    # As in the library the scale of the logits is not trained.
    scale = clip.logit_scale.detach().exp()
    trained = [p for p in clip.parameters() if p is not clip.logit_scale]
    optimizer = torch.optim.AdamW(
        trained,
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.adam_eps,
        weight_decay=settings.weight_decay,
    )
    order = order_of(job)
    clean, labels = torch.from_numpy(job.images[order]), torch.from_numpy(job.labels[order])
    prompts = [TEMPLATE.format(name) for name in job.class_names]
    start = torch.empty(clean.shape).uniform_(-budget.eps, budget.eps, generator=start_of(settings))

    clip.eval()
    clock.mark()
    adversarial = (clean + start).clamp(0, 1)
    for _ in range(budget.max_iter):
        adversarial.requires_grad_(True)
        logits = scale * image_features(adversarial) @ text_features(prompts).T
        F.cross_entropy(logits, labels).backward()
        moved = adversarial.detach() + budget.eps_step * adversarial.grad.sign()
        adversarial = (clean + (moved - clean).clamp(-budget.eps, budget.eps)).clamp(0, 1)
    clock.mark(PHASES[0])

    own = [prompts[label] for label in labels.tolist()]
    protected = ProtectedWords(job.class_names)
    texts = [attack_text(models, text, protected) for text in own]
    clock.mark(PHASES[1])

    clip.train()
    optimizer.zero_grad()
    of_clean, of_adversarial = image_features(clean), image_features(adversarial)
    of_texts, of_adversarial_texts = text_features(own), text_features(texts)
    targets = torch.arange(len(clean))
    loss = clean.new_zeros(())
    for images, others in ((of_adversarial, of_texts), (of_clean, of_adversarial_texts)):
        logits = scale * images @ others.T
        loss = loss + 0.5 * (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets))
    loss.backward()
    optimizer.step()
    clock.mark(PHASES[2])
    peak = memory.beyond()
    update = {name: p.detach() - before[name] for name, p in clip.named_parameters()}
    optimizer.zero_grad()
    return Taken(loss.item(), adversarial, texts, update, clock.seconds, peak)


def order_of(job: Job) -> np.ndarray:
    """In which order the library's trainer takes a batch that is all there is."""
    return next(shuffled_rows(len(job.images), len(job.images), job.settings.seed, 0))


def start_of(settings: TrainingSettings) -> torch.Generator:
    """Where the library's trainer draws the starts of the first step's attack from."""
    return torch.Generator().manual_seed(int(generator_of(settings.seed, 1, 0, 0).integers(2**63 - 1)))


def differences(mine: Taken, other: Taken) -> dict[str, float]:
    """How far two steps that should be one and the same are apart.

    ``loss``: relative. ``images``: the share of pixel values that differ by more than a millionth: the sign of a
    gradient that is nearly zero is a matter of rounding. ``texts``: how many differ. ``update``: the length of the
    difference of the updates, over that of the update.
    """
    squared = sum(float(value.double().square().sum()) for value in other.update.values())
    apart = sum(float((mine.update[name] - other.update[name]).double().square().sum()) for name in other.update)
    return {
        "loss": abs(mine.loss - other.loss) / abs(other.loss),
        "images": float(((mine.images - other.images).abs() > 1e-6).double().mean()),
        "texts": sum(a != b for a, b in zip(mine.texts, other.texts, strict=True)),
        "update": (apart / squared) ** 0.5,
    }
