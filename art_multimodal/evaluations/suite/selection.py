"""Which attacks an audit runs, from the names that were given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from art_multimodal.attacks.budget import Budget
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.estimators.answers import AnsweringClassifier
from art_multimodal.evaluations.suite.entry import (
    ATTACKS,
    EACH,
    FORMS,
    INSIDE,
    LABELS,
    PAIRS,
    RETRIEVAL,
    SAMPLES,
    ZERO_SHOT,
    AttackEntry,
)

_WORKS_ON = {
    ZERO_SHOT: "does not work on zero-shot classification",
    PAIRS: "does not work on fusion models",
    SAMPLES: "does not work on samples of several modalities",
    RETRIEVAL: "does not work on retrieval",
}


class UnknownAttack(InputError):
    """A name that no attack has."""


#: The rows, and the groups, of random noise and of attacks that see labels alone.
NOISE, DECISION = "noise", "decision"
#: The attack on what a defence at test time goes by; and why such attacks are not run elsewhere.
ALARM, _NO_DEFENCE = "alarm", "need a defence that computes at test time (--defence ttc, for example)"
#: Attacks on one modality alone, whichever.
SINGLE_SOURCE = "single_source"
#: Rows of a smoothed model: what it says, what an attack on its votes leaves, and what is certified of it.
SMOOTHED, FLIPPED, CERTIFIED = "smoothed", "vote_flipping", "certified"
SMOOTHED_ROWS = (SMOOTHED, FLIPPED, CERTIFIED)
#: What is run when nothing is named: names and modalities by what the model is asked to do.
DEFAULTS = {
    **dict.fromkeys((ZERO_SHOT, PAIRS, RETRIEVAL), "image,text,multimodal,decoupling"),
    SAMPLES: f"{SINGLE_SOURCE},multimodal,modality_swap,modality_missing,modality_removed,decoupling",
}
#: Likewise of a model that only answers.
ANSWERS = "image,decision,noise"
#: What is run besides where surrogates are given, the one that stands for all of them at once, and what is run where a
#: perturbation is given.
TRANSFER, ENSEMBLE, UNIVERSAL = "transfer", "ensemble", "universal"


def groups_of_samples() -> tuple[str, ...]:
    """Names of rows that stand for several attacks on samples, besides the names of modalities."""
    own = (entry.modality for _, entry in ATTACKS.items() if SAMPLES in entry.tasks and entry.modality != EACH)
    return (SINGLE_SOURCE, *dict.fromkeys(own))


def check_modality_names(names: Iterable[str]) -> None:
    """Refuse a modality that is called like another row of a report.

    :raises InputError: Naming it.
    """
    taken = {"clean", *SMOOTHED_ROWS, *groups_of_samples(), *(name.partition("@")[0] for name in ATTACKS)}
    if wrong := [name for name in names if name in taken]:
        raise InputError(f"A modality cannot be called {wrong[0]!r} in an audit, whose report has a row of that name.")


def entries_for(task: str, estimator: Any = None, budget: Budget | None = None) -> dict[str, AttackEntry]:
    """All attacks for a task, by name, in the order of the registry; of samples one for each modality that fits.

    :param estimator: Of samples.
    :param budget: Likewise.
    """
    found: dict[str, AttackEntry] = {}
    bound: list[AttackEntry] = []
    for _, entry in ATTACKS.items():
        if task not in entry.tasks:
            continue
        if not entry.of_each:
            bound.append(entry)
            continue
        if entry.of_surrogates:
            bound += [entry.on(name) for name in surrogate_names(budget)]
            continue
        assert budget is not None
        bound += [entry.on(name) for name in estimator.modalities if entry.fits(estimator, name, budget)]
    if task == SAMPLES:
        # All attacks on one modality, then those on the next.
        places = {name: number for number, name in enumerate(estimator.modalities)}
        bound.sort(key=lambda entry: places.get(entry.modality, len(places)))
    for entry in bound:
        found[entry.name] = entry
    return found


def surrogate_names(budget: Budget | None) -> list[str]:
    """Names of surrogates, and of all at once where there are several."""
    names = [] if budget is None else [*budget.surrogates]
    return [*names, ENSEMBLE] if len(names) > 1 else names


def why_not(entry: AttackEntry, estimator: Any) -> str:
    """Why an attack cannot be made on a model that only answers; empty where it can."""
    if not isinstance(estimator, AnsweringClassifier) or entry.needs == LABELS:
        return ""
    if entry.needs == INSIDE:
        return "need gradients or layers, and the model only answers"
    if not estimator.answers_with_scores:
        return "need scores, and the model answers with labels"
    return "are not made on pairs of a model that only answers" if estimator.of_pairs else ""


def has_alarm(estimator: Any) -> bool:
    """Whether a defence computes at test time that looks whether an image is attacked."""
    return bool(getattr(getattr(estimator, "test_time_defence", None), "has_alarm", False))


def _no_alarm(estimator: Any) -> str:
    """Why an attack on the alarm of a defence is not run where there is none."""
    defence = type(estimator.test_time_defence).__name__
    return f"need a defence that looks whether an image is attacked, and {defence} treats all images alike"


@dataclass(frozen=True)
class Selection:
    """What is run, and what is not.

    :param names: Of attacks, in the order of the registry.
    :param not_run: Names of those that were asked for and cannot be made on the model, each with the reason.
    """

    names: tuple[str, ...]
    not_run: Mapping[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not run, a line for each reason."""
        reasons = dict.fromkeys(self.not_run.values())
        named = {why: ", ".join(name for name, of in self.not_run.items() if of == why) for why in reasons}
        return tuple(f"NOT RUN: {names}, which {why}" for why, names in named.items())


