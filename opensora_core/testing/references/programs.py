"""Ops that take functions, and the interpreter such functions are run on: every op is its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...ops import FUSED, PRIMITIVES, Array, Function, Ops
from . import arrays, attention, elementwise, layers, optimizer
from .extended import Numbers, Reference, floats_in

STEP = 1e-200  # there is no cancellation in a complex step, so it may be as small as floats can be


def value_and_grad(
    fun: Callable[[Ops, Mapping[str, Array]], Array], params: Mapping[str, Numbers]
) -> tuple[Numbers, dict[str, Numbers]]:
    """A function's value, and its derivative by one element after another: Im fun(x + ih) / h.

    The complex step (Squire & Trapp 1998) is right to the last bit. fun must be analytic: of the ops it may use those
    that are, so neither comparisons nor maxima.
    """
    at = floats_in(params)
    value = np.asarray(fun(ReferenceOps(), at), np.float64)
    grads = {name: np.zeros(x.shape) for name, x in at.items()}
    for name, x in at.items():
        for place in np.ndindex(*x.shape):
            moved = x.astype(np.complex128)
            moved[place] += STEP * 1j
            grads[name][place] = np.imag(fun(ReferenceOps(), {**at, name: moved})) / STEP
    return value, grads


def compile(fun: Callable[..., Array], *arrays: Numbers) -> Array:
    """The function called as it is: fun(ops, *arrays)."""
    return fun(ReferenceOps(), *(np.asarray(x, np.float64) for x in arrays))


class ReferenceOps(Ops):
    """A backend made of the references: slow, float64, sharing no line with the default compositions."""

    name = "reference"

    def __init__(self, device: str = "cpu", dtype: str = "float64") -> None:
        super().__init__(device, dtype)

    def value_and_grad(
        self, fun: Callable[[Ops, Mapping[str, Array]], Array], params: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """By complex steps."""
        return value_and_grad(fun, params)

    def compile(self, fun: Function) -> Function:
        """`fun` itself."""
        return fun


def _route(name: str) -> Callable[..., Any]:
    reference = REFERENCES[name]

    def method(self: ReferenceOps, *args: Any, **kwargs: Any) -> Any:
        return reference(*args, **kwargs)

    return method


REFERENCES: dict[str, Reference] = {"value_and_grad": value_and_grad, "compile": compile}
for _family in (arrays, elementwise, layers, attention, optimizer):
    REFERENCES |= {name: getattr(_family, name) for name in (*PRIMITIVES, *FUSED) if name in vars(_family)}
for _name in (*PRIMITIVES, *FUSED):
    if _name not in vars(ReferenceOps):
        setattr(ReferenceOps, _name, _route(_name))
