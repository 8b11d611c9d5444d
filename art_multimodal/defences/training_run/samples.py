"""A training run on samples of any modalities: from a data source to a classifier, and how it is validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch

from art_multimodal.ablation import Keep
from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.datasets import open_samples
from art_multimodal.datasets.answers import samples_with_answers
from art_multimodal.defences.training_run.data import Part, RunData, chosen_rows
from art_multimodal.defences.training_run.hiding import Hidden
from art_multimodal.defences.training_run.settings import RunSettings
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.families.modular.source import fusion_to_fit
from art_multimodal.models.families.modular.towers import fitting_model
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.out_folders import check_apart
from art_multimodal.sample_arrays import field_bytes

_BATCH = 128


def open_sample_data(settings: RunSettings, model: MultimodalModel | None, device_type: str, out: Path) -> RunData:
    """Open the samples of a run, and make a model for them where there is none yet.

    :param model: The model to train; ``None`` for one that is made for the samples (``modular:FUSION``).
    :param device_type: As for estimators.
    :param out: Where the run writes: not among the data.
    :raises InputError: If the data cannot be used, or do not fit the model.
    """
    for name, value in (("--templates", settings.templates), ("--task retrieval", settings.task == "retrieval")):
        if value:
            raise InputError(f"{settings.model} is a model over several modalities: leave out {name}.")
    known = () if model is None else tuple(model.modalities.values())
    answers = () if model is None else model.class_names
    data = open_samples(settings.data, known, settings.classes, answers, settings.model)
    kinds = {kind.name: kind for kind in (known or map(_with_room, data.modalities.values()))}
    answers = answers or data.class_names
    validation = data
    if settings.validation_share is None:
        validation = open_samples(settings.validation, kinds.values(), None, answers, settings.model)
    for source in (data, validation):
        check_apart(out, source.folders)
    rows = chosen_rows(settings, len(data), len(validation), data.labels)
    train, kept = (
        Part(*samples_with_answers(source, spec, settings.model, kinds, answers, chosen))
        for source, chosen, spec in zip(
            (data, validation), rows, (settings.data, _spec_of_validation(settings)), strict=True
        )
    )
    # What is validated on is not trained on, even where the same sample is listed twice.
    seen = set(_digests(kept.x))
    new = np.array([digest not in seen for digest in _digests(train.x)], dtype=bool)
    assert train.y is not None
    train = Part(train.x[new], train.y[new])
    for what, part in (("train", train), ("validate", kept)):
        if not len(part.x):
            raise InputError(f"There are no samples left to {what} on. Give more data, or other --validation.")
    notes = tuple(dict.fromkeys((*data.notes, *validation.notes)))
    if model is None:
        fusion = fusion_to_fit(settings.model)
        assert fusion is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.training.seed)
            model = fitting_model(fusion, kinds.values(), answers, train.x)
    facts = {
        "spec": settings.data,
        "fingerprint": data.fingerprint(),
        "validation_fingerprint": validation.fingerprint(),
        "listed": len(data),
        "trained_on": len(train.x),
        "validated_on": len(kept.x),
        "left_out_as_in_validation": int((~new).sum()),
        "unreadable": 0,
        "validation_digest": blake2b(b"".join(_digests(kept.x)), digest_size=32).hexdigest(),
        "class_names": list(answers),
        "modalities": list(kinds),
    }
    protected = tuple(dict.fromkeys((*data.protected_words, *settings.protected_words)))
    return RunData(FusionClassifier(model, device_type=device_type), train, kept, protected, facts, (), notes)


def _with_room(kind: Modality) -> Modality:
    """A modality that is described by the values of a file, with room for those of other files.

    [0, 1] or [-1, 1] where these hold all values, and otherwise a tenth of the range more on either side.
    """
    if not kind.numeric or type(kind) is not Modality:
        return kind
    low, high = (float(bound) for bound in kind.clip_values)
    for box in ((0.0, 1.0), (-1.0, 1.0)):
        if box[0] <= low and high <= box[1]:
            return replace(kind, clip_values=box)
    room = 0.1 * (high - low)
    return replace(kind, clip_values=(low - room, high + room))


def _spec_of_validation(settings: RunSettings) -> str:
    return settings.data if settings.validation_share is not None else settings.validation


def _digests(x: np.ndarray) -> list[bytes]:
    found = []
    for row in range(len(x)):
        digest = blake2b(digest_size=16)
        for name in x.dtype.names or ():
            for part in field_bytes(x[name][row : row + 1]):
                digest.update(part)
        found.append(digest.digest())
    return found


class SampleValidation:
    """Measures accuracy on samples that are not trained on: clean, one modality attacked alone, all at once.

    :param classifier: Around the model in training.
    :param part: Samples that are not trained on.
    :param keeps: Where the method hides elements, what is kept of each modality, by name.
    """

    #: There is no budget of images.
    budget = None

    def __init__(
        self, classifier: FusionClassifier, part: Part, settings: RunSettings, keeps: Mapping[str, Keep] | None = None
    ) -> None:
        self.hidden = None if keeps is None else Hidden(keeps, settings.training.seed)
        self.classifier, self.part, self.settings = classifier, part, settings
        self.steps = settings.validation_steps or max(1, settings.training.max_iter)

    def measure(self) -> dict[str, float]:
        """Return ``clean``; ``single`` and ``joint`` where there are radii; and ``attacked``, the worst of them.

        Where elements are hidden, ``ablated`` takes the place of attacks.

        Shares in [0, 1]: of samples that are right, and stay so whichever single modality is attacked, and when all are
        at once.
        """
        x, y = self.part.x, self.part.y
        right = self.classifier.predict_labels(x, batch_size=_BATCH) == y
        found, stays = {"clean": float(right.mean())}, right.copy()
        if self.hidden is not None:
            return found | self.hidden.measured(
                x, lambda seen: float((self.classifier.predict_labels(seen, batch_size=_BATCH) == y).mean())
            )
        if self.settings.radii:
            single = right.copy()
            for name, radius in self.settings.radii.items():
                single &= self._resisted({name: radius}, single)
            joint = self._resisted(self.settings.radii, right)
            found |= {"single": float(single.mean()), "joint": float(joint.mean())}
            stays = single & joint
        return {**found, "attacked": float(stays.mean())}

    def protocol(self) -> dict[str, str]:
        """What the numbers mean, in words."""
        said = {"clean": "top-1 accuracy"}
        if self.hidden is not None:
            return said | self.hidden.protocol()
        if self.settings.radii:
            radii = ", ".join(f"{name} {radius:.4g}" for name, radius in self.settings.radii.items())
            norm = self.settings.training.image_budget.norm
            attack = f"PGD on cross-entropy, {self.steps} steps from one random start, norm {norm:g}, eps {radii}"
            said["single"] = f"right, and stays so whichever one modality is attacked: {attack}"
            said["joint"] = "right, and stays so when all of them are attacked at once, likewise"
        return {
            **said,
            "attacked": "share of samples that are right, and stay so under every attack",
            "best": "the epoch with the highest attacked; of equal ones that with the highest clean, then the first",
        }

    def _resisted(self, radii: Mapping[str, float], standing: np.ndarray) -> np.ndarray:
        """Which of the samples that are standing are still right under an attack."""
        x, y, still = self.part.x, self.part.y, standing.copy()
        if not standing.any():
            return still
        assert y is not None
        attack = ProjectedGradientDescentMultimodal(
            self.classifier,
            radii,
            norm=self.settings.training.norm,
            eps_step={name: min(radius, 2.5 * radius / self.steps) for name, radius in radii.items()},
            max_iter=self.steps,
            batch_size=_BATCH,
            seed=self.settings.training.seed,
            verbose=False,
        )
        attacked = attack.generate(x[standing], y[standing])
        still[standing] = self.classifier.predict_labels(attacked, batch_size=_BATCH) == y[standing]
        return still
