"""A section for the model card on the Hugging Face Hub, with the metadata that go in front of it."""

from __future__ import annotations

from typing import Any

from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.rendering import interval, md, percent
from art_multimodal.evaluations.budget_settings import budget_text
from art_multimodal.evaluations.formats.facts import Measurement, gates_of, measurements
from art_multimodal.evaluations.formats.format import NOTHING, Format, Options, Report, register
from art_multimodal.evaluations.standards import in_words
from art_multimodal.shown import shown

#: By task, what the Hub calls it.
TASKS = {
    "zero-shot": "zero-shot-image-classification",
    "pairs": "image-text-classification",
    "samples": "multimodal-classification",
    "retrieval": "image-text-retrieval",
}
#: Shares that the metadata name; the table has the rest.
_NAMED = ("accuracy", "attack_success_rate")


def to_model_card(report: Report, options: Options = NOTHING) -> str:
    """A report as a section of a model card.

    :return: Markdown behind YAML metadata: a ``model-index`` of the legacy form that model cards still have.
    """
    return f"---\n{metadata(report)}---\n\n{section(report)}"


def metadata(report: Report) -> str:
    """The metadata of the section, as YAML without the lines around it."""
    from huggingface_hub import ModelCardData

    name = shown(report["model"]["spec"])
    results = [_result(report, one) for one in measurements(report) if one.metric in _NAMED]
    if not results:  # nothing was evaluated
        return ""
    return ModelCardData(model_name=name, eval_results=results).to_yaml() + "\n"


def _result(report: Report, one: Measurement) -> Any:
    from huggingface_hub import EvalResult

    under = "without an attack" if one.row == CLEAN else f"under {shown(one.slice)}"
    known = {} if one.ci95 is None else {"ci95": list(one.ci95)}
    return EvalResult(
        task_type=TASKS[report["task"]],
        dataset_type=shown(report["data"]["spec"]),
        dataset_name=shown(report["data"]["spec"]),
        metric_type=one.metric,
        metric_value=one.value,
        metric_name=f"{_called(report, one.metric)} {under}",
        metric_args={"row": shown(one.slice), **known},
    )


def _called(report: Report, metric: str) -> str:
    """What a number is called; in retrieval being right is to find a caption first."""
    if metric == "accuracy" and report["task"] == "retrieval":
        return "recall@1, image to text"
    return metric.replace("_", " ")


def section(report: Report) -> str:
    """The section itself, in Markdown; what came from data is no markup in it."""
    data, version = report["data"], report["versions"].get("art-multimodal", "")
    measured = (
        f"Measured with art-multimodal {md(version)} on {md(data['spec'])}, {data['selected']} of {data['listed']} "
        f"samples; {md(budget_text(report['budget']))}"
    )
    if report["defences"]:
        measured += f"; defences: {md('; '.join(report['defences']))}"
    lines = ["## Robustness under attack", "", f"{measured}."]
    if not report["complete"]:
        lines += ["", "**The run is not complete:** the numbers cover what was evaluated so far."]
    lines += _verdicts(report)
    columns = ("row", "what the attacker knows", _called(report, "accuracy"), "95 % interval", "success rate", "n")
    lines += ["", f"| {' | '.join(columns)} |", "|---|---|---:|---|---:|---:|"]
    for row, numbers in report["results"].items():
        success = percent(numbers["attack_success_rate"]) if "attack_success_rate" in numbers else ""
        known = md(numbers.get("knowledge", ""))
        cells = [md(row), known, percent(numbers["accuracy"]), interval(numbers["accuracy_ci95"]), success]
        lines.append(f"| {' | '.join([*cells, str(numbers['n'])])} |")
    lines += ["", "<details><summary>What standards call these rows</summary>", ""]
    lines += [f"- {md(row)}: {md(in_words(ids))}" for row, ids in report["standards"].items()]
    lines += ["", "</details>", ""]
    return "\n".join(lines)


def _verdicts(report: Report) -> list[str]:
    gates = gates_of(report)
    if not gates:
        return []
    lines = ["", f"Verdict: **{md(report['verdicts']['overall'])}**", "", "| verdict | limit and what was found |"]
    return [*lines, "|---|---|", *(f"| {md(gate['outcome'])} | {md(gate['said'])} |" for gate in gates)]


register(Format("model-card", "model_card.md", "a section for the model card on the Hub", to_model_card))
