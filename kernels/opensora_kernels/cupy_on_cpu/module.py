"""The stand-in's `RawModule`: the emulation of CUDA C++, launched on the stand-in's arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..emulation import EmulatedModule
from .array import arrays_in, plain
from .state import STATE


class RawModule(EmulatedModule):
    """CUDA C++ for the CPU; a launch during a capture is noted. Arrays of the host are refused, as CuPy does."""

    def get_function(self, name: str) -> Any:
        """Return the kernel of a name expression."""
        return RawKernel(super().get_function(name))


class AroundKernel:
    """What stands around a kernel, with CuPy's name for the kernel's limit of shared memory."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """Dynamic shared memory that a launch may ask for."""
        return int(self._kernel.max_dynamic_shared_size_bytes)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        self._kernel.max_dynamic_shared_size_bytes = size


class RawKernel(AroundKernel):
    """A kernel on the stand-in's arrays."""

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        """Launch on the current device, on which all arrays must lie."""
        if elsewhere := {x._device for x in arrays_in(list(args))} - {STATE.device}:
            raise ValueError(f"{self._kernel.name} is launched on device {STATE.device}, arrays lie on {elsewhere}")
        cells = tuple(plain(arg) for arg in args)
        launch = self._launcher(tuple(grid), tuple(block), cells, shared_mem)
        launch()
        STATE.launches.append(self._kernel.name)
        if STATE.capture is not None:
            STATE.capture.note(launch, (), {}, None)

    def _launcher(self, grid: Any, block: Any, args: Any, shared_mem: int) -> Callable[[], None]:
        def launch() -> None:
            self._kernel(grid, block, args, shared_mem=shared_mem)

        return launch
