"""What a call through this library costs beyond the call it makes, by op, on arrays of a few numbers.

python -m opensora_benchmarks.dispatch [--threads 1] [--repeat 15] [--json FILE]

Ours and the same thing as one writes it by hand take turns of CALLS calls each. What counts is the median over turns of
the difference of two that follow each other, per call. It is below zero where ours needs fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .standing import clock_of, options_of, turns, write

CALLS = 400
LIMITS = {"numpy": 2.0, "torch": 3.0}  # microseconds that no op should exceed
Pair = tuple[Callable[[], Any], Callable[[], Any]]


def numpy_pairs() -> dict[str, Pair]:
    """By op: (ours, by hand) on NumPy."""
    import numpy as np

    from opensora_core import get_backend

    from . import rivals_numpy as plain

    ops, rng = get_backend("numpy"), np.random.default_rng(0)
    x, y, w = (rng.random((4, 4), np.float32) for _ in range(3))
    b, i, yes = w[0], np.array([2, 0]), w > 0.5
    q = rng.random((1, 2, 4, 4), np.float32)
    return {
        **_same(ops, np, ("exp", "log", "sqrt", "sin", "cos", "tanh", "negative"), x),
        **_same(ops, np, ("add", "subtract", "multiply", "divide", "maximum", "equal", "less", "matmul"), x, y),
        "pow": (lambda: ops.pow(x, 2.0), lambda: np.power(x, 2.0)),
        "where": (lambda: ops.where(yes, x, 0.0), lambda: np.where(yes, x, np.float32(0.0))),
        "sum": (lambda: ops.sum(x, axis=-1, keepdims=True), lambda: np.sum(x, axis=-1, keepdims=True)),
        "max": (lambda: ops.max(x, axis=-1, keepdims=True), lambda: np.max(x, axis=-1, keepdims=True)),
        "astype": (lambda: ops.astype(x, "float64"), lambda: x.astype("float64")),
        "reshape": (lambda: ops.reshape(x, (2, 8)), lambda: np.reshape(x, (2, 8))),
        "permute_dims": (lambda: ops.permute_dims(x, (1, 0)), lambda: np.transpose(x, (1, 0))),
        "broadcast_to": (lambda: ops.broadcast_to(b, (3, 4)), lambda: np.broadcast_to(b, (3, 4))),
        "concat": (lambda: ops.concat([x, y]), lambda: np.concatenate([x, y])),
        "slice": (lambda: ops.slice(x, (0, 1), (4, 3), (2, 1)), lambda: x[0:4:2, 1:3]),
        "take": (lambda: ops.take(x, i), lambda: np.take(x, i, axis=0)),
        "linear": (lambda: ops.linear(x, w, b), lambda: x @ w.T + b),
        "gelu": (lambda: ops.gelu(x), lambda: plain.gelu(x)),
        "softmax": (lambda: ops.softmax(x), lambda: plain.softmax(x)),
        "layer_norm": (lambda: ops.layer_norm(x), lambda: plain.layer_norm(x)),
        "modulate": (lambda: ops.modulate(x, b, b), lambda: plain.modulate(x, b, b)),
        "gated_residual": (lambda: ops.gated_residual(x, y, b), lambda: x + b * y),
        "attention": (lambda: ops.attention(q, q, q), lambda: plain.attention(q, q, q)),
    }


def torch_pairs() -> dict[str, Pair]:
    """By op: (ours, by hand) on Torch."""
    import torch
    import torch.nn.functional as F

    from opensora_core import get_backend

    ops = get_backend("torch", device="cpu")
    x, y, w = torch.rand(3, 4, 4)
    b, i, yes = w[0], torch.tensor([2, 0]), w > 0.5
    q = torch.rand(1, 2, 4, 4)
    names = {"negative": "neg", "equal": "eq", "less": "lt"}
    return {
        **_same(ops, torch, ("exp", "log", "sqrt", "sin", "cos", "tanh", "erf", "negative"), x, names=names),
        **_same(ops, torch, ("maximum", "equal", "less", "matmul"), x, y, names=names),
        **_same(ops, torch, ("add", "subtract", "multiply", "divide"), x, y),
        "pow": (lambda: ops.pow(x, 2.0), lambda: x**2.0),
        "where": (lambda: ops.where(yes, x, 0.0), lambda: torch.where(yes, x, 0.0)),
        "sum": (lambda: ops.sum(x, axis=-1, keepdims=True), lambda: torch.sum(x, -1, keepdim=True)),
        "max": (lambda: ops.max(x, axis=-1, keepdims=True), lambda: torch.amax(x, -1, keepdim=True)),
        "astype": (lambda: ops.astype(x, "float64"), lambda: x.to(torch.float64)),
        "reshape": (lambda: ops.reshape(x, (2, 8)), lambda: torch.reshape(x, (2, 8))),
        "permute_dims": (lambda: ops.permute_dims(x, (1, 0)), lambda: torch.permute(x, (1, 0))),
        "broadcast_to": (lambda: ops.broadcast_to(b, (3, 4)), lambda: torch.broadcast_to(b, (3, 4))),
        "concat": (lambda: ops.concat([x, y]), lambda: torch.cat([x, y])),
        "slice": (lambda: ops.slice(x, (0, 1), (4, 3), (2, 1)), lambda: x[0:4:2, 1:3]),
        "take": (lambda: ops.take(x, i), lambda: torch.index_select(x, 0, i)),
        "linear": (lambda: ops.linear(x, w, b), lambda: F.linear(x, w, b)),
        "gelu": (lambda: ops.gelu(x), lambda: F.gelu(x, approximate="tanh")),
        "silu": (lambda: ops.silu(x), lambda: F.silu(x)),
        "softmax": (lambda: ops.softmax(x), lambda: torch.softmax(x, -1)),
        "layer_norm": (lambda: ops.layer_norm(x), lambda: F.layer_norm(x, (4,), eps=1e-6)),
        "rms_norm": (lambda: ops.rms_norm(x, b), lambda: F.rms_norm(x, (4,), b, 1e-6)),
        "modulate": (lambda: ops.modulate(x, b, b), lambda: F.layer_norm(x, (4,), eps=1e-6) * (1 + b) + b),
        "gated_residual": (lambda: ops.gated_residual(x, y, b), lambda: x + b * y),
        "attention": (lambda: ops.attention(q, q, q), lambda: F.scaled_dot_product_attention(q, q, q)),
    }


def _same(ops: Any, library: Any, words: Sequence[str], *args: Any, names: Mapping[str, str] | None = None) -> Any:
    """Ops that the library has too, under the same word or another."""

    def pair(word: str) -> Pair:
        theirs = getattr(library, (names or {}).get(word, word))
        return lambda: getattr(ops, word)(*args), lambda: theirs(*args)

    return {word: pair(word) for word in words}


def measure(pairs: Mapping[str, Pair], repeat: int, threads: int) -> dict[str, dict[str, float]]:
    """Microseconds by op: of ours, by hand, and the difference; the costliest first."""
    import numpy as np

    def many(call: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(CALLS):
                call()

        return run

    rows = {}
    for op, (ours, plain) in pairs.items():
        seconds = turns({"ours": many(ours), "plain": many(plain)}, repeat, clock_of(threads))
        each = {name: 1e6 * np.array(times) / CALLS for name, times in seconds.items()}
        medians = {**each, "overhead": each["ours"] - each["plain"]}
        rows[op] = {name: round(float(np.median(found)), 2) for name, found in medians.items()}
    return dict(sorted(rows.items(), key=lambda row: -row[1]["overhead"]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    options = options_of("opensora_benchmarks.dispatch", "Time what calls cost beyond their work.", 15, arguments)
    if options is None:
        return
    backends = {}
    for name, pairs in (("numpy", numpy_pairs()), ("torch", torch_pairs())):
        rows = measure(pairs, options.repeat, options.threads)
        above = [op for op, row in rows.items() if row["overhead"] > LIMITS[name]]
        backends[name] = {"limit": LIMITS[name], "above": above, "microseconds": rows}
        print(f"{name}: {len(above)} of {len(rows)} ops cost more than {LIMITS[name]} µs beyond the call: {above}")
        for op, row in list(rows.items())[:8]:
            print(f"  {op:15} {row['ours']:6.2f} µs, by hand {row['plain']:6.2f}, beyond it {row['overhead']:5.2f}")
    write(options, "dispatch", ["numpy", "torch"], {"backends": backends})


if __name__ == "__main__":
    main()
