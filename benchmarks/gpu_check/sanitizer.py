"""The kernels again under compute-sanitizer, small: accesses out of bounds, and races in shared memory."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from device import Check

TOOLS = ("memcheck", "racecheck")
SECONDS = 45


def run(check: Check) -> dict[str, Any]:
    """Run each tool on the step `kernels`."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None:
        return {"not_run": "compute-sanitizer is not here"}
    if check.dry:
        return {"not_run": "a dry run launches nothing on a GPU"}
    found: dict[str, Any] = {}
    failures = []
    for tool in TOOLS:
        out = check.out / f"sanitizer_{tool}"
        out.mkdir(exist_ok=True)
        child = [sys.executable, str(Path(__file__).parent), str(out), "--child", "kernels", "--small"]
        child += ["--site", str(check.site)] if check.site else []
        command = [program, "--tool", tool, "--error-exitcode", "9", "--print-limit", "20", *child]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            failures.append(f"{tool} took more than {SECONDS} s")
            continue
        (check.out / f"sanitizer_{tool}.log").write_text(done.stdout[-200_000:] + done.stderr[-20_000:])
        found[tool] = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", done.stdout)
        if done.returncode:
            failures.append(f"{tool} ends with {done.returncode}: {'; '.join(found[tool]) or done.stderr[-300:]}")
    return {"tools": found, "failures": failures}