def select_attacks(
    names: str | None, nb_classes: int, task: str = ZERO_SHOT, estimator: Any = None, budget: Budget | None = None
) -> tuple[str, ...]:
    """Turn ``"image,decoupling"`` into the names of attacks; a modality stands for all of its attacks that apply.

    On samples of several modalities ``"depth"`` stands for all attacks on depth, ``"pgd"`` for that attack on each of
    them, ``"pgd@depth"`` for one, and ``"single_source"`` for all attacks on one modality alone.

    >>> select_attacks("pgd,square", nb_classes=10)
    ('pgd', 'square')

    :param names: ``None`` for those of :data:`DEFAULTS`.
    :param nb_classes: Classes, or images with different captions. Attacks that need more are left out of a modality,
        and refused by name.
    :param task: Likewise attacks that do not know the task.
    :param estimator: Of samples of several modalities.
    :param budget: Likewise.
    :return: In the order of the registry, with those that a chosen one goes on after.
    :raises InputError: For an unknown name, one that cannot work, or none.
    """
    return selected(names, nb_classes, task, estimator, budget).names


def selected(
    names: str | None, nb_classes: int, task: str = ZERO_SHOT, estimator: Any = None, budget: Budget | None = None
) -> Selection:
    """The same, with what was asked for and cannot be made on a model that only answers.

    Where the budget has surrogates, or a perturbation, attacks by them are run whatever is named.
    """
    defence = getattr(estimator, "test_time_defence", None)
    if names is None and defence is not None:
        names = "image"
    if names is None:
        names = ANSWERS if isinstance(estimator, AnsweringClassifier) else DEFAULTS[task]
    if budget is not None:
        names += f",{TRANSFER}" * bool(budget.surrogates) + f",{UNIVERSAL}" * (budget.universal is not None)
    entries = entries_for(task, estimator, budget)
    if defence is not None:
        return _on_scores(names, nb_classes, entries, estimator)
    fitting = {
        name: entry for name, entry in entries.items() if entry.minimum_classes <= nb_classes and not entry.of_defence
    }
    groups = _groups(fitting, estimator if task == SAMPLES else None)
    chosen: set[str] = set()
    no_defence: dict[str, str] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name in groups:
            chosen.update(groups[name])
        elif name in fitting:
            chosen.add(name)
        elif name in entries and entries[name].of_defence:
            no_defence[name] = _NO_DEFENCE
        elif name in entries:
            what = "images with different captions" if task == RETRIEVAL else "classes"
            raise InputError(f"{name} needs at least {entries[name].minimum_classes} {what}; there are {nb_classes}.")
        else:
            raise _refused(name, task, groups, estimator)
    if not chosen and not no_defence:
        known = dict.fromkeys([*groups, *([] if task == SAMPLES else _without_forms())])
        raise InputError(f"No attack was named. Known: {', '.join(known)}.")
    for name in reversed([*fitting]):
        if name in chosen:
            after = fitting[name].goes_on_after
            chosen.update(other for other in fitting if any(stands_for(form, other) for form in after))
    not_run = no_defence | {
        name: why for name in fitting if name in chosen and (why := why_not(fitting[name], estimator))
    }
    # Registry order, whatever order they were named in: a report's rows then compare.
    found = Selection(tuple(name for name in fitting if name in chosen and name not in not_run), not_run)
    if not found.names:
        able = ", ".join(name for name, entry in fitting.items() if not why_not(entry, estimator))
        raise InputError(f"{'; '.join(found.notes)}. Use {able}, or transfer with --surrogate MODEL.")
    return found


