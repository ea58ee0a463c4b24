"""dtype="auto": whether bfloat16 is faster than float32 here, found out with a block as wide as the model's.

Only a CPU with instructions for bfloat16 is tried. Products are then about twice as fast, but norms, activations and
softmax, which are computed in float32 all the same, are not: narrow models gain nothing.
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .ops import Ops
from .registry import BUILTIN, get_backend

WIDTHS = (1152, 16)  # hidden size and heads of STDiT3-XL/2, for when no model is known; wider ones are probed as this
WORTH = 1.25  # times as fast as float32 that bfloat16 must be, as it is less exact; a probe is some percent off
TURNS, ENOUGH = (4, 20), 0.2  # least and most of the probe, and the seconds after which the least are enough
TEXT = 24  # tokens


class Choice(NamedTuple):
    """A dtype, and why it was chosen."""

    dtype: str
    reason: str


@functools.cache
def choose_dtype(backend: str, device: str, hidden_size: int = WIDTHS[0], num_heads: int = WIDTHS[1]) -> Choice:
    """Choose between float32 and bfloat16 for a model of these widths; the same in the whole process.

    Takes tens of milliseconds for narrow models and up to a second at hidden_size 1152.
    """
    home = BUILTIN.get(backend)
    if home is None or home.bfloat16 is None or device != "cpu":
        return Choice("float32", f"auto knows bfloat16 on a CPU with torch only, and this is {backend} on {device}")
    module, _, function = home.bfloat16.partition(":")
    instructions = getattr(importlib.import_module(module), function)()
    if instructions is None:
        return Choice("float32", "this CPU has no instructions for bfloat16 (avx512_bf16 or AMX)")
    full, half = _probe(
        [get_backend(backend, device=device, dtype=d) for d in ("float32", "bfloat16")], *_cut(hidden_size, num_heads)
    )
    found = f"a block takes {1e3 * full:.1f} ms in float32 and {1e3 * half:.1f} ms in bfloat16 by {instructions}"
    if full < WORTH * half:
        return Choice("float32", f"{found}, no gain worth its rounding")
    return Choice("bfloat16", found)


def dtype_facts(ops: Ops) -> dict[str, str]:
    """What metadata say of the dtype: its name, and where it was chosen by "auto" the reason."""
    return {"dtype": ops.dtype, **({"dtype_reason": ops.dtype_reason} if ops.dtype_reason else {})}


def _cut(hidden_size: int, num_heads: int) -> tuple[int, int]:
    """Heads and their channels: as many as keep the probe short, even enough for rotary embeddings."""
    channels = 4 * -(-hidden_size // num_heads // 4)
    return max(1, min(num_heads, WIDTHS[0] // channels)), channels


def _probe(candidates: list[Ops], num_heads: int, channels: int) -> list[float]:
    """Least seconds of a temporal block of STDiT3, by candidate; they take turns, and the first does not count."""
    calls = [_block(ops, num_heads, channels) for ops in candidates]
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(TURNS[1]):
        if turn >= TURNS[0] and sum(map(sum, seconds)) > ENOUGH:
            break
        for call, taken in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [min(taken[1:]) for taken in seconds]


def _block(ops: Ops, num_heads: int, channels: int) -> Callable[[], Any]:
    """Return what runs a block once, on weights that are all alike."""
    import numpy as np

    from .dit.blocks import STDiT3Block
    from .dit.config import STDiT3Config
    from .module import to_backend, tree_map
    from .nn.attention import KeysValues, Rope
    from .nn.embeddings import rope_frequencies, rope_tables
    from .nn.init import ShapeInit

    width, (T, S) = num_heads * channels, (4, 64 if num_heads * channels <= 512 else 16)
    shape = STDiT3Block.create(
        ShapeInit(), STDiT3Config(hidden_size=width, num_heads=num_heads, depth=1), temporal=True
    )
    block = to_backend(ops, tree_map(lambda w: np.full(w.shape, 1 / width, np.float32), shape))
    rng = np.random.default_rng(0)

    def normal(*sizes: int) -> Any:
        return ops.asarray(rng.standard_normal(sizes, np.float32), ops.dtype)

    x, modulation = normal(1, T, S, width), normal(1, 1, 6, width)
    text = KeysValues(normal(1, num_heads, TEXT, channels), normal(1, num_heads, TEXT, channels))
    rope = Rope(*rope_tables(ops, ops.asarray(rope_frequencies(channels).astype(np.float32)), T))
    return lambda: block(ops, x, modulation, text, None, rope)
