"""The GPU, or in a dry run its stand-in: arrays, kernels, the backend, Torch and time."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
Call = Callable[[], Any]
Recorder = Callable[[Sequence[Call]], Call]


@dataclass(frozen=True)
class Check:
    """What every step is given. small: the fewest cases, for the sanitizer. train: seconds of training."""

    out: Path
    dry: bool
    site: Path | None = None
    small: bool = False
    train: float = 0.0

    @cached_property
    def libraries(self) -> Any:
        """CuPy with its libraries, or what stands in for it."""
        from opensora_backends.cuda_libraries import Libraries, load_cupy

        if not self.dry:
            return load_cupy()
        from opensora_kernels.cupy_on_cpu import Cublas, RawModule, StandIn, erf

        return Libraries(StandIn(), Cublas(), erf, RawModule)

    @cached_property
    def backend(self) -> type:
        """The class of the backend under test."""
        from opensora_backends.cuda_ops import CudaOps

        dry = {"libraries": staticmethod(lambda: self.libraries)}
        return type("DryCudaOps", (CudaOps,), dry) if self.dry else CudaOps

    @property
    def xp(self) -> Any:
        """CuPy."""
        return self.libraries.xp

    @cached_property
    def torch(self) -> Any:
        """Torch, or None where it is missing or (but in a dry run) sees no GPU."""
        if importlib.util.find_spec("torch") is None:
            return None
        import torch

        return torch if self.dry or torch.cuda.is_available() else None

    @property
    def torch_device(self) -> str:
        """Where Torch computes."""
        return "cpu" if self.dry else "cuda"

    def synchronize(self) -> None:
        """Wait for CuPy and Torch."""
        if not self.dry:
            self.xp.cuda.runtime.deviceSynchronize()

    def seconds(self, calls: Sequence[Call], graph: Recorder | None = None) -> tuple[float, str]:
        """Median time of a call, and how it was taken; the calls do the same on different memory, to keep caches cold.

        With `graph` the calls are recorded and replayed as one, so that Python's part is not in the time.
        """
        for call in calls:
            call()
        self.synchronize()
        mode, run = "calls", lambda: [call() for call in calls]
        if graph is not None and not self.dry:
            try:
                run, mode = graph(calls), "graph"
                run()
            except Exception as error:
                print(f"no graph: {type(error).__name__}: {error}")
                mode, run = "calls", lambda: [call() for call in calls]
        self.synchronize()
        times = []
        for _ in range(1 if self.dry else 7):
            start = time.perf_counter()
            run()
            self.synchronize()
            times.append((time.perf_counter() - start) / len(calls))
        return float(np.median(times)), mode

    def cupy_graph(self, calls: Sequence[Call]) -> Call:
        """The calls as one CUDA graph, recorded from CuPy."""
        xp, pool = self.xp, self.xp.cuda.MemoryPool()
        stream = xp.cuda.Stream(non_blocking=True)
        with stream, xp.cuda.using_allocator(pool.malloc):
            for call in calls:
                call()
            stream.synchronize()
            stream.begin_capture()
            kept = [call() for call in calls]
            graph = stream.end_capture()
        return lambda: (graph.launch(stream=stream), kept)

    def torch_graph(self, calls: Sequence[Call]) -> Call:
        """The calls as one CUDA graph, recorded from Torch."""
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            kept = [call() for call in calls]
        return lambda: (graph.replay(), kept)


def missing(*packages: str) -> list[str]:
    """Those of the packages that are not installed."""
    return [name for name in packages if importlib.util.find_spec(name) is None]
