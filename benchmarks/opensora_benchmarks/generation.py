"""Seconds of one video of the embedded model on several backends, turn by turn in one process.

python -m opensora_benchmarks.generation [--threads 1] [--repeat 7] [--backends numpy,numba,torch] [--json FILE]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from .machine import describe_machine
from .standing import parser_of, read_options, write_json

PROMPT = "a red circle moves right on a blue background"


def measure(backends: Sequence[str], repeat: int, **settings: Any) -> dict[str, Any]:
    """Least and median seconds by backend, and by how many of 255 levels the frames differ from the first's."""
    import numpy as np

    from opensora_core import OpenSora

    models = {name: OpenSora.from_pretrained(backend=name) for name in backends}
    frames = {name: model.generate_from_text(PROMPT, seed=0, **settings).frames for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in backends}
    for _ in range(repeat):
        for name, model in models.items():
            start = time.perf_counter()
            model.generate_from_text(PROMPT, seed=0, **settings)
            seconds[name].append(time.perf_counter() - start)
    first = frames[backends[0]].astype(int)
    return {
        name: {
            "seconds": round(min(seconds[name]), 4),
            "median_seconds": round(float(np.median(seconds[name])), 4),
            "levels_off": int(np.abs(frames[name].astype(int) - first).max()),
        }
        for name in backends
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    parser = parser_of("Time the embedded model's generation on several backends.", 7)
    parser.add_argument("--steps", type=int, help="denoising steps (default: the model's 30)")
    parser.add_argument("--backends", default="numpy,numba,torch", help="default: numpy,numba,torch")
    options = read_options(parser, "opensora_benchmarks.generation", arguments)
    if options is None:
        return
    backends = options.backends.split(",")
    rows = measure(backends, options.repeat, num_inference_steps=options.steps)
    for name, row in rows.items():
        print(f"{name:6} {row['seconds']:.3f} s at least, {row['median_seconds']:.3f} s median", end="")
        print(f", up to {row['levels_off']} of 255 levels from {backends[0]}")
    if options.json:
        machine = describe_machine([name for name in ("numpy", "numba", "torch") if name in backends])
        about = {"benchmark": "generation", "threads": options.threads, "turns": options.repeat}
        write_json(options.json, {**about, "machine": machine, "backends": rows})


if __name__ == "__main__":
    main()
