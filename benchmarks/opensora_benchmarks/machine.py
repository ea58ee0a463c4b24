"""What a measurement was taken on: processor, load, versions, date; and with how many threads."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENSORA_THREADS")


def ran_again(module: str, threads: int, arguments: Sequence[str] | None) -> bool:
    """Whether the module was run in a process of its own, since libraries read the number of threads when loaded.

    False in that process, and where the environment already says so. arguments: of the command line, None for its own.
    """
    wanted = dict.fromkeys(THREADS, str(threads))
    if all(os.environ.get(name) == number for name, number in wanted.items()):
        return False
    settings = {**os.environ, **wanted, "PYTHONPATH": os.pathsep.join(sys.path)}  # what is found here is found there
    command = [sys.executable, "-m", module, *(sys.argv[1:] if arguments is None else arguments)]
    if code := subprocess.run(command, env=settings).returncode:
        raise SystemExit(code)
    return True


def describe_machine(packages: Sequence[str]) -> dict[str, Any]:
    """Return processor, processors in use, load average, versions of Python and the packages, date (UTC)."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": [round(n, 2) for n in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {key.strip(): value.strip() for key, value in fields.items()}
    return (
        f"{names.get('model name', platform.machine())} (family {names.get('cpu family')}, model {names.get('model')})"
    )
