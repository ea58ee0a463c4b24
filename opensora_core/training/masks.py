"""Frame masks of training: which latent frames are given and which are to be generated.

Names and extents are those of Open-Sora v1.2; `any_head` is this project's own, for short clips, whose quarter is one
latent frame: without it an extension by half is something the model has never seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..checks import number, table
from ..errors import InvalidInputError

Mask = NDArray[np.bool_]

STRATEGIES = (
    "random", "interpolate", "quarter_random", "quarter_head", "quarter_tail", "quarter_head_tail",
    "image_random", "image_head", "image_tail", "image_head_tail", "any_head",
)  # fmt: skip


def check_ratios(ratios: Mapping[str, float]) -> None:
    """Refuse unknown strategies and probabilities that are negative or exceed 1 together."""
    for name, ratio in table("mask_ratios", ratios, STRATEGIES).items():
        number(f"mask ratio {name}", ratio, 0, 1)
    if sum(ratios.values()) > 1 + 1e-9:
        raise InvalidInputError(f"mask ratios {dict(ratios)} must sum to at most 1; the rest is no mask")


def draw_mask(rng: np.random.Generator, num_frames: int, ratios: Mapping[str, float]) -> Mask:
    """Mask [T] of one sample, True = generate: one strategy drawn by its ratio, no mask for the remainder.

    quarter_X gives 1 to T//4 frames at a random place, the head, the tail or both ends; image_X gives one; any_head
    gives 1 to T - 1 at the head; interpolate gives every second frame; random gives each frame with a ratio drawn from
    0.1 to 0.9.
    """
    mask = np.ones(num_frames, bool)
    draw, edge = rng.random(), 0.0
    for name, ratio in ratios.items():
        edge += ratio
        if draw < edge:
            return mask if num_frames <= 1 else _apply(name, rng, mask)
    return mask


def _apply(name: str, rng: np.random.Generator, mask: Mask) -> Mask:
    T = len(mask)
    if name == "random":
        mask = rng.random(T) < 1 - rng.uniform(0.1, 0.9)
        mask[-1] |= not mask.any()
        return mask
    if name == "interpolate":
        mask[rng.integers(0, 2) :: 2] = False
        return mask
    extent, _, place = name.partition("_")
    most = T - 1 if extent == "any" else max(T // 4, 1)
    n = 1 if extent == "image" else int(rng.integers(1, most + 1))
    if place == "random":
        start = int(rng.integers(0, T - n + 1))
        mask[start : start + n] = False
    if place in ("head", "head_tail"):
        mask[:n] = False
    if place in ("tail", "head_tail") and n < T:
        mask[-n:] = False
    mask[-1] |= not mask.any()
    return mask
