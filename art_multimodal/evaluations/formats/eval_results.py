"""``.eval_results/*.yaml``: results that the Hugging Face Hub lists on the page of a benchmark."""

from __future__ import annotations

import re

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.budget_settings import budget_text
from art_multimodal.evaluations.formats.facts import Measurement, measurements
from art_multimodal.evaluations.formats.format import NOTHING, Format, Options, Report, register
from art_multimodal.shown import brief, shown

#: Ids of data sets on the Hub.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def to_eval_results(report: Report, options: Options = NOTHING) -> str:
    """A report as results of a benchmark of the Hub: the accuracy of each row, whose name is the id of its task.

    The format is work in progress at the Hub, which takes results of data sets alone that it lists as benchmarks, with
    the ids of tasks from their ``eval.yaml``.

    :param options: ``dataset`` is the benchmark: ``"ORGANISATION/NAME"``.
    :raises InputError: If it is missing, or no id.
    """
    if options.dataset is None:
        raise InputError(
            "eval-results are listed under a data set of the Hub: name it, such as --dataset ORGANISATION/NAME."
        )
    if not _HUB_ID.fullmatch(options.dataset):
        raise InputError(f"--dataset {brief(options.dataset, 60)!r} is no id of the Hub, such as ORGANISATION/NAME.")
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries = [
        EvalResultEntry(options.dataset, shown(one.row), one.value, notes=_notes(report, one))
        for one in measurements(report)
        if one.metric == "accuracy" and not one.radius
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=False)


def _notes(report: Report, one: Measurement) -> str:
    what = "recall@1, image to text" if report["task"] == "retrieval" else "accuracy"
    said = [f"{what} {'without an attack' if one.row == CLEAN else f'under {one.row}'}"]
    if one.ci95 is not None:
        said.append(f"95 % interval {one.ci95[0]:.4f} to {one.ci95[1]:.4f}")
    said.append(f"{report['results'][one.row]['n']} samples of {report['data']['spec']}")
    said.append(budget_text(report["budget"]))
    if report["defences"]:
        said.append(f"defences: {', '.join(report['defences'])}")
    if not report["complete"]:
        said.append("not complete")
    return shown("; ".join(said))


register(
    Format(
        "eval-results",
        ".eval_results/art_multimodal.yaml",
        "results for a benchmark of the Hub (draft of the Hub)",
        to_eval_results,
    )
)
