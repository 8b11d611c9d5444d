"""What an audit is asked to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from art_multimodal.attacks.registry import Budget
from art_multimodal.errors import InputError
from art_multimodal.functional.perturbations import norm_of


@dataclass(frozen=True)
class AuditSettings:
    """Everything that a number in the report depends on, apart from the machine.

    :param model: As for ``load_model``.
    :param data: As for ``open_data``.
    :param attacks: Names of attacks or modalities, separated by commas.
    :param norm: ``"inf"`` or ``"2"``.
    :param eps: Radius of the budget, in the units of images in [0, 1].
    :param eps_step: Length of a gradient step; ``None`` for ``2.5 * eps / steps``, at most ``eps``.
    :param steps: Gradient steps.
    :param max_queries: Evaluations per image of attacks without gradients.
    :param limit: Most samples, drawn with the seed; ``None`` for all.
    :param batch_size: Samples per batch.
    :param seed: Of the choice of samples and of every attack.
    :param templates: Prompt templates instead of the data's own.
    :param classes: Class names instead of the data's own.
    :param native_size: Attack photos at their own size, instead of reducing larger ones to the model's.
    """

    model: str
    data: str
    attacks: str = "image,decoupling"
    norm: str = "inf"
    eps: float = 1 / 255
    eps_step: float | None = None
    steps: int = 10
    max_queries: int = 500
    limit: int | None = None
    batch_size: int = 32
    seed: int = 0
    templates: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    native_size: bool = False

    def __post_init__(self) -> None:
        try:
            norm_of(self.norm)
        except ValueError as error:
            raise InputError(str(error)) from error
        if not 0 < self.eps < float("inf"):
            raise InputError(
                f"eps must be greater than 0 (in units of images in [0, 1], such as 1/255), not {self.eps}."
            )
        if norm_of(self.norm) == float("inf") and self.eps > 1:
            raise InputError(
                f"eps {self.eps:g} is more than the whole range of images in [0, 1]. Did you mean {self.eps:g}/255?"
            )
        if self.eps_step is not None and not 0 < self.eps_step < float("inf"):
            raise InputError(f"The step must be greater than 0, not {self.eps_step}.")
        for name in ("steps", "max_queries", "batch_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name.replace('_', ' ')} must be at least 1, not {value}.")
        if self.max_queries < 10:
            raise InputError(f"max queries must be at least 10, not {self.max_queries}: a search needs some.")
        if self.seed < 0:
            raise InputError(f"The seed must be at least 0, not {self.seed}.")

    @property
    def budget(self) -> Budget:
        """The budget of each attack."""
        step = self.eps_step
        if step is None:
            step = min(self.eps, 2.5 * self.eps / self.steps)
        return Budget(self.norm, self.eps, step, self.steps, self.max_queries, self.batch_size)

    def as_json(self) -> dict[str, Any]:
        """The settings in JSON types."""
        values = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
