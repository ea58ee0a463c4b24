"""The cases that kernels are held to: every tail, tiny key counts, masks, layouts and dtypes, of ops and gradients.

The shapes are those that the emulation's tests try: what is right there must be right here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

KINDS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@dataclass(frozen=True)
class Case:
    """An op on arrays of random numbers. run(ops, arrays): made for any backend."""

    name: str
    dtype: str
    shapes: tuple[tuple[int, ...], ...]
    run: Callable[..., Any]


def cases(few: bool) -> Iterator[Case]:
    """All of them; a few for a dry run or the sanitizer."""
    for dtype in KINDS if not few else ("float32", "bfloat16"):
        yield from _temporal(dtype, few)
        yield from _video(dtype, few)
        yield from _general(dtype, few)
        yield from _elementwise(dtype, few)
    for dtype in KINDS if not few else ("float32",):
        yield from _training(dtype, few)


def _temporal(dtype: str, few: bool) -> Iterator[Case]:
    for D in (72,) if few else (72, 128, 64, 30, 8, 256):
        for T in (1, 15) if few else (1, 2, 15, 16, 17, 30, 32):
            yield tokens("temporal", dtype, 2, T, 3, 2, D)


def _video(dtype: str, few: bool) -> Iterator[Case]:
    for D in (72,) if few else (72, 128, 40, 30):
        for S in (7,) if few else (1, 2, 7, 17, 63, 64, 65, 130):
            yield tokens("spatial", dtype, 1, 2, S, 2, D)
    yield tokens("full", dtype, 1, 3, 5, 2, 72)
    yield tokens("temporal", dtype, 1, 40, 2, 2, 72)  # longer than one tile


def tokens(pattern: str, dtype: str, B: int, T: int, S: int, H: int, D: int) -> Case:
    """Attention of a video's tokens, with QK-norm and rope."""
    length = {"temporal": T, "spatial": S, "full": T * S}[pattern]

    def attend(ops: Any, qkv: Any, q_norm: Any, k_norm: Any) -> Any:
        return ops.attention_3d(qkv, pattern, q_norm, k_norm, *_tables(ops, length, D))

    return Case(f"{pattern} B={B} T={T} S={S} H={H} D={D}", dtype, ((B, T, S, 3, H, D), (D,), (D,)), attend)


