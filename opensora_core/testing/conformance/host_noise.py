"""Host noise must reach a backend bit for bit: it is what makes a seed mean the same video everywhere."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...ops import Ops
from ...random import normal, normal_batch
from .checks import Failure, Settings
from .repro import check_repro
from .target import Target

CHECK = "ops/host_noise/bits"


class HostNoise:
    """One check: what `opensora_core.random` draws, put on the backend and fetched again."""

    name = "ops/host_noise"

    def checks(self, dtypes: Iterable[str]) -> list[str]:
        """The one check."""
        return [CHECK]

    def run(self, target: Target, settings: Settings) -> dict[str, Failure]:
        """Compare bits in float32, of a split batch, and after rounding to every dtype."""
        try:
            wrong = wrong_noise(target.ops, settings.dtypes)
        except (Exception, SystemExit) as error:  # a backend under test may fail in any way
            wrong = f"{type(error).__name__}: {error}"
        return {CHECK: Failure(wrong, check_repro(target, CHECK))} if wrong else {}


def wrong_noise(ops: Ops, dtypes: Iterable[str]) -> str | None:
    """What is wrong with noise on a backend; None if nothing is."""
    shape = (3, 5, 7)
    noise = normal_batch(0, "conformance", 4, shape)
    placed = ops.asarray(noise)
    if np.asarray(ops.to_numpy(placed)).tobytes() != noise.tobytes():
        return "float32 noise does not come back from the backend bit for bit"
    for index in range(4):
        alone = ops.asarray(normal(0, "conformance", index, shape)[None])
        if np.asarray(ops.to_numpy(alone)).tobytes() != np.asarray(ops.to_numpy(placed[index : index + 1])).tobytes():
            return f"sample {index} of a batch has not the bits that it has alone"
    for dtype in dtypes:
        rounded = np.asarray(ops.to_numpy(ops.asarray(noise, dtype)))
        if rounded.tobytes() != noise.astype(np.dtype(dtype)).tobytes():
            return f"asarray(noise, {dtype!r}) rounds float32 otherwise than to the nearest even {dtype}"
    return None
