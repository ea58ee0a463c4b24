"""Norms on our CUDA kernels: layer, RMS and group norm, DiT's modulate; and the gated residual between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launching import GetKernel, c_type, ceil_div, dense_rows, element_strides, is_aligned, launch, optional

HELD = (1, 4, 9, 16)  # how many times four channels a lane may keep; nine are D = 1152
ROWS = 4  # of a block
INDICES = range(2**31)
GROUP_THREADS = 256
GROUP_SHARED = 4 * GROUP_THREADS // 32
PIECE = GROUP_THREADS * 32  # elements of a group that a block holds at once
MOST_CHUNKS = 512  # into which a group is cut
GROUP_LENGTHS = range(2**30)


@dataclass(frozen=True)
class NormKernels:
    """The norms on one array library; a row is the last axis.

    xp: CuPy, or NumPy with a `get_kernel` of the emulation. get_kernel: see `launching.GetKernel`.
    Arrays are float32, float16 or bfloat16, all of a call of one dtype; sums are float32, results are rounded once.
    Vectors (gate, scale, shift) have x's last axis and broadcast along all others. ValueError says what does not fit.
    """

    xp: Any
    get_kernel: GetKernel

    def layer_norm(self, x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-6) -> Any:
        """Zero mean and unit variance over the last axis of x [..., D], then weight and bias [D]."""
        return self._normalise(x, weight, bias, 0.0, eps, centred=True)

    def rms_norm(self, x: Any, weight: Any, eps: float = 1e-6) -> Any:
        """x [..., D] over its root mean square along the last axis, times weight [D]."""
        return self._normalise(x, weight, None, 0.0, eps, centred=False)

    def modulate(self, x: Any, shift: Any, scale: Any, eps: float = 1e-6) -> Any:
        """layer_norm(x) (1 + scale) + shift."""
        return self._normalise(x, scale, shift, 1.0, eps, centred=True)

    def gated_residual(self, x: Any, branch: Any, gate: Any) -> Any:
        """x + gate · branch; branch is shaped as x."""
        _check_alike(x, branch=branch, gate=gate)
        D, out = x.shape[-1], self.xp.empty(x.shape, x.dtype)
        if x.size == 0:
            return out
        alignment = 4 * x.itemsize if D % 4 == 0 else 1
        sizes = _three(x.shape[:-1])
        x, branch = (self._packed(a, alignment) for a in (x, branch))
        gate = self._vectors(gate, x.shape[:-1], sizes, alignment)
        rows, strides = x.size // D, map(np.int64, element_strides(gate)[:3])
        args = (x, branch, gate, out, np.int64(rows), *map(np.int32, (D, *sizes[1:])), *strides)
        kernel = self.get_kernel("gated_residual.cu", f"gated_residual<{c_type(x)}, {str(D % 4 == 0).lower()}>")
        launch(kernel, (ceil_div(rows, ROWS),), (32 * ROWS,), args)
        return out

    def group_norm(
        self, x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-6, *, silu: bool = False
    ) -> Any:
        """Normalise x [B, C, ...] over each of `groups` equal runs of channels, then weight and bias [C], then SiLU."""
        length = check_groups(x, groups, weight, bias)
        out = self.xp.empty(x.shape, x.dtype)
        if x.size == 0:
            return out
        x = self.xp.ascontiguousarray(x)
        weight, bias = (None if a is None else self.xp.ascontiguousarray(a) for a in (weight, bias))
        chunks, pieces = _cut(length)
        rows, channels = x.shape[0] * groups, x.shape[1] // groups
        spreads = spreads_of(self.xp, self.get_kernel, x, rows, length)[0] if chunks > 1 else None
        kernel = self.get_kernel("group_norm_silu.cu", f"group_norm<{c_type(x)}>")
        arrays = (x, out, *map(optional, (weight, bias, spreads)))
        sizes = map(np.int32, (length, length // channels, groups, channels, chunks, pieces))
        args = (*arrays, *sizes, np.float32(eps), np.int32(silu), _in_fours(x, length))
        launch(kernel, (rows * chunks,), (GROUP_THREADS,), args, GROUP_SHARED)
        return out

    def _normalise(self, x: Any, scale: Any, shift: Any, offset: float, eps: float, *, centred: bool) -> Any:
        """See modulate.cu."""
        _check_alike(x, scale=scale, shift=shift)
        D, out = x.shape[-1], self.xp.empty(x.shape, x.dtype)
        if x.size == 0:
            return out
        held = _held(D)
        alignment = 4 * x.itemsize if held else 1
        sizes = _three(x.shape[:-1])
        x = self._packed(x, alignment)
        vectors = [None if a is None else self._vectors(a, x.shape[:-1], sizes, alignment) for a in (scale, shift)]
        strides = [np.int64(n) for a in vectors for n in ((0, 0, 0) if a is None else element_strides(a)[:3])]
        rows = x.size // D
        args = (x, out, *map(optional, vectors), np.int64(rows), *map(np.int32, (D, *sizes[1:])), *strides)
        args += (np.float32(offset), np.float32(eps), np.int32(centred))
        name = f"modulate<{c_type(x)}, {held}>" if held else f"modulate_any<{c_type(x)}>"
        launch(self.get_kernel("modulate.cu", name), (ceil_div(rows, ROWS),), (32 * ROWS,), args)
        return out

    def _packed(self, x: Any, alignment: int) -> Any:
        """x in one piece that begins at a multiple of `alignment`."""
        return dense_rows(self.xp, self.xp.ascontiguousarray(x), alignment)

    def _vectors(self, a: Any, lead: tuple[int, ...], sizes: tuple[int, int, int], alignment: int) -> Any:
        """A row's vectors [n0, n1, n2, D], seen through strides of zero where they broadcast."""
        a = dense_rows(self.xp, a, alignment)
        return self.xp.broadcast_to(a, (*lead, a.shape[-1])).reshape((*sizes, a.shape[-1]))


