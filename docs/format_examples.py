"""Examples of the page on formats: one small report, written in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Table = Callable[[Iterable[str], Iterable[Iterable[object]]], str]
#: How each is highlighted; Markdown in a fence of its own, since it has fences.
_LEXERS = {"junit": "xml", "sarif": "json", "cyclonedx": "json", "model-card": "markdown", "eval-results": "yaml"}


def example_report() -> dict[str, Any]:
    """As much of a report as formats read, with numbers that are made up: a limit of the plan is not kept."""
    from art_multimodal.evaluations.audit.cited import standards_of_rows

    under_attack = {
        "modality": "image",
        "n": 200,
        "accuracy": 0.24,
        "accuracy_ci95": [0.184, 0.306],
        "attacked": 176,
        "attack_success_rate": 0.727,
        "attack_success_rate_ci95": [0.654, 0.79],
        "seconds": 31.5,
    }
    said = (
        "Under image at least 40.0 % of the samples were to be right. Found: 24.0 % (95 % interval 18.4 to 30.6), all "
        "of it below."
    )
    report = {
        "task": "zero-shot",
        "attacks": ["apgd"],
        "defences": [],
        "model": {
            "spec": "open_clip:ViT-B-32/openai",
            "kind": "dual encoder",
            "adapter": "OpenCLIP",
            "parameters": 151277313,
            "weights_sha256": "0123456789abcdef" * 4,
        },
        "data": {"spec": "folder:photos", "listed": 1200, "selected": 200, "fingerprint": "fedcba9876543210" * 4},
        "budget": {"norm": "inf", "eps": 1 / 255, "eps_step": 0.25 / 255, "steps": 10},
        "seed": 0,
        "versions": {"art-multimodal": "0.1.0"},
        "complete": True,
        "results": {
            "clean": {
                "n": 200,
                "accuracy": 0.88,
                "accuracy_ci95": [0.825, 0.92],
                "balanced_accuracy": 0.87,
                "seconds": 1.2,
            },
            "image": {**under_attack, "knowledge": "worst case of apgd"},
        },
        "verdicts": {
            "plan": "abcdef0123456789" * 4,
            "overall": "FAIL",
            "families": {"image": "FAIL"},
            "gates": [
                {
                    "family": "image",
                    "row": "image",
                    "radius": "",
                    "metric": "accuracy",
                    "kind": "floor",
                    "limit": 0.4,
                    "outcome": "FAIL",
                    "value": 0.24,
                    "ci95": [0.184, 0.306],
                    "said": said,
                }
            ],
            "without_limit": [],
        },
    }
    return {**report, "standards": standards_of_rows(report)}


def example(name: str) -> str:
    """The example in a format, as a block of Markdown."""
    from art_multimodal.evaluations.formats import FORMATS, Options

    text = FORMATS[name].text(example_report(), Options(dataset="organisation/benchmark", plan="plans/photos.yaml"))
    return f"````{_LEXERS[name]}\n{text}````\n"


def overview(table: Table) -> str:
    """The formats, as ``list formats`` has them."""
    from art_multimodal.evaluations.formats import FORMATS

    return table(("`--as`", "file", "what it is"), ((f"`{n}`", f"`{f.file}`", f.summary) for n, f in FORMATS.items()))
