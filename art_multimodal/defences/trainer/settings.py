"""Everything that training depends on but data, model and objective, in one value that is saved with the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from art_multimodal.attacks.evasion.image_ascent import ImageBudget
from art_multimodal.errors import LARGEST_COUNT, check_count
from art_multimodal.functional.perturbations import norm_of

TOWERS = ("both", "image", "text")
POSITIVES = ("multi", "index")
OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("float32", "bf16-attack", "bf16")


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained, and how strong the image attack is.

    The paper of MMCoA trains with ``optimizer="adam", learning_rate=1e-6, betas=(0.9, 0.98), adam_eps=1e-6,
    weight_decay=0.2``, batches of 256 and 30 epochs.

    >>> settings = TrainingSettings(towers="image", learning_rate=1e-3, warmup_steps=10)
    >>> settings.learning_rate_at(0, steps=100) < settings.learning_rate_at(9, steps=100)
    True

    :param towers: ``"both"``, or only ``"image"`` or ``"text"``. Parameters that somebody has frozen stay frozen.
    :param positives: ``"multi"``: all that belongs together in a batch (one class, one image, one text) attracts each
        other. ``"index"``: the pairs of the batch alone, as published for MMCoA.
    :param optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
    :param learning_rate: At its highest.
    :param betas: Of Adam; the first is the momentum of SGD.
    :param adam_eps: Of Adam.
    :param weight_decay: Of all optimizers.
    :param schedule: ``"cosine"``, down to zero at the end of the last epoch, or ``"constant"``.
    :param warmup_steps: So many steps lead up to the learning rate, linearly.
    :param max_grad_norm: Longer gradients are cut to this length; ``None`` cuts none.
    :param norm: Of the image attack, ``inf`` or 2.
    :param eps: Its budget, in the units of images in [0, 1].
    :param eps_step: The length of its steps.
    :param max_iter: Their number. It starts at random within the budget.
    :param language_model: What replaces words in texts; see :class:`BertAttack`. Use a model that knows the words of
        your texts, ``"bert-base-uncased"`` for example: ``"demo:mlm"`` knows those of the demos alone.
    :param precision: ``"float32"``: as the weights are. ``"bf16-attack"``: in the image attack the towers compute in
        bfloat16. ``"bf16"``: in training, too. Weights keep their dtype, and objectives see at least float32.
    :param training_mode: Whether dropout is active in the training step; never in the attack.
    :param update_batch_norm: Whether batch normalisation goes by the batch and updates its statistics; they are frozen
        otherwise.
    :param modality_dropout: Of models that take missing modalities: each modality of each sample is missing with this
        probability in training, but never all of a sample's.
    :param train_logit_scale: Whether the scale of the logits is trained with the towers.
    :param seed: Of the order of samples, the prompts drawn, the attack's starts and dropout. What is drawn in a step
        depends on nothing but this and the step's number.
    """

    towers: str = "both"
    positives: str = "multi"
    optimizer: str = "adamw"
    learning_rate: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.98)
    adam_eps: float = 1e-6
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup_steps: int = 0
    max_grad_norm: float | None = None
    norm: float | str = "inf"
    eps: float = 1 / 255
    eps_step: float = 1 / 255
    max_iter: int = 10
    language_model: str = "demo:mlm"
    precision: str = "float32"
    training_mode: bool = True
    update_batch_norm: bool = False
    modality_dropout: float = 0.0
    train_logit_scale: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        # As it comes from JSON it is a list; numbers of numpy are none of JSON's.
        object.__setattr__(self, "betas", tuple(np.asarray(self.betas).tolist()))
        for name, value in vars(self).items():
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())
        for name, known in (
            ("towers", TOWERS),
            ("positives", POSITIVES),
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}.")
        norm_of(self.norm)
        for name in ("learning_rate", "adam_eps", "eps_step"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a finite number greater than 0, not {getattr(self, name)!r}.")
        for name in ("weight_decay", "eps"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, not {getattr(self, name)!r}.")
        if not 0 <= self.modality_dropout < 1:
            raise ValueError(f"modality_dropout must be at least 0 and less than 1, not {self.modality_dropout!r}.")
        for name in ("warmup_steps", "max_iter", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a whole number of at least 0, not {value!r}.")
            check_count(name, value, least=0, most=2**63 - 1 if name == "seed" else LARGEST_COUNT)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers of at least 0 and less than 1, not {self.betas!r}.")
        if self.max_grad_norm is not None and not (np.isfinite(self.max_grad_norm) and self.max_grad_norm > 0):
            raise ValueError(
                f"max_grad_norm must be a finite number greater than 0, or None, not {self.max_grad_norm!r}."
            )

    @property
    def image_budget(self) -> ImageBudget:
        """How far the image attack may go."""
        return ImageBudget(norm_of(self.norm), self.eps, self.eps_step, self.max_iter)

    def optimizer_over(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return a new optimizer."""
        parameters = list(parameters)
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, lr=self.learning_rate, momentum=self.betas[0], weight_decay=self.weight_decay
            )
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(
            parameters, lr=self.learning_rate, betas=self.betas, eps=self.adam_eps, weight_decay=self.weight_decay
        )

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of step number ``step`` of ``steps``, from 0 on."""
        warmth = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "constant":
            return self.learning_rate * warmth
        return self.learning_rate * warmth * 0.5 * (1 + math.cos(math.pi * step / steps))

    def as_json(self) -> dict[str, Any]:
        """The settings in JSON's types."""
        values = asdict(self)
        return {**values, "norm": str(norm_of(self.norm)), "betas": list(self.betas)}
