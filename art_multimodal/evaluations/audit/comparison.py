"""Several audited models side by side: one page over their reports."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.log import RunLog, write_atomically
from art_multimodal.evaluations.audit.rendering import render
from art_multimodal.evaluations.audit.report import pictured

#: Removals shown of each model, by attack.
_PICTURES = {"decoupling_guided": 1, "decoupling_image": 2}


def run_folders(models: Sequence[str], out: Path) -> dict[str, Path]:
    """Where each model's own run is kept: ``out`` for a single one, a folder in it for each of several.

    :raises InputError: If a model is named twice.
    """
    if len(models) == 1:
        return {models[0]: out}
    twice = sorted({model for model in models if list(models).count(model) > 1})
    if twice:
        raise InputError(f"The model {twice[0]} is named twice.")
    # The number keeps names apart that differ in punctuation alone.
    return {
        model: out / f"{place}-{re.sub(r'[^A-Za-z0-9.]+', '-', model).strip('-')[-60:]}"
        for place, model in enumerate(models, start=1)
    }


def write_comparison(out: Path, runs: dict[Path, RunLog], reports: Sequence[dict[str, Any]]) -> None:
    """Write ``report.json``, ``report.md`` and ``report.html`` over the reports of several models.

    :param out: The folder that holds the runs' folders.
    :param runs: The log of each run by its folder.
    :param reports: What :func:`write_reports` returned for each.
    :raises InputError: If they cannot be written.
    """
    entries = [{"folder": folder.name, "report": report} for folder, report in zip(runs, reports, strict=True)]
    rows = list(dict.fromkeys(name for report in reports for name in report["results"]))
    text = json.dumps({"models": entries}, indent=2, ensure_ascii=True, allow_nan=False)
    write_atomically(out / "report.json", text)
    samples = [
        [sample for attack, count in _PICTURES.items() for sample in [s for s in kept if s["attack"] == attack][:count]]
        for kept in (list(pictured(log)) for log in runs.values())
    ]
    for name in ("comparison.md", "comparison.html"):
        page = render(name, {"entries": entries, "rows": rows, "samples": samples})
        write_atomically(out / name.replace("comparison", "report"), page)
