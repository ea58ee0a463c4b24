"""The suite "training": a step of the embedded recipe, beside the same step in plain PyTorch.

The first loss must be the one that NumPy's forward pass gives, and steps on the same batch must bring it down.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from opensora_core.interpose import FlopCounter
from opensora_core.registry import get_backend

from .gate import RefusedError
from .providers import Provider, UnsupportedError
from .training_variants import SIZES, Ours, Plain, Size
from .workload import Job, Workload, our_backend

ALLOWED = {"float32": 1e-4, "float64": 1e-4}  # relative distance of the first losses


def training_workloads() -> Iterator[Workload]:
    """All of them."""
    for name, size in {
        "embedded-batch2": SIZES["embedded"]._replace(batch_size=2),
        "embedded": SIZES["embedded"],
    }.items():
        shape = {"batch": size.batch_size, "C": size.hidden_size, "pairs": size.depth}
        yield Workload("training", name, "training", _Opener(size), size.batch_size == 2, shape)


class _Opener:
    def __init__(self, size: Size) -> None:
        self._size = size

    def __call__(self, provider: Provider, dtype: str) -> Job:
        if dtype not in ALLOWED:
            raise UnsupportedError(f"weights are trained in float32 or float64, not in {dtype}")
        if provider.name == "torch-eager":
            return TrainingJob(Plain(self._size, False), self._size, dtype)
        return TrainingJob(Ours(self._size, False, our_backend(provider)), self._size, dtype)


class TrainingJob:
    """One loss, its gradients, clipping and AdamW, on the same batch again and again."""

    flops = bytes = 0

    def __init__(self, variant: Any, size: Size, dtype: str) -> None:
        self._variant, self._size, self._allowed = variant, size, ALLOWED[dtype]
        self._losses: list[float] = []

    def prepare(self, rng: np.random.Generator) -> None:
        """Nothing: every step begins where the last one ended."""

    def call(self) -> float:
        """Take a step."""
        return float(self._variant.step())

    def check(self, result: float) -> float:
        """The first loss must be right, and later ones must have come down."""
        if self._losses:
            if not result < self._losses[0]:
                raise RefusedError(f"after steps on one batch the loss is {result:.6g}, and was {self._losses[0]:.6g}")
            return 0.0
        self._losses.append(result)
        wanted = self._count()
        distance = abs(result / wanted - 1)
        if not distance <= self._allowed:
            raise RefusedError(f"its first loss is {result:.6g}, NumPy's is {wanted:.6g}")
        return distance / self._allowed

    def _count(self) -> float:
        """The first loss by NumPy; a step is three times its work, and moves weights, gradients and moments."""
        numpy = Ours(self._size, False, get_backend("numpy", device="cpu", dtype="float32"))
        counter = FlopCounter(numpy.ops)
        loss = float(counter.to_numpy(numpy.loss(counter, numpy.params)))
        self.flops, self.bytes = 3 * counter.total.flops, 3 * counter.total.bytes
        return loss
