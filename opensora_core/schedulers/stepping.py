"""What all samplers share: the model as they see it, a finished step, and masks of frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Array, Ops

Predict = Callable[[Array, float, Array | None], Array]
"""predict(z [B, C, T, H, W], timestep, x_mask [B, T] or None) -> what the network puts out, [B, out, T, H, W]"""

Noise = Callable[[int], Array]
"""noise(i): standard normal like z, for step i; drawn on the host, so that every backend is given the same."""


class Step(NamedTuple):
    """One finished step of a sampler."""

    number: int  # 0-based
    timestep: float  # at which the model was asked
    latents: Array  # after the step
    denoised: Array  # the model's present guess of the data


def check_mask(mask: NDArray[np.floating] | None, shape: tuple[int, int]) -> None:
    """Raise InvalidInputError unless the mask has one number from 0 to 1 per sample and frame, or is None."""
    if mask is None:
        return
    if mask.shape != shape:
        raise InvalidInputError(f"the mask has shape {mask.shape}; expected one number per sample and frame, {shape}")
    if not ((mask >= 0) & (mask <= 1)).all():
        raise InvalidInputError("the mask must lie between 0 (keep the frame) and 1 (generate it)")


def frames(ops: Ops, flags: NDArray[np.bool_]) -> Array:
    """Flags [B, T] of the host on the backend, to be broadcast over [B, C, T, H, W]."""
    return ops.asarray(flags.reshape(flags.shape[0], 1, flags.shape[1], 1, 1))
