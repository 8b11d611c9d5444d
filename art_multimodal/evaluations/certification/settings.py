"""What a certification is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from art_multimodal.errors import InputError, check_count
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.budget_settings import as_json
from art_multimodal.evaluations.smoothing.budgets import EditBudget
from art_multimodal.evaluations.smoothing.settings import SmoothingSettings


@dataclass(frozen=True, kw_only=True)
class CertificationSettings(SmoothingSettings):
    """Everything that a number in the report depends on, apart from the machine; see :class:`SmoothingSettings`, too.

    >>> settings = CertificationSettings(model="demo:digits", data="demo:digits", masks="partition", keep={"image": 4})
    >>> settings.exact, settings.as_json()["keep"]
    (True, {'image': 4})

    :param model: As for ``load_model``; or a loaded one: a :class:`DualEncoder`, :class:`FusionModel` or
        :class:`MultimodalModel`.
    :param data: As for ``open_data``; or data that are open already: see :class:`AuditSettings`.
    :param budgets: How much an attacker may edit, as for :meth:`EditBudget.parse`; tables have all budgets up to the
        largest numbers among them. ``()`` for one element of each modality.
    :param attack_steps: Steps of the attack on the smoothed model, beside its certificates and within each of the
        budgets; 0 for none.
    :param protected_words: Words of texts that are never hidden and that no attack is taken to change, besides those
        that the data name.
    :param limit: Most samples, drawn with the seed; ``None`` for all.
    :param batch_size: Most votes in one pass of the model; results do not depend on it.
    :param group_size: Samples that share a line of the log.
    :param seed: Of the choice of samples, and of random masks.
    :param templates: Prompt templates instead of the data's own.
    :param classes: Class names instead of the data's own.
    :param native_size: Photos at their own size, instead of reducing larger ones to the model's.
    :param resize: How photos are resized where the model was deployed; see :class:`AuditSettings`.
    """

    model: Any
    data: Any
    budgets: tuple[str, ...] = ()
    attack_steps: int = 0
    protected_words: tuple[str, ...] = ()
    limit: int | None = None
    batch_size: int = 128
    group_size: int = 16
    seed: int = 0
    templates: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    native_size: bool = False
    resize: str | None = None
    #: What was given as ``model`` and ``data`` where that is no name; these then say its class.
    loaded_model: Any = field(default=None, repr=False, compare=False)
    loaded_data: Any = field(default=None, repr=False, compare=False)
    #: Opens model and data.
    opening: AuditSettings = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        opening = AuditSettings(
            self.model,
            self.data,
            limit=self.limit,
            batch_size=self.batch_size,
            group_size=self.group_size,
            seed=self.seed,
            templates=self.templates,
            classes=self.classes,
            native_size=self.native_size,
            resize=self.resize,
            protected_words=self.protected_words,
            loaded_model=self.loaded_model,
            loaded_data=self.loaded_data,
        )
        object.__setattr__(self, "opening", opening)
        # What was given loaded goes by a name from here on.
        for name in ("model", "data", "loaded_model", "loaded_data"):
            object.__setattr__(self, name, getattr(opening, name))
        if isinstance(self.budgets, str):
            raise InputError(f"budgets must be a list of strings, not the single string {self.budgets!r:.60}.")
        # Written in full, so that a run knows itself again whatever becomes the default.
        object.__setattr__(self, "budgets", tuple(EditBudget.parse(text).spec for text in self.budgets))
        check_count("attack steps", self.attack_steps, least=0)
        super().__post_init__()

    def as_json(self) -> dict[str, Any]:
        """The settings in JSON types, but for the budgets: any can be read off the same votes."""
        # Without a resize as logs had it before there was one.
        left_out = ("opening", "budgets", "loaded_model", "loaded_data", *(() if self.resize else ("resize",)))
        names = [one.name for one in fields(self) if one.name not in left_out]
        return {name: as_json(getattr(self, name)) for name in names}
