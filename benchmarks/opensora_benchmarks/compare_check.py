"""Whether `opensora bench compare` can be trusted: of runs made back to back, at least 95 % of the rows must be SAME.

python -m opensora_benchmarks.compare_check [--pattern GLOB] [--backends numpy] [--rows 100]
       [--budget 5] [--error 0.005] [--json FILE]

Each pair of runs is two processes, one right after the other, on an idle machine. Pairs are made until there are enough
rows. Exits with 1 if fewer than 95 % are SAME.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .compare import MARGIN, Comparison, compare, verdict
from .machine import describe_machine
from .results import Document, load
from .standing import write_json

WANTED = 0.95
MARGINS = (0.05, MARGIN, 0.15, 0.2)
Pair = Callable[[], tuple[Document, Document]]


def check(pair: Pair, rows: int) -> list[Comparison]:
    """Compare pairs of runs until there are at least so many rows."""
    found: list[Comparison] = []
    while len(found) < rows:
        found += compare(*pair())
    return found


def tally(found: Sequence[Comparison]) -> dict[str, Any]:
    """How many rows got each word, the share of SAME, how many intervals hold 1, and how far off the others are."""
    words = Counter(c.verdict for c in found)
    return {
        "rows": len(found),
        **{word.lower(): words[word] for word in ("SAME", "UNSURE", "FASTER", "SLOWER")},
        "share_same": words["SAME"] / len(found),
        "share_holding_1": sum(c.low <= 1 <= c.high for c in found) / len(found),
        "by_margin": {f"{margin:g}": _by_margin(found, margin) for margin in MARGINS},
        "passed": words["SAME"] >= WANTED * len(found),
        "others": [asdict(c) for c in found if c.verdict != "SAME"],
    }


def _by_margin(found: Sequence[Comparison], margin: float) -> dict[str, float]:
    """What would be said with another margin: the share of SAME, and that of the alarms, SLOWER and FASTER."""
    words = [verdict(c.low, c.high, margin) for c in found]
    alarms = sum(word in ("SLOWER", "FASTER") for word in words)
    return {"same": round(words.count("SAME") / len(words), 3), "alarms": round(alarms / len(words), 3)}


def run_pair(arguments: Sequence[str]) -> tuple[Document, Document]:
    """Two runs of `opensora bench run`, one right after the other."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("a.json", "b.json")]
        for file in files:
            command = [sys.executable, "-m", "opensora_core.cli", "bench", "run", *arguments, "-o", str(file)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        first, second = map(load, files)
        return first, second


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tally, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description="Compare runs made back to back.")
    parser.add_argument("--pattern", default="*", help="cases, of those that --quick runs (default: all)")
    parser.add_argument("--backends", default="numpy", help="with commas between (default: numpy)")
    parser.add_argument("--rows", type=int, default=100, help="at least so many (default 100)")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds a row and run (default 5)")
    parser.add_argument("--error", type=float, default=0.005, help="standard error to aim at (default 0.005)")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    options = parser.parse_args(arguments)
    asked = [options.pattern, "--quick", "--backend", options.backends, "--budget", str(options.budget)]
    asked += ["--error", str(options.error)]
    result = tally(check(lambda: run_pair(asked), options.rows))
    print(", ".join(f"{name} {value}" for name, value in result.items() if name != "others"))
    for row in result["others"]:
        print(f"  {row['verdict']:6} {row['case']} {row['provider']}: {row['low']:.3f} - {row['high']:.3f}")
    if options.json:
        about = {"benchmark": "compare_check", "run": asked, "machine": describe_machine(["numpy"])}
        write_json(options.json, {**about, **result})
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
