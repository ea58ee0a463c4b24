"""Every kernel that the host code asks for: it runs on NumPy, with kernels that only note that they were launched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from ..cuda.activations import ActivationKernels
from ..cuda.adamw import AdamWKernels
from ..cuda.attention import AttentionKernels
from ..cuda.attention_backward import AttentionGradients
from ..cuda.conv import ConvKernels
from ..cuda.group_norm_gradients import GroupNormGradients
from ..cuda.index_add import index_add
from ..cuda.launching import C_TYPES
from ..cuda.norm_gradients import NormGradients
from ..cuda.norms import HELD, PIECE, NormKernels
from ..cuda.rotary import RotaryKernels

DTYPES = [np.dtype(getattr(ml_dtypes, name, name)) for name in C_TYPES]
HEAD_DIMS = (72, 128, 30)  # tuned, tuned, not for tensor cores
FRAMES = (15, 30)  # one for each tile of the temporal kernel
CHANNELS = (*(128 * held for held in HELD), 1150)  # of rows kept in registers, and of one that is not


@dataclass(frozen=True, order=True)
class Instantiation:
    """A source file of `opensora_kernels/cuda` and a name expression."""

    file: str
    name: str


@dataclass
class Recorder:
    """A `GetKernel` of kernels that compute nothing; `seen` are those that were launched."""

    seen: set[Instantiation] = field(default_factory=set)

    def __call__(self, file: str, name: str) -> _Recorded:
        """A kernel that notes its launches."""
        return _Recorded(self.seen, Instantiation(file, name))


@dataclass
class _Recorded:
    seen: set[Instantiation]
    which: Instantiation
    max_dynamic_shared_size_bytes: int = 48 << 10

    def __call__(self, grid: object, block: object, args: object, shared_mem: int = 0) -> None:
        self.seen.add(self.which)


def instantiations(head_dims: tuple[int, ...] = HEAD_DIMS) -> list[Instantiation]:
    """What the host code launches in all dtypes for these head dims, and for rows of CHANNELS; ordered."""
    recorder = Recorder()
    with np.errstate(all="ignore"):  # results are what memory held before
        for dtype in DTYPES:
            for D in head_dims:
                _attention(recorder, D, dtype)
            _rowwise(recorder, dtype)
        for name in ("float32", "float64", "int32", "int64"):
            rows = np.zeros((2, 3), name)
            index_add(np, recorder, rows, np.zeros(2, np.int64), rows)
    return sorted(recorder.seen)


def _attention(recorder: Recorder, D: int, dtype: np.dtype[Any]) -> None:
    kernels = AttentionKernels(np, recorder)
    weight, q = np.ones(D, dtype), np.ones((1, 1, 3, D), dtype)
    for frames in FRAMES:
        qkv, table = np.ones((1, frames, 1, 3, 4, D), dtype), np.ones((frames, D // 2), np.float32)
        kernels.attention_3d(qkv, "temporal", weight, weight, table, table)
    RotaryKernels(np, recorder).rms_norm_rotary(q, weight, *np.ones((2, 1, D // 2), np.float32))
    kernels.attention(q, q, q)
    lse = np.zeros(q.shape[:-1], np.float32)
    AttentionGradients(np, recorder).gradients(q, q, q, q, lse, q)


def _rowwise(recorder: Recorder, dtype: np.dtype[Any]) -> None:
    norms, activations = NormKernels(np, recorder), ActivationKernels(np, recorder)
    for D in CHANNELS:
        x, v = np.ones((2, D), dtype), np.ones(D, dtype)
        norms.modulate(x, v, v)
        norms.gated_residual(x, x, v)
    for length in (8, 2 * PIECE):
        norms.group_norm(np.ones((1, 1, length), dtype), 1)
    x, statistic = np.ones((1, 1, 8), dtype), np.zeros((1, 1, 8), np.float32)
    activations.gelu(x)
    activations.softmax(x)
    GroupNormGradients(np, recorder).gradients(x, x, 1)
    NormGradients(np, recorder).layer_norm(x, x)
    ConvKernels(np, recorder).conv(x, x, None, (1,), (0,))
    AdamWKernels(np, recorder).step(x, x, statistic, statistic, 1, 0.1)
