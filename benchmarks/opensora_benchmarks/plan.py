"""Memory of whole processes beside what `opensora plan` foretells, for models from tiny to XL/2. About three minutes.

python -m opensora_benchmarks.plan [--threads 1] [--only STAGE] [--json FILE]

Every stage runs in a process of its own, as in a generation: models from their files, two steps of the sampler.
Measured is the most that the process takes at a time, mapped files included (Linux only).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from opensora_core.pipelines.published.coding import decode, encode
from opensora_core.pipelines.published.components import ReleaseFiles, on_backend, without_weights
from opensora_core.pipelines.published.planning import GenerationPlan
from opensora_core.registry import get_backend
from opensora_core.releases.task import Text
from opensora_core.releases.text_models import open_t5
from opensora_core.vae.pixels import to_frames

from .machine import describe_machine
from .memory import in_fresh_process, peak_so_far, share
from .plan_cases import CASES, PlanCase
from .standing import parser_of, read_options, write_json

STEPS = 2  # of the sampler: the second one holds what the first one gave
Row = dict[str, Any]


def foretold(case: PlanCase, paths: Sequence[str]) -> Row:
    """Bytes of the stage by their parts."""
    plan = GenerationPlan(ReleaseFiles(paths), case.backend, case.dtype, **case.size)
    stage = next(stage for stage in plan.stages() if stage.name == case.stage)
    parts = {name: getattr(stage, name) for name in ("weights", "activations", "process")}
    return {**parts, "planned_bytes": stage.peak}


def measured(case: PlanCase, paths: Sequence[str]) -> int | None:
    """Run the stage in this process, whose memory is asked for afterwards."""
    import av  # noqa: F401 - as every generation does
    import sentencepiece  # noqa: F401
    import tokenizers  # noqa: F401

    ops, files = get_backend(case.backend, dtype=case.dtype), ReleaseFiles(paths)
    {"text encoder": _text, "denoiser": _denoise}.get(case.stage, _code)(case, ops, files)
    return peak_so_far()


def _text(case: PlanCase, ops: Any, files: ReleaseFiles) -> None:
    ids = np.arange(case.denoiser.model_max_length)[None]
    open_t5(files.t5.path)(ops, ids, ids < 40)


def _denoise(case: PlanCase, ops: Any, files: ReleaseFiles) -> None:
    plan = GenerationPlan(files, case.backend, case.dtype, **case.size)
    latents = (4, -(-case.num_frames * 5 // 17), case.height // 8, case.width // 8)
    shape = (1, case.denoiser.model_max_length, case.denoiser.caption_channels)
    text = Text(np.zeros(shape, np.float32), np.ones(shape[:2], bool))
    with on_backend(files.denoiser, ops) as model:
        for _ in islice(files.release.sample(ops, model, plan.request.task(latents, plan.clip), text, None), STEPS):
            pass


def _code(case: PlanCase, ops: Any, files: ReleaseFiles) -> None:
    shape = without_weights(files.autoencoder).latent_shape(case.num_frames, case.height, case.width)
    with on_backend(files.autoencoder, ops, ops.wide_dtype) as vae:
        if case.stage == "autoencoder":
            to_frames(decode(ops, vae, np.zeros((1, *shape), np.float32), case.num_frames))
        else:
            video = np.zeros((1, 3, case.given_frames, case.height, case.width), np.float32)
            encode(ops, vae, video, 0, "given")


def rows(only: str = "") -> Iterator[Row]:
    """One a case whose stage begins with `only`, each as soon as it is measured."""
    for case in (case for case in CASES if case.stage.startswith(only)):
        about = {"model": case.name, "stage": case.stage, "backend": case.backend, "dtype": case.dtype, **case.size}
        with tempfile.TemporaryDirectory(prefix="opensora-plan-") as folder:
            paths = list(case.write(Path(folder)))
            planned = foretold(case, paths)
            whole = in_fresh_process(measured, case, paths)
        yield {**about, **planned, "process_bytes": whole, "planned_share": share(planned["planned_bytes"], whole)}


def describe(row: Row) -> str:
    """One line."""
    size = f"{row['num_frames']:3} of {row['width']}x{row['height']}"
    taken = "unknown" if row["process_bytes"] is None else f"{row['process_bytes'] / 1e6:.0f} MB"
    where = f"{row['stage']:12} {row['model']:30} {size:14} {row['backend']} {row['dtype']}"
    return f"{where:78} foretold {row['planned_bytes'] / 1e6:6.0f} MB, taken {taken}: {row['planned_share']}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a case, and write JSON if asked to."""
    parser = parser_of("Measure how far processes are from what `opensora plan` foretells.")
    parser.add_argument("--only", default="", help="stages whose name begins so (default: all)")
    options = read_options(parser, "opensora_benchmarks.plan", arguments)
    if options is None:
        return
    found = []
    for row in rows(options.only):
        print(describe(row))
        sys.stdout.flush()
        found.append(row)
    if options.json:
        about = {"benchmark": "plan", "threads": options.threads, "machine": describe_machine(["numpy", "torch"])}
        write_json(options.json, {**about, "rows": found})


if __name__ == "__main__":
    main()
