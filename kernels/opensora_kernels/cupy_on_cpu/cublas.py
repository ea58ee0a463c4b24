"""cuBLAS as CuPy shows it, `gemmStridedBatchedEx` only: pointers, columns first, leading dimensions."""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np

from .state import STATE

CUDA_TYPES = {
    0: np.dtype(np.float32),
    1: np.dtype(np.float64),
    2: np.dtype(np.float16),
    14: np.dtype(ml_dtypes.bfloat16),
}


class Cublas:
    """Stands for the module `cupy_backends.cuda.libs.cublas`."""

    CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F = 68, 70
    CUBLAS_GEMM_DEFAULT = -1
    CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION = 16

    def __init__(self) -> None:
        self.mode = 0
        self.calls: list[tuple[int, ...]] = []

    def getMathMode(self, handle: int) -> int:  # noqa: N802
        """Return the mode set last."""
        return self.mode

    def setMathMode(self, handle: int, mode: int) -> None:  # noqa: N802
        """Set the mode."""
        self.mode = mode

    def gemmStridedBatchedEx(  # noqa: N802
        self, handle: int, transa: int, transb: int, m: int, n: int, k: int,
        alpha: int, A: int, Atype: int, lda: int, strideA: int,
        B: int, Btype: int, ldb: int, strideB: int,
        beta: int, C: int, Ctype: int, ldc: int, strideC: int,
        batchCount: int, computeType: int, algo: int,
    ) -> None:  # fmt: skip
        """C = alpha op(A) op(B) + beta C for each of a stack of matrices that lie column by column."""
        double = computeType == self.CUBLAS_COMPUTE_64F
        assert Atype == Btype == Ctype
        assert double == (CUDA_TYPES[Ctype] == np.float64)
        assert self.mode == self.CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION
        assert lda >= max(1, k if transa else m)
        assert ldb >= max(1, n if transb else k)
        assert ldc >= m
        assert min(strideA, strideB, strideC) >= 0
        self.calls.append((m, n, k, batchCount))
        wide = np.dtype(np.float64 if double else np.float32)
        one, zero = (_matrices(x, wide, 1, 1, 1, 0, 1)[0, 0, 0] for x in (alpha, beta))

        def compute() -> None:
            a = _matrices(A, CUDA_TYPES[Atype], *((k, m) if transa else (m, k)), lda, strideA, batchCount)
            b = _matrices(B, CUDA_TYPES[Btype], *((n, k) if transb else (k, n)), ldb, strideB, batchCount)
            c = _matrices(C, CUDA_TYPES[Ctype], m, n, ldc, strideC, batchCount)
            a, b = (np.swapaxes(x, 1, 2) if t else x for x, t in ((a, transa), (b, transb)))
            product = one * np.matmul(a.astype(wide), b.astype(wide))
            c[...] = (product if zero == 0 else product + zero * c).astype(c.dtype)

        compute()
        if STATE.capture is not None:
            STATE.capture.note(compute, (), {}, None)


def _matrices(
    address: int, dtype: np.dtype[Any], rows: int, columns: int, leading: int, stride: int, count: int
) -> np.ndarray[Any, Any]:
    """A view of memory as [count, rows, columns], each matrix column by column."""
    length = (count - 1) * stride + (columns - 1) * leading + rows
    memory = (ctypes.c_char * (length * dtype.itemsize)).from_address(address)
    flat = np.frombuffer(memory, dtype)
    flat.flags.writeable = True
    steps = tuple(s * dtype.itemsize for s in (stride, 1, leading))
    return np.lib.stride_tricks.as_strided(flat, (count, rows, columns), steps)
