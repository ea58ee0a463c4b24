"""The element types of safetensors files and of NumPy, each way."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np

from ..errors import InvalidInputError

# Widest first: data written in this order is aligned without gaps. The safetensors library writes in the same order.
NUMPY_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype("<f2"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}

_NAMES = {dtype: name for name, dtype in NUMPY_DTYPES.items()}


def dtype_name(dtype: np.dtype[Any], tensor: str) -> str:
    """The name of a NumPy dtype in a file ("F32"), whatever its byte order; an InvalidInputError if there is none."""
    native = dtype.newbyteorder("=")
    if native not in _NAMES:
        legal = ", ".join(known.name for known in _NAMES)
        raise InvalidInputError(f"tensor {tensor!r}: dtype {dtype} cannot be saved; convert it to one of {legal}")
    return _NAMES[native]


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether numbers of this dtype can be NaN or Inf."""
    return dtype.kind == "f" or dtype == NUMPY_DTYPES["BF16"]
