"""CycloneDX 1.6: the model as a component of a bill of materials, with its numbers in its model card."""

from __future__ import annotations

import json
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from art_multimodal import __version__
from art_multimodal.evaluations.budget_settings import budget_text
from art_multimodal.evaluations.formats.facts import Measurement, gates_of, measurements, title_of
from art_multimodal.evaluations.formats.format import NOTHING, Format, Options, Report, register
from art_multimodal.evaluations.standards import in_words
from art_multimodal.shown import shown

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
#: Begins the names of properties.
_OURS = "art-multimodal:"
#: By task, what CycloneDX calls it: free text.
_TASKS = {
    "zero-shot": "zero-shot image classification",
    "pairs": "classification of image-text pairs",
    "samples": "multimodal classification",
    "retrieval": "image-text retrieval",
}


def to_cyclonedx(report: Report, options: Options = NOTHING) -> str:
    """A report as a bill of materials (ML-BOM).

    Every number is a performance metric whose slice is the row of the report: its attack, or what the row stands for.

    :return: A document with a component for the model and one for the data. Its serial number follows from what is in
        it, so that the same report is the same document.
    """
    components = [_model(report), _data(report)]
    content = json.dumps(components, sort_keys=True)
    bom = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "art-multimodal", "version": __version__}]}
        },
        "components": components,
    }
    return json.dumps(bom, indent=2, ensure_ascii=True) + "\n"


def _model(report: Report) -> dict[str, Any]:
    model, verdicts = report["model"], report.get("verdicts")
    facts = {
        "weights_sha256": model["weights_sha256"],
        "parameters": str(model["parameters"]),
        "adapter": model["adapter"],
        "budget": budget_text(report["budget"]),
        "complete": str(report["complete"]).lower(),
        "seed": str(report["seed"]),
        **({"defences": "; ".join(report["defences"])} if report["defences"] else {}),
        **({"verdict": verdicts["overall"]} if verdicts else {}),
        **({"plan_sha256": verdicts["plan"]} if verdicts and verdicts["plan"] else {}),
        **{f"standards:{row}": in_words(ids) for row, ids in report["standards"].items()},
    }
    limits = [f"{gate['outcome']}: {gate['said']}" for gate in gates_of(report)]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": shown(model["spec"]),
        "modelCard": {
            "modelParameters": {
                "task": _TASKS[report["task"]],
                "architectureFamily": shown(model["kind"]),
                "datasets": [{"ref": "data"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": [_metric(one) for one in measurements(report)]},
            **({"considerations": {"technicalLimitations": [shown(text) for text in limits]}} if limits else {}),
        },
        "properties": _properties(
            {**facts, **{f"limit:{number}": title_of(gate) for number, gate in enumerate(gates_of(report), start=1)}}
        ),
    }


def _data(report: Report) -> dict[str, Any]:
    data = report["data"]
    facts = {"fingerprint": data["fingerprint"], "selected": str(data["selected"]), "listed": str(data["listed"])}
    return {
        "type": "data",
        "bom-ref": "data",
        "name": shown(data["spec"]),
        "data": [{"type": "dataset", "name": shown(data["spec"])}],
        "properties": _properties(facts),
    }


def _metric(one: Measurement) -> dict[str, Any]:
    """A number; the format takes strings, and loses no digit."""
    found: dict[str, Any] = {"type": one.metric, "value": repr(one.value), "slice": shown(one.slice)}
    if one.ci95 is not None:
        found["confidenceInterval"] = {"lowerBound": repr(one.ci95[0]), "upperBound": repr(one.ci95[1])}
    return found


def _properties(facts: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": shown(_OURS + name), "value": shown(value)} for name, value in facts.items()]


register(
    Format("cyclonedx", "audit.cdx.json", "the model with its numbers, for inventories (ML-BOM 1.6)", to_cyclonedx)
)
