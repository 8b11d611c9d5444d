"""The attacks of a plan, by family, as an audit selects them; and the rows that a plan may set limits to."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.evaluations.suite.entry import ATTACKS, EACH, form_of
from art_multimodal.evaluations.suite.selection import SINGLE_SOURCE, SMOOTHED_ROWS
from art_multimodal.shown import brief

#: Instead of names: every attack of a family that works on the model.
ALL = "all"


def families() -> list[str]:
    """What attacks change, apart from the modalities of a model that has others than image and text."""
    return [SINGLE_SOURCE, *dict.fromkeys(entry.modality for _, entry in ATTACKS.items() if entry.modality != EACH)]


def selection(attacks: Mapping[str, Collection[str] | str]) -> tuple[str, str]:
    """Names of attacks, separated by commas: for models of images and texts, and for others.

    :param attacks: By family, names or :data:`ALL`. A family is what attacks change: ``image``, ``text``, ..., or a
        modality of the model.
    :raises InputError: For an unknown name, or one of another family.
    """
    plain, on_samples = [], []
    for family, names in attacks.items():
        if isinstance(names, str):
            plain.append(family)
            on_samples.append(family)
            continue
        if not names:
            raise InputError(f"attacks.{brief(family, 60)} names no attack. Write {ALL}, or leave the family out.")
        for name in names:
            one, other = _both(family, name)
            plain.append(one)
            on_samples.append(other)
    return ",".join(dict.fromkeys(plain)), ",".join(dict.fromkeys(on_samples))


def _both(family: str, name: str) -> tuple[str, str]:
    attack, at, modality = name.partition("@")
    each, once = ATTACKS.items(), ATTACKS
    form = form_of(attack)
    of_each = form is not None
    if not of_each and (at or attack not in once):
        known = {other.partition("@")[0] for other, _ in each}
        raise unknown_name(f"attack on {brief(family, 60)}", brief(name, 60), known)
    if at:
        assert form is not None
        group = once[form].on(modality).modality
        _check_family(family, name, group)
        return name, name
    if form is not None and once[form].modality == EACH:
        # On images and texts the family is that of the attack; otherwise it is the modality.
        if attack in once and family == once[attack].modality:
            return name, f"{name}@{family}"
        if family in families():
            _check_family(family, name, once[attack].modality if attack in once else "a modality by its name")
        return f"{name}@{family}", f"{name}@{family}"
    _check_family(family, name, once[attack if attack in once or form is None else form].modality)
    return name, name


def _check_family(family: str, name: str, of: str) -> None:
    if family != of and not (family == SINGLE_SOURCE and "@" in name):
        raise InputError(
            f"attacks.{brief(family, 60)} names {brief(name, 60)}, an attack on {brief(of, 60)}: put it there."
        )


def check_row(row: str, attacks: Mapping[str, Collection[str] | str], kind: str) -> None:
    """Refuse a limit to a row that no audit has.

    :param attacks: Of the plan.
    :param kind: ``"floor"`` or ``"ceiling"``.
    :raises InputError: Naming the nearest rows.
    """
    known = {*families(), *attacks, *(name for name in ATTACKS if "@" not in name)}
    known |= {one for names in attacks.values() if not isinstance(names, str) for one in names}
    # Of an audit with --keep, which no plan declares.
    known |= {*SMOOTHED_ROWS} if kind == "floor" else set()
    attack, at, _ = row.partition("@")
    if row == "clean" and kind == "ceiling":
        raise InputError(
            "a ceiling is for the success of attacks; without an attack there is none: give clean a floor."
        )
    if row in known or row == "clean" or (at and form_of(attack)):
        return
    raise unknown_name(f"row for a {kind}", brief(row, 60), {*known, "clean"} if kind == "floor" else known)
