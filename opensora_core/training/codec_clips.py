"""The clips an autoencoder of the embedded model learns from: the synthetic world at every rate it is trained at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..random import generator
from ..synthetic import FULL, World
from ..vae.pixels import from_frames

RATES: tuple[tuple[float, int, float], ...] = ((0.75, 17, 8.0), (0.08, 9, 4.0), (0.07, 5, 2.0), (0.10, 1, 8.0))
"""(share of clips, frames, frames a second); a single frame is an image from anywhere in the two seconds."""


def clips(seed: int, count: int, world: World = FULL, size: int = 64) -> Iterator[NDArray[np.float32]]:
    """Yield `count` videos [1, 3, T, size, size] in [-1, 1] of trained-on scenes; the same seed, the same clips."""
    for index in range(count):
        rng = generator(seed, "codec", index)
        which = int(rng.choice(len(RATES), p=[share for share, _, _ in RATES]))
        _, num_frames, fps = RATES[which]
        start = float(rng.uniform(0, 2)) if num_frames == 1 else 0.0
        scene = world.sample(rng, "train")
        frames = world.render(scene, rng, num_frames=num_frames, height=size, width=size, fps=fps, start=start)
        yield from_frames(frames[None])
