"""The report as JUnit XML, as continuous integration reads it: a suite a level, a case a check."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from .checks import Outcome
from .report import Report

ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def junit_xml(report: Report) -> str:
    """Return the document. Failed and out-of-date checks are failures; blocked ones and xfails are skipped."""
    root = ET.Element("testsuites", name=f"opensora conformance {report.target.name}", time=f"{report.seconds:.3f}")
    for level, outcomes in report.by_level().items():
        suite = ET.SubElement(root, "testsuite", {"name": level, "time": "0", **_counts(outcomes)})
        for outcome in outcomes:
            suite.append(_case(report.target.name, outcome))
    for name, value in _counts(list(report.outcomes)).items():
        root.set(name, value)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ['<?xml version="1.0" encoding="UTF-8"?>\n', "\n"]
    )


def _case(target: str, outcome: Outcome) -> ET.Element:
    level, subject, rest = outcome.id.split("/", 2)
    case = ET.Element("testcase", classname=_legal(f"{target}.{level}.{subject}"), name=rest, time="0")
    if outcome.status == "pass":
        return case
    tag = "skipped" if outcome.ok else "failure"
    entry = ET.SubElement(case, tag, message=_legal(outcome.message), type=outcome.status)
    entry.text = _legal(outcome.repro) or None
    return case


def _counts(outcomes: list[Outcome]) -> dict[str, str]:
    failures = sum(not o.ok for o in outcomes)
    skipped = sum(o.ok and o.status != "pass" for o in outcomes)
    return {"tests": str(len(outcomes)), "failures": str(failures), "errors": "0", "skipped": str(skipped)}


def _legal(text: str) -> str:
    return ILLEGAL.sub("?", text)
