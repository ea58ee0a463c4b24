"""Host randomness: one seed gives the same bits on every backend, device, dtype and batch split.

Every draw is named by (seed, stream, index): the stream says what it is for, the index is the sample's place in the
whole batch. Numbers come from NumPy's counter-based Philox generator, in float32, on the host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, stream: str, index: int = 0) -> np.random.Generator:
    """Return the generator of one named stream; 0 is a seed like any other, and seeds are whole numbers >= 0."""
    digest = hashlib.sha256(f"{seed}/{stream}/{index}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def normal(seed: int, stream: str, index: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Standard normal float32 noise of one sample."""
    return generator(seed, stream, index).standard_normal(tuple(shape), dtype=np.float32)


def normal_batch(seed: int, stream: str, batch: int, shape: Sequence[int], first: int = 0) -> NDArray[np.float32]:
    """Noise [batch, *shape] of samples first, first + 1, ...: splitting a batch changes no sample."""
    return np.stack([normal(seed, stream, first + i, shape) for i in range(batch)])
