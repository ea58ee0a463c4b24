"""Full-size published models on this machine: seconds and peak memory of loading each, and of one denoising step.

python -m opensora_benchmarks.published_models [--threads 1] [--only MODEL] [--t5] [--json FILE]

Every model of `tests/golden/keys` is written with random bfloat16 weights to a temporary folder, one at a time, and
loaded strictly, as a download would be; the 11B models are only checked, name by name and shape by shape, and of v2.0
one block of either kind runs. --t5 also writes T5 v1.1 XXL, 9.5 GB, and encodes a prompt. Each measurement has a
process of its own. Peak memory is by how much that process grows, mapped files included.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from .machine import describe_machine
from .memory import in_fresh_process
from .published_measures import check, encode, load, run_blocks, step
from .published_weights import RandomWeights
from .standing import parser_of, read_options, write_json

LOADED = (
    "stdit-xl2-v1.0_16x256x256", "stdit2-xl2-v1.1", "stdit3-xl2-v1.2", "stdit3-xl2-v1.3", "vae-v1.2", "vae-v1.3",
    "hunyuan-vae-v2.0",
)  # fmt: skip
SHAPES_ONLY = ("stdit3-3b2-v1.2", "mmdit-v2.0", "mmdit-flux1-dev")
BLOCKS = ("mmdit-v2.0",)
BACKENDS = (("torch", "bfloat16"), ("torch", "float32"), ("numpy", "float32"))
STEPS = {"stdit3-xl2-v1.2": (("torch", "bfloat16"), ("torch", "float32"))}  # which models make a step, and on what
Row = dict[str, Any]


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
                yield {**about, **made, **in_fresh_process(load, path, backend, dtype)}
            for backend, dtype in STEPS.get(table, ()):
                made = {"measured": "step", "backend": backend, "dtype": dtype}
                yield {**about, **made, **in_fresh_process(step, path, backend, dtype)}
    for table in (name for name in SHAPES_ONLY if name.startswith(only)):
        about = {"model": table, "parameters": RandomWeights.published(table).parameters}
        yield {**about, "measured": "names", **in_fresh_process(check, table)}
        for backend, dtype in BACKENDS if table in BLOCKS else ():
            for kind in ("double_blocks", "single_blocks"):
                made = {"measured": kind, "backend": backend, "dtype": dtype}
                yield {**about, **made, **in_fresh_process(run_blocks, table, kind, backend, dtype)}


def measure_t5() -> Iterator[Row]:
    """T5 v1.1 XXL, read from its file block by block: one prompt on Torch in bfloat16."""
    from opensora_core.nn.init import ShapeInit
    from opensora_core.serialization.writer import write_safetensors
    from opensora_core.text.t5 import T5Encoder
    from opensora_core.text.t5_config import T5Config

    weights = RandomWeights.of_model(T5Encoder.create(T5Config(), ShapeInit()))
    with tempfile.TemporaryDirectory(prefix="opensora-published-") as folder:
        path = str(Path(folder) / "model.safetensors")
        write_safetensors(path, weights)
        made = {"measured": "encode", "backend": "torch", "dtype": "bfloat16"}
        about = {"model": "t5-v1_1-xxl", "parameters": weights.parameters}
        yield {**about, **made, **in_fresh_process(encode, path, "torch", "bfloat16")}


def describe(row: Row) -> str:
    """One line."""
    where = f"{row['backend']} {row['dtype']}" if "backend" in row else "shapes only"
    peak = "unknown" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.2f} GB more at most"
    weights = f"{row['weight_bytes'] / 1e9:.2f} GB of weights"
    return f"{row['measured']:13} {row['model']:26} {where:15} {weights}, {row['seconds']:8.2f} s, {peak} beside"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a measurement, and write JSON if asked to."""
    parser = parser_of("Load full-size published models with random weights, and use one.")
    parser.add_argument("--only", default="", help="models whose name begins so (default: all)")
    parser.add_argument("--t5", action="store_true", help="T5 v1.1 XXL too: 9.5 GB on the disk for a while")
    options = read_options(parser, "opensora_benchmarks.published_models", arguments)
    if options is None:
        return
    rows = []
    for row in chain(measure(options.only), measure_t5() if options.t5 else ()):
        print(describe(row))
        sys.stdout.flush()
        rows.append(row)
    if options.json:
        about = {"benchmark": "published_models", "threads": options.threads}
        document = {**about, "machine": describe_machine(["numpy", "torch"]), "rows": rows}
        write_json(options.json, document)


if __name__ == "__main__":
    main()
