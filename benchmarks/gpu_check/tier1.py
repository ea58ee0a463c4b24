"""The tests that prove the kernels on the emulation, run on the device."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from device import ROOT, Check, missing
from on_device import DRY

SECONDS = 140


def run(check: Check) -> dict[str, Any]:
    """Run tests/kernels/cuda with the plugin that puts the device in the emulation's place."""
    if absent := missing("pytest", "hypothesis"):
        return {"not_run": f"{', '.join(absent)} is missing: give a folder that has it by --site"}
    command = [sys.executable, "-m", "pytest", "tests/kernels/cuda", "-p", "on_device", "-p", "no:cacheprovider"]
    environment = {**os.environ, **({DRY: "1"} if check.dry else {})}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command += ["-q", "--tb=line", "--maxfail=40", "--ignore-glob=*/test_faults*.py"]  # which are no GPU's
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600 if check.dry else SECONDS
    )
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "nothing was printed"
    failed = re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE)
    return {"summary": last, "failures": failed or ([] if done.returncode == 0 else [last])}
