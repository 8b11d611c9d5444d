"""What training attacks the samples of a fusion model with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.defences.trainer.inner_attacks import IMAGE_ATTACKS, ImageAscent
from art_multimodal.errors import InputError
from art_multimodal.processes import gathered

if TYPE_CHECKING:
    from art_multimodal.defences.trainer.fusion.batches import SampleBatch
    from art_multimodal.defences.trainer.fusion.learner import SampleLearner

#: Which modalities of a batch are attacked.
SCHEDULES = ("joint", "in-turn", "most-vulnerable")


class ScoreAscent(ImageAscent):
    """Raise the cross-entropy of the scores of a share of each batch, drawn anew; the others stay clean.

    | Paper link: https://arxiv.org/abs/1412.6572 (adversarial training; ART's ``AdversarialTrainer``)

    >>> from art_multimodal.defences.trainer import FusionTrainer
    >>> attack = ScoreAscent({"pix": 0.1, "fou": 0.05}, schedule="most-vulnerable")
    >>> trainer = FusionTrainer(FusionClassifier(load_model("demo:views")), "plain", attack=attack, ratio=0.5)
    >>> trainer.fit(x, y, batch_size=8, nb_epochs=1)

    :param eps: Radius of the l_inf or l_2 ball of each modality that is attacked, by name, in its own units; ``None``
        for the budget of the settings on the only modality of numbers.
    :param schedule: ``"joint"``: all at once. ``"in-turn"``: one after the other, each in a batch of its own.
        ``"most-vulnerable"``: each alone, and the batch is trained on under that attack which raises its mean loss
        most; it costs as many attacks as there are modalities.
    :raises InputError: For another schedule, no modality, or a radius that cannot be used.
    """

    name = "scores"
    options: ClassVar[dict[str, float]] = {"ratio": 0.5}

    def __init__(self, eps: Mapping[str, float] | None = None, schedule: str = "joint") -> None:
        if schedule not in SCHEDULES:
            raise InputError(f"The schedule of attacks must be one of {', '.join(SCHEDULES)}, not {schedule!r}.")
        if eps is not None and not (isinstance(eps, Mapping) and eps and all(map(_is_positive, eps.values()))):
            raise InputError(
                f"eps names at least one modality, each with a radius greater than 0: {{'rgb': 2/255}}, not {eps!r}."
            )
        self.eps = None if eps is None else dict(eps)
        self.schedule = schedule

    def check(self, options: Mapping[str, float]) -> None:
        if not (_is_positive(options["ratio"]) and options["ratio"] <= 1):
            raise InputError(
                "ratio is the share of a batch that is attacked, greater than 0 and at most 1, not "
                f"{options['ratio']!r}."
            )

    def check_for(self, estimator: Any) -> None:
        """Refuse, before anything is trained, modalities that cannot be attacked.

        :raises InputError: If one is unknown or holds texts, or none is named and there are several.
        """
        if self.eps is None:
            numeric = [name for name, modality in estimator.modalities.items() if modality.numeric]
            if len(numeric) != 1:
                raise InputError(
                    "Name the modalities that are attacked, with a radius each: attack={'rgb': 2/255, ...}; there are "
                    f"{', '.join(numeric)}."
                )
        for name in self.eps or ():
            estimator.numeric_modality(name)

    def described(self) -> dict[str, Any]:
        """What a checkpoint records of it."""
        return {"eps": self.eps, "schedule": self.schedule}

    def attack(self, ask: SampleLearner, batch: SampleBatch, generator: torch.Generator) -> np.ndarray:  # type: ignore[override]
        """Return the process's own samples, those that are drawn attacked.

        :param generator: Of which samples are drawn, and of the random starts; all processes draw the same.
        """
        count = math.ceil(ask.options["ratio"] * batch.size)
        rows = torch.randperm(batch.size, generator=generator)[:count].sort().values.numpy()
        seed = int(torch.randint(2**62, (1,), generator=generator))
        mine = rows[(rows >= batch.own.start) & (rows < batch.own.stop)]
        labels, place = batch.labels[mine], mine - batch.own.start
        attacked = batch.x.copy()
        attacked[place] = self._attacked(ask, batch, attacked[place], labels, seed)
        return attacked

    def _attacked(
        self, ask: SampleLearner, batch: SampleBatch, x: np.ndarray, labels: np.ndarray, seed: int
    ) -> np.ndarray:
        radii = self.eps or {ask.only_numeric: ask.settings.eps}
        if self.schedule == "joint":
            return self._ascended(ask, radii, x, labels, seed)
        if self.schedule == "in-turn":
            names = list(radii)
            # Where modalities are trained in turn, the one that is trained is attacked.
            name = batch.turn if batch.turn in radii else names[batch.number % len(names)]
            return self._ascended(ask, {name: radii[name]}, x, labels, seed)
        tried = [self._ascended(ask, {name: radius}, x, labels, seed) for name, radius in radii.items()]
        losses = [float(ask.estimator.compute_loss(each, labels).sum()) if len(x) else 0.0 for each in tried]
        # Of the whole batch, in all processes.
        return tried[int(np.sum(gathered(losses), axis=0).argmax())]

    def _ascended(
        self, ask: SampleLearner, radii: Mapping[str, float], x: np.ndarray, labels: np.ndarray, seed: int
    ) -> np.ndarray:
        if not len(x):
            return x
        settings = ask.settings
        steps = {
            name: settings.eps_step if self.eps is None else min(radius, 2.5 * radius / max(1, settings.max_iter))
            for name, radius in radii.items()
        }
        attack = ProjectedGradientDescentMultimodal(
            ask.estimator,
            radii,
            norm=settings.norm,
            eps_step=steps,
            max_iter=settings.max_iter,
            batch_size=len(x),
            seed=seed,
            verbose=False,
        )
        with ask.computing("bf16-attack", "bf16"):
            return attack.generate(x, labels)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value) and bool(value > 0)


IMAGE_ATTACKS.add(ScoreAscent.name, ScoreAscent())
