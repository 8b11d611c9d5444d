"""Each defence left out once: audits of the same model without one of them, and without any, beside that with all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.shown import shown


@dataclass(frozen=True)
class Variation:
    """An audit, and which defences it is without.

    :param model: Name of the model.
    :param settings: What is run.
    :param without: The defences that are left out; none of the audit that was asked for.
    """

    model: str
    settings: AuditSettings
    without: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How pages and folders call it."""
        if not self.without:
            return self.model
        what = self.without[0] if len(self.without) == 1 else "any defence"
        return f"{self.model} without {what}"


def variations_of(settings: AuditSettings, models: Sequence[str], each_left_out: bool) -> list[Variation]:
    """The audits of several models, each followed by those without one of its defences, and without all of them.

    Limits of a plan are of what was declared: the others are there to be compared with, and have no verdicts.

    :param settings: With all defences, and without a model.
    :param each_left_out: Whether there are others.
    :raises InputError: If there is no defence that could be left out.
    """
    defences = list(dict.fromkeys(settings.defences))
    if each_left_out and not defences:
        raise InputError("--ablate-defences leaves each defence out once, and there is none: name one by --defence.")
    dropped = [(one,) for one in defences] + ([tuple(defences)] if len(defences) > 1 else [])
    found = []
    for model in models:
        own = replace(settings, model=model)
        found.append(Variation(model, own))
        for without in dropped if each_left_out else ():
            left = tuple(one for one in own.defences if one not in without)
            found.append(Variation(model, replace(own, defences=left, declared=None), without))
    return found


def brought(variations: Sequence[Variation], folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What each defence brings, row by row, in JSON types: accuracy with all of them less that without it, in pairs.

    :param variations: From :func:`variations_of`.
    :param folders: Of their finished runs.
    """
    from art_multimodal.evaluations.evidence.comparing import compare

    whole = {one.model: folder for one, folder in zip(variations, folders, strict=True) if not one.without}
    found = []
    for one, folder in zip(variations, folders, strict=True):
        if not one.without:
            continue
        rows = {
            row.row: {
                "n": row.n,
                "accuracy": row.accuracy_a,
                "difference": row.difference,
                "difference_ci95": list(row.difference_ci95),
                "p_holm": row.p_holm,
            }
            for row in compare(folder, whole[one.model]).rows
        }
        found.append({"model": one.model, "without": list(one.without), "label": shown(one.label), "rows": rows})
    return found
