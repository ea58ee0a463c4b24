"""What a network puts out, and the velocity it stands for."""

from __future__ import annotations

from typing import Literal

from ..ops import Array, Ops
from .timesteps import NUM_TIMESTEPS

Prediction = Literal["velocity", "sample"]
"""The velocity itself (every official release), or the clean sample it implies (Li & He 2025, "JiT")."""

SMALLEST_TIME = 0.05  # in training, the loss of a predicted sample grows no further below this share of noise


def to_velocity(
    ops: Ops, output: Array, z: Array, t: Array, prediction: Prediction, smallest_time: float = SMALLEST_TIME
) -> Array:
    """Velocity [B, C, T, H, W] from the first C channels of the output; for "sample", v = (x0 - z) / (t/1000).

    Predicting the sample lets a narrow network, which cannot carry the noise of wide latents, learn clean data.
    """
    output = output[:, : z.shape[1]]
    if prediction == "velocity":
        return output
    u = ops.maximum(t * (1.0 / NUM_TIMESTEPS), smallest_time)
    return (output - z) / ops.reshape(u, (-1, 1, 1, 1, 1))
