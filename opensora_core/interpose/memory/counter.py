"""MemoryCounter: runs a computation of any size in no time and no memory, and tells how much memory it would take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ops import Ops
from ..box import Box
from ..interposer import Args, Interposer
from . import fused, primitives
from .outline import Dtype, Ledger, Outline, Storage, dtype_of, layout, order_of, size_of


class MemoryCounter(Interposer):
    """Ops over arrays that have a shape, a dtype and strides, and no numbers; `ledger` counts what lives of them.

    Every array counts until the last name for it goes, as in a real run. What a backend takes inside its own fused ops
    is known of NumPy and Torch on the CPU (`fused`); of others the default compositions are counted.

        counter = MemoryCounter("torch", "bfloat16")
        model = to_backend(counter, STDiT3.create(config, ShapeInit()))
        model(counter, x, t, y)
        counter.ledger.peak
    """

    def __init__(self, backend: str, dtype: str = "float32") -> None:
        self.kernels = fused.KERNELS.get(backend, {})
        super().__init__(Ops("cpu", dtype), self.kernels)
        self.name, self.backend = backend, backend
        self.ledger = Ledger()

    def process(self, op: str, args: Args) -> Any:
        """The outline of the result; what it takes is counted."""
        return self.kernels[op](self, *args) if op in self.kernels else getattr(primitives, op)(self, *args)

    def to_numpy(self, x: Any) -> NDArray[Any]:
        """Zeros of the shape, which take no memory."""
        return np.broadcast_to(np.zeros((), x.dtype), x.shape) if isinstance(x, Box) else np.asarray(x)

    # ------------------------------------------------------------------ what the rules of ops are written with

    def new(
        self, shape: Sequence[int], dtype: Any, like: Sequence[Any] = (), passing: int = 0, arrived: bool = False
    ) -> Box:
        """A new array; its axes lie in memory as those of `like`. passing: bytes that the op takes meanwhile."""
        kind: Dtype = dtype_of(dtype)
        size = size_of(shape, kind)
        self.ledger.passing(size + passing)
        order = order_of(shape, [box.value for box in like if isinstance(box, Box)])
        return Box(Outline(layout(shape, kind, order), Storage(self.ledger, size, arrived)), self)

    def view(self, x: Box, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Box:
        """The same memory seen in another way. Raises ValueError where only a copy could look so."""
        return Box(x.value.view(change), self)

    def dense(self, x: Box) -> Box:
        """The array itself if its numbers lie one after another, else a copy in which they do."""
        return x if x.value.layout.flags.c_contiguous else self.new(x.shape, x.dtype)

    def whole_default(self, op: str, *args: Any) -> Any:
        """The op as its default composition does it."""
        return getattr(Ops, op)(self, *args)
