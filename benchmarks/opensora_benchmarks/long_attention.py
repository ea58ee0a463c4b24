"""Attention of long sequences on NumPy: by blocks of queries, as the backend does it, beside all logits at once.

python -m opensora_benchmarks.long_attention [--threads 1] [--repeat 5] [--json FILE]

Time by turns, and the most memory that NumPy holds during a call beyond its inputs, by Python's own records, which
other programs do not change. Two heads of 72 channels, as STDiT3-XL/2 has; numba and Torch are shown beside them.
"""

from __future__ import annotations

import functools
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import rivals_numpy
from .standing import clock_of, milliseconds, options_of, ratio, turns, write

TOKENS = (256, 1024, 4096)
LONG = 8192  # measured in memory alone and without the matrix of logits
HEADS, CHANNELS = 2, 72


def inputs(tokens: int) -> list[Any]:
    """Queries, keys and values [1, HEADS, tokens, CHANNELS]."""
    import numpy as np

    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, HEADS, tokens, CHANNELS), np.float32) for _ in range(3)]


def calls_of(tokens: int) -> dict[str, Callable[[], Any]]:
    """By provider: attention of that many tokens."""
    from opensora_core import get_backend

    arrays, found = inputs(tokens), {}
    for name in ("numpy", "numba", "torch"):
        ops = get_backend(name, device="cpu")
        found[name] = functools.partial(ops.attention, *map(ops.asarray, arrays))
    return {"all at once": functools.partial(rivals_numpy.attention, *arrays), **found}


def peak(call: Callable[[], Any]) -> int:
    """Most bytes that Python and NumPy hold during a call, beyond what they held before it."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def measure(tokens: int, repeat: int, threads: int) -> dict[str, Any]:
    """Milliseconds, megabytes and ratios for one length."""
    calls = calls_of(tokens)
    _check(calls)
    seconds = turns(calls, repeat, clock_of(threads))
    return {
        "milliseconds": milliseconds(seconds),
        "faster_than_all_at_once": {name: ratio(seconds, "all at once", name) for name in list(calls)[1:]},
        "peak_megabytes": {name: round(peak(calls[name]) / 1e6, 2) for name in calls if name != "torch"},
    }


def _check(calls: Mapping[str, Callable[[], Any]]) -> None:
    from opensora_core.accuracy import relative_l2

    expected = calls["all at once"]()
    for name, call in calls.items():
        apart = relative_l2(call(), expected)
        if not apart < 1e-5:
            raise SystemExit(f"the result of {name} is {apart:.1e} apart, nothing to time")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    options = options_of("opensora_benchmarks.long_attention", "Time attention by blocks.", 5, arguments)
    if options is None:
        return
    rows: dict[str, Any] = {}
    for tokens in TOKENS:
        row = rows[str(tokens)] = measure(tokens, options.repeat, options.threads)
        faster = {name: found["median"] for name, found in row["faster_than_all_at_once"].items()}
        print(f"{tokens} tokens: ms {row['milliseconds']}, faster by {faster}, MB {row['peak_megabytes']}", flush=True)
    memory = round(peak(calls_of(LONG)["numpy"]) / 1e6, 2)
    print(f"{LONG} tokens: numpy takes {memory} MB; all logits at once are {4e-6 * HEADS * LONG**2:.0f} MB")
    found = {"heads": HEADS, "channels": CHANNELS, "tokens": rows, "peak_megabytes_of_numpy": {str(LONG): memory}}
    write(options, "long_attention", ["numpy", "numba", "torch"], found)


if __name__ == "__main__":
    main()
