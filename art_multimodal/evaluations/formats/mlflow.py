"""MLflow: the numbers of a report as metrics of a run, with its files as artefacts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError, one_line
from art_multimodal.evaluations.budget_settings import budget_text
from art_multimodal.evaluations.formats.facts import measurements, title_of_report
from art_multimodal.evaluations.formats.format import Report
from art_multimodal.shown import brief
from art_multimodal.store import refuse_links

#: What a run has to show: its reports, and its evidence if it was kept.
_REPORTS, _EVIDENCE = ("report.json", "report.md", "report.html"), "evidence"
#: Most characters of a parameter; a server keeps 6,000, an older one 500.
_LONGEST = 500


def metrics_of(report: Report) -> dict[str, float]:
    """The numbers of a report by names that MLflow takes: ``pgd/depth.accuracy``, ``pgd/depth.accuracy.low``."""
    found: dict[str, float] = {}
    for one in measurements(report):
        name = f"{_name(one.slice)}.{one.metric}"
        found[name] = one.value
        if one.ci95 is not None:
            found[f"{name}.low"], found[f"{name}.high"] = one.ci95
    return found


def params_of(report: Report) -> dict[str, str]:
    """What the numbers depend on, as parameters."""
    found = {
        "model": report["model"]["spec"],
        "model.weights_sha256": report["model"]["weights_sha256"],
        "data": report["data"]["spec"],
        "data.fingerprint": report["data"]["fingerprint"],
        "data.selected": report["data"]["selected"],
        "task": report["task"],
        "attacks": ",".join(report["attacks"]),
        "defences": "; ".join(report["defences"]),
        "budget": budget_text(report["budget"]),
        "seed": report["seed"],
    }
    return {name: brief(value, _LONGEST) for name, value in found.items()}


def files_of_run(folder: Path) -> list[Path]:
    """What a run has to show, as artefacts: its reports, and the folder of its evidence.

    :param folder: Of the run.
    :raises InputError: If one is a link: somebody else's file would be sent away.
    """
    names = list(_REPORTS)
    refuse_links(folder, [*names, _EVIDENCE])
    for place, folders, files in os.walk(folder / _EVIDENCE):
        inside = [(Path(place) / name).relative_to(folder).as_posix() for name in sorted((*folders, *files))]
        refuse_links(folder, inside)
        names += inside
    return [path for name in names if (path := folder / name).is_file()]


def log_to_mlflow(report: Report, files: Sequence[Path], folder: Path | None = None) -> str:
    """Log a report as a run of MLflow, where ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME`` say.

    :param report: What ``report.json`` holds.
    :param files: Become its artefacts.
    :param folder: Whose files keep the folders that they are in.
    :return: Id of the run.
    :raises InputError: If MLflow is not installed, or refuses something.
    """
    try:
        import mlflow
    except ImportError as error:
        raise InputError(
            "--mlflow needs MLflow, which is not installed: pip install 'art-multimodal[mlflow]'."
        ) from error
    try:
        with mlflow.start_run(run_name=brief(title_of_report(report), 200)) as run:
            mlflow.log_params(params_of(report))
            mlflow.log_metrics(metrics_of(report))
            mlflow.set_tags(_tags(report))
            for path in files:
                mlflow.log_artifact(str(path), _place(path, folder))
            return run.info.run_id
    # Of a server that is not there, of its settings, and of names and files that it refuses.
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise InputError(
            f"MLflow refuses the report: {one_line(error)}. See MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME."
        ) from error


def _place(path: Path, folder: Path | None) -> str | None:
    """The folder of an artefact; ``None`` for the top."""
    if folder is None or not path.is_relative_to(folder) or path.parent == folder:
        return None
    return path.parent.relative_to(folder).as_posix()


def _tags(report: Report) -> dict[str, Any]:
    verdicts = report.get("verdicts")
    found = {"art_multimodal.complete": str(report["complete"]).lower()}
    if verdicts:
        found["art_multimodal.verdict"] = verdicts["overall"]
        if verdicts["plan"]:
            found["art_multimodal.plan_sha256"] = verdicts["plan"]
    return found


def _name(row: str) -> str:
    """A row as a part of the name of a metric."""
    return re.sub(r"[^\w/. -]", "_", row.replace("@", "/"))
