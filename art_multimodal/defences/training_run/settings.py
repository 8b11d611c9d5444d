"""What a training run is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from art_multimodal.datasets.named.spec import trained_on
from art_multimodal.defences.trainer import METHODS, ScoreAscent, TrainingSettings
from art_multimodal.errors import InputError, check_count
from art_multimodal.functional.resizing import RESIZERS
from art_multimodal.processes import process_count

TASKS = ("classification", "retrieval")


@dataclass(frozen=True)
class RunSettings:
    """Everything that the weights and the numbers of a run depend on, apart from the machine.

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> RunSettings("tecoa", "demo:digits", "demo:digits", TrainingSettings(eps=4 / 255), epochs=2).validation_share
    0.1

    :param method: A name in ``METHODS``.
    :param model: As for ``load_model``.
    :param data: As for ``open_data``, in retrieval as for ``open_captioned``; of ``data:NAME`` without a split that for
        training is taken.
    :param training: How the steps are taken; its seed is that of the split, of the limit and of the validation, too.
    :param options: Of the method's objective.
    :param task: ``"classification"`` (images with class labels; texts are prompts) or ``"retrieval"`` (images with
        captions).
    :param epochs: Passes over the training samples.
    :param batch_size: Samples per step and process.
    :param validation: The share of the data that is not trained on, in (0, 1), or another data source.
    :param validate_every: Validate after every so many epochs, and after the last.
    :param validation_steps: Gradient steps of the image attack in validation; ``None`` for as many as in training.
    :param limit: Most samples of a data source, drawn with the seed; ``None`` for all.
    :param templates: Prompt templates instead of the data's own.
    :param classes: Class names instead of the data's own.
    :param radii: Of models over several modalities: radius of the ball of each modality that is attacked in training
        and in validation, by name, in its own units; ``None`` for no attack.
    :param attacked: Which of them a batch is attacked on: ``"joint"``, ``"in-turn"`` or ``"most-vulnerable"``.
    :param protected_words: Words that text attacks leave alone, besides class names and those that the data name; of
        texts from which words are hidden, they and those of the data stay.
    :param keep: Where the method hides elements: how many are kept of each modality, by name.
    :param elements: What its elements are, by name, as ``elements_of`` reads it; default: as that has it.
    :param resize: How photos are resized where the model will be deployed, a name of
        :data:`~art_multimodal.functional.resizing.RESIZERS`; saved with the model. ``None`` for as published.
    """

    method: str
    model: str
    data: str
    training: TrainingSettings = field(default_factory=TrainingSettings)
    options: dict[str, float] = field(default_factory=dict)
    task: str = "classification"
    epochs: int = 10
    batch_size: int = 64
    validation: str = "0.1"
    validate_every: int = 1
    validation_steps: int | None = None
    limit: int | None = None
    templates: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    radii: dict[str, float] | None = None
    attacked: str = "most-vulnerable"
    protected_words: tuple[str, ...] = ()
    keep: dict[str, int] | None = None
    elements: dict[str, str] | None = None
    resize: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", trained_on(self.data))
        if self.resize is not None:
            RESIZERS[self.resize]
        method = METHODS[self.method]
        if method.ablates and not self.keep:
            raise InputError(f"{self.method} hides elements: say how many are kept, such as --keep image=16,text=3.")
        if not method.ablates and (self.keep or self.elements):
            raise InputError(f"{self.method} trains on whole samples: leave out --keep and --elements.")
        if lost := sorted((self.elements or {}).keys() - (self.keep or {}).keys()):
            raise InputError(f"--elements says what is hidden of {lost[0]}: say in --keep how much of it is kept.")
        if method.ablates and self.radii is not None:
            raise InputError(f"{self.method} hides elements at random, and attacks nothing: leave out --eps.")
        if self.radii is not None:
            method = method.under(ScoreAscent(self.radii, self.attacked)) if method.of_fusion else method
        known = method.options
        unknown = sorted(self.options.keys() - known.keys())
        if unknown:
            has = f"Its options: {', '.join(known)}." if known else "It has none."
            raise InputError(f"{self.method} has no option {', '.join(unknown)}. {has}")
        for name, value in self.options.items():
            if not math.isfinite(value):
                raise InputError(f"The option {name} must be a finite number, not {value}.")
        if self.task not in TASKS:
            raise InputError(f"The task must be {' or '.join(TASKS)}, not {self.task!r}.")
        for name in ("epochs", "batch_size", "validate_every", "validation_steps", "limit"):
            check_count(name.replace("_", " "), getattr(self, name))
        if self.epochs < len(method.stages):
            raise InputError(
                f"{self.method} has {len(method.stages)} stages, of at least one epoch each, not {self.epochs} in all."
            )
        if not self.training.eps > 0:
            raise InputError(
                f"eps must be greater than 0 (in units of images in [0, 1], such as 1/255), not {self.training.eps}."
            )
        if self.training.image_budget.norm == math.inf and self.training.eps > 1:
            raise InputError(
                f"eps {self.training.eps:g} is more than the whole range of images in [0, 1]. Did you mean "
                f"{self.training.eps:g}/255?"
            )
        self.validation_share  # noqa: B018 - refuses what is neither a share nor a source

    @property
    def validation_share(self) -> float | None:
        """The share of the data that is kept for validation; ``None`` where another source is named.

        :raises InputError: If it is neither.
        """
        if ":" in self.validation:
            return None
        try:
            share = float(self.validation)
        except ValueError:
            share = math.nan
        if not 0 < share < 1:
            raise InputError(
                f"Validation is a share of the data, greater than 0 and less than 1, or another data source such as "
                f"folder:PATH, not {self.validation!r}."
            )
        return share

    def as_json(self) -> dict[str, Any]:
        """The settings in JSON's types; the batch is that of all processes together."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        if self.resize is None:
            # As runs had it before there was such a setting.
            del values["resize"]
        values |= {
            "training": self.training.as_json(),
            "options": {**METHODS[self.method].options, **self.options},
            "batch_size": self.batch_size * process_count(),
        }
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
