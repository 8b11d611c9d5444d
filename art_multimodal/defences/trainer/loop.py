"""The one loop of all trainers: attack a batch, encode it, minimise an objective; guarded, and kept on the disk.

Several processes take every step together: each computes the whole loss, with gradients to its part of the batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from art_multimodal.defences.trainer.checkpoint import (
    Checkpoint,
    check_same_run,
    holds_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from art_multimodal.defences.trainer.gathering import average_statistics, summed
from art_multimodal.defences.trainer.learner import Learner
from art_multimodal.defences.trainer.methods import Method
from art_multimodal.defences.trainer.parameters import moving_tensors, only, set_mode, trained_parameters
from art_multimodal.defences.trainer.samples import generator_of
from art_multimodal.errors import InputError
from art_multimodal.processes import failing_together, is_main_process, process_index


@dataclass(frozen=True)
class Place:
    """Where in training a batch stands.

    :param step: Its number from 0 on, over all epochs.
    :param epoch: From 0 on.
    :param index: Its number in the epoch, from 0 on.
    :param rows: Of the samples, as far as they are known.
    """

    step: int
    epoch: int
    index: int
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.rows[:8])) + (", ..." if len(self.rows) > 8 else "")
        of_rows = f" (rows {shown})" if self.rows else ""
        return f"batch {self.index + 1} of epoch {self.epoch + 1}{of_rows}"


@dataclass(frozen=True)
class StepRecord:
    """What a step did.

    >>> from art_multimodal.defences.trainer import FusionTrainer
    >>> trainer = FusionTrainer(FusionClassifier(load_model("demo:views")), "plain")
    >>> steps = []
    >>> trainer.fit(x, y, batch_size=4, nb_epochs=1, callback=steps.append)
    >>> isinstance(steps[0], StepRecord), len(steps)
    (True, 2)

    :param place: Of its batch.
    :param loss: Before the step.
    :param learning_rate: That it was taken with.
    """

    place: Place
    loss: float
    learning_rate: float


class TrainingLoop:
    """Trains the model of an embedder.

    :param learner: What attacks batches and makes losses of them; its method's stages follow each other.
    :param epochs: In all stages together.
    :param steps_per_epoch: In each of them.
    :raises InputError: If nothing can be trained, or there are fewer epochs than stages.
    """

    def __init__(self, learner: Learner, epochs: int, steps_per_epoch: int) -> None:
        self.learner = learner
        self.model = learner.model
        self.settings = learner.settings
        self.steps = epochs * steps_per_epoch
        self.steps_per_epoch = steps_per_epoch
        self.trained = trained_parameters(self.model, self.settings)
        self.stages = stages_of(learner.method, self.trained, epochs, steps_per_epoch)
        self.moving = moving_tensors(self.model, self.trained, self.settings)
        self._statistics = [tensor for name, tensor in self.moving.items() if name not in self.trained]
        self.optimizer = self.settings.optimizer_over(self.trained.values())
        self.step = 0
        #: Of the steps taken by this loop.
        self.losses: list[float] = []
        self._good = self._copy()
        self._stage: Stage | None = None
        self._last: tuple[Any, Any] | None = None

    def run(
        self,
        batches: Iterable[tuple[Place, Any]],
        checkpoints: Checkpoints | None = None,
        callback: Callable[[StepRecord], None] | None = None,
        verbose: bool = False,
        epoch_callback: Callable[[int], None] | None = None,
    ) -> None:
        """Train on batches, from number :attr:`step` on.

        :param epoch_callback: Called with the number of epochs done, first with 0; after the checkpoint of an epoch is
            written, so a run that goes on at the end of an epoch calls it again.
        :raises InputError: If a loss, a gradient or the weights are not finite; the model is then as it was when they
            were last seen to be, and no checkpoint is written.
        """
        skipped = seen = 0
        told = epoch_callback or (lambda epochs: None)
        if self.step % self.steps_per_epoch == 0:
            told(self.step // self.steps_per_epoch)
        hidden = not (verbose and is_main_process())
        with only(self.model, self.trained), tqdm(total=self.steps, initial=self.step, disable=hidden) as bar:
            for place, batch in batches:
                seen += 1
                stage = self._enter(place.step)
                if batch.teaches(stage.method):
                    record = self._take(place, batch, stage)
                    self.losses.append(record.loss)
                    bar.set_postfix(loss=f"{record.loss:.4g}", refresh=False)
                    if callback is not None:
                        callback(record)
                else:
                    skipped += 1
                self.step = place.step + 1
                bar.update()
                ends_epoch = self.step % self.steps_per_epoch == 0
                # All since the very first: a run that goes on near the end of an epoch has seen too little to judge.
                if ends_epoch and skipped == self.step:
                    raise InputError(
                        f"No batch of epoch {place.epoch + 1} holds two classes (or two images with texts of their "
                        "own), so there is nothing to contrast. Shuffle the samples, or make the batches larger."
                    )
                if ends_epoch or (checkpoints is not None and checkpoints.due(self.step)):
                    self._check_weights(place)
                    self._good = self._copy()
                    if checkpoints is not None:
                        checkpoints.save(self)
                if ends_epoch:
                    told(place.epoch + 1)
        notes = self.learner.notes()
        if skipped:
            notes += (
                f"{skipped} of {seen} batches were left out: all of their samples belong together, so there is nothing "
                "to contrast.",
            )
        for note in notes if is_main_process() else ():
            warnings.warn(note, stacklevel=4)

    def _enter(self, step: int) -> Stage:
        """The stage that a step belongs to; of the others' parameters no gradients are computed."""
        stage = next(stage for stage in reversed(self.stages) if stage.start <= step)
        if self.learner.method is not stage.method or self._stage is not stage:
            self.learner.method, self._stage = stage.method, stage
            for name, parameter in self.trained.items():
                parameter.requires_grad_(name in stage.parameters)
        return stage

    def _take(self, place: Place, batch: Any, stage: Stage) -> StepRecord:
        """Take one step along the gradient of the loss alone."""
        attacked = self.learner.attacked(batch, self._generator(place, 0))
        rate = self.settings.learning_rate_at(place.step - stage.start, stage.steps)
        # Dropout draws from torch's global generators; in each process from a place of its own.
        devices = [self.learner.estimator.device] if self.learner.estimator.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self._generator(place, 1 + process_index()).initial_seed())
            set_mode(self.model, self.settings, stage.method.trains)
            with torch.enable_grad():
                loss, found = self.learner.loss(batch, attacked)
        if not torch.isfinite(loss.detach()):
            raise self._diverged(f"The loss of {place} is {loss.item()}")
        parameters = list(stage.parameters.values())
        # Of the trained parameters and nothing else: an attack's gradients are never seen here.
        own: Sequence[Tensor | None] = [None] * len(parameters)
        if loss.requires_grad:
            own = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients = summed(own, parameters)
        if all(gradient is None for gradient in gradients):
            raise InputError(
                f"Nothing that is trained takes part in this objective: with towers={self.settings.towers!r} it has no "
                "gradient. Train the other tower, or both."
            )
        # One pass over each and no copy of it; a nan comes through.
        ends = [gradient.aminmax() for gradient in gradients if gradient is not None and gradient.numel()]
        if not torch.isfinite(torch.stack([end for pair in ends for end in pair])).all():
            raise self._diverged(f"The gradient of {place} is not finite")
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.settings.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        progress = place.step / self.steps
        self.learner.before_step(batch, progress)
        # What has no gradient, as that of another stage, is left as it is, with what the optimizer knows of it.
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.learner.after_step(batch, found, progress)
        average_statistics(self._statistics, batch.share)
        self._last = (batch, attacked)
        return StepRecord(place, loss.item(), rate)

    def _check_weights(self, place: Place) -> None:
        """Refuse to keep weights that give no numbers any more: the next batch would be too late to notice."""
        self.model.eval()
        with torch.no_grad():
            finite = all(bool(torch.isfinite(tensor).all()) for tensor in self.moving.values())
            finite = finite and (self._last is None or bool(torch.isfinite(self.learner.loss(*self._last)[0])))
        if not finite:
            raise self._diverged(f"After {place} the weights, or the loss, are not finite")

    def _diverged(self, what: str) -> InputError:
        with torch.no_grad():
            for name, tensor in self.moving.items():
                tensor.copy_(self._good[name])
        return InputError(
            f"{what}: training has diverged. The model is again as it was when it was last found well (at the "
            "start, the end of an epoch or a checkpoint), and nothing was overwritten. Choose a lower learning_rate, a "
            "warm-up (warmup_steps) or max_grad_norm, and check this batch."
        )

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.moving.items()}

    def _generator(self, place: Place, purpose: int) -> torch.Generator:
        seed = int(generator_of(self.settings.seed, 1, place.step, purpose).integers(2**63 - 1))
        return torch.Generator().manual_seed(seed)

    def state(self, run: dict[str, Any]) -> Checkpoint:
        """Return everything that going on needs."""
        optimizer = {
            name: {key: value for key, value in self.optimizer.state[p].items() if isinstance(value, Tensor)}
            for name, p in self.trained.items()
            if p in self.optimizer.state
        }
        return Checkpoint(run, self.step, dict(self.model.state_dict()), optimizer, self.learner.remembered())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint was written.

        :raises InputError: If its tensors are not those of this model; nothing is changed then.
        """
        own = self.model.state_dict()
        for wanted, there, what in (
            (own, checkpoint.model, "weight"),
            (self.trained, checkpoint.optimizer, "optimizer state"),
        ):
            strange = there.keys() - wanted.keys() if what == "optimizer state" else there.keys() ^ wanted.keys()
            if strange:
                raise InputError(f"The checkpoint is of another model: the {what} of {min(strange)!r} is not in both.")
        for name, tensor in checkpoint.model.items():
            if tensor.shape != own[name].shape:
                raise InputError(
                    f"The checkpoint is of another model: {name!r} has shape {tuple(tensor.shape)} in it, but "
                    f"{tuple(own[name].shape)} in the model."
                )
        for name, entry in checkpoint.optimizer.items():
            for key, tensor in entry.items():
                if tensor.shape not in ((), self.trained[name].shape):
                    raise InputError(
                        f"The checkpoint is of another model: {key!r} of {name!r} in the optimizer's state has shape "
                        f"{tuple(tensor.shape)}."
                    )
        if checkpoint.step > self.steps:
            raise InputError(f"The checkpoint is {checkpoint.step} steps on, but there are only {self.steps}.")
        self.learner.remember(checkpoint.memory)
        self.model.load_state_dict(checkpoint.model)
        numbers = {name: number for number, name in enumerate(self.trained)}
        state = self.optimizer.state_dict()
        state["state"] = {numbers[name]: dict(entry) for name, entry in checkpoint.optimizer.items()}
        self.optimizer.load_state_dict(state)
        self.step = checkpoint.step
        self._good = self._copy()


@dataclass(frozen=True)
class Stage:
    """Steps of one method of those that follow each other.

    :param method: What is minimised.
    :param start: Number of the first step, from 0 on.
    :param steps: Number of steps.
    :param parameters: What is trained, by name.
    """

    method: Method
    start: int
    steps: int
    parameters: dict[str, nn.Parameter]


def stages_of(method: Method, trained: dict[str, nn.Parameter], epochs: int, steps_per_epoch: int) -> list[Stage]:
    """Share the epochs among the stages of a method, at least one for each.

    :param trained: What may be trained, by name.
    :raises InputError: If there are fewer epochs than stages, or a stage has nothing to train.
    """
    methods = method.stages
    if epochs < len(methods):
        raise InputError(f"This method has {len(methods)} stages, of at least one epoch each, not {epochs} in all.")
    total, stages, start = sum(one.share for one in methods), [], 0
    for number, one in enumerate(methods):
        left = len(methods) - number - 1
        until = epochs if not left else round(epochs * sum(m.share for m in methods[: number + 1]) / total)
        end = min(max(until, start + 1), epochs - left)
        parameters = {name: p for name, p in trained.items() if one.trains is None or one.trains(name)}
        if not parameters:
            raise InputError(f"Stage {number + 1} of this method has nothing to train: its parameters are frozen.")
        stages.append(Stage(one, start * steps_per_epoch, (end - start) * steps_per_epoch, parameters))
        start = end
    return stages


@dataclass(frozen=True)
class Checkpoints:
    """Where and when the state of a run is written.

    :param folder: Of the checkpoint.
    :param run: What the run was started with.
    :param every: After so many steps; ``None`` for the ends of epochs alone.
    """

    folder: Path
    run: dict[str, Any]
    every: int | None

    def due(self, step: int) -> bool:
        """Whether a checkpoint is to be written after so many steps."""
        return self.every is not None and step % self.every == 0

    def save(self, loop: TrainingLoop) -> None:
        """Write the state of a loop, which is the same in all processes."""
        with failing_together():
            if is_main_process():
                save_checkpoint(self.folder, loop.state(self.run))

    def begin(self, loop: TrainingLoop, resume: bool) -> None:
        """Bring a loop to where the folder's checkpoint is, if there is one.

        :raises InputError: If there is one but ``resume`` is false, or it is of another run.
        """
        with failing_together():
            if not holds_checkpoint(self.folder):
                return
            if not resume:
                raise InputError(
                    f"{self.folder} holds a checkpoint already. Go on with it (resume=True), or choose another folder."
                )
            checkpoint = load_checkpoint(self.folder)
            check_same_run(checkpoint.run, self.run)
            loop.restore(checkpoint)
