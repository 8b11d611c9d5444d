"""What an audit is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from art_multimodal.attacks.budget import Budget, TextBudget
from art_multimodal.defences.registry import parse_defence
from art_multimodal.errors import InputError, check_count
from art_multimodal.evaluations.audit.radii import Radius, check_all_named, check_radii, in_proportion, name_of
from art_multimodal.evaluations.audit.transfer_options import parse_transfer, transfer_spec
from art_multimodal.evaluations.budget_settings import BudgetSettings, as_json
from art_multimodal.evaluations.smoothing.settings import AuditedSmoothing
from art_multimodal.evaluations.suite.entry import SAMPLES, SAMPLES_TOGETHER
from art_multimodal.functional.resizing import RESIZERS
from art_multimodal.modalities.modality import Modality
from art_multimodal.shown import shown

TASKS = ("classification", "retrieval")
#: Samples that are attacked together where photos may be large.
NATIVE_TOGETHER = 8
#: Begins the name of a model, or of data, that came without one.
_LOADED = "loaded:"


@dataclass(frozen=True)
class AuditSettings(BudgetSettings):
    """Everything that a number in the report depends on, apart from the machine; see :class:`BudgetSettings`, too.

    >>> settings = AuditSettings("demo:digits", "demo:digits", attacks="pgd,square", eps=4 / 255, limit=50)
    >>> settings.budget().max_iter, settings.as_json()["limit"]
    (10, 50)
    >>> AuditSettings("demo:digits", "demo:digits", eps=-1.0)
    Traceback (most recent call last):
        ...
    art_multimodal.errors.InputError: eps must be greater than 0 (in units of images in [0, 1], such as 1/255), ...

    :param model: As for ``load_model``; or a loaded one: a :class:`DualEncoder`, :class:`FusionModel` or
        :class:`MultimodalModel`.
    :param data: As for ``open_data``, in retrieval as for ``open_captioned``; or data that are open already:
        :class:`LabelledArrays`, :class:`CaptionedArrays` or :class:`LabelledSampleArrays` in memory, or a source of
        one's own.
    :param attacks: Names of attacks or modalities, separated by commas; ``None`` for
        ``image,text,multimodal,decoupling``, and on samples of other modalities for all but the ensembles.
    :param attacks_on_samples: Likewise, instead of these where samples have other modalities than image and text.
    :param task: ``"classification"`` (of images by class prompts; of pairs by a fusion model) or ``"retrieval"`` (a
        dual encoder finds captions of images and images of captions).
    :param limit: Most samples, drawn with the seed; ``None`` for all.
    :param batch_size: Most samples in one pass of the model; results do not depend on it.
    :param group_size: Samples that are attacked together and share a line of the log, by their place in the order;
        ART's attacks draw one stream of random numbers for them. ``None`` for 32, and 8 with ``native_size``.
    :param seed: Of the choice of samples and of every attack.
    :param templates: Prompt templates instead of the data's own.
    :param classes: Class names instead of the data's own.
    :param native_size: Attack photos at their own size, instead of reducing larger ones to the model's.
    :param defences: In front of the model, in this order, as for ``parse_defence``.
    :param draws: Of random defences: evaluations of each answer, and draws that an attack's gradient is the mean of.
    :param resize: How photos are resized where the model was deployed, a name of
        :data:`~art_multimodal.functional.resizing.RESIZERS`; ``None`` for as the model was published.
    :param universal: File of one perturbation for all images, ours or a published array: a row of its own, which counts
        for that of images. It must keep to ``eps``.
    :param smoothing: How the model is smoothed, and within which budget that is certified and attacked, in further rows
        of the report; ``None`` for none.
    :param surrogates: Models that attackers have of their own, as for ``load_model`` or loaded: dual encoders, which
        images are made on that are scored on the model. Only where images are classified.
    :param transfer: How images are made on them, as for
        :func:`~art_multimodal.evaluations.audit.transfer_options.parse_transfer`; ``None`` for the defaults of
        ``TransferAttack``.
    :param smaller_eps: Further radii, ascending, all inside ``eps``: attacks whose budget is a radius are run within
        each. Steps are as long in units of the radius.
    """

    model: Any
    data: Any
    attacks: str | None = None
    task: str = "classification"
    limit: int | None = None
    batch_size: int = 32
    group_size: int | None = None
    seed: int = 0
    templates: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    native_size: bool = False
    defences: tuple[str, ...] = ()
    draws: int = 10
    attacks_on_samples: str | None = field(default=None, kw_only=True)
    resize: str | None = field(default=None, kw_only=True)
    universal: str | None = field(default=None, kw_only=True)
    smoothing: AuditedSmoothing | None = field(default=None, kw_only=True)
    smaller_eps: tuple[Radius, ...] = field(default=(), kw_only=True)
    surrogates: tuple[Any, ...] = field(default=(), kw_only=True)
    transfer: str | None = field(default=None, kw_only=True)
    #: The plan that was declared, in JSON types, as the header of the run keeps it.
    declared: Mapping[str, Any] | None = field(default=None, repr=False, compare=False, kw_only=True)
    #: Its text, which evidence keeps.
    plan_text: str | None = field(default=None, repr=False, compare=False, kw_only=True)
    #: What was given as ``model`` and ``data`` where that is no name; these then say its class.
    loaded_model: Any = field(default=None, repr=False, compare=False)
    loaded_data: Any = field(default=None, repr=False, compare=False)
    #: Likewise, in the place of each surrogate; ``None`` where it was named.
    loaded_surrogates: tuple[Any, ...] = field(default=(), repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("model", "data"):
            self._keep_loaded(name)
        self._keep_surrogates()
        for name in ("templates", "classes", "protected_words", "defences", "surrogates"):
            if isinstance(value := getattr(self, name), str):
                raise InputError(f"{name} must be a list of strings, not the single string {value!r:.60}.")
        named = [one for one in self.surrogates if not one.startswith(_LOADED)]
        if twice := next((one for one in named if named.count(one) > 1), None):
            raise InputError(f"The surrogate {shown(twice)} is named twice: give each model once.")
        if self.task not in TASKS:
            raise InputError(f"The task must be {' or '.join(TASKS)}, not {self.task!r}.")
        if self.resize is not None:
            RESIZERS[self.resize]
        if self.smoothing is not None and self.task == "retrieval":
            raise InputError("Certificates (--keep) are of classifiers: leave them out in retrieval.")
        self.check_budget()
        for eps in self.smaller_eps:
            self._within(eps)
        check_radii(self.eps, self.smaller_eps, self.norm)
        for name in ("batch_size", "group_size", "limit"):
            check_count(name.replace("_", " "), getattr(self, name))
        check_count("draws", self.draws, most=10_000)
        check_count("The seed", self.seed, least=0, most=2**63 - 1)
        if self.transfer is not None:
            if not self.surrogates:
                raise InputError(
                    "--transfer says how images are made on surrogates: give --surrogate, too, or leave it out."
                )
            object.__setattr__(self, "transfer", transfer_spec(parse_transfer(self.transfer)))
        # Written in full, so that a run knows itself again whatever becomes the default.
        object.__setattr__(self, "defences", tuple(parse_defence(spec).spec for spec in self.defences))

    def for_task(self, task: str) -> AuditSettings:
        """The settings once it is known what the model is asked to do.

        :raises InputError: For radii by name where there is one modality that has one.
        """
        if task == SAMPLES:
            return replace(self, attacks=self.attacks_on_samples or self.attacks, attacks_on_samples=None)
        for option, given in (("--eps", self.eps), ("--eps-step", self.eps_step)):
            if isinstance(given, Mapping):
                raise InputError(
                    f"{option} names {', '.join(map(shown, given))}, and {self.model} has no modalities by name: give "
                    "one radius for images, such as 4/255."
                )
        return replace(self, attacks_on_samples=None)

    @property
    def together(self) -> int:
        """How many samples are attacked together."""
        return self.group_size or (NATIVE_TOGETHER if self.native_size else SAMPLES_TOGETHER)

    def budget(self, protected_words: tuple[str, ...] = (), modalities: Mapping[str, Modality] | None = None) -> Budget:
        """The budget of each attack.

        :param protected_words: Those that the data name.
        :param modalities: Of samples of several, what they are.
        :raises InputError: If a radius is given for what is none of them.
        """
        balls = self.balls(modalities or {})
        eps = self.eps if isinstance(self.eps, (int, float)) else 1 / 255
        step = self.eps_step if isinstance(self.eps_step, (int, float)) else min(eps, 2.5 * eps / self.steps)
        text = TextBudget(
            self.language_model,
            self.max_words,
            self.max_edits,
            self.top_k,
            self.protect_class_names,
            tuple(dict.fromkeys((*protected_words, *self.protected_words))),
        )
        transfer = {} if self.transfer is None else parse_transfer(self.transfer)
        parts = (self.norm, eps, step, self.steps, self.max_queries, self.batch_size, text, self.max_share, balls)
        return Budget(*parts, transfer=transfer)

    def smaller_budgets(self, budget: Budget, modalities: Mapping[str, Modality] | None = None) -> dict[str, Budget]:
        """The budgets of the smaller radii, by their names, ascending.

        :param budget: Of the largest.
        :param modalities: Of samples of several, what they are.
        :raises InputError: If one of these would move as far within each.
        """
        found = {}
        for eps in self.smaller_eps:
            within = self._within(eps)
            check_all_named(within.unnamed(modalities or {}), modalities or {})
            found[name_of(eps, self.norm)] = in_proportion(budget, within.budget((), modalities))
        return found

    def _within(self, eps: Radius) -> AuditSettings:
        """The same settings within another radius."""
        return replace(self, eps=eps, smaller_eps=())

    def as_json(self) -> dict[str, Any]:
        """The settings in JSON types."""
        names = [one.name for one in fields(self) if not one.name.startswith("loaded_")]
        # What is run is what is kept.
        values = {
            name: getattr(self, name)
            for name in names
            if name not in ("attacks_on_samples", "declared", "plan_text", "smoothing")
        }
        for name in ("smaller_eps", "resize", "universal", "surrogates", "transfer"):
            # As logs had it before there could be any.
            if not values[name]:
                del values[name]
        # In full, so that a run knows itself again whatever becomes the default.
        values["group_size"] = self.together
        found = {name: as_json(value) for name, value in values.items()}
        smoothing = {} if self.smoothing is None else self.smoothing.as_json()
        return found | {f"smoothing_{name}": value for name, value in smoothing.items()}

    def _keep_surrogates(self) -> None:
        """The same of surrogates, each of which may be a name or a model."""
        if isinstance(self.surrogates, str):
            return
        before = (*self.loaded_surrogates, *(None for _ in self.surrogates))[: len(self.surrogates)]
        names, loaded = [], []
        for given, kept in zip(self.surrogates, before, strict=True):
            named = isinstance(given, str)
            names.append(given if named else f"{_LOADED}{type(given).__name__}")
            loaded.append(None if named and not given.startswith(_LOADED) else kept if named else given)
        object.__setattr__(self, "surrogates", tuple(names))
        object.__setattr__(self, "loaded_surrogates", tuple(loaded))

    def _keep_loaded(self, name: str) -> None:
        """Set what was given as model or data aside, and put a name in its place, which logs and reports show."""
        given = getattr(self, name)
        if not isinstance(given, str):
            object.__setattr__(self, f"loaded_{name}", given)
            object.__setattr__(self, name, f"{_LOADED}{type(given).__name__}")
        elif not given.startswith(_LOADED):
            object.__setattr__(self, f"loaded_{name}", None)
