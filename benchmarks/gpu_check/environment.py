"""What this machine has: versions, GPU, and which of the optional tools are missing."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib import metadata
from typing import Any

from device import Check, missing

PACKAGES = ("numpy", "ml_dtypes", "cupy-cuda13x", "torch", "numba", "numba-cuda", "hypothesis", "matplotlib")
OPTIONAL = ("torch", "numba", "hypothesis", "matplotlib", "safetensors", "av", "typer", "rich", "PIL")
TOOLS = ("nvidia-smi", "nvcc", "ncu", "compute-sanitizer", "g++")


def run(check: Check) -> dict[str, Any]:
    """Look around."""
    from opensora_backends.cuda_doctor import diagnose

    rows = list(diagnose(lambda: check.libraries))
    device = check.xp.cuda.Device(0)
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: _version(name) for name in PACKAGES},
        "missing": missing(*OPTIONAL),
        "tools": {name: shutil.which(name) for name in TOOLS},
        "doctor": rows,
        "arch": str(device.compute_capability),
        "failures": [text for _, status, text, _ in rows if status != "ok"],
    }
    if shutil.which("nvidia-smi"):
        asked = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
        shown = subprocess.run(["nvidia-smi", f"--query-gpu={asked}", "--format=csv"], capture_output=True, text=True)
        found["gpu"] = shown.stdout.strip().splitlines()
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
