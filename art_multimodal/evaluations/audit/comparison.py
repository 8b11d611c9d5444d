"""Several audited models side by side: one page over their reports."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.leaving_out import Variation, brought
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.rendering import render
from art_multimodal.evaluations.audit.samples import pictured
from art_multimodal.evaluations.audit.summary import summary_rows
from art_multimodal.evaluations.standards import LEFT_OUT
from art_multimodal.evaluations.suite import ATTACKS
from art_multimodal.out_folders import check_no_strangers
from art_multimodal.store import HEADER_FILE, check_folder, write_atomically

REPORT_FILE = "report.json"
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


def check_folders(folders: dict[str, Path], out: Path, resume: bool) -> None:
    """Find out, before any work, whether the runs can live in their folders, and a comparison in the one over them.

    :param folders: From :func:`run_folders`.
    :raises InputError: If not, or if a report would be written over that is not to be resumed.
    """
    for folder in (out, *folders.values()):
        check_no_strangers(folder)
    for folder in folders.values():
        check_folder(folder, resume=resume)
    single = (out / HEADER_FILE).exists()
    compared = (out / REPORT_FILE).exists() and not single
    if len(folders) == 1 and compared:
        raise InputError(f"{out} holds a comparison of several models. Choose another --out.")
    if len(folders) > 1 and single:
        raise InputError(f"{out} holds the run of a single model. Choose another --out.")
    if len(folders) > 1 and compared and not resume:
        raise InputError(
            f"{out} holds a comparison already. Go on with it by --resume, replace it by --overwrite, or choose "
            "another --out."
        )


def write_comparison(
    out: Path, runs: dict[Path, RunLog], reports: Sequence[dict[str, Any]], variations: Sequence[Variation]
) -> None:
    """Write ``report.json``, ``report.md`` and ``report.html`` over the reports of several models.

    :param out: The folder that holds the runs' folders.
    :param runs: The log of each run by its folder.
    :param reports: What :func:`write_reports` returned for each.
    :param variations: What each is of: a model, or one without some of its defences.
    :raises InputError: If they cannot be written.
    """
    entries: list[dict[str, Any]] = [
        {"folder": folder.name, **({"without": list(one.without)} if one.without else {}), "report": report}
        for folder, one, report in zip(runs, variations, reports, strict=True)
    ]
    # Kinds of models differ in the attacks that work on them.
    smoothed = any("smoothing" in report for report in reports)
    rows = summary_rows(_in_order([report["attacks"] for report in reports]), smoothed)
    left_out = brought(variations, list(runs))
    content = {"models": entries, **({"left_out": {"standards": LEFT_OUT, "runs": left_out}} if left_out else {})}
    text = json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False)
    write_atomically(out / REPORT_FILE, text)
    samples = [
        [sample for attack, count in _PICTURES.items() for sample in [s for s in kept if s["attack"] == attack][:count]]
        for kept in (list(pictured(log)) for log in runs.values())
    ]
    judged = list(dict.fromkeys(name for report in reports for name in report.get("verdicts", {}).get("families", ())))
    shown_entries = [{**entry, "label": one.label} for entry, one in zip(entries, variations, strict=True)]
    models = len({one.model for one in variations})
    context = {"entries": shown_entries, "models": models, "left_out": left_out, "standards": LEFT_OUT}
    context |= {"rows": rows, "samples": samples, "protocol": _protocol(reports), "judged": judged}
    for name in ("comparison.md", "comparison.html"):
        page = render(name, context)
        write_atomically(out / name.replace("comparison", "report"), page)


def _in_order(attacks: Sequence[Sequence[str]]) -> list[str]:
    """All attacks of several reports, in the order of the registry; on modalities as the first report has them."""
    listed = dict.fromkeys(name for names in attacks for name in names)
    places = {name: number for number, name in enumerate(ATTACKS)}
    return list(listed) if any("@" in name for name in listed) else sorted(listed, key=lambda name: places[name])


def _protocol(reports: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What was done: said once where it is the same for all models, otherwise for each kind of model."""
    protocols = {report["model"]["kind"]: report["protocol"] for report in reports}
    said: dict[str, str] = {}
    for key in dict.fromkeys(key for protocol in protocols.values() for key in protocol):
        texts = {kind: protocol[key] for kind, protocol in protocols.items() if key in protocol}
        same = len(set(texts.values())) == 1
        said |= {key if same else f"{key} ({kind})": text for kind, text in texts.items()}
    return said
