"""What importing the library costs above importing NumPy, and what it loads: each time in a process of its own.

python -m opensora_benchmarks.imports [--repeat 11] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

FRAMEWORKS = ("torch", "cupy", "numba", "jax", "tensorflow", "triton")
STAGES = {
    "import numpy": "import numpy",
    "import opensora_core": "import numpy, opensora_core",
    "get_backend('numpy')": "import numpy, opensora_core; opensora_core.get_backend('numpy')",
    "OpenSora": "import numpy, opensora_core; opensora_core.OpenSora",
}
PROGRAM = """
import sys, time
start = time.perf_counter()
{code}
seconds = time.perf_counter() - start
import json
print(json.dumps([seconds, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""


def measure(repeat: int) -> dict[str, dict[str, Any]]:
    """Median seconds of every stage, what it adds to the first, and which frameworks it loads.

    The stages take turns, so that a busy moment of the machine hits all alike; one round goes before the count.
    """
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    loaded: dict[str, list[str]] = {}
    for _ in range(repeat + 1):
        for stage, code in STAGES.items():
            duration, loaded[stage] = _once(code)
            seconds[stage].append(duration)
    medians = {stage: statistics.median(times[1:]) for stage, times in seconds.items()}
    base = medians["import numpy"]
    return {
        stage: {
            "seconds": round(median, 4),
            "above_numpy": round(median - base, 4),
            "frameworks": [name for name in FRAMEWORKS if name in loaded[stage]],
        }
        for stage, median in medians.items()
    }


def _once(code: str) -> tuple[float, list[str]]:
    command = [sys.executable, "-c", PROGRAM.format(code=code)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # what is found here is found there
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    duration, modules = json.loads(done.stdout)
    return duration, modules


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description="Measure what importing the library costs.")
    parser.add_argument("--repeat", type=int, default=11, help="times each stage is measured (default 11)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat must be at least 1")
    table = measure(options.repeat)
    if options.json:
        print(json.dumps({"repeat": options.repeat, "python": sys.version.split()[0], "stages": table}, indent=2))
        return
    print(f"{'stage':24}{'seconds':>9}{'above numpy':>13}  frameworks loaded")
    for stage, row in table.items():
        print(f"{stage:24}{row['seconds']:9.3f}{row['above_numpy']:13.3f}  {', '.join(row['frameworks']) or 'none'}")


if __name__ == "__main__":
    main()
