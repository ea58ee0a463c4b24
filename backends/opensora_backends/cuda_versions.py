"""Versions of attention on a GPU: kernels for tensor cores, plain ones, and those written in Python.

The backend picks one by dtype and sizes (`opensora_kernels.choice`); here each takes whatever it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from opensora_core.ops import Ops
from opensora_kernels.choice import KERNELS, NUMBA, Kernel, Request
from opensora_kernels.cuda.attention import AttentionKernels
from opensora_kernels.cuda.attention_layout import key_lengths

from .attention_versions import Version
from .cuda_kernels import launchers

OPS = ("attention", "attention_3d")
OURS = {name: [k for k in KERNELS if k.op in OPS and k.name.endswith("_plain") is plain]
        for name, plain in (("cuda:tensor-cores", False), ("cuda:plain", True))}  # fmt: skip
VERSIONS: dict[str, Sequence[Kernel]] = {**OURS, "cuda:numba": [k for k in NUMBA if k.op in OPS]}
"""By name, the kernels that it consists of."""


def open_version(name: str, ops: Ops) -> Version:
    """A version on the arrays of a `CudaOps`. Raises MissingDependencyError for "cuda:numba" without numba-cuda."""
    xp, kernels = ops.xp, ops._kernels  # type: ignore[attr-defined]
    launcher: type[AttentionKernels] = launchers("numba" if name == "cuda:numba" else "auto").attention
    versioned = replace(launcher(xp, kernels.get), tensor_cores=name != "cuda:plain")

    def attention(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
        return versioned.attention(q, k, v, mask, scale, key_lengths(xp, mask, q, k, v))

    def refuses(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> str | None:
        layout = {"head_dim": q.shape[-1], "length": k.shape[-2], "masked": mask is not None}
        return _refusal(VERSIONS[name], Request("attention", q.dtype.name, kernels.arch, **layout))

    def refuses_video(qkv: Any, pattern: str, *prepared: Any) -> str | None:
        _, T, S, _, H, D = qkv.shape
        length = {"temporal": T, "spatial": S}.get(pattern, T * S)
        layout = {"pattern": pattern, "head_dim": D, "length": length, "across": H}
        return _refusal(VERSIONS[name], Request("attention_3d", qkv.dtype.name, kernels.arch, **layout))

    functions = {"attention": attention, "attention_3d": versioned.attention_3d}
    return Version(functions, {"attention": refuses, "attention_3d": refuses_video})


def _refusal(kernels: Sequence[Kernel], asked: Request) -> str | None:
    """Why none of the kernels serves; None if one does."""
    reasons = {kernel.name: kernel.refusal(asked) for kernel in kernels if kernel.op == asked.op}
    if None in reasons.values():
        return None
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
