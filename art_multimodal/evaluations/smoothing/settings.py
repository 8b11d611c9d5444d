"""How a model is smoothed: which elements its votes see. Certifications and audits take these settings alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from art_multimodal.errors import InputError, check_count, unknown_name
from art_multimodal.estimators.certification import MASKS, Masks, masks_of
from art_multimodal.estimators.certification.deciding import OF_THE_SAME_VOTES, RULES
from art_multimodal.estimators.certification.masks import MOST_VOTES, Bernoulli, Independent, Joint, Partition, Sampled
from art_multimodal.evaluations.budget_settings import as_json
from art_multimodal.evaluations.smoothing.budgets import EditBudget
from art_multimodal.shown import shown

LAYOUTS = ("interleaved", "contiguous")
#: Kinds of edits, and what is said of them.
EDITS = ("modify", "any")
#: Where an audit gets the budget of its certificates.
CERTIFY_BUDGET = "--certify-budget"
#: Of votes that are drawn at random.
_SAMPLES, _CHOOSING, _ALPHA, _RULE = 1000, 100, 0.001, "majority"


@dataclass(frozen=True, kw_only=True)
class SmoothingSettings:
    """How a model is smoothed.

    >>> SmoothingSettings(keep={"image": 4}).exact, SmoothingSettings(keep={"image": 4}, masks="independent").exact
    (True, False)

    :param keep: How many elements of each modality a vote sees, by name; of masks ``bernoulli`` the chance to see each.
        Modalities that are not named are seen whole, and changes of them are not certified.
    :param masks: Which elements votes see: a name of :data:`MASKS`.
    :param elements: What counts as an element, by the name of the modality, as for :func:`elements_of`.
    :param edits: ``"modify"``: elements change in place. ``"any"``: elements are also added and deleted.
    :param layout: Of masks ``partition``, which elements form a group: ``"interleaved"`` or ``"contiguous"``.
    :param samples: Of random masks, votes that bounds are computed from.
    :param choosing: Of random masks, votes that choose the class; the rule ``"published"`` has none.
    :param alpha: Of random masks, with what chance the certificate of a sample may be wrong.
    :param rule: Of random masks, ``"majority"``, ``"paired"`` or ``"published"``: see :class:`AblatedEnsemble`.
    """

    keep: Mapping[str, float]
    masks: str = "partition"
    elements: Mapping[str, str] = field(default_factory=dict)
    edits: str = "modify"
    layout: str | None = None
    samples: int | None = None
    choosing: int | None = None
    alpha: float | None = None
    rule: str | None = None

    def __post_init__(self) -> None:
        if self.masks not in MASKS:
            raise unknown_name("kind of masks", self.masks, MASKS)
        if self.edits not in EDITS:
            raise unknown_name("kind of edits", self.edits, EDITS)
        kind = MASKS[self.masks]
        if self.edits == "any" and not kind.any_edits:
            able = ", ".join(name for name, other in MASKS.items() if other.any_edits)
            raise InputError(
                f"--edits any: masks {self.masks} certify modifications in place only. Where elements are added or "
                f"deleted, choose --masks {able}."
            )
        self._settle(kind)
        self._check_keep(kind)

    def _settle(self, kind: type[Masks]) -> None:
        """Refuse options that these masks do not have, and fill in the defaults of those that they have."""
        if not issubclass(kind, Partition) and self.layout is not None:
            raise InputError(f"--layout is of masks partition, not of {self.masks}: leave it out.")
        if issubclass(kind, Partition):
            object.__setattr__(self, "layout", self.layout or LAYOUTS[0])
            if self.layout not in LAYOUTS:
                raise unknown_name("layout", str(self.layout), LAYOUTS)
        if self.choosing is not None and self.rule in OF_THE_SAME_VOTES:
            raise InputError(
                f"--choosing: with the rule {self.rule} the votes that are bounded choose the class, too. Leave it out."
            )
        of_random: dict[str, Any] = {"samples": _SAMPLES, "choosing": _CHOOSING, "alpha": _ALPHA, "rule": _RULE}
        for name, default in of_random.items():
            given = getattr(self, name)
            if not issubclass(kind, Sampled):
                if given is not None:
                    random = ", ".join(other for other, one in MASKS.items() if issubclass(one, Sampled))
                    raise InputError(
                        f"--{name} is of masks that are drawn at random ({random}). With {self.masks} all votes are "
                        f"counted: leave out --{name}."
                    )
            elif given is None:
                object.__setattr__(self, name, default)
        check_count("samples", self.samples, most=MOST_VOTES)
        check_count("choosing", self.choosing, most=MOST_VOTES)
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise InputError(f"alpha is a chance between 0 and 1, such as 0.001, not {self.alpha:g}.")
        if self.rule is not None and self.rule not in RULES:
            raise unknown_name("rule", self.rule, RULES)

    def _check_keep(self, kind: type[Masks]) -> None:
        if not self.keep:
            raise InputError("keep names at least one modality, with how much of it a vote sees: image=16.")
        for name, number in self.keep.items():
            if issubclass(kind, Bernoulli):
                if not 0 <= number <= 1:
                    raise InputError(
                        f"keep of {shown(name)}: with masks bernoulli it is the chance to keep an element, from 0 to "
                        f"1, not {number:g}."
                    )
            elif number != int(number) or number < 0:
                raise InputError(
                    f"keep of {shown(name)} is a whole number of elements, from 0 on, not {number:g}; with masks "
                    "bernoulli it is a chance."
                )
        if not issubclass(kind, Bernoulli):
            object.__setattr__(self, "keep", {name: int(number) for name, number in self.keep.items()})
        if not any(self.keep.values()):
            raise InputError(
                "keep is 0 for every modality that is named, so no vote would see any of them and any change is "
                "certified: keep some of one."
            )

    def masks_with(self, keep: Mapping[str, float], seed: int) -> Masks:
        """The masks with other numbers to keep.

        :param seed: Of votes that are drawn at random.

        :raises InputError: If nothing is kept at all.
        """
        kind, options = MASKS[self.masks], {}
        if issubclass(kind, Joint) and not all(keep.values()):
            # Of elements that are drawn together none can be left out of the draw: so the rest is drawn by itself.
            kind = Independent
        if issubclass(kind, Partition):
            options["layout"] = self.layout
        if issubclass(kind, Sampled):
            options |= {"samples": self.samples, "choosing": self.choosing, "seed": seed}  # type: ignore[dict-item]
        return masks_of(kind.name, dict(keep), **options)  # type: ignore[arg-type]

    @property
    def exact(self) -> bool:
        """Whether all votes are counted, so that nothing is estimated."""
        return MASKS[self.masks].exact


@dataclass(frozen=True, kw_only=True)
class AuditedSmoothing(SmoothingSettings):
    """The smoothed model of an audit, and what its certificates are held against.

    >>> smoothing = AuditedSmoothing(keep={"image": 4}, budget="image=1")
    >>> smoothing.exact, smoothing.budget
    (True, 'image=1')

    :param budget: How much an attacker may edit, as for :meth:`EditBudget.parse`; empty for one element of each
        modality.
    :param attack_steps: Steps of the attack on the smoothed model, within the same budget.
    """

    budget: str = ""
    attack_steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("attack steps", self.attack_steps)
        if self.budget:
            # Written in full, so that a run knows itself again.
            object.__setattr__(self, "budget", EditBudget.parse(self.budget, CERTIFY_BUDGET).spec)

    def as_json(self) -> dict[str, Any]:
        """The settings in JSON types."""
        return {one.name: as_json(getattr(self, one.name)) for one in fields(self)}
