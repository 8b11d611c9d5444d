"""JUnit XML: limits as test cases, for the test reports of continuous integration."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from art_multimodal.evaluations.audit.verdicts import FAIL, NOT_RUN, WARN
from art_multimodal.evaluations.formats.facts import gates_of, title_of, title_of_report
from art_multimodal.evaluations.formats.format import NOTHING, Format, Options, Report, register
from art_multimodal.evaluations.standards import in_words
from art_multimodal.shown import shown

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def to_junit(report: Report, options: Options = NOTHING) -> str:
    """A report as JUnit XML.

    Each limit is a test case, in the class of what is attacked. One that failed is a failure; one that was not run is
    an error, since nobody knows; one that warns passes and says why on its output. A further test case asks whether the
    run is complete, so that a report without limits is no empty file.

    Characters that XML cannot hold are shown as escapes.

    :return: A document with a single test suite.
    """
    cases = [_complete(report), *(_case(report, gate) for gate in gates_of(report))]
    counts = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error")}
    numbers = {"tests": str(len(cases)), "failures": str(counts["failure"]), "errors": str(counts["error"])}
    suites = ET.Element("testsuites", {"name": "art-multimodal", **numbers})
    suite = ET.SubElement(suites, "testsuite", {"name": title_of_report(report), **numbers, "skipped": "0"})
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(report).items():
        ET.SubElement(properties, "property", {"name": shown(name), "value": shown(value)})
    suite.extend(cases)
    ET.indent(suites)
    return f"{_DECLARATION}{ET.tostring(suites, encoding='unicode')}\n"


def _complete(report: Report) -> ET.Element:
    case = ET.Element("testcase", {"classname": "run", "name": "every sample was attacked by every attack"})
    if not report["complete"]:
        said = "The run is not complete: its numbers cover what was evaluated so far."
        ET.SubElement(case, "failure", {"message": said, "type": "incomplete"}).text = said
    return case


def _case(report: Report, gate: dict[str, Any]) -> ET.Element:
    seconds = report["results"].get(gate["row"], {}).get("seconds", 0.0)
    attributes = {"classname": shown(gate["family"]), "name": title_of(gate), "time": f"{seconds:.3f}"}
    case = ET.Element("testcase", attributes)
    said, kind = shown(gate["said"]), shown(gate["kind"])
    if gate["outcome"] in (FAIL, NOT_RUN):
        tag = "failure" if gate["outcome"] == FAIL else "error"
        ids = in_words(report["standards"].get(gate["row"], {}))
        details = f"{said}\n{ids}" if ids else said
        ET.SubElement(case, tag, {"message": said, "type": kind}).text = details
    else:
        ET.SubElement(case, "system-out").text = f"{WARN}: {said}" if gate["outcome"] == WARN else said
    return case


def _properties(report: Report) -> dict[str, str]:
    found = {
        "model": report["model"]["spec"],
        "model.weights_sha256": report["model"]["weights_sha256"],
        "data": report["data"]["spec"],
        "data.fingerprint": report["data"]["fingerprint"],
        "seed": str(report["seed"]),
        "art-multimodal": report["versions"].get("art-multimodal", ""),
    }
    if plan := report.get("verdicts", {}).get("plan"):
        found["plan.sha256"] = plan
    return found


register(Format("junit", "junit.xml", "limits as test cases, for any continuous integration", to_junit))
