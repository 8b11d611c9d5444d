"""What the loop asks of whatever attacks batches and makes losses of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from art_multimodal.defences.trainer.methods import Method
from art_multimodal.defences.trainer.settings import TrainingSettings


class Learner:
    """Attacks batches, and makes losses of them.

    :param estimator: Around the model in training; its preprocessing stands in front of the model.
    :param method: What is minimised; the loop changes it from stage to stage.
    :param options: Of the method; default: its own.
    """

    def __init__(
        self, estimator: Any, method: Method, settings: TrainingSettings, options: dict[str, Any] | None = None
    ) -> None:
        self.estimator = estimator
        self.model = estimator.image_text_model
        self.method = method
        self.settings = settings
        self.options = method.options if options is None else options

    def attacked(self, batch: Any, generator: torch.Generator) -> Any:
        """What the attacks of the method make of a batch, with the model as it is, in evaluation mode and frozen.

        :param generator: Of the random starts.
        """
        raise NotImplementedError

    def quantities(self, batch: Any, attacked: Any) -> dict[str, Any]:
        """What the objective asks for, by name, with gradients to the parameters that are trained; or more."""
        raise NotImplementedError

    def loss(self, batch: Any, attacked: Any) -> tuple[Tensor, dict[str, Any]]:
        """What is minimised, and the quantities that it was made of."""
        found = self.quantities(batch, attacked)
        options = {name: self.options[name] for name in self.method.objective_options}
        return self.method.objective(**{name: found[name] for name in self.method.needs}, **options), found

    def before_step(self, batch: Any, progress: float) -> None:
        """The optimizer is about to take a step.

        :param progress: Share of the steps that have been taken.
        """

    def after_step(self, batch: Any, found: dict[str, Any], progress: float) -> None:
        """The optimizer has taken a step.

        :param found: The quantities that the loss was made of.
        """

    def remembered(self) -> dict[str, Tensor]:
        """What training keeps from step to step besides weights, by name; a checkpoint holds it."""
        return {}

    def notes(self) -> tuple[str, ...]:
        """What is to be said when training ends, a sentence each."""
        return ()

    def remember(self, tensors: dict[str, Tensor]) -> None:
        """Go on with what :meth:`remembered` has returned.

        :raises InputError: If it is of another training.
        """

    def computing(self, *precisions: str) -> AbstractContextManager[Any]:
        """Compute in bfloat16, where the settings have one of these precisions."""
        kind = self.estimator.device.type
        # Without a cache of weights: they change between steps, and take part in some graphs and not in others.
        return torch.autocast(kind, torch.bfloat16, enabled=self.settings.precision in precisions, cache_enabled=False)


def at_least_float32(features: Tensor) -> Tensor:
    """Features in a dtype that objectives can be computed in."""
    return features.to(torch.promote_types(torch.float32, features.dtype))
