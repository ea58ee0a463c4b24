"""Random weights with the names and shapes of published models, one tensor in memory at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from opensora_core.module import named_leaves

TABLES = Path(__file__).parents[2] / "tests/golden/keys"
"""Tables {weight name: [length, ..., dtype]} of published checkpoints."""
STD = 0.02  # small, so that what flows through dozens of blocks stays finite
DRAWN = 2**20  # numbers that are repeated to fill every tensor: drawing billions would take minutes


class RandomWeights(Mapping[str, NDArray[Any]]):
    """Weights in bfloat16, each made when it is asked for: norms are 1, all others normal and small."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> None:
        self.shapes = dict(shapes)
        drawn = np.random.default_rng(seed).standard_normal(DRAWN, dtype=np.float32) * np.float32(STD)
        self._drawn = drawn.astype(ml_dtypes.bfloat16)

    @classmethod
    def published(cls, table: str) -> RandomWeights:
        """Those of one table."""
        entries = json.loads((TABLES / f"{table}.json").read_text("utf-8"))
        return cls({name: tuple(entry[:-1]) for name, entry in entries.items()})

    @classmethod
    def of_model(cls, shell: Any) -> RandomWeights:
        """Those of a model that has none."""
        return cls({name: tuple(leaf.shape) for name, leaf in named_leaves(shell)})

    def __getitem__(self, name: str) -> NDArray[Any]:
        shape = self.shapes[name]
        if len(shape) == 1 and not name.endswith("bias"):
            return np.ones(shape, ml_dtypes.bfloat16)
        return np.resize(self._drawn, shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def parameters(self) -> int:
        """How many numbers all weights hold."""
        return sum(math.prod(shape) for shape in self.shapes.values())
