"""The elementwise primitives as formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .extended import Numbers, extended


@extended
def negative(x: Numbers) -> Any:
    """Return 0 - x."""
    return 0 - x


@extended
def exp(x: Numbers) -> Any:
    """e to the x."""
    return np.exp(x)


@extended
def log(x: Numbers) -> Numbers:
    """The natural logarithm."""
    return np.log(x)


@extended
def sqrt(x: Numbers) -> Numbers:
    """The square root."""
    return np.sqrt(x)


@extended
def sin(x: Numbers) -> Numbers:
    """The sine of radians."""
    return np.sin(x)


@extended
def cos(x: Numbers) -> Numbers:
    """The cosine of radians."""
    return np.cos(x)


@extended
def tanh(x: Numbers) -> Numbers:
    """Return (1 - e^-2x) / (1 + e^-2x) of the positive side, mirrored."""
    sign = np.where(x.real < 0, -1, 1)
    fall = np.expm1(-2 * x * sign)
    return np.asarray(-sign * fall / (2 + fall))


def erf_wide(x: Numbers) -> Any:
    """2/√π · e^-x² · Σ 2ⁿ x²ⁿ⁺¹ / (1·3·5···(2n+1)): every term has the sign of x, so nothing cancels."""
    near = np.where(np.abs(x.real) < 7, x, 0)
    term = total = near
    for n in range(1, 300):
        term = term * near * near * 2 / (2 * n + 1)
        total = total + term
        if np.all(np.abs(term) <= 1e-22 * np.abs(total)):
            break
    inside = 2 / np.sqrt(np.longdouble(math.pi)) * np.exp(-near * near) * total
    return np.where(np.abs(x.real) < 7, inside, np.sign(x.real))


erf = extended(erf_wide)


@extended
def add(a: Any, b: Any) -> Any:
    """Sum."""
    return a + b


@extended
def subtract(a: Any, b: Any) -> Any:
    """Difference."""
    return a - b


@extended
def multiply(a: Any, b: Any) -> Any:
    """Product."""
    return a * b


@extended
def divide(a: Any, b: Any) -> Any:
    """Quotient."""
    return a / b


@extended
def pow(a: Any, b: Any) -> Any:
    """Power a to the b."""
    return a**b


@extended
def maximum(a: Any, b: Any) -> Any:
    """Put a where it is not the smaller; NaN where either is."""
    a, b = np.broadcast_arrays(a, b)
    return np.where(np.isnan(a) | (a > b), a, b)


@extended
def equal(a: Any, b: Any) -> Any:
    """Whether neither is larger, and neither NaN."""
    return (a <= b) & (a >= b)


@extended
def less(a: Any, b: Any) -> Any:
    """Whether b > a."""
    return np.greater(b, a)


@extended
def where(condition: Numbers, a: Any, b: Any) -> Numbers:
    """Put a over b where the condition holds."""
    condition, a, b = np.broadcast_arrays(condition, a, b)
    out = np.array(b, np.result_type(a, b))
    out[condition] = a[condition]
    return out
