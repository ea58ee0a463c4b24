"""Full-size published models on this machine: seconds and peak memory of loading each, and of one denoising step.

python -m opensora_benchmarks.published_models [--threads 1] [--only STEP] [--json FILE]

Every model of `tests/golden/keys` is written with random bfloat16 weights to a temporary folder, one at a time, and
loaded strictly, as a download would be; the 11B models are only checked, name by name and shape by shape. Each
measurement has a process of its own. Peak memory is by how much that process grows, mapped files included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from .machine import describe_machine, ran_again
from .memory import peak_of_process, peak_so_far
from .published_weights import RandomWeights

LOADED = (
    "stdit-xl2-v1.0_16x256x256", "stdit2-xl2-v1.1", "stdit3-xl2-v1.2", "stdit3-xl2-v1.3", "vae-v1.2", "vae-v1.3",
    "hunyuan-vae-v2.0",
)  # fmt: skip
SHAPES_ONLY = ("stdit3-3b2-v1.2", "mmdit-v2.0", "mmdit-flux1-dev")
BACKENDS = (("torch", "bfloat16"), ("torch", "float32"), ("numpy", "float32"))
STEPS = {"stdit3-xl2-v1.2": (("torch", "bfloat16"), ("torch", "float32"))}  # which models make a step, and on what
FRAMES, HEIGHT, WIDTH = 17, 144, 256
Row = dict[str, Any]


# ---------------------------------------------------------------------- one measurement, in a process of its own


def load(path: str, backend: str, dtype: str) -> Row:
    """Load a model and tell seconds, peak, and what its weights take on the backend."""
    from opensora_core.registry import get_backend
    from opensora_core.releases.loading import load_published

    ops = get_backend(backend, dtype=dtype)
    model: list[Any] = []
    seconds, peak = _measured(lambda: model.append(load_published(path, ops).model))
    weights = _weight_bytes(model[0])
    share = None if peak is None else round(peak / weights, 3)
    return {"seconds": seconds, "peak_bytes": peak, "weight_bytes": weights, "peak_share": share}


def step(path: str, backend: str, dtype: str) -> Row:
    """Load a denoiser of v1.2 and take one guided step: two rows of latents, the official sampler.

    planned_share: of the memory that the whole process takes, what `opensora plan` foretells.
    """
    import numpy as np

    from opensora_core.pipelines.published.components import ReleaseFiles
    from opensora_core.pipelines.published.planning import GenerationPlan
    from opensora_core.registry import get_backend
    from opensora_core.releases.loading import load_published
    from opensora_core.releases.release import RELEASES
    from opensora_core.releases.task import Task, Text

    ops = get_backend(backend, dtype=dtype)
    denoiser = load_published(path, ops).model
    shape = (4, 5, HEIGHT // 8, WIDTH // 8)
    task = Task(shape, FRAMES, HEIGHT, WIDTH, 24.0, num_inference_steps=30, guidance_scale=7.0, seed=0)
    text = Text(np.random.default_rng(0).standard_normal((1, 300, 4096)).astype(np.float32), np.arange(300)[None] < 40)
    steps: list[Any] = []
    seconds, peak = _measured(
        lambda: steps.append(next(iter(RELEASES["v1.2"].sample(ops, denoiser, task, text, None))))
    )
    whole = peak_so_far()
    finite = bool(np.isfinite(np.asarray(ops.to_numpy(steps[0].latents))).all())
    size = {"num_frames": FRAMES, "height": HEIGHT, "width": WIDTH, "latents": [2, *shape]}
    weights = _weight_bytes(denoiser)
    plan = GenerationPlan(ReleaseFiles([path]), backend, dtype, num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    planned = next(stage.peak for stage in plan.stages() if stage.name == "denoiser")
    share = None if whole is None else round(planned / whole, 3)
    planned_of = {"process_bytes": whole, "planned_bytes": planned, "planned_share": share}
    memory = {"peak_bytes": peak, "weight_bytes": weights, **planned_of}
    return {"seconds": seconds, **memory, **size, "finite": finite}


def check(table: str) -> Row:
    """Seconds in which all names and shapes of a model are held against the code; nothing of its size is allocated."""
    import numpy as np

    from opensora_core.releases.architectures import recognise
    from opensora_core.releases.checkpoint import Checkpoint
    from opensora_core.releases.loading import fit_published

    weights = RandomWeights.published(table)
    shells = {name: np.broadcast_to(np.float32(0), shape) for name, shape in weights.shapes.items()}

    def run() -> None:
        fit_published(recognise(weights.shapes, table), Checkpoint(table, shells, {}))

    seconds, peak = _measured(run)
    return {"seconds": seconds, "peak_bytes": peak, "weight_bytes": 2 * weights.parameters}


def _measured(call: Callable[[], Any]) -> tuple[float, int | None]:
    taken: list[float] = []

    def timed() -> None:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)

    peak = peak_of_process(timed)
    return round(taken[0], 3), peak


def _weight_bytes(model: Any) -> int:
    from opensora_core.interpose.costs.sizes import nbytes
    from opensora_core.module import named_leaves

    return sum(nbytes(leaf) for _, leaf in named_leaves(model))


# ---------------------------------------------------------------------- all of them


def measure(only: str = "") -> Iterator[Row]:
    """Rows of all models whose table's name begins with `only`, each as soon as it is measured."""
    from opensora_core.serialization.writer import write_safetensors

    for table in (name for name in LOADED if name.startswith(only)):
        weights = RandomWeights.published(table)
        about = {"model": table, "parameters": weights.parameters}
        with tempfile.TemporaryDirectory(prefix="opensora-published-") as folder:
            path = str(Path(folder) / "model.safetensors")
            write_safetensors(path, weights)
            for backend, dtype in BACKENDS:
                made = {"measured": "load", "backend": backend, "dtype": dtype}
                yield {**about, **made, **_apart(load, path, backend, dtype)}
            for backend, dtype in STEPS.get(table, ()):
                made = {"measured": "step", "backend": backend, "dtype": dtype}
                yield {**about, **made, **_apart(step, path, backend, dtype)}
    for table in (name for name in SHAPES_ONLY if name.startswith(only)):
        yield {
            "model": table,
            "parameters": RandomWeights.published(table).parameters,
            "measured": "names",
            **_apart(check, table),
        }


def _apart(function: Callable[..., Row], *args: str) -> Row:
    """What a function gives in a fresh process, which nothing before it has made larger."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def describe(row: Row) -> str:
    """One line."""
    where = f"{row['backend']} {row['dtype']}" if "backend" in row else "shapes only"
    peak = "unknown" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.2f} GB more at most"
    weights = f"{row['weight_bytes'] / 1e9:.2f} GB of weights"
    return f"{row['measured']:5} {row['model']:26} {where:15} {weights}, {row['seconds']:8.2f} s, {peak} beside"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a measurement, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description="Load full-size published models with random weights, and use one.")
    parser.add_argument("--threads", type=int, default=1, help="of BLAS, Torch and the kernels alike (default 1)")
    parser.add_argument("--only", default="", help="models whose name begins so (default: all)")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    options = parser.parse_args(arguments)
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    if ran_again("opensora_benchmarks.published_models", options.threads, arguments):
        return
    rows = []
    for row in measure(options.only):
        print(describe(row))
        sys.stdout.flush()
        rows.append(row)
    if options.json:
        from opensora_core.serialization.atomic import atomic_file

        about = {"benchmark": "published_models", "threads": options.threads}
        document = {**about, "machine": describe_machine(["numpy", "torch"]), "rows": rows}
        with atomic_file(options.json) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
