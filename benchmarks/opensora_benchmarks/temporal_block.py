"""A temporal STDiT3 block in float32 on NumPy, Numba and Torch eager, and where its time goes.

python -m opensora_benchmarks.temporal_block [--threads 1] [--repeat 15] [--backends numpy,numba,torch] [--json FILE]

All backends run in one process on the same weights and inputs, turn by turn, so that a busy moment of the machine hits
all alike; the minimum of the turns counts, of the whole block and, in turns of their own, of every op. Each result is
first held against NumPy's.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .machine import describe_machine
from .standing import parser_of, read_options, write_json

BACKENDS = ("numpy", "numba", "torch")
PRODUCTS = ("linear", "matmul")  # what BLAS does
AGREEMENT = 1e-5  # relative distance to NumPy's result that float32 may leave


class Size(NamedTuple):
    """Batch, frames, patches of a frame, heads, channels of a head, tokens of the text."""

    B: int
    T: int
    S: int
    H: int
    D: int
    L: int


SIZES = {
    "embedded": Size(2, 5, 32, 4, 32, 24),  # the embedded model with guidance
    "small": Size(1, 16, 64, 4, 72, 24),
    "xl2": Size(1, 16, 256, 16, 72, 300),  # STDiT3-XL/2: 16 latent frames of 256x256 pixels
}


def block_call(backend: str, size: Size) -> tuple[Callable[[Any], Any], Any]:
    """Return (a function of ops that runs the block once, the ops)."""
    import numpy as np

    from opensora_core import get_backend
    from opensora_core.dit.blocks import STDiT3Block
    from opensora_core.dit.config import STDiT3Config
    from opensora_core.module import to_backend, tree_map
    from opensora_core.nn.init import RandomInit

    rng, (_, _, _, H, D, _) = np.random.default_rng(0), size
    ops = get_backend(backend, device="cpu", dtype="float32")
    config = STDiT3Config(hidden_size=H * D, num_heads=H, depth=1)
    block = STDiT3Block.create(RandomInit(0), config, temporal=True)
    block = tree_map(lambda w: w if w.any() else rng.standard_normal(w.shape).astype("f4") / H / D, block)
    module, inputs = to_backend(ops, block), block_inputs(ops, size, rng)
    return lambda on: module(on, *inputs), ops


def block_inputs(ops: Any, size: Size, rng: Any) -> tuple[Any, ...]:
    """What a block is called with, random and in the backend's dtype: tokens, modulation, text, its mask and rope."""
    import numpy as np

    from opensora_core.nn.attention import KeysValues, Rope
    from opensora_core.nn.embeddings import rope_frequencies, rope_tables

    B, T, S, H, D, L = size

    def normal(*shape: int) -> Any:
        return ops.asarray(rng.standard_normal(shape, np.float32), ops.dtype)

    text = KeysValues(normal(B, H, L, D), normal(B, H, L, D))
    mask = ops.asarray(np.arange(L)[None, None, None] < np.full((B, 1, 1, 1), L - L // 4))
    rope = Rope(*rope_tables(ops, ops.asarray(rope_frequencies(D).astype(np.float32)), T))
    return normal(B, T, S, H * D), normal(B, 1, 6, H * D), text, mask, rope


def measure(size: Size, backends: Sequence[str], repeat: int) -> dict[str, Any]:
    """Milliseconds of one block by backend, ratios of minima, and the time of every op."""
    import numpy as np

    from opensora_core.accuracy import relative_l2

    calls = {name: block_call(name, size) for name in backends}
    with _quiet():
        results = {name: np.asarray(ops.to_numpy(run(ops)), "f8") for name, (run, ops) in calls.items()}
        base = results[backends[0]]
        for name, result in results.items():
            distance = relative_l2(result, base)
            if not distance < AGREEMENT:
                raise SystemExit(f"{name} is {distance:.1e} away from {backends[0]}: nothing to time")
        times: dict[str, list[float]] = {name: [] for name in calls}
        parts: dict[str, list[Counter[str]]] = {name: [] for name in calls}
        for _ in range(repeat):
            for name, (run, ops) in calls.items():
                start = time.perf_counter()
                run(ops)
                times[name].append(time.perf_counter() - start)
                parts[name].append(_by_op(run, ops))
    best = {name: min(seconds) for name, seconds in times.items()}
    ops_best = {name: _least(counts) for name, counts in parts.items()}
    rest = {name: sum(least.values()) - least["products"] for name, least in ops_best.items()}
    return {
        "size": size._asdict(),
        "milliseconds": {name: round(1e3 * seconds, 3) for name, seconds in best.items()},
        "median_milliseconds": {name: round(1e3 * float(np.median(seconds)), 3) for name, seconds in times.items()},
        "numba_speedup": _speedup(best),
        "numba_speedup_without_products": _speedup(rest),
        "share_of_products": {
            name: round(least["products"] / sum(least.values()), 2) for name, least in ops_best.items()
        },
        "ops_milliseconds": ops_best,
    }


def _speedup(times: dict[str, float]) -> dict[str, float]:
    return {name: round(times[name] / times["numba"], 2) for name in times if "numba" in times and name != "numba"}


def _by_op(run: Callable[[Any], Any], ops: Any) -> Counter[str]:
    """Seconds in each op of one run, fused ops whole."""
    from opensora_core.interpose import WHOLE, Interposer

    class Stopwatch(Interposer):
        def run(self, op: str, args: tuple[Any, ...]) -> Any:
            start = time.perf_counter()
            result = super().run(op, args)
            seconds["products" if op in PRODUCTS else op] += time.perf_counter() - start
            return result

    seconds: Counter[str] = Counter()
    run(Stopwatch(ops, WHOLE))
    return seconds


def _least(counts: list[Counter[str]]) -> dict[str, float]:
    """Least milliseconds of every op, largest first."""
    least = {op: 1e3 * min(count[op] for count in counts) for op in counts[0]}
    return {op: round(least[op], 3) for op in sorted(least, key=least.__getitem__, reverse=True)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No garbage collector and no gradients while the clock runs."""
    with contextlib.ExitStack() as stack:
        if "torch" in sys.modules:
            stack.enter_context(sys.modules["torch"].no_grad())
        gc.disable()
        stack.callback(gc.enable)
        yield


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    parser = parser_of("Time a temporal STDiT3 block on several backends.", 15)
    parser.add_argument("--backends", default=",".join(BACKENDS), help="default: numpy,numba,torch")
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"of {', '.join(SIZES)} (default: all)")
    options = read_options(parser, "opensora_benchmarks.temporal_block", arguments)
    if options is None:
        return
    sizes, backends = options.sizes.split(","), options.backends.split(",")
    if unknown := set(sizes) - set(SIZES):
        parser.error(f"--sizes: {', '.join(sorted(unknown))} is not one of {', '.join(SIZES)}")

    document: dict[str, Any] = {
        "benchmark": "temporal_block", "dtype": "float32", "threads": options.threads, "turns": options.repeat,
        "machine": describe_machine([name for name in ("numpy", "numba", "torch") if name in backends]), "sizes": {},
    }  # fmt: skip
    for name in sizes:
        row = document["sizes"][name] = measure(SIZES[name], backends, options.repeat)
        print(f"{name} {tuple(SIZES[name])}, {options.threads} thread(s): milliseconds a block (least of turns)")
        for backend, milliseconds in row["milliseconds"].items():
            parts = ", ".join(f"{op} {part:.2f}" for op, part in list(row["ops_milliseconds"][backend].items())[:6])
            print(f"  {backend:6} {milliseconds:9.2f}   {parts}", flush=True)
        print(f"  products of BLAS take {row['share_of_products']}")
        print(f"  numba is faster by {row['numba_speedup']}, in all but the products by", end=" ")
        print(row["numba_speedup_without_products"], flush=True)
    if options.json:
        write_json(options.json, document)


if __name__ == "__main__":
    main()
