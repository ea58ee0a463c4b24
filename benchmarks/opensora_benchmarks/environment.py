"""What a run was taken on: machine, threads, BLAS, versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .library import Library
from .machine import THREADS, describe_machine
from .memory import last_level_cache

PACKAGES = ("opensora-core", "numpy", "torch", "numba", "cupy-cuda13x", "jax", "flash-attn", "xformers")


def describe_environment(libraries: Sequence[Library], seed: int) -> dict[str, Any]:
    """Everything that a time depends on and that can be found out."""
    gpu = next((x.device_name for x in libraries if x.device_name), None)
    return {
        **describe_machine([name for name in PACKAGES if _installed(name)]),
        "device": gpu or "cpu",
        "gpu": _gpu_state() if gpu else None,
        "processor_mhz": _processor_mhz(),
        "last_level_cache": last_level_cache(),
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
        "blas": _blas(),
        "commit": _commit(),
        "seed": seed,
    }


def _installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def _blas() -> str:
    """Name and version of NumPy's."""
    found = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def _processor_mhz() -> float | None:
    """What the processor runs at just now, where Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    clocks = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return max(clocks, default=None)


def _gpu_state() -> str | None:
    asked = "name,driver_version,clocks.sm,clocks.mem,power.limit,temperature.gpu"
    return _said(["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"])


def _commit() -> str | None:
    """Of the checkout this file lies in, with a + if files were changed; None if it is installed."""
    here = ["git", "-C", str(Path(__file__).parent)]
    commit = _said([*here, "rev-parse", "--short=12", "HEAD"])
    changed = _said([*here, "status", "--porcelain", "--untracked-files=no"])
    return commit and commit + ("+" if changed else "")


def _said(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
