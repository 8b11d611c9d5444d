"""The run: train, validate between the epochs, keep the best and the last model, and go on after a kill."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.datasets import UnreadableSample
from art_multimodal.datasets.reading import MAX_SKIPPED, check_max_skipped
from art_multimodal.defences.trainer import (
    METHODS,
    DualEncoderTrainer,
    FusionTrainer,
    MethodTrainer,
    ScoreAscent,
    StepRecord,
    TrainingSettings,
)
from art_multimodal.defences.trainer.inner_attacks import Words
from art_multimodal.defences.trainer.samples import Estimator
from art_multimodal.defences.trainer.trainers import check_method_for
from art_multimodal.defences.training_run.data import open_run_data
from art_multimodal.defences.training_run.folder import SCHEMA_VERSION, RunFolder, check_same_run
from art_multimodal.defences.training_run.hiding import check_names, keeps_in
from art_multimodal.defences.training_run.replacing import check_replaceable, remove_run
from art_multimodal.defences.training_run.samples import SampleValidation, open_sample_data
from art_multimodal.defences.training_run.settings import RunSettings
from art_multimodal.defences.training_run.summary import TrainingSummaryWriter, check_tensorboard
from art_multimodal.defences.training_run.validation import MEASURES, Validation
from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError
from art_multimodal.language.proposing import notes_on_words
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.answers import AnsweringModel
from art_multimodal.models.families.modular.source import fusion_to_fit
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.fusions import Equilibrium
from art_multimodal.models.loading import load_model
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.models.resized import with_resize
from art_multimodal.models.saving import check_can_be_saved, weights_sha256
from art_multimodal.out_folders import check_no_strangers
from art_multimodal.plugins import made_with, plugins_of_run
from art_multimodal.processes import failing_together, is_main_process, process_count


class Listener:
    """Is told how a run goes; a subclass shows it. Here it does nothing.

    >>> class Steps(Listener):
    ...     def step(self, record):
    ...         print(record.loss)
    ...
    >>> Steps().notes(["nothing is shown of notes"])
    """

    def reading(self, done: int, total: int) -> None:
        """So many images have been read."""

    def notes(self, notes: Sequence[str]) -> None:
        """What a user should know about how data and model were understood, one line each, fit to be shown."""

    def skipped(self, samples: Sequence[UnreadableSample]) -> None:
        """These images cannot be read, and are left out."""

    def begins(self, run: TrainingRun) -> None:
        """All is checked; epochs that a resumed run has done already are told one by one after this."""

    def step(self, record: StepRecord) -> None:
        """A step was taken."""

    def epoch(self, row: dict[str, Any], best: bool) -> None:
        """An epoch is done and saved: number 0 is the model before training."""

    def warning(self, message: str) -> None:
        """Something that is no error."""


class TrainingRun:
    """Trains a model by name on data by name, into a folder.

    Whatever can be wrong is found when the run is made or before the first step, and then leaves no trace. Of several
    processes all train, and the main one validates, writes, and tells the listener.

    >>> from art_multimodal.defences.training_run import RunSettings
    >>> settings = RunSettings("clean", "demo:digits", "demo:digits", epochs=1, limit=40)
    >>> rows = TrainingRun(settings, "trained", device="cpu").run()
    >>> len(rows), type(load_model("checkpoint:trained")).__name__
    (2, 'DigitsEncoder')
    """

    def __init__(
        self,
        settings: RunSettings,
        out: str | Path,
        device: str = "auto",
        strict: bool = False,
        resume: bool = False,
        listener: Listener | None = None,
        overwrite: bool = False,
        max_skipped: float = MAX_SKIPPED,
    ) -> None:
        """
        :param settings: What to do.
        :param out: The folder of the run.
        :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        :param strict: Stop at an unreadable image instead of leaving it out.
        :param resume: Go on with the run in the folder, if there is one; settings, model and data must be the same.
        :param listener: Is told how it goes.
        :param overwrite: :meth:`run` first removes the run in the folder, which must hold nothing else.
        :param max_skipped: Share of images that may be unreadable.
        :raises InputError: For anything that cannot be used.
        """
        # Meets the other processes, so that each takes the device that is its own.
        self.processes = process_count()
        self.settings = settings
        self.folder = RunFolder(out)
        self._overwrite = overwrite
        if overwrite:
            check_replaceable(self.folder.path, settings.model)
        else:
            check_no_strangers(self.folder.path)
            self.folder.check(resume)
        self.listener = listener if listener is not None and is_main_process() else Listener()
        device_type = device_type_of(device)
        before = self.folder.read() if resume else None
        if before is not None:
            # What is already known to differ need not wait for models and images.
            check_same_run({**before, "model": {}, "data": {}, "text_attack": {}}, self._header_of(settings))
        model = None if fusion_to_fit(settings.model) else load_model(settings.model)
        if isinstance(model, AnsweringModel):
            raise InputError(f"{settings.model} only answers: it has no weights that could be trained.")
        if settings.resize is not None:
            if model is None:
                raise InputError(f"{settings.model} takes arrays and resizes no pictures: leave out --resize.")
            model = with_resize(model, settings.resize)
        method, fusion = METHODS[settings.method], model is None or model.kind != DualEncoder.kind
        kind = "model over several modalities" if model is None else model.kind
        check_method_for(f"{settings.model} is a {kind}. {settings.method}", method, fusion)
        if model is not None:
            check_can_be_saved(model)
            check_names(settings, model)
        if isinstance(model, DualEncoder | FusionModel):
            if settings.radii is not None:
                raise InputError(f"{settings.model} is a {model.kind}: --eps is one radius, that of images.")
            share = check_max_skipped(max_skipped)
            reading, path = self.listener.reading, self.folder.path
            data = open_run_data(settings, model, device_type, strict, reading, share, path)
        else:
            if settings.radii is None and settings.training.eps != TrainingSettings.eps:
                raise InputError(
                    f"{settings.model} is a model over several modalities. Each modality has a radius of its own: "
                    "--eps rgb=2/255,depth=0.02."
                )
            data = open_sample_data(settings, model, device_type, self.folder.path)
            model = data.estimator.multimodal
            check_can_be_saved(model)
        notes = data.notes
        if isinstance(METHODS[settings.method].text_attack, Words):
            notes += notes_on_words(settings.training.language_model)
        self.listener.notes(notes)
        self.listener.skipped(data.skipped)
        self.data = data
        self.model = model
        text_attack = text_attack_of(data.estimator, settings, data.protected_words, candidate_words=1)
        options: dict[str, Any] = dict(settings.options)
        keeps = keeps_in(settings, data.estimator, data.protected_words)
        self.trainer: MethodTrainer
        if fusion:
            attack = None if settings.radii is None else ScoreAscent(settings.radii, settings.attacked)
            self.trainer = FusionTrainer(data.estimator, settings.method, settings.training, attack, keeps, **options)
        else:
            self.trainer = DualEncoderTrainer(
                data.estimator, settings.method, settings.training, text_attack, keep=keeps, **options
            )
        # All words compete, as in an audit: training takes the cheaper of the two.
        stronger = text_attack_of(data.estimator, settings, data.protected_words, candidate_words=None)
        self.validation: Validation | SampleValidation
        if isinstance(model, MultimodalModel):
            self.validation = SampleValidation(data.estimator, data.validation, settings, keeps)
        else:
            self.validation = Validation(data.estimator, data.validation, method, settings, stronger, keeps)
        named = (METHODS, settings.method)
        plugins = plugins_of_run((settings.model,), settings.data, (model,), data.train, [named])
        self.header = self._header_of(settings) | {
            "model": {
                "spec": settings.model,
                "adapter": type(model).__name__,
                "parameters": sum(p.numel() for p in model.parameters()),
                **model.facts(),
                "weights_sha256": weights_sha256(model),
            },
            "data": data.facts,
            "text_attack": self.trainer.configuration()["text_attack"],
            "protocol": self.validation.protocol(),
            "notes": list(notes),
            "keep": self.trainer.configuration().get("keep"),
            "device": str(data.estimator.device),
            **made_with(plugins),
        }
        self.history: list[dict[str, Any]] = []
        self.resumed = before is not None
        if before is not None:
            check_same_run(before, self.header)
            self.history = before["history"]
            best_epoch = None if self.best is None else self.best["epoch"]
            self.folder.check_models(self.history, best_epoch, settings.epochs)
            # They stay as they were when the run began.
            self.header |= {key: before[key] for key in ("protocol", "device", "versions") if key in before}
        self._writer: TrainingSummaryWriter | None = None
        self._tensorboard = False
        self._began = False
        self._since = 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return self.trainer.steps_per_epoch(len(self.data.train.x), self.settings.batch_size * self.processes)

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best epoch: the highest ``attacked``, then the highest ``clean``, then the first."""
        validated = [row for row in self.history if row["epoch"] > 0 and "attacked" in row]
        return max(validated, key=lambda row: (row["attacked"], row["clean"], -row["epoch"]), default=None)

    def run(self, checkpoint_every: int | None = None, tensorboard: bool = False) -> list[dict[str, Any]]:
        """Train to the end.

        :param checkpoint_every: Keep the state after every so many steps, too.
        :param tensorboard: Log for TensorBoard.
        :return: A row for each epoch.
        :raises InputError: For samples that cannot be trained on, when training diverges, or when the disk is full.
            What was written until then is whole.
        """
        if tensorboard:
            check_tensorboard()
        self._tensorboard = tensorboard
        if self._overwrite:
            with failing_together():
                if is_main_process():
                    remove_run(self.folder.path)
        self.listener.begins(self)
        best = self.best
        for row in self.history:
            self.listener.epoch(row, row is best)
        self._since = time.perf_counter()
        train, settings = self.data.train, self.settings
        with failing_together():
            if self.resumed and is_main_process():
                self.folder.lock.take()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("ignore")
                warnings.filterwarnings("always", message=".*were left out")
                self.trainer.fit(
                    train.x,
                    train.y,
                    batch_size=settings.batch_size,
                    nb_epochs=settings.epochs,
                    checkpoint=self.folder.state,
                    checkpoint_every=checkpoint_every,
                    resume=self.resumed,
                    callback=self._step_taken,
                    epoch_callback=self._epoch_done,
                )
        except RuntimeError as error:
            # Of torch's optimizers, where a learning rate leaves the range of float32.
            if "overflow" not in str(error):
                raise
            raise InputError(
                f"A step overflows ({error}): training has diverged. What was written before is unharmed. Choose a "
                f"learning_rate lower than {settings.training.learning_rate:g}."
            ) from error
        else:
            for warning in caught:
                self.listener.warning(str(warning.message))
            self._say_what_was_missed()
        finally:
            self.folder.let_go()
            if self._writer is not None:
                self._writer.close()
        return self.history

    def _say_what_was_missed(self) -> None:
        """Of a fusion by equilibrium, how often its solver did not get there."""
        fusion = getattr(self.model, "fusion", None)
        if isinstance(fusion, Equilibrium) and fusion.missed:
            self.listener.warning(
                f"{fusion.missed:,} of {fusion.asked:,} fixed points that training and validation asked for were not "
                "reached: there gradients are not exact. Lower the learning rate, or raise max_iter of the fusion"
            )

    def _step_taken(self, record: StepRecord) -> None:
        if not is_main_process():
            return
        if not self._began:
            # Not before: a run that cannot take its first step leaves no trace.
            self._began = True
            self.folder.write(self._written())
            if self._tensorboard:
                first = record.place.step
                self._writer = TrainingSummaryWriter(str(self.folder.tensorboard), first)
                for row in self.history:
                    if row["step"] >= first:
                        self._log(row)
        self.folder.steps.append(record)
        if self._writer is not None:
            self._writer.record(record)
        self.listener.step(record)

    def _epoch_done(self, epochs: int) -> None:
        with failing_together():
            if is_main_process():
                self._validate_and_save(epochs)

    def _validate_and_save(self, epochs: int) -> None:
        """Validate, save and note an epoch. After a kill it is asked for again, and does what was not done yet."""
        if any(row["epoch"] == epochs for row in self.history):
            return
        row: dict[str, Any] = {"epoch": epochs, "step": epochs * self.steps_per_epoch}
        if epochs:
            row["loss"] = self.folder.steps.mean_loss(epochs - 1)
        if epochs % self.settings.validate_every == 0 or epochs == self.settings.epochs:
            row |= self.validation.measure()
        row["seconds"] = round(time.perf_counter() - self._since, 3)
        self._since = time.perf_counter()
        self.history.append(row)
        is_best = epochs > 0 and self.best is row
        if epochs:
            self.folder.save("last", self.model, self.settings.model)
            if is_best:
                self.folder.save("best", self.model, self.settings.model)
            self.folder.write(self._written())
        self._log(row)
        self.listener.epoch(row, is_best)

    def _log(self, row: dict[str, Any]) -> None:
        if self._writer is not None:
            numbers = {f"validation/{key}": row[key] for key in MEASURES if key in row}
            self._writer.update(0, row["step"], numbers=numbers)

    def _written(self) -> dict[str, Any]:
        best = self.best
        return {
            **self.header,
            "history": self.history,
            "best_epoch": None if best is None else best["epoch"],
            "complete": bool(self.history) and self.history[-1]["epoch"] == self.settings.epochs,
        }

    @staticmethod
    def _header_of(settings: RunSettings) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "settings": settings.as_json(),
            "model": {},
            "data": {},
            "text_attack": {},
        }


def text_attack_of(
    estimator: Estimator, settings: RunSettings, protected_words: tuple[str, ...], candidate_words: int | None
) -> TextAttack | None:
    """The method's own attack on texts, which leaves alone the words that the data protect.

    :param candidate_words: How many words of a text compete to be replaced; mistyped is the most important one.
    """
    attack = METHODS[settings.method].text_attack
    return None if attack is None else attack.on(estimator, settings.training, protected_words, candidate_words)
