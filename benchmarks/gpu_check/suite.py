"""The conformance suite on the backend, at level ops and, where time is left, blocks and the model."""

from __future__ import annotations

import time
from typing import Any

from device import Check, missing

SECONDS = 110  # after which no further level is begun


def run(check: Check) -> dict[str, Any]:
    """Run it; it draws with Hypothesis, without which only the other steps speak for the primitives."""
    if absent := missing("hypothesis"):
        return {"not_run": f"{', '.join(absent)} is missing: give a folder that has it by --site"}
    from opensora_core.testing.conformance import conformance

    began, found, failures = time.perf_counter(), {}, []
    only = "ops/attention" if check.dry else ""
    for level in ("ops",) if check.dry else ("ops", "blocks", "model"):
        if time.perf_counter() - began > SECONDS:
            found[level] = "not begun: no time was left"
            continue
        report = conformance(check.backend("cuda:0"), level, examples=1 if check.dry else 5, only=only or level)
        found[level] = report.summary
        failures += [] if report.ok else list(report.details())[:40]
    return {"levels": found, "failures": failures}
