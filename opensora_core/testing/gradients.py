"""Are derivatives right? A random direction, float64, first and second order, against central differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..autodiff import Autodiff
from ..autodiff.fused_rules import FUSED_RULES
from ..ops import Array, Ops

Scalar = Callable[[Ops, Mapping[str, Array]], Array]
STEP = 1e-5  # truncation h² and cancellation eps/h are both near 1e-10


def check_grads(
    ops: Ops,
    fun: Callable[..., Array],
    *arrays: NDArray[Any],
    order: int = 2,
    units: Iterable[str] = FUSED_RULES,
    tolerance: float = 1e-6,
) -> None:
    """Raise AssertionError unless the tape's derivatives of fun(ops, *arrays) match central differences.

    fun may return any shape: a fixed random weighting makes it a scalar. arrays: NumPy float64, where fun is smooth.
    order: how many derivatives are checked, each along one random direction. units: fused ops differentiated whole.
    """
    rng = np.random.default_rng(0)
    at = {str(i): np.asarray(x, np.float64) for i, x in enumerate(arrays)}
    shape = tuple(fun(ops, *(ops.asarray(x) for x in at.values())).shape)
    weights = ops.asarray(rng.standard_normal(shape))
    directions = [{name: rng.standard_normal(x.shape) for name, x in at.items()} for _ in range(order)]

    def weighted(o: Ops, params: Mapping[str, Array]) -> Array:
        return o.sum(fun(o, *params.values()) * weights)

    scalar: Scalar = weighted
    for n, direction in enumerate(directions, start=1):
        slope = along(scalar, {name: ops.asarray(v) for name, v in direction.items()}, units)
        exact, numeric = _value(ops, slope, at), _central_difference(ops, scalar, at, direction)
        assert abs(exact - numeric) <= tolerance * max(1.0, abs(numeric)), (
            f"derivative of order {n}: {exact:.9g} on the tape, {numeric:.9g} by differences"
        )
        scalar = slope


def along(fun: Scalar, direction: Mapping[str, Array], units: Iterable[str] = FUSED_RULES) -> Scalar:
    """Return the derivative of a scalar function along a direction, as a function of the language itself."""

    def slope(ops: Ops, params: Mapping[str, Array]) -> Array:
        _, grads = Autodiff(ops, units).differentiate(fun, params)
        total = ops.full((), 0.0, "float64")
        for name, grad in grads.items():
            total = total + ops.sum(grad * direction[name])
        return total

    return slope


def _value(ops: Ops, fun: Scalar, at: Mapping[str, NDArray[Any]]) -> float:
    return float(ops.to_numpy(fun(ops, {name: ops.asarray(x) for name, x in at.items()})))


def _central_difference(
    ops: Ops, fun: Scalar, at: Mapping[str, NDArray[Any]], direction: Mapping[str, NDArray[Any]]
) -> float:
    ahead = _value(ops, fun, {name: x + STEP * direction[name] for name, x in at.items()})
    behind = _value(ops, fun, {name: x - STEP * direction[name] for name, x in at.items()})
    return (ahead - behind) / (2 * STEP)
