"""Several radii of one audit: in their order, with a name for each, and the budget that belongs to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from art_multimodal.attacks.budget import Ball, Budget
from art_multimodal.errors import InputError
from art_multimodal.evaluations.budget_settings import in_255ths
from art_multimodal.evaluations.suite import entry_of
from art_multimodal.modalities.modality import Modality
from art_multimodal.shown import shown

#: Of images in [0, 1], or of modalities by their names.
Radius = float | Mapping[str, float]
#: More are no finer curve, and cost as much each.
MOST_RADII = 20
#: Named radii are written in steps of 8 bits up to so many.
_MOST_STEPS = 32


def name_of(eps: Radius, norm: str) -> str:
    """How reports and the log call a radius: ``1/255``, ``0.5``, ``pix=0.1,fou=0.05``."""
    if not isinstance(eps, Mapping):
        return in_255ths(eps) if float(norm) == float("inf") else f"{eps:.4g}"
    return ",".join(f"{name}={_written(value, norm)}" for name, value in eps.items())


def _written(value: float, norm: str) -> str:
    steps = 255 * value
    few = float(norm) == float("inf") and 0.5 < steps < _MOST_STEPS + 0.5
    return f"{round(steps)}/255" if few and abs(steps - round(steps)) < 1e-6 else f"{value:.4g}"


def nested(radii: Sequence[Radius]) -> tuple[Radius, tuple[Radius, ...]]:
    """The largest of several radii, and the smaller ones, ascending.

    :raises InputError: If two are equal, or one is not inside another in every modality.
    """
    if len(radii) > MOST_RADII:
        raise InputError(f"--eps: {len(radii)} radii are more than {MOST_RADII}; each costs as much as an audit.")
    named = [one for one in radii if isinstance(one, Mapping)]
    if named and len(named) < len(radii):
        raise InputError(
            "--eps: some radii are for images and some for modalities by name. Give each by name, in the same way: "
            "--eps rgb=1/255,depth=0.01 --eps rgb=2/255,depth=0.02."
        )
    if not named:
        ascending: list[Radius] = sorted(radii, key=lambda one: one if not isinstance(one, Mapping) else 0.0)
        if twice := [one for one, other in itertools.pairwise(ascending) if one == other]:
            raise InputError(f"--eps: {_short(twice[0])} is given twice.")
        return ascending[-1], tuple(ascending[:-1])
    for one in named[1:]:
        if one.keys() != named[0].keys():
            raise InputError(
                f"--eps: {_short(named[0])} and {_short(one)} name different modalities; name the same ones in each."
            )
    in_order = sorted(named, key=lambda one: next(iter(one.values())))
    for inner, outer in itertools.pairwise(in_order):
        if not all(inner[name] < outer[name] for name in inner):
            raise InputError(
                f"--eps: of {_short(inner)} and {_short(outer)} neither is inside the other in every modality: each "
                "radius of the one must be smaller."
            )
    return in_order[-1], tuple(in_order[:-1])


def _short(eps: Radius) -> str:
    return shown(name_of(eps, "inf"))


def check_radii(largest: Radius, smaller: Sequence[Radius], norm: str) -> None:
    """Refuse smaller radii that are none, or that reports could not tell apart.

    :raises InputError: Naming them.
    """
    if not smaller:
        return
    wanted = nested([*smaller, largest])
    if wanted != (largest, tuple(smaller)):
        raise InputError("smaller_eps holds radii in ascending order, all of them inside eps.")
    names = [name_of(one, norm) for one in (*smaller, largest)]
    if twice := [one for one, other in itertools.pairwise(names) if one == other]:
        raise InputError(f"--eps: two radii are both {shown(twice[0])}, to four digits; leave one out.")


def in_proportion(budget: Budget, smaller: Budget) -> Budget:
    """A smaller budget whose steps are as long, in units of its radii, as those of the largest one.

    :param budget: The largest.
    :param smaller: With radii of its own.
    """
    balls = {
        name: Ball(ball.eps, budget.balls[name].eps_step * ball.eps / budget.balls[name].eps)
        for name, ball in smaller.balls.items()
    }
    return replace(budget, eps=smaller.eps, eps_step=budget.eps_step * smaller.eps / budget.eps, balls=balls)


def within_a_radius(attacks: Iterable[str], budget: Budget) -> tuple[str, ...]:
    """Those attacks whose budget is a radius: a smaller one is another attack."""
    found = []
    for name in attacks:
        modality = name.partition("@")[2]
        entry = entry_of(name)
        if entry.within_radius and (not modality or entry.of_surrogates or modality in budget.balls):
            found.append(name)
    return tuple(found)


def check_all_named(unnamed: Sequence[str], modalities: Mapping[str, Modality]) -> None:
    """Refuse several radii where a modality would move as far within each of them.

    :param unnamed: Modalities that no radius was given for.
    :raises InputError: Naming them.
    """
    if unnamed:
        numeric = [name for name, modality in modalities.items() if modality.numeric]
        example = ",".join(f"{name}=0.01" for name in numeric)
        raise InputError(
            f"With several --eps give each modality its radius in all of them; missing: {shown(', '.join(unnamed))}. "
            f"For example: --eps {shown(example)} --eps {shown(example.replace('0.01', '0.02'))}."
        )
