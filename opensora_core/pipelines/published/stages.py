"""One model at work, as a plan of a generation tells it: its memory and what else its process takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...interpose.memory import MemoryCounter
from ...module import named_leaves
from .process import besides_arrays


@dataclass(frozen=True)
class Stage:
    """Bytes of one model at work: weights that are held, and what the computation takes beside them at most.

    process: what Python, the libraries and the C allocator take besides.
    """

    name: str
    model: str
    weights: int
    activations: int
    process: int

    @property
    def peak(self) -> int:
        """All of the process."""
        return self.weights + self.activations + self.process

    @classmethod
    def counted(cls, name: str, model: str, counter: MemoryCounter, weights: int | None = None) -> Stage:
        """What was counted. weights: None of a model of which one block is there at a time."""
        weights = counter.ledger.most_arrived if weights is None else weights
        activations = counter.ledger.peak - weights
        return cls(name, model, weights, activations, besides_arrays(counter.backend, counter.dtype, activations))


def weight_bytes(model: Any) -> int:
    """Bytes of a model on a counter."""
    return sum(leaf.value.nbytes for _, leaf in named_leaves(model))
