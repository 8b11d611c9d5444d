"""The settings of an audit's budget: each is declared here once, and reaches command line, log and reports from here.

Nothing heavy is imported: the command line reads this before it knows whether there is work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from art_multimodal.errors import InputError, check_count, unknown_name

if TYPE_CHECKING:
    from art_multimodal.attacks.budget import Ball
    from art_multimodal.modalities.modality import Modality

#: How far a modality that is no image may move where nothing is said of it: so much of the range of its values.
DEFAULT_SHARE = 0.05
#: Groups of options.
IMAGES, TEXTS = "Budget of image attacks", "Budget of text attacks"


@dataclass(frozen=True)
class Setting:
    """How a setting is given on the command line, and what reports say of it.

    :param option: On the command line.
    :param help: What it means.
    :param group: Of options.
    :param metavar: What its value is called; empty for a switch.
    :param kind: What the command line takes.
    :param default: How the default is shown.
    :param switched: The value that a switch sets.
    :param said: A phrase about it in the line that names the budget, from the budget in JSON types.
    :param repeated: Whether the option may be given several times.
    """

    option: str
    help: str
    group: str
    metavar: str = "N"
    kind: type = int
    default: str = ""
    switched: Any = None
    said: Callable[[Mapping[str, Any]], str] | None = None
    repeated: bool = False

    @property
    def parameter(self) -> str:
        """Its name as a parameter of the command."""
        return self.option.removeprefix("--").replace("-", "_")


def _setting(value: Any, option: str, text: str, group: str = IMAGES, **more: Any) -> Any:
    """A field of the settings."""
    shown = more.pop("default", str(value))
    return field(default=value, metadata={"setting": Setting(option, text, group, default=shown, **more)})


def in_255ths(value: float) -> str:
    """A distance in units of 8-bit images where that is how one would write it: ``4/255``."""
    steps = value * 255
    return f"{steps:.4g}/255" if 0.01 <= steps <= 255 else f"{value:.4g}"


def is_l_inf(budget: Mapping[str, Any]) -> bool:
    """Whether a budget in JSON types is measured in l_inf."""
    return float(budget["norm"]) == float("inf")


def distance(budget: Mapping[str, Any], value: float, image: bool = True) -> str:
    """A distance within a budget in JSON types, of images as one would write it."""
    return in_255ths(value) if is_l_inf(budget) and image else f"{value:.4g}"


def _distances(budget: Mapping[str, Any], name: str) -> str:
    """One for images, or one for each modality."""
    if not budget.get("modalities"):
        return distance(budget, budget[name])
    balls = budget["modalities"].items()
    return " ".join(f"{of} {distance(budget, ball[name], ball['eight_bit'])}" for of, ball in balls)


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """What attacks may spend, as one asks for it.

    :param norm: ``"inf"`` or ``"2"``.
    :param eps: Radius of the budget, in the units of images in [0, 1]. On samples of several modalities a number holds
        for images, as a share of their range; of each other one it may be given by name, in its own units, and is
        :data:`DEFAULT_SHARE` of its range otherwise.
    :param eps_step: Length of a gradient step, likewise; ``None`` for ``2.5 * eps / steps``, at most ``eps``.
    :param steps: Gradient steps.
    :param max_queries: Evaluations per image of attacks without gradients.
    :param max_share: Largest share of the image that a pasted word may cover.
    :param max_words: Words of a text that may be replaced.
    :param max_edits: Characters of a text that may be edited.
    :param top_k: Proposals of the language model that are tried for each word.
    :param language_model: Proposes words to text attacks, as for ``load_masked_language_model``.
    :param protected_words: Further words that text attacks leave alone, besides those that the data name.
    :param protect_class_names: Whether they leave the words of class names alone.
    """

    eps: float | Mapping[str, float] = _setting(
        1 / 255,
        "--eps",
        "how far images in [0, 1] may move, such as 4/255 or 0.01; or modalities by name, each in its own units: "
        f"rgb=2/255,depth=0.02. One without an eps may move by {DEFAULT_SHARE:g} of its range. Several radii, "
        "1/255,2/255,4/255, or --eps again where they are by name: accuracy at each",
        metavar="RADIUS",
        kind=str,
        repeated=True,
        default="1/255 for norm inf",
        said=lambda budget: f"eps {_distances(budget, 'eps')}",
    )
    eps_step: float | Mapping[str, float] | None = _setting(
        None,
        "--eps-step",
        "length of a step; or of modalities by name",
        metavar="LENGTH",
        kind=str,
        default="2.5 * eps / steps",
        said=lambda budget: f"step {_distances(budget, 'eps_step')}",
    )
    norm: str = _setting(
        "inf",
        "--norm",
        "norm that eps is measured in",
        metavar="inf|2",
        kind=str,
        said=lambda budget: "l_inf" if is_l_inf(budget) else "l_2",
    )
    steps: int = _setting(10, "--steps", "gradient steps", said=lambda budget: f"{budget['steps']} steps")
    max_queries: int = _setting(
        500,
        "--max-queries",
        "queries per image of black-box attacks; it does not bind decoupling_exhaustive",
    )
    max_share: float = _setting(
        0.1, "--max-share", "share of the image that a pasted word may cover", metavar="SHARE", kind=float
    )
    max_words: int = _setting(1, "--max-words", "words of a text that may be replaced", TEXTS)
    max_edits: int = _setting(1, "--max-edits", "characters of a text that may be edited", TEXTS)
    top_k: int = _setting(10, "--top-k", "proposals tried for each word", TEXTS)
    language_model: str = _setting(
        "demo:mlm",
        "--language-model",
        "proposes words: demo:mlm, or a masked language model by hub name or folder",
        TEXTS,
        metavar="NAME",
        kind=str,
    )
    protected_words: tuple[str, ...] = _setting(
        (),
        "--protect",
        "words that text attacks leave alone, separated by commas, or a text file",
        TEXTS,
        metavar="WORDS",
        kind=str,
        default="",
    )
    protect_class_names: bool = _setting(
        True,
        "--unprotected",
        "let text attacks replace class names, as the paper does",
        TEXTS,
        metavar="",
        kind=bool,
        default="",
        switched=False,
    )

    def budget_as_json(self) -> dict[str, Any]:
        """The budget as it was asked for, in JSON types."""
        return {name: as_json(getattr(self, name)) for name in settings()}

    def balls(self, modalities: Mapping[str, Modality]) -> dict[str, Ball]:
        """How far each modality that holds numbers may move, by name.

        :param modalities: Of the model.
        :raises InputError: For a name that no modality of numbers has, or a radius beyond its range.
        """
        from art_multimodal.attacks.budget import Ball

        numeric = {name: modality for name, modality in modalities.items() if modality.numeric}
        for option, given in (("--eps", _by_name(self.eps)), ("--eps-step", _by_name(self.eps_step))):
            for name in given:
                if name in modalities and name not in numeric:
                    raise InputError(f"{option}: {name} holds texts, which have no radius.")
                if name and name not in numeric:
                    raise unknown_name(f"modality for {option}", name, numeric)
        found = {}
        for name, modality in numeric.items():
            eps = self._of(self.eps, modality)
            if eps is None:
                if float(self.norm) != float("inf"):
                    raise InputError(
                        f"With --norm 2 give each modality its eps, a Euclidean length: --eps {name}=0.5,... Missing: "
                        f"{name}."
                    )
                eps = (1 / 255 if modality.kind == "image" else DEFAULT_SHARE) * range_of(modality)
            if float(self.norm) == float("inf") and eps > _widest(modality):
                raise InputError(f"eps {eps:g} of {name} is more than its whole range, {_widest(modality):g}.")
            step = self._of(self.eps_step, modality)
            found[name] = Ball(eps, min(eps, 2.5 * eps / self.steps) if step is None else step)
        return found

    def unnamed(self, modalities: Mapping[str, Modality]) -> list[str]:
        """Modalities of numbers that no eps was given for."""
        return [n for n, modality in modalities.items() if modality.numeric and self._of(self.eps, modality) is None]

    def _of(self, given: float | Mapping[str, float] | None, modality: Modality) -> float | None:
        """What was given for a modality; a bare number holds for images, as a share of their range."""
        by_name = _by_name(given)
        if modality.name in by_name:
            return by_name[modality.name]
        if "" in by_name and modality.kind == "image":
            return by_name[""] * (range_of(modality) if float(self.norm) == float("inf") else 1.0)
        return None

    def check_budget(self) -> None:
        """Refuse what no attack could spend.

        :raises InputError: Naming the setting.
        """
        from art_multimodal.functional.perturbations import norm_of

        try:
            norm_of(self.norm)
        except ValueError as error:
            raise InputError(str(error)) from error
        for name, eps in _by_name(self.eps).items():
            if not 0 < eps < float("inf"):
                of = f" of {name}" if name else ""
                unit = "" if name else " (in units of images in [0, 1], such as 1/255)"
                raise InputError(f"eps{of} must be greater than 0{unit}, not {eps}.")
            if not name and float(self.norm) == float("inf") and eps > 1:
                raise InputError(
                    f"eps {eps:g} is more than the whole range of images in [0, 1]. Did you mean {eps:g}/255?"
                )
        for name, step in _by_name(self.eps_step).items():
            if not 0 < step < float("inf"):
                raise InputError(f"The step{f' of {name}' if name else ''} must be greater than 0, not {step}.")
        for name in ("steps", "max_queries", "max_words", "max_edits", "top_k"):
            check_count(name.replace("_", " "), getattr(self, name))
        if self.max_queries < 10:
            raise InputError(f"max queries must be at least 10, not {self.max_queries}: a search needs some.")
        if not 0 < self.max_share <= 1:
            raise InputError(f"max share is a share of the image, in (0, 1], not {self.max_share:g}.")


def range_of(modality: Modality) -> float:
    """From the smallest to the largest value; where columns differ, that of the narrowest."""
    low, high = modality.clip_values
    return float(_smallest(high - low))


def _widest(modality: Modality) -> float:
    low, high = modality.clip_values
    return -float(_smallest(low - high))


def _smallest(values: Any) -> Any:
    return values.min() if hasattr(values, "min") else values


def _by_name(given: float | Mapping[str, float] | None) -> dict[str, float]:
    """Distances by the name of the modality; a bare one has none."""
    if given is None:
        return {}
    return dict(given) if isinstance(given, Mapping) else {"": given}


def as_json(value: Any) -> Any:
    """A setting in JSON types."""
    if isinstance(value, tuple):
        return [as_json(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def settings() -> dict[str, Setting]:
    """All settings of the budget by the names of their fields, in the order of the command line."""
    return {one.name: one.metadata["setting"] for one in _fields()}


def _fields() -> tuple[Field[Any], ...]:
    return fields(BudgetSettings)


def budget_text(budget: Mapping[str, Any]) -> str:
    """A budget in JSON types, in one phrase."""
    phrases = {name: one.said(budget) for name, one in settings().items() if one.said is not None}
    return ", ".join(phrases[name] for name in ("norm", *(name for name in phrases if name != "norm")))
