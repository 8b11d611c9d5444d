"""SARIF 2.1.0: the limits that failed, as findings of a code scanner."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from art_multimodal import __version__
from art_multimodal.evaluations.audit.verdicts import FAIL, NOT_RUN, WARN
from art_multimodal.evaluations.formats.facts import (
    fingerprints,
    gates_of,
    title_of,
    title_of_report,
)
from art_multimodal.evaluations.formats.format import NOTHING, Format, Options, Report, register
from art_multimodal.evaluations.standards import STANDARDS
from art_multimodal.evaluations.threat_models import threat_model_of
from art_multimodal.shown import shown

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: The file that a finding points at where no plan is named.
REPORT_FILE = "report.json"


def to_sarif(report: Report, options: Options = NOTHING) -> str:
    """A report as SARIF.

    SARIF is for defects, so a measurement is none: there is a result for each limit that failed, and nothing else. What
    warns and what was not run is said among the notifications of the run. A rule is what is attacked. There is no
    severity but ``error``: how bad it is, the limit has said.

    :param options: ``plan`` is the file that results point at, relative to the repository; else ``report.json``.
    :return: A log with a single run.
    """
    gates = gates_of(report)
    # Of all limits and not of the failed ones, so that a rule keeps its place when a limit is met again.
    families = list(dict.fromkeys(gate["family"] for gate in gates))
    uri = _uri(options.plan or REPORT_FILE)
    plan = report.get("verdicts", {}).get("plan")
    artifact: dict[str, Any] = {"location": {"uri": uri}}
    if options.plan and plan:
        artifact["hashes"] = {"sha-256": plan}
    run = {
        "tool": {
            "driver": {
                "name": "art-multimodal",
                "version": __version__,
                "rules": [_rule(report, family) for family in families],
            }
        },
        "automationDetails": {"id": shown(f"art-multimodal/{report['model']['spec']}/{report['data']['spec']}/")},
        "artifacts": [artifact],
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": report["complete"], "toolExecutionNotifications": _notes(report)}],
        "results": [
            _result(report, gate, families.index(gate["family"]), uri, fingerprint)
            for gate, fingerprint in zip(gates, fingerprints(report), strict=True)
            if gate["outcome"] == FAIL
        ],
        "properties": {
            "model": shown(report["model"]["spec"]),
            "weights_sha256": report["model"]["weights_sha256"],
            "data": shown(report["data"]["spec"]),
            "data_fingerprint": report["data"]["fingerprint"],
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=True) + "\n"


def _rule(report: Report, family: str) -> dict[str, Any]:
    rows = [gate["row"] for gate in gates_of(report) if gate["family"] == family]
    ids: dict[str, list[str]] = {}
    for row in rows:
        for name, some in report["standards"].get(row, {}).items():
            ids[name] = list(dict.fromkeys([*ids.get(name, []), *some]))
    model = threat_model_of(family, [one["name"] for one in report["data"].get("modalities", ())])
    cited = [f"{STANDARDS[name].name}: {one} ({STANDARDS[name].titles[one]})" for name in ids for one in ids[name]]
    attacker = f"Attacker: {model.attacker} Not a threat where {model.ignore}"
    return {
        "id": _rule_id(family),
        "shortDescription": {"text": _plain(f"A limit on {family} is not kept.")},
        "fullDescription": {"text": attacker},
        "defaultConfiguration": {"level": "error"},
        "help": {
            "text": "\n".join([attacker, *cited]),
            "markdown": "\n".join([attacker, "", *(f"- {one}" for one in cited)]),
        },
        "properties": {"tags": ["robustness", *(one for some in ids.values() for one in some)]},
    }


def _rule_id(family: str) -> str:
    return f"robustness/{shown(family)}"


def _result(report: Report, gate: dict[str, Any], index: int, uri: str, fingerprint: str) -> dict[str, Any]:
    place = {
        "physicalLocation": {"artifactLocation": {"uri": uri, "index": 0}, "region": {"startLine": 1}},
        "logicalLocations": [
            {
                "name": shown(gate["row"]),
                "fullyQualifiedName": shown(f"{report['model']['spec']}/{title_of(gate)}"),
                "kind": "resource",
            }
        ],
    }
    return {
        "ruleId": _rule_id(gate["family"]),
        "ruleIndex": index,
        "kind": "fail",
        "level": "error",
        "message": {"text": _plain(f"{title_of_report(report)}: {gate['said']}")},
        "locations": [place],
        "partialFingerprints": {"artMultimodalLimit/v1": fingerprint},
        "properties": {key: gate[key] for key in ("limit", "value", "ci95")},
    }


def _notes(report: Report) -> list[dict[str, Any]]:
    """What is no finding and should not go unsaid."""
    said = [] if report["complete"] else ["The run is not complete: its numbers cover what was evaluated so far."]
    if not gates_of(report):
        said.append("No limit was declared, so nothing can fail.")
    said += [f"{gate['outcome']}: {gate['said']}" for gate in gates_of(report) if gate["outcome"] in (WARN, NOT_RUN)]
    return [{"level": "warning", "message": {"text": _plain(text)}} for text in said]


def _plain(text: str) -> str:
    """A text in which nothing is a link: messages of SARIF know ``[text](destination)``."""
    return "".join(f"\\{letter}" if letter in "\\[]" else letter for letter in shown(text))


def _uri(path: str) -> str:
    """A path in a repository as a relative reference."""
    return quote(PurePath(path).as_posix(), safe="/")


register(Format("sarif", "audit.sarif", "limits that failed, for GitHub's code scanning and other viewers", to_sarif))