def check_groups(x: Any, groups: int, *vectors: Any) -> int:
    """Elements of a group of x [B, C, ...]; ValueError unless groups and vectors [C] fit it."""
    _check_alike(x)
    C = x.shape[1]
    if C % groups or any(a is not None and (a.shape, a.dtype) != ((C,), x.dtype) for a in vectors):
        raise ValueError(f"{C} channels of {x.dtype.name} in {groups} groups want weights [{C}] of the same dtype")
    length = C // groups * math.prod(x.shape[2:])
    if length not in GROUP_LENGTHS:
        raise ValueError(f"{length} elements a group are more than {GROUP_LENGTHS[-1]}")
    return length


def spreads_of(xp: Any, get_kernel: GetKernel, x: Any, rows: int, length: int) -> tuple[Any, int]:
    """Mean and squared distances to it [rows, chunks, 2] of every group's chunks, and how long all but the last are."""
    chunks, pieces = _cut(length)
    spreads = xp.empty((rows, chunks, 2), np.float32)
    kernel = get_kernel("group_norm_silu.cu", f"group_norm_sums<{c_type(x)}>")
    args = (x, spreads, *map(np.int32, (length, chunks, pieces)), _in_fours(x, length))
    launch(kernel, (rows * chunks,), (GROUP_THREADS,), args, GROUP_SHARED)
    return spreads, pieces * PIECE


def _cut(length: int) -> tuple[int, int]:
    """Into how many chunks a group is cut, each of how many pieces."""
    pieces = ceil_div(ceil_div(length, PIECE), MOST_CHUNKS)
    return ceil_div(length, PIECE * pieces), pieces


def _in_fours(x: Any, length: int) -> np.int32:
    """Whether groups may be read four elements at once."""
    return np.int32(length % 4 == 0 and is_aligned(x, 4 * x.itemsize))


def _held(D: int) -> int:
    """How many accesses of four channels a lane makes, by the next instantiation; 0 if modulate_any must serve."""
    return next((n for n in HELD if n * 128 >= D), 0) if D % 4 == 0 else 0


def _three(lead: tuple[int, ...]) -> tuple[int, int, int]:
    """Leading axes as three: the last two, and all before them in one."""
    lead = (1,) * (3 - len(lead)) + lead
    return math.prod(lead[:-2]), lead[-2], lead[-1]


def _check_alike(x: Any, **others: Any) -> None:
    """Raise ValueError unless all arrays have x's dtype, and fit its shape."""
    c_type(x)
    if x.ndim == 0 or x.shape[-1] not in INDICES or any(n not in INDICES for n in x.shape):
        raise ValueError(f"x is {x.shape}; a kernel takes one axis or more, each shorter than 2^31")
    for name, a in others.items():
        if a is None:
            continue
        if a.dtype != x.dtype:
            raise ValueError(f"{name} is {a.dtype.name} and x {x.dtype.name}; a kernel takes one dtype")
        if a.shape != x.shape and (name == "branch" or not is_vectors(a.shape, x.shape)):
            raise ValueError(f"{name} {a.shape} does not fit x {x.shape}")


def is_vectors(shape: tuple[int, ...], of: tuple[int, ...]) -> bool:
    """Whether an array has the last axis of another, and broadcasts to it along all others."""
    extra = len(of) - len(shape)
    same = shape[-1:] == of[-1:] != ()
    return same and extra >= 0 and all(n in (1, m) for n, m in zip(shape, of[extra:], strict=True))
