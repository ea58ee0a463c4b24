"""Relative positions of T5: distances share buckets, the farther the more of them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def position_buckets(length: int, buckets: int = 32, max_distance: int = 128) -> NDArray[np.int64]:
    """Bucket of every pair of positions, int64 [length, length]: rows are queries, columns the keys they look at.

    Half of the buckets are for keys behind the query. Of each half, half are for single distances and the rest grow
    logarithmically up to `max_distance`; all that is farther shares the last one (Raffel et al. 2020, section 2.1).
    """
    half = buckets // 2
    exact = half // 2
    offset = np.arange(length)[None, :] - np.arange(length)[:, None]
    distance = np.abs(offset)
    growth = (half - exact) / math.log(max_distance / exact)
    far = np.maximum(distance, exact).astype(np.float32) / np.float32(exact)  # float32, as published models were made
    shared = exact + (np.log(far) * np.float32(growth)).astype(np.int64)
    bucket = np.where(distance < exact, distance, np.minimum(shared, half - 1))
    return np.asarray(bucket + half * (offset > 0), np.int64)
