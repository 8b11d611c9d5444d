"""Train fusion models by any method that is for them, clean or under attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from art_multimodal.defences.trainer.ablating import Kept, ablation_of
from art_multimodal.defences.trainer.checkpoint import described_defence
from art_multimodal.defences.trainer.fusion.attack import ScoreAscent
from art_multimodal.defences.trainer.fusion.batches import FusionSamples, SampleBatch, fusion_samples_of
from art_multimodal.defences.trainer.fusion.learner import SampleLearner
from art_multimodal.defences.trainer.loop import Place
from art_multimodal.defences.trainer.methods import METHODS, Method
from art_multimodal.defences.trainer.samples import Samples, generator_of
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.defences.trainer.trainers import MethodTrainer
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.sample_arrays import fields_of
from art_multimodal.sample_arrays import samples as joined_fields


class FusionTrainer(MethodTrainer):
    """Train a fusion model on samples of any modalities, or on image-text pairs, with class labels.

    Any method takes an attack: a share of each batch (``ratio``, rounded up, drawn anew) is then replaced by samples in
    which the named modalities are attacked, and the method minimises what it does of those. ``"adversarial"`` does what
    ART's ``AdversarialTrainer`` does with PGD; of pairs it attacks the images. For the rest see :class:`MethodTrainer`.

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = FusionClassifier(load_model("demo:views"))
    >>> trainer = FusionTrainer(trained, "plain", TrainingSettings(max_iter=1), attack={"pix": 0.1})
    >>> trainer.fit(x, y, batch_size=8, nb_epochs=1)
    >>> trained.predict_labels(x).shape
    (8,)
    """

    _takes = (FusionClassifier,)
    _of_fusion = True

    def __init__(
        self,
        classifier: FusionClassifier,
        method: str | Method = "adversarial",
        settings: TrainingSettings | None = None,
        attack: Mapping[str, float] | ScoreAscent | None = None,
        keep: Kept | None = None,
        **options: Any,
    ) -> None:
        """
        :param classifier: Around the model to train.
        :param method: A name in :data:`METHODS` (``"plain"``, ``"adversarial"``, ``"qmf"``, ...), or a :class:`Method`
            of one's own that asks for scores.
        :param settings: Everything else; default: :class:`TrainingSettings`.
        :param attack: Radius of the ball of each modality that is attacked, by name, or a :class:`ScoreAscent`, which
            also says which of them a batch is attacked on; ``None`` for the method's own, if any.
        :param keep: Where the method hides elements, how many are kept of each modality, by name, or under which masks
            (:class:`~art_multimodal.ablation.Keep`). What is not named is seen whole.
        :param options: Of the method, and ``ratio`` of the attack, 0.5 by default.
        :raises InputError: If the method is not known, or what was given does not fit it or the model.
        """
        chosen = METHODS[method] if isinstance(method, str) else method
        if attack is not None and chosen.ablates:
            raise InputError(
                "Masks hide elements at random here, and no attack is seen through them: leave out attack."
            )
        if attack is not None and chosen.of_fusion:
            chosen = chosen.under(attack if isinstance(attack, ScoreAscent) else ScoreAscent(attack))
            if all(stage.image_attack is None for stage in chosen.stages):
                raise InputError("This method asks for no targets, so it knows no labels to attack: leave out attack.")
        super().__init__(classifier, chosen, settings, options, method if isinstance(method, str) else None)
        if any(stage.batch_norm for stage in self.method.stages):
            self.settings = replace(self.settings, update_batch_norm=True)
        kinds, shape = classifier.modalities, classifier.input_shape if classifier.of_pairs else None
        self.ablation = ablation_of(self.method, self.method_name, keep, kinds, shape, self.options, self.settings)
        for stage in self.method.stages:
            if isinstance(stage.image_attack, ScoreAscent):
                stage.image_attack.check_for(classifier)
        # Refuses a model that does not have what the method asks for, before anything is done to it.
        SampleLearner(classifier, self.method, self.settings, self.options, 1).check()
        for stage in self.method.stages:
            if stage.prepares is not None:
                # A run that goes on prepares its model as before.
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(self.settings.seed)
                    stage.prepares(classifier.multimodal)

    def configuration(self) -> dict[str, Any]:
        attacks = [stage.image_attack for stage in self.method.stages if isinstance(stage.image_attack, ScoreAscent)]
        defences = {name: [described_defence(one) for one in of] for name, of in self.classifier.defences.items() if of}
        found = super().configuration() | {"attack": attacks[0].described() if attacks else None}
        return found | ({} if self.classifier.of_pairs else {"preprocessing_defences": defences or None})

    @property
    def _turns(self) -> tuple[str | None, ...]:
        return tuple(self.classifier.modalities) if self.method.alternates else (None,)

    def _samples(self, x: np.ndarray, y: np.ndarray | None, known: bool) -> FusionSamples:
        return fusion_samples_of(self.classifier, x, y, self.method, self.settings, known)

    def _batch(self, samples: Samples, rows: np.ndarray, place: Place, turn: str | None) -> SampleBatch:
        assert isinstance(samples, FusionSamples)
        number, of_turn = divmod(place.step, len(self._turns))
        begins = place.index == 0 and of_turn == 0
        batch = samples.batch(rows, generator_of(self.settings.seed, 2, place.step))
        batch = replace(batch, number=number, turn=turn, begins_epoch=begins)
        if self.ablation is None:
            return batch
        whole, own = fields_of(samples.x[rows]), fields_of(batch.x)
        views = self.ablation.of(whole, own, batch.own, place.step)
        return replace(batch, views=tuple(joined_fields(**own | view) for view in views))

    def _learner(self, count: int | None) -> SampleLearner:
        return SampleLearner(self.classifier, self.method, self.settings, self.options, count)


class AdversarialFusionTrainer(FusionTrainer):
    """Train a fusion model by any method on samples in which modalities are attacked.

    | Paper link: https://arxiv.org/abs/1706.06083 (adversarial training with PGD)

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = FusionClassifier(load_model("demo:views"))
    >>> trainer = AdversarialFusionTrainer(trained, {"pix": 0.1, "fou": 0.05}, settings=TrainingSettings(max_iter=1))
    >>> trainer.fit(x, y, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        attack: Mapping[str, float],
        method: str | Method = "plain",
        settings: TrainingSettings | None = None,
        schedule: str = "most-vulnerable",
        ratio: float = 1.0,
        **options: Any,
    ) -> None:
        """
        :param classifier: Around the model to train.
        :param attack: Radius of the ball of each modality that is attacked, by name, in its own units.
        :param method: A name in :data:`METHODS` that is for fusion models, or a :class:`Method` of one's own.
        :param settings: Everything else; its ``norm`` and ``max_iter`` are those of the attack.
        :param schedule: ``"joint"``: all modalities at once. ``"in-turn"``: one after the other, each in a batch of its
            own. ``"most-vulnerable"``: of the modalities attacked alone the one that raises the batch's loss most.
        :param ratio: Share of each batch that is attacked, in (0, 1].
        :param options: Of the method.
        :raises InputError: As for :class:`FusionTrainer`.
        """
        super().__init__(classifier, method, settings, ScoreAscent(attack, schedule), ratio=ratio, **options)
