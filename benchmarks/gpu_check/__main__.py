"""Everything that wants a GPU, in one command of less than eight minutes on an H100:

    python benchmarks/gpu_check OUT            all steps; OUT gets a small JSON file for each, summary.json and pictures
    python benchmarks/gpu_check OUT --dry      the same code on the CPU, at tiny shapes, with stand-ins for GPU and CuPy
    python benchmarks/gpu_check OUT --steps kernels,golden
    python benchmarks/gpu_check OUT --train 300        trains the embedded model's recipe for so many seconds at the end

It runs in a checkout, not installed and without a network. It needs numpy, ml_dtypes and cupy, and uses torch,
numba-cuda, hypothesis, pytest, matplotlib and compute-sanitizer where they are there; `--site DIR` adds a folder with
packages.
Each step is a process of its own, as a fault of the GPU ends it; one that fails or is late leaves the others alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STEPS = {  # seconds each may take on a GPU
    "environment": 60,
    "golden": 60,
    "primitives": 150,
    "kernels": 150,
    "python_kernels": 150,
    "tier1": 150,
    "suite": 160,
    "timings": 110,
    "stdit3": 100,
    "sanitizer": 95,
}
TOGETHER = (
    ("environment", "golden", "primitives", "kernels", "python_kernels", "tier1", "suite"),
    ("timings",),
    ("stdit3",),
    ("sanitizer",),
)
"""Steps of a group run at once: most of their time goes into compiling. What is timed runs alone."""
NOT_RUN = "not run"
DRY_SECONDS = 600  # on a busy machine


def main() -> int:
    """Run the steps, or as a child one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument("--dry", action="store_true", help="on the CPU, with stand-ins")
    parser.add_argument("--steps", default=",".join(STEPS), help="those to run, with commas between")
    parser.add_argument("--site", type=Path, help="folder with further packages")
    parser.add_argument("--train", type=float, default=0, help="seconds of training at the end")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    _paths(options.site)
    if options.child:
        return _child(options)
    names = [*options.steps.split(","), *(["training"] if options.train else [])]
    if unknown := sorted({*names} - {*STEPS, "training"}):
        parser.error(f"unknown steps {', '.join(unknown)}; known: {', '.join(STEPS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    return _run(options, names)


def _run(options: argparse.Namespace, names: list[str]) -> int:
    began, summary = time.time(), {}
    for group in (*TOGETHER, ("training",)):
        chosen = [name for name in group if name in names]
        with ThreadPoolExecutor(max(1, len(chosen) if not options.dry else 1)) as pool:
            for name, (status, seconds) in zip(chosen, pool.map(lambda name: _one(options, name), chosen), strict=True):
                summary[name] = {"status": status, "seconds": seconds}
                print(f"{name:12} {status:8} {seconds:6.1f} s", flush=True)
    document = {"dry": options.dry, "seconds": round(time.time() - began, 1), "steps": summary}
    (options.out / "summary.json").write_text(json.dumps(document, indent=2) + "\n")
    from pictures import draw

    print(draw(options.out))
    fine = ("ok", NOT_RUN) if options.dry else ("ok",)  # what a GPU's machine lacks must be seen
    return int(any(s["status"] not in fine for s in summary.values()))


def _one(options: argparse.Namespace, name: str) -> tuple[str, float]:
    """Run a step as a process, whose output goes to OUT/<step>.log; how it ended, and after how many seconds."""
    limit = DRY_SECONDS if options.dry else options.train + 120 if name == "training" else STEPS[name]
    start = time.time()
    arguments = [sys.executable, str(HERE), str(options.out), "--child", name, "--train", str(options.train)]
    arguments += ["--dry"] if options.dry else []
    arguments += ["--site", str(options.site)] if options.site else []
    with open(options.out / f"{name}.log", "w") as log:
        try:
            code = subprocess.run(arguments, stdout=log, stderr=subprocess.STDOUT, timeout=limit, cwd=ROOT).returncode
        except subprocess.TimeoutExpired:
            return "late", round(time.time() - start, 1)
    return {0: "ok", 1: "failed", 3: NOT_RUN}.get(code, f"died {code}"), round(time.time() - start, 1)


def _child(options: argparse.Namespace) -> int:
    from device import Check

    check = Check(options.out, options.dry, options.site, options.small, options.train)
    try:
        found = importlib.import_module(options.child).run(check)
        code = 3 if "not_run" in found else int(bool(found.get("failures")))
    except Exception as error:
        traceback.print_exc()
        found, code = {"error": f"{type(error).__name__}: {error}"}, 1
    path = options.out / f"{options.child}.json"
    path.write_text(json.dumps({"dry": options.dry, "small": options.small, **found}, indent=1) + "\n")
    return code


def _paths(site: Path | None) -> None:
    ours = (ROOT, ROOT / "backends", ROOT / "kernels", ROOT / "benchmarks")
    folders = [str(f) for f in (*ours, *([site.resolve()] if site else []))]
    sys.path[1:1] = folders  # after the folder of this file
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *filter(None, [os.environ.get("PYTHONPATH")])])


if __name__ == "__main__":
    sys.exit(main())
