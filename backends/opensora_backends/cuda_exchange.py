"""Arrays to and from Torch without a copy, through DLPack; each side waits for the other's stream.

bfloat16 crosses as 16-bit integers, for the CuPy versions whose DLPack does not know it.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from opensora_core.errors import InvalidInputError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def to_torch(x: Any) -> Any:
    """A torch.Tensor over the memory of a CuPy array, of the same shape, strides, dtype and device."""
    import torch

    if x.dtype == BFLOAT16:
        return torch.from_dlpack(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_dlpack(x)


def from_torch(xp: Any, tensor: Any) -> Any:
    """A CuPy array over the memory of a tensor, of the same shape, strides, dtype and device; no gradient passes."""
    import torch

    tensor = tensor.detach()
    if tensor.is_conj() or tensor.is_neg() or tensor.layout != torch.strided:
        raise InvalidInputError(f"a tensor of layout {tensor.layout} has no plain memory: call .contiguous() on it")
    if tensor.dtype == torch.bfloat16:
        return xp.from_dlpack(tensor.view(torch.int16)).view(BFLOAT16)
    return xp.from_dlpack(tensor)


def sdpa(ops: Any, q: Any, k: Any, v: Any, scale: float | None) -> Any:
    """Torch's attention on arrays of the `cuda` backend, over the same memory."""
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        out = F.scaled_dot_product_attention(*(ops.to_torch(x) for x in (q, k, v)), scale=scale)
    return ops.from_torch(out)
