"""The training objective: rectified flow on latents with caption dropout and given frames, for any backend."""

from __future__ import annotations

from collections.abc import Mapping

from ..derived import mean
from ..dit.captions import null_captions
from ..dit.stdit3 import STDiT3
from ..ops import Array, Ops
from ..schedulers.parametrization import Prediction, to_velocity
from ..schedulers.rectified_flow import add_noise, flow_loss
from ..schedulers.timesteps import NUM_TIMESTEPS


def training_loss(
    ops: Ops,
    denoiser: STDiT3,
    batch: Mapping[str, Array],
    *,
    height: float,
    width: float,
    prediction: Prediction = "velocity",
    time_weighting: float = 0.0,
) -> Array:
    """Mean loss of one batch, see `sample_losses`.

    batch: latents and noise [B, C, T, h, w]; t [B] in 0..1000; text [B, L, caption]; text_mask [B, L]; drop [B] bools,
    True replaces the text by the null caption; fps [B]; optionally x_mask [B, T], False for given frames.
    height, width: size of the videos in pixels.
    """
    losses = sample_losses(
        ops, denoiser, batch, height=height, width=width, prediction=prediction, time_weighting=time_weighting
    )
    return mean(ops, losses)


def sample_losses(
    ops: Ops,
    denoiser: STDiT3,
    batch: Mapping[str, Array],
    *,
    height: float,
    width: float,
    prediction: Prediction = "velocity",
    time_weighting: float = 0.0,
) -> Array:
    """Loss [B] of every sample: the squared error of the velocity times (t/1000) to the power `time_weighting`.

    At 0 this is the objective of Open-Sora v1.2. At 2 it is the plain squared error of the clean sample; 1 lies between
    and spends more of a small network on what is decided early in sampling (what and where) than on the last detail.
    """
    x0, noise, t, x_mask = batch["latents"], batch["noise"], batch["t"], batch.get("x_mask")
    z = add_noise(ops, x0, noise, t)
    if x_mask is not None:
        z = ops.where(ops.reshape(x_mask, (x_mask.shape[0], 1, x_mask.shape[1], 1, 1)), z, x0)
    null = null_captions(ops, denoiser.y_embedder, batch["text"])
    text = ops.where(ops.reshape(batch["drop"], (-1, 1, 1)), null, batch["text"])
    output = denoiser(ops, z, t, text, batch["text_mask"], x_mask, batch["fps"], height, width)
    loss = flow_loss(ops, to_velocity(ops, output, z, t, prediction), x0, noise, x_mask)
    return loss * (t * (1.0 / NUM_TIMESTEPS)) ** time_weighting if time_weighting else loss
