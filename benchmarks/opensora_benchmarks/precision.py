"""What bfloat16 and torch.compile gain on Torch's CPU, on a denoising step and on wide blocks, and what "auto" takes.

python -m opensora_benchmarks.precision [--threads 1] [--repeat 9] [--json FILE]

step: one prediction of the embedded model with guidance. pair: a spatial and a temporal block of its size, of which it
has four. wide pair: two such blocks as wide as STDiT3-XL/2. Compiled are the two pairs, since compiling grows with the
blocks; what it takes is told apart, with an empty cache. About three minutes on an idle machine, most of it compiling.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .standing import clock_of, milliseconds, options_of, ratio, turns, write
from .temporal_block import Size, block_inputs

PLAIN, DTYPES = "float32", ("float32", "bfloat16")
SIZES = {
    "pair": Size(2, 5, 32, 4, 32, 24),  # of the embedded model, with guidance
    "wide pair": Size(1, 4, 128, 16, 72, 300),  # of STDiT3-XL/2
}
APART = {"float32": 1e-4, "bfloat16": 5e-2}  # relative distance to float32 that is allowed
Call = Callable[[], Any]


def step_call(ops: Any) -> Call:
    """One prediction of the embedded model: 2 rows, with and without text, of 17 frames of 64x64 pixels."""
    import numpy as np

    from opensora_core import OpenSora

    rng, denoiser = np.random.default_rng(0), OpenSora.from_pretrained(backend=ops)._parts.denoiser
    config = denoiser.config
    text = rng.standard_normal((2, config.model_max_length, config.caption_channels), np.float32)
    mask = np.arange(config.model_max_length) < np.array([[12], [1]])
    context = denoiser.encode_text(ops, ops.asarray(text, ops.dtype), ops.asarray(mask))
    x = ops.asarray(rng.standard_normal((2, config.in_channels, 5, 8, 8), np.float32), ops.dtype)
    times, rates = (ops.asarray(np.full(2, value, np.float32)) for value in (500, 8))
    return lambda: denoiser.denoise(ops, x, times, context, None, rates, 64.0, 64.0)


def pair_call(ops: Any, size: Size, compile: bool = False) -> Call:
    """A spatial and then a temporal block, compiled or as they are."""
    import numpy as np

    from opensora_core.dit.blocks import STDiT3Block
    from opensora_core.dit.config import STDiT3Config
    from opensora_core.module import to_backend, tree_map
    from opensora_core.nn.init import ShapeInit

    rng, (_, _, _, H, D, _) = np.random.default_rng(0), size
    config = STDiT3Config(hidden_size=H * D, num_heads=H, depth=1)

    def drawn(weight: Any) -> Any:
        return ops.asarray(weight.shape[-1] ** -0.5 * rng.standard_normal(weight.shape, np.float32), ops.dtype)

    blocks = [
        to_backend(ops, tree_map(drawn, block))
        for block in (STDiT3Block.create(ShapeInit(), config, temporal=temporal) for temporal in (False, True))
    ]
    x, *others = block_inputs(ops, size, rng)

    def pair(x: Any) -> Any:
        for block in blocks:
            x = block(ops, x, *others)
        return x

    run = ops.compile(pair) if compile else pair
    return lambda: run(x)


def measure(calls: Mapping[str, Call], repeat: int, threads: int) -> dict[str, Any]:
    """Milliseconds and gains over float32 as it is; the first calls, which compile, and distances apart."""
    from opensora_core.accuracy import relative_l2

    results, first, apart = {}, {}, {}
    for name, call in calls.items():
        start = time.perf_counter()
        results[name] = call().float().numpy()
        first[name] = round(time.perf_counter() - start, 2)
    for name, result in results.items():
        apart[name] = relative_l2(result, results[PLAIN])
        if not apart[name] < APART[name.split()[-1]]:
            raise SystemExit(f"the result of {name} is {apart[name]:.1e} apart, nothing to time")
    seconds = turns(calls, repeat, clock_of(threads))
    return {
        "milliseconds": milliseconds(seconds),
        "faster_than_float32": {name: ratio(seconds, PLAIN, name) for name in calls if name != PLAIN},
        "first_call_seconds": {name: value for name, value in first.items() if "compiled" in name},
        "apart": {name: float(f"{value:.2g}") for name, value in apart.items()},
    }


def cases() -> dict[str, dict[str, Call]]:
    """Calls by case and side."""
    from opensora_core import get_backend

    backends = {dtype: get_backend("torch", device="cpu", dtype=dtype) for dtype in DTYPES}
    found = {"step": {dtype: step_call(ops) for dtype, ops in backends.items()}}
    for name, size in SIZES.items():
        found[name] = {dtype: pair_call(ops, size) for dtype, ops in backends.items()}
        found[name] |= {f"compiled {dtype}": pair_call(ops, size, compile=True) for dtype, ops in backends.items()}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    options = options_of("opensora_benchmarks.precision", "Time bfloat16 and torch.compile on the CPU.", 9, arguments)
    if options is None:
        return
    from opensora_core.precision import choose_dtype

    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:  # nothing that was compiled before is in it
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        for name, calls in cases().items():
            row = rows[name] = measure(calls, options.repeat, options.threads)
            faster = {side: found["median"] for side, found in row["faster_than_float32"].items()}
            compiling = row["first_call_seconds"]
            print(f"{name}: ms {row['milliseconds']}, faster by {faster}, s to compile {compiling}", flush=True)
    auto = {f"{s.H * s.D}": choose_dtype("torch", "cpu", s.H * s.D, s.H)._asdict() for s in SIZES.values()}
    for width, choice in auto.items():
        print(f'dtype="auto" at {width} channels is {choice["dtype"]}: {choice["reason"]}')
    sizes = {name: size._asdict() for name, size in SIZES.items()}
    write(options, "precision", ["numpy", "torch"], {"sizes": sizes, "cases": rows, "auto": auto})


if __name__ == "__main__":
    main()
