"""Which tensor of a training step was the first that is no number: the step is done again under an interposer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..autodiff import Autodiff
from ..interpose import Box, Interposer
from ..interpose.interposer import WHOLE, Args
from ..interpose.places import Places
from ..ops import Array, Ops
from .data import Batch

Objective = Callable[[Ops, Mapping[str, Array]], Array]


class _FirstBad(Interposer):
    """Does what `inner` does, and notes the first op whose result is not finite, and where in the model it was."""

    def __init__(self, inner: Ops, places: Places) -> None:
        super().__init__(inner, WHOLE)
        self.places, self.found = places, ""

    def process(self, op: str, args: Args) -> Any:
        """Do the op and look at its result."""
        result = self.run(op, args)
        if not self.found and not is_finite(self.inner, result):
            self.found = f"{op} in {self.places.here()}"
        return Box(result, self)


def first_bad(ops: Ops, objective: Callable[[Places], Objective], trained: Mapping[str, Array], batch: Batch) -> str:
    """Name the first bad tensor: of the batch, among the weights, on the way to the loss, or of its gradient.

    objective: returns the loss of the batch as a function of the trained weights, and tells where its modules are.
    """
    if bad := next((name for name, a in batch.arrays.items() if not np.isfinite(a).all()), None):
        return f"the batch's {bad}{_sample(batch, bad)}"
    if bad := next((name for name, p in trained.items() if not is_finite(ops, p)), None):
        return f"the weight {bad}"
    places = Places()
    watcher = _FirstBad(ops, places)
    with np.errstate(all="ignore"):  # it is known that something overflows
        watcher.to_numpy(objective(places)(watcher, trained))
        if watcher.found:
            return f"the result of {watcher.found}"
        _, grads = Autodiff(watcher).differentiate(objective(places), trained)
    if watcher.found:
        return f"on the way back from the loss, the result of {watcher.found}"
    if bad := next((name for name, g in grads.items() if not is_finite(ops, watcher.unbox(g))), None):
        return f"the gradient of {bad}"
    largest = max(grads, key=lambda name: float(np.abs(watcher.to_numpy(grads[name])).max()))
    return f"none when the step is done again; the largest gradient is that of {largest}"


def is_finite(ops: Ops, array: Array) -> bool:
    """Whether every number of an array is finite; whole numbers and bools are."""
    if not ops.dtype_name(array).startswith(("float", "bfloat")):
        return True
    return bool(np.isfinite(np.asarray(ops.to_numpy(ops.widen(array)))).all())


def _sample(batch: Batch, name: str) -> str:
    """Which sample, and the file that it was made of."""
    array = batch.arrays[name]
    index = int(np.argmin(np.isfinite(array.reshape(len(array), -1)).all(axis=1)))
    return f" of sample {index}" + (f", {batch.files[index]}" if index < len(batch.files) else "")
