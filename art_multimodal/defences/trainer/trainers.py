"""Adversarial training as an ART trainer, by any method: what all trainers share, and that of CLIP-like models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.data_generators import DataGenerator
from art.defences.trainer import Trainer

from art_multimodal.defences.trainer.ablating import Ablation, Kept, ablation_of
from art_multimodal.defences.trainer.checkpoint import described_defence, digest_of, plain
from art_multimodal.defences.trainer.embeddings import Embedder, text_attack_of
from art_multimodal.defences.trainer.gathering import check_same
from art_multimodal.defences.trainer.inner_attacks import TextPerturbation
from art_multimodal.defences.trainer.learner import Learner
from art_multimodal.defences.trainer.loop import Checkpoints, Place, StepRecord, TrainingLoop
from art_multimodal.defences.trainer.methods import METHODS, Method
from art_multimodal.defences.trainer.references import digest_of_texts, reference_texts_of
from art_multimodal.defences.trainer.samples import (
    Batch,
    Estimator,
    Samples,
    generator_of,
    samples_of,
    shuffled_rows,
)
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.errors import InputError, check_count
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.processes import check_own_device, process_count

_SAME_RUN = (
    "Give all of them the same model (loaded, or made after the same torch.manual_seed), the same samples in the same "
    "order and the same settings."
)
_SAME_BATCHES = (
    "Each process's generator has to give the same batches: let it shuffle with a fixed seed, or not at all."
)


class MethodTrainer(Trainer):
    """Train a model by a method of :data:`METHODS`; a subclass for each kind of model says what it takes.

    In every step the batch is attacked with the model as it is then, in evaluation mode, and without gradients to its
    parameters. Clean and adversarial images are encoded in one pass. ART's preprocessing defences stand in front of the
    model as in prediction. The step follows the gradient of the objective alone. The model is trained in place.

    Several processes (``accelerate launch``, ``torchrun``) train one model, each with its part of every batch: the step
    is that of one process with the whole batch. All are given the same model, data and settings.

    >>> from art_multimodal.defences.trainer import FusionTrainer
    >>> trainer = FusionTrainer(FusionClassifier(load_model("demo:views")), "plain")
    >>> isinstance(trainer, MethodTrainer), trainer.steps_per_epoch(count=8, batch_size=4)
    (True, 2)
    """

    #: Estimators that can be trained.
    _takes: tuple[type, ...]
    _of_fusion = False

    def __init__(
        self,
        classifier: Estimator,
        method: str | Method,
        settings: TrainingSettings | None,
        options: dict[str, Any],
        name: str | None = None,
    ) -> None:
        """
        :param classifier: Around the model to train.
        :param method: A name in :data:`METHODS`, or a :class:`Method` of one's own.
        :param settings: Everything else; default: :class:`TrainingSettings`.
        :param options: Of the method.
        :param name: What the method is called; default: its name in the registry, or that of its objective.
        :raises InputError: If the method is not known, or what was given does not fit it.
        """
        if not isinstance(classifier, self._takes):
            names = " or ".join(f"a{'n' * (kind.__name__[0] in 'AEIO')} {kind.__name__}" for kind in self._takes)
            raise InputError(
                f"{names[0].upper()}{names[1:]} can be trained in this way, not {type(classifier).__name__}."
            )
        super().__init__(classifier)
        self.method = METHODS[method] if isinstance(method, str) else method
        own = method if isinstance(method, str) else getattr(method.objective, "__name__", "objective")
        self.method_name = name or own
        check_method_for(self.method_name, self.method, self._of_fusion)
        self.settings = settings or TrainingSettings()
        unknown = sorted(options.keys() - self.method.options.keys())
        if unknown:
            known = ", ".join(self.method.options) or "none"
            raise InputError(f"{self.method_name} has no option {', '.join(unknown)}. Its options: {known}.")
        self.options = {**self.method.options, **options}
        for stage in self.method.stages:
            if stage.image_attack is not None:
                stage.image_attack.check(self.options)
        self.text_attack: TextPerturbation | None = None
        self.reference_texts: tuple[str, ...] | None = None
        #: Losses of the steps that the last call took, as far as it came.
        self.losses: list[float] = []
        self._original: Any = None
        #: What is hidden of each batch, if anything.
        self.ablation: Ablation | None = None

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
        resume: bool = False,
        callback: Callable[[StepRecord], None] | None = None,
        verbose: bool = False,
        epoch_callback: Callable[[int], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Train the model.

        :param x: Images ``(N, 3, H, W)`` in [0, 1], or pairs ``(N,)``.
        :param y: Labels as indices or one-hot rows. Where the method needs none, and for pairs, they may be missing; of
            pairs with one label all texts belong to all images.
        :param batch_size: Samples per step and process; the last batch of an epoch may be smaller.
        :param nb_epochs: Passes over the samples, each in an order of its own.
        :param checkpoint: A folder that the state of training is written to after every epoch.
        :param checkpoint_every: And after every so many steps.
        :param resume: Go on with the folder's checkpoint, if it holds one. On a CPU the weights are in the end the very
            ones of a run that was never interrupted.
        :param callback: Called after each step, in every process.
        :param verbose: Show a progress bar.
        :param epoch_callback: Called with the number of epochs done: with 0 before the first, after each epoch when its
            checkpoint is written, and again where training goes on at the end of an epoch.
        :raises InputError: For samples that cannot be trained on, a checkpoint of another model or run, or when
            training diverges. Nothing is lost then: the model is as it was when it was last found well (at the start,
            the end of an epoch or a checkpoint), and the checkpoint stays.
        """
        _refuse(kwargs)
        samples = self._samples(x, y, known=True)
        _check_counts(batch_size=batch_size, nb_epochs=nb_epochs, checkpoint_every=checkpoint_every)
        batch_size, nb_epochs = int(batch_size) * process_count(), int(nb_epochs)
        samples.check(batch_size)
        seed = self.settings.seed

        def batches(start: int) -> Iterator[tuple[Place, Any]]:
            step = 0
            for epoch in range(nb_epochs):
                for index, rows in enumerate(shuffled_rows(len(samples), batch_size, seed, epoch)):
                    for turn in self._turns:
                        if step >= start:
                            place = Place(step, epoch, index, tuple(rows.tolist()))
                            yield place, self._batch(samples, rows, place, turn)
                        step += 1

        wanted = checkpoint is not None or process_count() > 1
        of_data = {"samples": len(samples), "digest": samples.digest() if wanted else None}
        per_epoch = self.steps_per_epoch(len(samples), batch_size)
        run = {"batch_size": batch_size, "nb_epochs": nb_epochs, "data": of_data}
        told = callback, verbose, epoch_callback
        self._run(batches, len(samples), per_epoch, nb_epochs, run, checkpoint, checkpoint_every, resume, *told)

    def steps_per_epoch(self, count: int, batch_size: int) -> int:
        """Steps in an epoch.

        :param count: Number of samples.
        :param batch_size: Of all processes together.
        """
        return -(-count // batch_size) * len(self._turns)

    @property
    def _turns(self) -> tuple[str | None, ...]:
        """What each batch is trained on for, one step each."""
        return (None,)

    def fit_generator(
        self,
        generator: DataGenerator,
        nb_epochs: int = 20,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
        resume: bool = False,
        callback: Callable[[StepRecord], None] | None = None,
        verbose: bool = False,
        epoch_callback: Callable[[int], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Train the model on batches that an ART data generator gives, as they come.

        :param generator: Of images and labels, or of pairs and whatever. When training goes on from a checkpoint, it is
            asked for the batches that were used already again, and has to give the same ones. In several processes each
            one's generator has to give the same batches, of which each process takes its part.
        :param nb_epochs: Passes over ``generator.size`` samples.

        The other arguments are those of :meth:`fit`.
        """
        _refuse(kwargs)
        if generator.size is None:
            raise InputError("The generator has no size, so it is not known when an epoch ends. Give it one.")
        _check_counts(nb_epochs=nb_epochs, checkpoint_every=checkpoint_every)
        per_epoch = self.steps_per_epoch(int(generator.size), int(generator.batch_size))
        turns = self._turns

        def batches(start: int) -> Iterator[tuple[Place, Any]]:
            for number in range(nb_epochs * per_epoch // len(turns)):
                x, y = generator.get_batch()
                first = number * len(turns)
                if first + len(turns) <= start:
                    continue
                samples = self._samples(x, y if self.classifier.classifies else None, known=False)
                if process_count() > 1:
                    check_same({f"batch {number + 1}": samples.digest()}, _SAME_BATCHES)
                for step, turn in enumerate(turns, first):
                    if step >= start:
                        place = Place(step, step // per_epoch, number % (per_epoch // len(turns)))
                        yield place, self._batch(samples, np.arange(len(samples)), place, turn)

        of_data = {"samples": int(generator.size), "digest": None}
        run = {"batch_size": int(generator.batch_size), "nb_epochs": nb_epochs, "data": of_data}
        told = callback, verbose, epoch_callback
        self._run(batches, None, per_epoch, nb_epochs, run, checkpoint, checkpoint_every, resume, *told)

    def _samples(self, x: np.ndarray, y: np.ndarray | None, known: bool) -> Samples:
        """What is trained on.

        :param known: Whether rows mean the same samples in every epoch.
        """
        raise NotImplementedError

    def _batch(self, samples: Samples, rows: np.ndarray, place: Place, turn: str | None) -> Any:
        """What a step sees."""
        raise NotImplementedError

    def _learner(self, count: int | None) -> Learner:
        """What attacks batches and makes losses of them.

        :param count: Number of samples; ``None`` where they are not known again.
        """
        raise NotImplementedError

    def configuration(self) -> dict[str, Any]:
        """Everything that the trainer was made with, in JSON's types; a checkpoint holds it."""
        attack = self.text_attack
        return ({} if self.ablation is None else {"keep": self.ablation.described()}) | {
            "method": self.method_name,
            "options": {name: plain(value) for name, value in self.options.items()},
            "settings": self.settings.as_json(),
            "text_attack": None
            if attack is None
            else {"name": type(attack).__name__}
            | {name: plain(getattr(attack, name)) for name in attack.attack_params},
            "reference_texts": None if self.reference_texts is None else digest_of_texts(self.reference_texts),
            "texts": [list(prompts) for prompts in self.classifier.prompts]
            if self.classifier.texts_are_prompts
            else None,
            "preprocessing_defences": [
                described_defence(defence) for defence in self.classifier.preprocessing_defences or []
            ]
            or None,
        }

    def _run(
        self,
        batches: Callable[[int], Iterator[tuple[Place, Any]]],
        count: int | None,
        per_epoch: int,
        nb_epochs: int,
        run: dict[str, Any],
        checkpoint: str | Path | None,
        checkpoint_every: int | None,
        resume: bool,
        callback: Callable[[StepRecord], None] | None,
        verbose: bool,
        epoch_callback: Callable[[int], None] | None,
    ) -> None:
        if checkpoint is None and (resume or checkpoint_every is not None):
            raise InputError("resume and checkpoint_every need a folder: give `checkpoint`.")
        loop = TrainingLoop(self._learner(count), nb_epochs, per_epoch)
        checkpoints = None
        check_own_device(self.classifier.device)
        if checkpoint is not None or process_count() > 1:
            run = {
                **self.configuration(),
                **run,
                "began_from": digest_of(self.classifier.image_text_model.state_dict()),
                "original": None if self._original is None else digest_of(self._original.state_dict()),
            }
            check_same({**run, "resume": resume, "checkpoint": str(checkpoint), "every": checkpoint_every}, _SAME_RUN)
        if checkpoint is not None:
            checkpoints = Checkpoints(Path(checkpoint), run, checkpoint_every)
            checkpoints.begin(loop, resume)
        self.losses = loop.losses
        module = self.classifier.model
        was_training = module.training
        try:
            loop.run(batches(loop.step), checkpoints, callback, verbose, epoch_callback)
        finally:
            module.train(was_training)


class DualEncoderTrainer(MethodTrainer):
    """Train a CLIP-like model by any method of :data:`METHODS` that is for dual encoders.

    On a :class:`ZeroShotClassifier` it takes images with class labels: of its class's prompts each sample draws one in
    every step. On an :class:`ImageTextRetriever` it takes pairs; where a method compares images with all classes, the
    distinct captions of the batch are the classes, and where it attacks images, it does so against these. Each distinct
    text is attacked once and encoded once. For the rest see :class:`MethodTrainer`.

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, digits.templates)
    >>> trainer = DualEncoderTrainer(trained, "tecoa", TrainingSettings(towers="image", eps=4 / 255, max_iter=1))
    >>> trainer.fit(images, labels, batch_size=8, nb_epochs=1)
    >>> bool((trained.predict(images) != classifier.predict(images)).any())
    True
    """

    _takes = (ZeroShotClassifier, ImageTextRetriever)

    def __init__(
        self,
        classifier: Estimator,
        method: str | Method,
        settings: TrainingSettings | None = None,
        text_attack: TextPerturbation | None = None,
        reference_texts: Sequence[str] | None = None,
        keep: Kept | None = None,
        **options: Any,
    ) -> None:
        """
        :param classifier: Around the model to train. Methods that hold it near the original take the original to be the
            model as it is now.
        :param method: A name in :data:`METHODS`, or a :class:`Method` of one's own.
        :param settings: Everything else; default: :class:`TrainingSettings`.
        :param text_attack: A :class:`BertAttack`, a :class:`CharacterAttack` or a :class:`Mixture` of these on
            ``classifier``, instead of the method's own, which has default settings.
        :param reference_texts: What the model shall go on to understand, where the method asks for such texts: in every
            step as many as there are samples are drawn. Default: English words in the classifier's templates.
        :param keep: Where the method hides elements of images, ``{"image": 16}`` or ``{"image": Keep(...)}``: how many
            are kept, or under which masks.
        :param options: Of the method.
        :raises InputError: If the method is not known, or what was given does not fit it.
        """
        super().__init__(classifier, method, settings, options)
        # Prompts are the defender's own, and captions are the classes: of these nothing is hidden.
        images, shape = {"image": classifier.modalities["image"]}, classifier.input_shape
        self.ablation = ablation_of(self.method, self.method_name, keep, images, shape, self.options, self.settings)
        self.text_attack = text_attack_of(classifier, self.method, self.settings, text_attack)
        self.reference_texts = reference_texts_of(classifier, self.method, reference_texts)
        if self.method.needs_original:
            self._original = copy.deepcopy(classifier.image_text_model).eval().requires_grad_(False)

    def _samples(self, x: np.ndarray, y: np.ndarray | None, known: bool) -> Samples:
        return samples_of(self.classifier, x, y, self.method, self.settings)

    def _batch(self, samples: Samples, rows: np.ndarray, place: Place, turn: str | None) -> Batch:
        rng = generator_of(self.settings.seed, 2, place.step)
        batch = samples.batch(rows, rng)
        if self.ablation is not None:
            whole = (samples.x["image"] if samples.x.dtype.names else samples.x)[rows]
            views = self.ablation.of({"image": whole}, {"image": whole[batch.own]}, batch.own, place.step)
            batch = replace(batch, views=tuple(torch.from_numpy(of["image"]).to(batch.images) for of in views))
        if self.reference_texts is None:
            return batch
        drawn = rng.integers(len(self.reference_texts), size=len(rows))
        return replace(batch, references=tuple(self.reference_texts[number] for number in drawn))

    def _learner(self, count: int | None) -> Learner:
        return Embedder(self.classifier, self._original, self.method, self.settings, self.text_attack, self.options)


def check_method_for(name: str, method: Method, fusion: bool) -> None:
    """Refuse a method that is for another kind of model.

    :param fusion: Whether a fusion model is to be trained; otherwise a dual encoder.
    :raises InputError: Naming the methods that there are.
    """
    if method.of_fusion == fusion:
        return
    known = ", ".join(name for name, one in METHODS.items() if one.of_fusion == fusion)
    kinds = ("dual encoders", "fusion models")
    raise InputError(f"{name} trains {kinds[not fusion]}; for {kinds[fusion]} there are {known}.")


def _refuse(kwargs: dict[str, Any]) -> None:
    if kwargs:
        raise InputError(f"Unknown argument {', '.join(sorted(kwargs))}. What training depends on is in its settings.")


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is None and name == "checkpoint_every":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise InputError(f"{name} must be a whole number of at least 1, not {value!r}.")
        check_count(name, int(value))
