"""What each modality of samples costs: attacked, missing, removed, swapped; and what trust in it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from art_multimodal.evaluations.audit.columns import Column
from art_multimodal.evaluations.audit.passes import attacked_alone
from art_multimodal.evaluations.audit.results import worst_case
from art_multimodal.evaluations.audit.rows import Row, right_in_all, robustness_of, share_right
from art_multimodal.evaluations.single_source import SourceResult


def by_modality(
    header: dict[str, Any], passes: Sequence[str], rows: dict[str, Row], clean: Column[bool]
) -> dict[str, dict[str, Any]]:
    """Of each modality of samples what is left where it is attacked, missing, removed or swapped; what trust costs."""
    found: dict[str, dict[str, Any]] = {}
    for one in header["data"]["modalities"]:
        name = one["name"]
        facts: dict[str, Any] = {"kind": one["kind"]}
        members = [attack for attack in passes if attacked_alone(attack) == name]
        missing = rows.get(f"modality_missing@{name}")
        for what, row in (("missing", missing), ("removed", rows.get(f"modality_removed@{name}"))):
            if row is not None:
                facts[what] = share_right(row.correct)
        if (swap := rows.get(f"modality_swap@{name}")) is not None:
            robust = robustness_of(swap, clean)
            facts["swapped"] = {key: robust[key] for key in ("n", "accuracy", "accuracy_ci95")}
        if members:
            worst = worst_case(name, members, rows, clean)
            facts["attacked"] = {key: worst[key] for key in ("n", "accuracy", "accuracy_ci95")}
            if missing is not None:
                facts |= _trust(members, missing, rows, clean)
        found[name] = facts
    return found


def _trust(members: list[str], missing: Row, rows: dict[str, Row], clean: Column[bool]) -> dict[str, Any]:
    """What it costs to trust a modality: over the samples that all attacks on it are done with, in pairs."""
    attacked = right_in_all([rows[name] for name in members])
    done = clean.there & missing.correct.there & (~clean.dense | attacked.there)
    if not done.any():
        return {"cost_of_trust": None, "cost_of_trust_ci95": None}
    survived = (clean.dense & attacked.dense)[done]
    source = SourceResult(survived, missing.correct.dense[done], np.zeros(0, dtype=bool))
    return {"cost_of_trust": source.cost_of_trust, "cost_of_trust_ci95": source.cost_of_trust_ci95}
