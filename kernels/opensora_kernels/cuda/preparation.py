"""What is done to queries and keys before they meet, norms and rotation: its arrays, checked and laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .launching import fitted, optional


@dataclass(frozen=True)
class Prepared:
    """Norms by weights [D], rotation by float32 tables [L, D/2]; None where there is none."""

    q_norm: Any = None
    k_norm: Any = None
    cos: Any = None
    sin: Any = None
    eps: float = 0.0

    @property
    def pointers(self) -> tuple[Any, ...]:
        """The arrays as arguments of a launch."""
        return tuple(map(optional, (self.q_norm, self.k_norm, self.cos, self.sin)))


def norm_weight(xp: Any, name: str, weight: Any, D: int, dtype: Any) -> Any:
    """The weight of an RMS norm as dense [D] of the dtype, None if there is none; ValueError where it does not fit."""
    return None if weight is None else fitted(xp, name, weight, (D,), dtype)


def rope_tables(xp: Any, cos: Any, sin: Any, length: int, D: int) -> tuple[Any, Any]:
    """Rotary tables as dense float32 [L, D/2], None twice if there are none; ValueError where they do not fit."""
    if cos is None and sin is None:
        return None, None
    if cos is None or sin is None:
        raise ValueError(f"rope got {'sin without cos' if cos is None else 'cos without sin'}: give both or neither")
    if D % 2:
        raise ValueError(f"rope turns pairs of channels; head dim {D} is odd")
    shape, float32 = (length, D // 2), np.dtype(np.float32)
    return fitted(xp, "cos", cos, shape, float32), fitted(xp, "sin", sin, shape, float32)
