"""What each modality of samples costs: attacked, missing, removed, swapped; and what trust in it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from art_multimodal.evaluations.audit.passes import attacked_alone
from art_multimodal.evaluations.audit.results import worst_case
from art_multimodal.evaluations.audit.rows import Row, accuracy_of, robustness_of
from art_multimodal.evaluations.single_source import SourceResult


def by_modality(
    header: dict[str, Any], passes: Sequence[str], rows: dict[str, Row], clean: dict[int, bool]
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
                facts[what] = accuracy_of(sum(row.correct.values()), len(row.correct))
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


def _trust(members: list[str], missing: Row, rows: dict[str, Row], clean: dict[int, bool]) -> dict[str, Any]:
    """What it costs to trust a modality: over the samples that all attacks on it are done with, in pairs."""
    done = [
        index
        for index, right in clean.items()
        if index in missing.correct and (not right or all(index in rows[name].correct for name in members))
    ]
    attacked = [clean[index] and all(rows[name].correct[index] for name in members) for index in done]
    if not done:
        return {"cost_of_trust": None, "cost_of_trust_ci95": None}
    left_out = [missing.correct[index] for index in done]
    source = SourceResult(np.array(attacked), np.array(left_out), np.zeros(0, dtype=bool))
    return {"cost_of_trust": source.cost_of_trust, "cost_of_trust_ci95": source.cost_of_trust_ci95}
