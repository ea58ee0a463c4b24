"""How long the ops of an STDiT3 step take, by us and by Torch (SDPA's backends, eager, torch.compile); the copy speed.

Calls go through several sets of arrays, together larger than the caches. Times are of CUDA graphs of those calls, so of
the GPU alone; rows say "calls" where recording was not possible, which include Python's part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
from device import Check
from targets import verdicts

CACHE = 2**28  # bytes that the sets of arrays exceed together; an H100 has 50 MB of L2
HIDDEN, HEADS, D = 1152, 16, 72


def run(check: Check) -> dict[str, Any]:
    """Time every case by every provider."""
    shape = {"T": 15, "S": 1620} if not check.dry else {"T": 3, "S": 4}
    copy = _copy_speed(check)
    rows = []
    for case in chain(_cases(check, **shape), _autoencoder_cases(check)):
        for name, calls, graph in case["providers"]:
            try:
                seconds, mode = check.seconds(calls, graph)
            except Exception as error:
                words = f"{type(error).__name__}: {str(error)[:200]}"
                rows.append({"op": case["op"], "provider": name, "error": words})
                continue
            row = {"op": case["op"], "provider": name, "us": round(seconds * 1e6, 2), "mode": mode}
            row["of_copy_speed"] = round(case["bytes"] / seconds / copy, 3)
            if case["flops"]:
                row["tflops"] = round(case["flops"] / seconds / 1e12, 2)
            rows.append(row)
            print(row, flush=True)
    failures = [f"{r['op']} by {r['provider']}: {r['error']}" for r in rows if "error" in r and is_ours(r["provider"])]
    judged = {} if check.dry else {"targets": verdicts(rows)}
    return {"shape": shape, "copy_bytes_per_s": copy, "rows": rows, **judged, "failures": failures}


def is_ours(provider: str) -> bool:
    """Whether a provider must not fail; a rival may lack what a case needs."""
    return provider.startswith("opensora")


def _copy_speed(check: Check) -> float:
    """Bytes read and written per second by a copy on the device."""
    xp, n = check.xp, 2**28 if not check.dry else 2**16
    source, target = xp.zeros(n, np.float32), xp.empty(n, np.float32)

    def copy() -> None:
        target[...] = source

    seconds, _ = check.seconds([copy] * (4 if not check.dry else 1), check.cupy_graph)
    return 2 * source.nbytes / seconds


def _cases(check: Check, T: int, S: int) -> Iterator[dict[str, Any]]:
    tokens = T * S * HIDDEN * 2  # bytes of one tensor in bfloat16
    heads = HEADS if not check.dry else 2
    qkv = (1, T, S, 3, heads, D)
    for pattern, length in (("temporal", T), ("spatial", S)):
        flops = 4 * T * S * length * heads * D
        run_ours = lambda o, x, q, k, c, s, p=pattern: o.attention_3d(x, p, q, k, c, s)  # noqa: E731
        run_torch = lambda t, x, q, k, c, s, p=pattern: t.attention_3d(x, p, q, k, c, s)  # noqa: E731
        tables = ((D,), (D,), (length, D // 2), (length, D // 2))
        shapes, sdpa = (qkv, *tables), pattern == "spatial"
        yield _case(check, f"attention_3d {pattern}", shapes, run_ours, run_torch, 4 * tokens, flops, sdpa=sdpa)
    cross = ((1, heads, T * S, D), (1, heads, 300, D), (1, heads, 300, D))
    flops = 4 * T * S * 300 * heads * D
    yield _case(check, "attention cross 300", cross, _ours_attention, _rival("sdpa"), 2 * tokens, flops, sdpa=True)
    long, wide = (8192, 24) if not check.dry else (8, 2)
    full, size, flops = ((1, wide, long, 128),) * 3, 8 * wide * long * 128, 4 * wide * long**2 * 128
    yield _case(check, "attention full D=128", full, _ours_attention, _rival("sdpa"), size, flops, sdpa=True)
    rows = ((1, T * S, HIDDEN), (1, 1, HIDDEN), (1, 1, HIDDEN))
    yield _case(check, "modulate", rows, lambda o, x, a, b: o.modulate(x, a, b), _rival("modulate"), 2 * tokens, 0)
    rows = ((1, T * S, HIDDEN), (1, T * S, HIDDEN), (1, 1, HIDDEN))
    residual = lambda o, x, b, g: o.gated_residual(x, b, g)  # noqa: E731
    yield _case(check, "gated_residual", rows, residual, lambda t, x, b, g: x + g * b, 3 * tokens, 0)
    yield _case(check, "gelu", ((1, T * S, 4 * HIDDEN),), lambda o, x: o.gelu(x), _rival("gelu"), 8 * tokens, 0)
    linear, flops = ((T * S, HIDDEN), (3 * HIDDEN, HIDDEN)), 6 * T * S * HIDDEN**2
    yield _case(check, "linear qkv", linear, lambda o, x, w: o.linear(x, w), lambda t, x, w: x @ w.T, 4 * tokens, flops)


def _autoencoder_cases(check: Check) -> Iterator[dict[str, Any]]:
    """A block of a video autoencoder at 256x256 pixels: its norm with SiLU and its convolution."""
    C, *size = (128, 5, 128, 128) if not check.dry else (32, 2, 4, 4)
    voxels = math.prod(size)
    silu = lambda o, x, w, b: o.group_norm_silu(x, 32, w, b)  # noqa: E731
    theirs = lambda t, x, w, b: t.group_norm_silu(x, 32, w, b)  # noqa: E731
    yield _case(check, "group_norm_silu", ((1, C, *size), (C,), (C,)), silu, theirs, 4 * C * voxels, 0)
    shapes, flops = ((1, C, *size), (C, C, 3, 3, 3)), 54 * C * C * voxels
    ours = lambda o, x, w: o.conv(x, w, padding=(1, 1, 1))  # noqa: E731
    theirs = lambda t, x, w: t.conv(x, w, padding=1)  # noqa: E731
    yield _case(check, "conv 3x3x3", shapes, ours, theirs, 4 * C * voxels, flops)


def _case(
    check: Check, op: str, shapes: tuple[tuple[int, ...], ...], ours: Callable[..., Any], theirs: Callable[..., Any],
    size: int, flops: int, sdpa: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """One op by every provider, on as many sets of arrays as outgrow the cache."""
    sets = 1 if check.dry else max(2, min(16, -(-CACHE // size)))
    ops = check.backend("cuda:0", "bfloat16")
    host = [np.random.default_rng(i).standard_normal(s, np.float32) for i, s in enumerate(shapes)]
    arrays = [[ops.asarray(x, "bfloat16") for x in host] for _ in range(sets)]
    providers = [("opensora", [lambda a=a: ours(ops, *a) for a in arrays], check.cupy_graph)]
    if not check.dry:
        composed = _composed(ops)
        providers.append(("opensora composed", [lambda a=a: ours(composed, *a) for a in arrays], check.cupy_graph))
    if sdpa and not check.dry:
        own = _without_torch(ops)
        providers.append(("opensora without torch", [lambda a=a: ours(own, *a) for a in arrays], check.cupy_graph))
    if (torch := check.torch) is not None:
        tensors = [[ops.to_torch(x) for x in a] for a in arrays]
        providers += _torch_providers(check, torch, tensors, theirs, sdpa)
    return {"op": op, "bytes": size, "flops": flops, "providers": providers}


def _composed(ops: Any) -> Any:
    """The same backend with the default compositions in place of kernels."""
    from opensora_backends.cuda_kernels import Kernels

    plain = type(ops)(ops.device, ops.dtype)
    object.__setattr__(plain, "_kernels", Kernels(ops._lib, 0, "none"))
    return plain


def _without_torch(ops: Any) -> Any:
    """The same backend where attention is never handed to Torch."""
    from opensora_backends.cuda_kernels import Kernels

    class Own(Kernels):
        def choose(self, op: str, dtype: str, **layout: Any) -> Any:
            return super().choose(op, dtype, torch=False, **layout)

    plain = type(ops)(ops.device, ops.dtype)
    object.__setattr__(plain, "_kernels", Own(ops._lib, 0))
    return plain


def _torch_providers(check: Check, torch: Any, tensors: Any, theirs: Callable[..., Any], sdpa: bool) -> list[Any]:
    from opensora_benchmarks import rivals_torch

    eager = [lambda a=a: theirs(rivals_torch, *a) for a in tensors]
    found = [("torch eager", eager, check.torch_graph)]
    if not check.dry:
        program = torch.compile(lambda *a: theirs(rivals_torch, *a), dynamic=False)
        found.append(("torch compile", [lambda a=a: program(*a) for a in tensors], check.torch_graph))
    if sdpa and not check.dry:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        for kind in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):

            def by(a: Any, kind: str = kind) -> Any:
                with sdpa_kernel(getattr(SDPBackend, kind)):
                    return theirs(rivals_torch, *a)

            found.append((f"torch {kind.lower()}", [lambda a=a, by=by: by(a) for a in tensors], check.torch_graph))
    return found


def _ours_attention(ops: Any, q: Any, k: Any, v: Any) -> Any:
    return ops.attention(q, k, v)


def _rival(name: str) -> Callable[..., Any]:
    """A function of Torch's rivals, the module of which is the first argument."""
    return lambda rivals, *arrays: getattr(rivals, name)(*arrays)
