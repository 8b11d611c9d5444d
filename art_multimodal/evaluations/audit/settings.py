"""What an audit is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from art_multimodal.attacks.registry import Budget, TextBudget
from art_multimodal.attacks.registry.entry import SAMPLES_TOGETHER
from art_multimodal.defences.registry import parse_defence
from art_multimodal.errors import InputError, check_count
from art_multimodal.functional.perturbations import norm_of

TASKS = ("classification", "retrieval")
#: Attacks that are run when none are named.
DEFAULT_ATTACKS = "image,text,multimodal,decoupling"

#: Samples that are attacked together where photos may be large.
NATIVE_TOGETHER = 8
#: Begins the name of a model, or of data, that came without one.
_LOADED = "loaded:"


@dataclass(frozen=True)
class AuditSettings:
    """Everything that a number in the report depends on, apart from the machine.

    :param model: As for ``load_model``; or a loaded one: a :class:`DualEncoder` or :class:`FusionModel`.
    :param data: As for ``open_data``, in retrieval as for ``open_captioned``; or data that are open already:
        :class:`LabelledArrays` or :class:`CaptionedArrays` in memory, or a source of one's own.
    :param attacks: Names of attacks or modalities, separated by commas; ``None`` for
        ``image,text,multimodal,decoupling``.
    :param task: ``"classification"`` (of images by class prompts; of pairs by a fusion model) or ``"retrieval"`` (a
        dual encoder finds captions of images and images of captions).
    :param norm: ``"inf"`` or ``"2"``.
    :param eps: Radius of the budget, in the units of images in [0, 1].
    :param eps_step: Length of a gradient step; ``None`` for ``2.5 * eps / steps``, at most ``eps``.
    :param steps: Gradient steps.
    :param max_queries: Evaluations per image of attacks without gradients.
    :param limit: Most samples, drawn with the seed; ``None`` for all.
    :param batch_size: Most samples in one pass of the model; results do not depend on it.
    :param group_size: Samples that are attacked together and share a line of the log, by their place in the order;
        ART's attacks draw one stream of random numbers for them. ``None`` for 32, and 8 with ``native_size``.
    :param seed: Of the choice of samples and of every attack.
    :param templates: Prompt templates instead of the data's own.
    :param classes: Class names instead of the data's own.
    :param native_size: Attack photos at their own size, instead of reducing larger ones to the model's.
    :param language_model: Proposes words to text attacks, as for ``load_masked_language_model``.
    :param max_words: Words of a text that may be replaced.
    :param max_edits: Characters of a text that may be edited.
    :param top_k: Proposals of the language model that are tried for each word.
    :param protect_class_names: Whether text attacks leave the words of class names alone.
    :param protected_words: Further words that they leave alone, besides those that the data name.
    :param max_share: Largest share of the image that a pasted word may cover.
    :param defences: In front of the model, in this order, as for ``parse_defence``.
    :param draws: Of random defences: evaluations of each answer, and draws that an attack's gradient is the mean of.
    """

    model: Any
    data: Any
    attacks: str | None = None
    task: str = "classification"
    norm: str = "inf"
    eps: float = 1 / 255
    eps_step: float | None = None
    steps: int = 10
    max_queries: int = 500
    limit: int | None = None
    batch_size: int = 32
    group_size: int | None = None
    seed: int = 0
    templates: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    native_size: bool = False
    language_model: str = "demo:mlm"
    max_words: int = 1
    max_edits: int = 1
    top_k: int = 10
    protect_class_names: bool = True
    protected_words: tuple[str, ...] = ()
    max_share: float = 0.1
    defences: tuple[str, ...] = ()
    draws: int = 10
    #: What was given as ``model`` and ``data`` where that is no name; these then say its class.
    loaded_model: Any = field(default=None, repr=False, compare=False)
    loaded_data: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("model", "data"):
            self._keep_loaded(name)
        for name in ("templates", "classes", "protected_words", "defences"):
            if isinstance(value := getattr(self, name), str):
                raise InputError(f"{name} must be a list of strings, not the single string {value!r:.60}.")
        try:
            norm_of(self.norm)
        except ValueError as error:
            raise InputError(str(error)) from error
        if self.task not in TASKS:
            raise InputError(f"The task must be {' or '.join(TASKS)}, not {self.task!r}.")
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
        for name in ("steps", "max_queries", "batch_size", "group_size", "limit", "max_words", "max_edits", "top_k"):
            check_count(name.replace("_", " "), getattr(self, name))
        check_count("draws", self.draws, most=10_000)
        check_count("The seed", self.seed, least=0, most=2**63 - 1)
        if self.max_queries < 10:
            raise InputError(f"max queries must be at least 10, not {self.max_queries}: a search needs some.")
        if not 0 < self.max_share <= 1:
            raise InputError(f"max share is a share of the image, in (0, 1], not {self.max_share:g}.")
        # Written in full, so that a run knows itself again whatever becomes the default.
        object.__setattr__(self, "defences", tuple(parse_defence(spec).spec for spec in self.defences))

    @property
    def together(self) -> int:
        """How many samples are attacked together."""
        return self.group_size or (NATIVE_TOGETHER if self.native_size else SAMPLES_TOGETHER)

    def budget(self, protected_words: tuple[str, ...] = ()) -> Budget:
        """The budget of each attack.

        :param protected_words: Those that the data name.
        """
        step = self.eps_step
        if step is None:
            step = min(self.eps, 2.5 * self.eps / self.steps)
        text = TextBudget(
            self.language_model,
            self.max_words,
            self.max_edits,
            self.top_k,
            self.protect_class_names,
            tuple(dict.fromkeys((*protected_words, *self.protected_words))),
        )
        return Budget(self.norm, self.eps, step, self.steps, self.max_queries, self.batch_size, text, self.max_share)

    def as_json(self) -> dict[str, Any]:
        """The settings in JSON types."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if not one.name.startswith("loaded_")}
        # In full, so that a run knows itself again whatever becomes the default.
        values["group_size"] = self.together
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _keep_loaded(self, name: str) -> None:
        """Set what was given as model or data aside, and put a name in its place, which logs and reports show."""
        given = getattr(self, name)
        if not isinstance(given, str):
            object.__setattr__(self, f"loaded_{name}", given)
            object.__setattr__(self, name, f"{_LOADED}{type(given).__name__}")
        elif not given.startswith(_LOADED):
            object.__setattr__(self, f"loaded_{name}", None)
