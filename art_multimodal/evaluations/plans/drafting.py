"""A plan for a model and data, with comments, as a start: what works on them, and limits as suggestions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from art_multimodal.evaluations.audit.plan import plan_of
from art_multimodal.evaluations.audit.radii import name_of, within_a_radius
from art_multimodal.evaluations.audit.run import Audit
from art_multimodal.evaluations.budget_settings import settings
from art_multimodal.evaluations.plans.model import VERSION
from art_multimodal.evaluations.suite import RETRIEVAL, SAMPLES, entry_of
from art_multimodal.evaluations.suite.noise import NOISE
from art_multimodal.evaluations.suite.selection import entries_for
from art_multimodal.shown import shown

#: Radii of images; where images are one of several modalities, as multiples of the default one; and of other
#: modalities, whose default is a large one, as shares of it.
_OF_IMAGES = ("1/255", "2/255", "4/255")
_TIMES, _SHARES = (1.0, 2.0, 4.0), (0.25, 0.5, 1.0)
#: Samples, where the audit does not say how many.
_SAMPLES = 200
#: Settings of the budget that are written where attacks on texts are.
_OF_TEXTS = ("max_words", "max_edits", "top_k", "language_model")


def draft(audit: Audit) -> str:
    """The text of a plan, which ``audit --plan`` takes as it is.

    :param audit: Of the model and data; nothing of it is run.
    """
    return "\n".join(_lines(audit)) + "\n"


def _lines(audit: Audit) -> Iterator[str]:
    names = _attacks(audit)
    yield from _comment(
        "A plan of an audit: what is attacked, and within which limits it is to stay. Declare the limits, then run "
        "art-multimodal audit --plan THIS_FILE. The plan is kept in the run, which goes on with no other one."
    )
    yield f"plan: {VERSION}"
    yield f"models: [{_value(audit.settings.model)}]"
    yield f"data: {_value(audit.settings.data)}"
    yield f"task: {audit.settings.task}"
    if used := audit.header().get("plugins"):
        yield from _comment("Packages or modules that are to be loaded; what is not installed is named by --plugin.")
        yield f"plugins: {_value([one['name'] for one in used])}"
    yield ""
    limit = audit.settings.limit or _SAMPLES
    # Of a share of one half, by the normal distribution.
    points = f"an interval of some {98 / limit**0.5:.0f} points to either side"
    yield from _comment(f"{limit} samples: {points}. The seed is of the attacks, too.")
    yield "samples:"
    yield f"  limit: {min(limit, len(audit.subject.data))}"
    yield f"  seed: {audit.settings.seed}"
    yield ""
    yield from _comment(f"By what changes. 'all' stands for every attack on it. Planned passes: {_passes(audit)}.")
    yield "attacks:"
    for family, attacks in names.items():
        yield f"  {_value(family)}:"
        for name in attacks:
            yield from _comment(entry_of(name).summary, 4)
            yield f"    - {_value(name)}"
    yield ""
    yield from _comment(
        "The largest radius is that of the rows; within the smaller ones the attacks are made again, for the curve."
    )
    yield "budgets:"
    yield from _budgets(audit, [name for attacks in names.values() for name in attacks])
    yield ""
    yield from _comment("In front of the model, such as 'jpeg:quality=75'; see art-multimodal list defences.")
    yield "defences: []"
    yield ""
    yield from _limits(audit, names)


def _attacks(audit: Audit) -> dict[str, list[str]]:
    """The attacks that the audit runs, and noise, by family."""
    entries = entries_for(audit.subject.task, audit.estimator, audit.budget)
    chosen = [*audit.attacks, *(name for name, entry in entries.items() if entry.modality == NOISE)]
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(chosen):
        found.setdefault(entry_of(name).modality, []).append(name)
    return found


def _passes(audit: Audit) -> str:
    forward = sum(one.forward for one in plan_of(audit).passes) / max(1, len(audit.order))
    return f"at most some {forward:,.0f} of a sample through the model, without the smaller radii"


def _budgets(audit: Audit, names: list[str]) -> Iterator[str]:
    known = settings()
    chosen = audit.settings
    yield "  norm: inf"
    if audit.subject.task == SAMPLES:
        yield "  eps:"
        modalities = audit.estimator.modalities
        for times, share in zip(_TIMES, _SHARES, strict=True):
            radii = {
                name: ball.eps * (times if modalities[name].kind == "image" else share)
                for name, ball in audit.budget.balls.items()
            }
            # As reports call them.
            each = (f"{_value(name)}: {name_of({name: eps}, 'inf').partition('=')[2]}" for name, eps in radii.items())
            yield f"    - {{{', '.join(each)}}}"
    elif within_a_radius(names, audit.budget):
        yield f"  eps: [{', '.join(_OF_IMAGES)}]"
    for name in ("steps", "max_queries", *(_OF_TEXTS if any(entry_of(one).words for one in names) else ())):
        yield from _comment(known[name].help, 2)
        yield f"  {name}: {_value(getattr(chosen, name))}"


def _limits(audit: Audit, names: dict[str, list[str]]) -> Iterator[str]:
    of = "images that find a caption of theirs first" if audit.subject.task == RETRIEVAL else "right samples"
    yield from _comment(
        f"Least shares of {of}, each with its verdict: of a family, of one attack, or of clean; within a smaller "
        "radius by its name. These are suggestions: set those that you can stand for, and take away the marks."
    )
    yield "floors:"
    yield "#  clean: 0.9"
    every = [name for attacks in names.values() for name in attacks]
    bound = {entry_of(name).modality for name in within_a_radius(every, audit.budget)}
    for family in names:
        if family in bound and audit.subject.task != SAMPLES:
            yield f"#  {_value(family)}: {{{_OF_IMAGES[0]}: 0.6, {_OF_IMAGES[-1]}: 0.3}}"
        else:
            yield f"#  {_value(family)}: 0.5"
    yield from _comment("Largest shares of the right samples that attacks may succeed on.")
    yield "ceilings:"
    for family in names:
        yield f"#  {_value(family)}: 0.4"
    yield ""
    yield from _comment("An interval that is closer to a limit than this is no PASS, but WARN.")
    yield "warn_margin: 0.0"


def _comment(text: str, indent: int = 0) -> list[str]:
    mark = " " * indent + "# "
    return textwrap.wrap(shown(text), 100, initial_indent=mark, subsequent_indent=mark, break_long_words=False)


def _value(value: Any) -> str:
    """A value as YAML writes it in a list."""
    return yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**6).strip()[1:-1]
