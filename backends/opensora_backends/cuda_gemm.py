"""Matrix products by cuBLAS, with float32 accumulation in half precision, on arrays as they lie in memory.

CuPy's own batched product of bfloat16 can crash and that of float16 computes in float32 throughout (cupy/cupy#10317),
so half precision goes to `gemmStridedBatchedEx` directly; the others go the same way, which saves the copies CuPy makes
of transposed operands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from opensora_core.errors import InvalidInputError

from .cuda_libraries import Libraries

CUDA_TYPES = {"float16": "CUDA_R_16F", "bfloat16": "CUDA_R_16BF", "float32": "CUDA_R_32F", "float64": "CUDA_R_64F"}


@dataclass(frozen=True)
class Operand:
    """A stack of matrices as cuBLAS takes it: rows `leading` elements apart (columns if transposed)."""

    array: Any
    transposed: bool
    leading: int
    stack: int  # elements between one matrix and the next, 0 where one serves them all


def gemm(lib: Libraries, a: Any, b: Any) -> Any:
    """a [..., M, K] times b [..., K, N]; leading axes broadcast. Floating dtypes, the same for both."""
    xp = lib.xp
    _check(a, b)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if k == 0:
        return xp.zeros((*batch, m, n), a.dtype)
    out = xp.empty((*batch, m, n), a.dtype)
    if out.size == 0:
        return out
    count = math.prod(batch)
    if count > 1 and _one_matrix(b) and (rows := _folded(a, batch)) is not None:
        left, right, sizes, count = _operand(xp, rows, ()), _operand(xp, b.reshape(k, n), ()), (count * m, n, k), 1
    else:
        left, right, sizes = _operand(xp, a, batch), _operand(xp, b, batch), (m, n, k)
    _launch(lib, left, right, out, sizes, count)
    return out


def _launch(lib: Libraries, left: Operand, right: Operand, out: Any, sizes: tuple[int, int, int], count: int) -> None:
    """Call cuBLAS, whose matrices are column by column: it computes outᵀ = rightᵀ leftᵀ."""
    m, n, k = sizes
    cublas, runtime = lib.cublas, lib.xp.cuda.runtime
    double = out.dtype == np.float64
    one, zero = (np.array(value, np.float64 if double else np.float32) for value in (1, 0))
    dtype = getattr(runtime, CUDA_TYPES[out.dtype.name])
    compute = cublas.CUBLAS_COMPUTE_64F if double else cublas.CUBLAS_COMPUTE_32F
    handle = lib.xp.cuda.device.get_cublas_handle()
    mode = cublas.getMathMode(handle)
    cublas.setMathMode(handle, cublas.CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)  # no TF32, no sums in half
    try:
        cublas.gemmStridedBatchedEx(
            handle, int(right.transposed), int(left.transposed), n, m, k,
            one.ctypes.data, right.array.data.ptr, dtype, right.leading, right.stack,
            left.array.data.ptr, dtype, left.leading, left.stack,
            zero.ctypes.data, out.data.ptr, dtype, n, m * n,
            count, compute, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip
    finally:
        cublas.setMathMode(handle, mode)


def _operand(xp: Any, x: Any, batch: tuple[int, ...]) -> Operand:
    """Describe a stack of matrices to cuBLAS, copying it only if it lies in no way that cuBLAS can read."""
    x = x if x.shape[:-2] == batch else xp.broadcast_to(x, (*batch, *x.shape[-2:]))
    lies, stack = _matrix_layout(x), _single_step(x.shape[:-2], _steps(x)[:-2])
    if lies is None or stack is None:
        x = xp.ascontiguousarray(x)
        lies, stack = _matrix_layout(x), x.shape[-2] * x.shape[-1]
        assert lies is not None
    return Operand(x, lies[0], lies[1], stack)


def _matrix_layout(x: Any) -> tuple[bool, int] | None:
    """Whether the last two axes are a transposed matrix, and how far apart its rows lie; None if neither way."""
    rows, columns = x.shape[-2:]
    down, along = _steps(x)[-2:]
    if (along == 1 or columns == 1) and (down >= columns or rows == 1):
        return False, max(down, columns) if rows > 1 else columns
    if (down == 1 or rows == 1) and (along >= rows or columns == 1):
        return True, max(along, rows) if columns > 1 else rows
    return None


def _one_matrix(x: Any) -> bool:
    return all(n == 1 for n in x.shape[:-2])


def _folded(x: Any, batch: tuple[int, ...]) -> Any | None:
    """x [..., M, K] as one matrix of all its rows, if that takes no copy."""
    if x.shape[:-2] != batch or (_steps(x)[-1] != 1 and x.shape[-1] != 1):
        return None
    return None if _single_step(x.shape[:-1], _steps(x)[:-1]) is None else x.reshape(-1, x.shape[-1])


def _single_step(shape: tuple[int, ...], steps: tuple[int, ...]) -> int | None:
    """Elements from one entry to the next if several axes can be walked as one, 0 for a single entry; None if not."""
    step, reach = None, 0
    for n, s in zip(reversed(shape), reversed(steps), strict=True):
        if n == 1:
            continue
        if s < 0 or (step is not None and s != reach):
            return None
        step, reach = s if step is None else step, n * s
    return step or 0


def _steps(x: Any) -> tuple[int, ...]:
    return tuple(s // x.itemsize for s in x.strides)


def _check(a: Any, b: Any) -> None:
    if a.dtype != b.dtype:
        raise InvalidInputError(
            f"matmul of {a.dtype.name} and {b.dtype.name}: both must have one dtype, see ops.astype"
        )
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise InvalidInputError(f"matmul of shapes {a.shape} and {b.shape}: expected [..., M, K] and [..., K, N]")