def _on_scores(names: str, nb_classes: int, entries: Mapping[str, AttackEntry], estimator: Any) -> Selection:
    """The same behind a defence that computes at test time: attacks that need no more of images than class scores."""
    fitting = {
        name: entry
        for name, entry in entries.items()
        if (entry.modality in ("image", DECISION, NOISE, TRANSFER, UNIVERSAL) or name == "worst_image")
        and entry.minimum_classes <= nb_classes
    }
    groups = _groups(fitting, None)
    chosen: set[str] = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        members = groups.get(name, [name] if name in fitting else [])
        if not members:
            if name not in _groups(entries, None) and name not in entries:
                raise UnknownAttack(unknown_name("attack", name, {*groups, *fitting}))
            raise InputError(
                f"{name} does not go with a defence that computes at test time "
                f"({type(estimator.test_time_defence).__name__}). Use {', '.join(fitting)}."
            )
        chosen.update(members)
    if not chosen:
        raise InputError(f"No attack was named. Known: {', '.join(dict.fromkeys([*groups, *fitting]))}.")
    not_run = {ALARM: _no_alarm(estimator)} if ALARM in chosen and not has_alarm(estimator) else {}
    found = Selection(tuple(name for name in fitting if name in chosen and name not in not_run), not_run)
    if not found.names:
        raise InputError(f"{'; '.join(found.notes)}. Use {', '.join(name for name in fitting if name != ALARM)}.")
    return found


def stands_for(form: str, name: str) -> bool:
    """Whether a name is that of a form: ``worst@depth`` of ``worst@MODALITY``."""
    return name == form or (form.endswith(EACH) and name.partition("@")[0] + EACH == form and "@" in name)


def _groups(fitting: Mapping[str, AttackEntry], estimator: Any) -> dict[str, list[str]]:
    """Names that stand for several attacks.

    :param estimator: Of samples; else ``None``.
    """
    groups: dict[str, list[str]] = {}
    for name, entry in fitting.items():
        groups.setdefault(entry.modality, []).append(name)
        if estimator is not None:
            if entry.modality in estimator.modalities:
                groups.setdefault(SINGLE_SOURCE, []).append(name)
            if "@" in name:
                groups.setdefault(name.partition("@")[0], []).append(name)
    return {name: list(dict.fromkeys(members)) for name, members in groups.items()}


def _refused(name: str, task: str, groups: Mapping[str, list[str]], estimator: Any) -> InputError:
    """The error for a name that cannot be used."""
    modalities = {entry.modality for _, entry in ATTACKS.items() if entry.modality != EACH}
    attack, at, modality = name.partition("@")
    if attack + FORMS[1] in ATTACKS:
        what = f"There is no surrogate {modality!r}." if at else "There is no surrogate."
        return InputError(f"{name} is made on surrogates, of classifiers of images. {what} Give them with --surrogate.")
    if at and attack + EACH in ATTACKS:
        if task != SAMPLES:
            return InputError(f"{name} {_WORKS_ON[task]}: it is for models over several modalities.")
        if modality in estimator.modalities:
            return InputError(f"{attack} does not work on {modality}, or nothing is known of its eps.")
        return unknown_name("modality", modality, estimator.modalities)
    if name in modalities or name in ATTACKS:
        alike = groups.get(ATTACKS[name].modality, groups) if name in ATTACKS else groups
        return InputError(f"{name} {_WORKS_ON[task]}. Use {', '.join(alike)}.")
    if task == SAMPLES:
        return unknown_name("attack or modality", name, groups)
    return UnknownAttack(unknown_name("attack", name, {*modalities, *_without_forms()}))


def _without_forms() -> list[str]:
    """Names of attacks that are no forms for each modality."""
    return [name for name, entry in ATTACKS.items() if not entry.of_each]