def _general(dtype: str, few: bool) -> Iterator[Case]:
    for D in (72,) if few else (72, 128, 6, 256):
        for keys in (1, 17) if few else (1, 2, 7, 17, 63, 300):
            for masked in (False, True):

                def attend(ops: Any, q: Any, k: Any, v: Any, masked: bool = masked, keys: int = keys) -> Any:
                    counts = np.array([keys, keys // 2])[:, None, None, None]  # the second may have none
                    mask = ops.asarray(np.arange(keys)[None, None, None] < counts) if masked else None
                    return ops.attention(q, k, v, mask=mask)

                shapes = ((2, 2, 9, D), (2, 2, keys, D), (2, 2, keys, D))
                yield Case(f"attention keys={keys} D={D} masked={masked}", dtype, shapes, attend)


def _elementwise(dtype: str, few: bool) -> Iterator[Case]:
    for C in (72,) if few else (1, 8, 72, 1152, 1153):
        shapes = ((2, 33, C), (2, 1, C), (2, 1, C))
        yield Case(f"modulate C={C}", dtype, shapes, lambda o, x, a, b: o.modulate(x, a, b))
        yield Case(
            f"gated_residual C={C}", dtype, (*shapes[:1] * 2, (2, 1, C)), lambda o, x, y, g: o.gated_residual(x, y, g)
        )
        yield Case(f"layer_norm C={C}", dtype, shapes[:1], lambda o, x: o.layer_norm(x))
        yield Case(f"rms_norm C={C}", dtype, ((2, 33, C), (C,)), lambda o, x, w: o.rms_norm(x, w))
        if C % 2 == 0:
            yield rms_norm_rotary(dtype, 2, 33, C)
    shape = (2, 8, 3, 5, 4) if few else (2, 64, 5, 17, 9)
    channels = shape[1]
    norm = (shape, (channels,), (channels,))
    yield Case("group_norm", dtype, norm, lambda o, x, w, b: o.group_norm(x, 4, w, b))
    yield Case("group_norm_silu", dtype, norm, lambda o, x, w, b: o.group_norm_silu(x, 4, w, b))
    weight = (6, channels, 3, 3, 3)
    yield Case("conv", dtype, (shape, weight, (6,)), lambda o, x, w, b: o.conv(x, w, b, padding=(1, 1, 1)))


def rms_norm_rotary(dtype: str, B: int, L: int, D: int) -> Case:
    """QK-norm and rope of rows."""

    def prepare(ops: Any, x: Any, weight: Any) -> Any:
        return ops.rms_norm_rotary(x, weight, *_tables(ops, L, D))

    return Case(f"rms_norm_rotary D={D}", dtype, ((B, L, D), (D,)), prepare)


def adamw(dtype: str, n: int) -> Case:
    """A step of AdamW with decay and clipping: the new weights and moments in one array."""

    def step(ops: Any, param: Any, grad: Any, mean: Any, square: Any) -> Any:
        moments, clip = (ops.widen(mean), ops.widen(square * square)), ops.widen(ops.full((1,), 0.5, param.dtype))
        new = ops.adamw_step(param, grad, *moments, 3, 0.1, weight_decay=0.1, factor=clip)
        return ops.concat([ops.widen(x) for x in new])

    return Case(f"adamw n={n}", dtype, ((n,),) * 4, step)


def _tables(ops: Any, length: int, D: int) -> tuple[Any, Any]:
    """Cosines and sines [length, D/2] of rope."""
    angles = np.arange(length)[:, None] / 100 ** (np.arange(D // 2) / max(1, D // 2))
    return ops.asarray(np.cos(angles).astype(np.float32)), ops.asarray(np.sin(angles).astype(np.float32))


def _training(dtype: str, few: bool) -> Iterator[Case]:
    for n in (5,) if few else (1, 5, 1024, 100_003):
        yield adamw(dtype, n)
    for C in (72,) if few else (1, 72, 1152, 1153):
        rows, vector = (2, 33, C), (C,)
        yield _gradient(f"layer_norm C={C}", dtype, (rows, vector, vector), lambda o, x, w, b: o.layer_norm(x, w, b))
        yield _gradient(f"rms_norm C={C}", dtype, (rows, vector), lambda o, x, w: o.rms_norm(x, w))
        vectors = ((2, 1, C),) * 2
        yield _gradient(f"modulate C={C}", dtype, (rows, *vectors), lambda o, x, a, b: o.modulate(x, a, b))
    for shape in ((1, 4, 3, 5),) if few else ((2, 64, 5, 17, 9), (1, 4, 9001)):
        given = (shape, shape[1:2], shape[1:2])
        yield _gradient("group_norm", dtype, given, lambda o, x, w, b: o.group_norm(x, 2, w, b))
        yield _gradient("group_norm_silu", dtype, given, lambda o, x, w, b: o.group_norm_silu(x, 2, w, b))
    for keys, D in ((5, 72),) if few else ((1, 72), (17, 72), (70, 128), (33, 30)):
        shapes = ((1, 2, 9, D), *((1, 2, keys, D),) * 2)
        yield _gradient(f"attention keys={keys} D={D}", dtype, shapes, lambda o, q, k, v: o.attention(q, k, v))


def _gradient(name: str, dtype: str, shapes: tuple[tuple[int, ...], ...], call: Callable[..., Any]) -> Case:
    """The gradients of an op by all its arrays, in one array; the first one has the shape of the op's result."""

    def differentiate(ops: Any, *arrays: Any) -> Any:
        *given, flow = arrays
        names = [str(i) for i in range(len(given))]
        loss = lambda o, params: o.sum(call(o, *params.values()) * flow)  # noqa: E731
        _, gradients = ops.value_and_grad(loss, dict(zip(names, given, strict=True)))
        return ops.concat([ops.reshape(gradients[n], (-1,)) for n in names])

    return Case(f"gradient of {name}", dtype, (*shapes, shapes[0]), differentiate)
