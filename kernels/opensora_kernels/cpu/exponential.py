"""e^x for x <= 0, as exact as the dtype allows and with nothing in it that keeps a loop from being vectorised.

e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln(2)/2. ln 2 is subtracted in two parts, the first of which has so
few digits that n times it is exact (Cody & Waite 1980). e^r = 1 + r + r² P(r), where P is the polynomial of its degree
with the smallest largest relative error (Remez): 3e-9 in float32, 4e-18 in float64; rounding to the dtype adds up to
1 unit in the last place. Below the smallest normal number the result is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .compiled import STRICT

f4, f8, i4, i8 = np.float32, np.float64, np.int32, np.int64


def _exp32(x: Any) -> Any:
    inside = x >= f4(-87.0)
    x = f4(-87.0) if x < f4(-87.0) else x  # written so that NaN stays
    n = np.floor(x * f4(1.4426950408889634) + f4(0.5))
    r = (x - n * f4(0.693115234375)) - n * f4(3.194618329871446e-05)
    p = f4(0.0013814540579915047)
    p = p * r + f4(0.00836874544620514)
    p = p * r + f4(0.04166838899254799)
    p = p * r + f4(0.1666652113199234)
    p = p * r + f4(0.4999999403953552)
    p = (p * r) * r + r + f4(1.0)
    power = i4(n if n > f4(-127.0) else f4(-127.0))  # for NaN too, which has no whole number
    scale = i4((power + i4(127)) << i4(23)).view(f4)
    return p * scale if inside or x != x else f4(0.0)


def _exp64(x: Any) -> Any:
    inside = x >= -708.0
    x = -708.0 if x < -708.0 else x
    n = np.floor(x * 1.4426950408889634 + 0.5)
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    p = 2.500001885308334e-08
    p = p * r + 2.7630306255647857e-07
    p = p * r + 2.755758680384707e-06
    p = p * r + 2.480149294961707e-05
    p = p * r + 0.00019841269505773806
    p = p * r + 0.0013888888943759984
    p = p * r + 0.008333333333494976
    p = p * r + 0.041666666666529725
    p = p * r + 0.1666666666666641
    p = p * r + 0.5000000000000011
    p = (p * r) * r + r + 1.0
    power = i8(n if n > -1023.0 else -1023.0)
    scale = i8((power + i8(1023)) << i8(52)).view(f8)
    return p * scale if inside or x != x else 0.0


def exp_negative(x: Any) -> Any:
    """e^x of a number x <= 0 (or -inf or NaN) inside a kernel, in x's own dtype."""
    raise NotImplementedError("only compiled kernels can call exp_negative")


@overload(exp_negative, jit_options={"fastmath": set(STRICT)})
def _choose(x: Any) -> Any:
    return {types.float32: _exp32, types.float64: _exp64}.get(x)
