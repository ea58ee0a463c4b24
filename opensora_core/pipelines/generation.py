"""Generating one window of latents: text, noise, given frames, guidance and the sampler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..dit.captions import TextContext, null_captions
from ..dit.embedders import conditioning_fps
from ..ops import Array, Ops
from ..random import normal_batch
from ..schedulers.parametrization import to_velocity
from ..schedulers.rectified_flow import Velocity, euler, guided
from ..schedulers.stepping import Step
from ..schedulers.timesteps import sampling_timesteps
from .blame import cause_of_non_finite
from .components import Components
from .finite import CheckFinite, FiniteCheck
from .request import Request

SMALLEST_TIME = 1e-6  # of a step: a sampler stops above 0, so that this only keeps rounding from dividing by 0
NULL_TOKENS = 10  # the median length of captions of the synthetic world


@dataclass(frozen=True)
class Given:
    """Frames not to be invented: latents [B, C, T, h, w] and the mask [B, T], 0 keeps a frame (see `euler`)."""

    latents: NDArray[np.float32]
    mask: NDArray[np.float32]


@dataclass(frozen=True)
class Prompt:
    """Text features [B, L, C] and mask [B, L] of a batch; `negative` (same shapes) replaces the null caption."""

    features: Array
    mask: Array
    negative: tuple[Array, Array] | None = None


def encode_prompt(ops: Ops, parts: Components, texts: list[str]) -> tuple[Array, Array]:
    """Features [B, L, C] and mask [B, L] of captions."""
    ids, mask = parts.tokenizer.encode_batch(texts)
    mask = ops.asarray(mask)
    return parts.text_encoder(ops, ops.asarray(ids), mask), mask


def null_caption(ops: Ops, parts: Components) -> tuple[Array, Array]:
    """Features [1, L, C] and mask [1, L] of no prompt: the null caption, as long as ordinary captions are.

    In training it stands in for dropped captions under their masks; a mask without any token was never seen.
    """
    null = parts.denoiser.y_embedder.y_embedding  # (L, C)
    mask = np.arange(null.shape[0])[None] < NULL_TOKENS
    return ops.reshape(null, (1, *null.shape)), ops.asarray(mask)


def text_context(ops: Ops, parts: Components, prompt: Prompt, guidance_scale: float) -> TextContext:
    """Keys and values of the text for all steps: conditional rows, then unconditional ones if guidance needs them."""
    y, mask = prompt.features, prompt.mask
    if guidance_scale == 1:
        return parts.denoiser.encode_text(ops, y, mask)
    if prompt.negative is not None:
        null, null_mask = prompt.negative
        mask = ops.concat([mask, null_mask], axis=0)
    else:
        null = null_captions(ops, parts.denoiser.y_embedder, y)
    return parts.denoiser.encode_text(ops, ops.concat([y, null], axis=0), mask)


def predict_velocity(
    ops: Ops,
    parts: Components,
    z: Array,
    timestep: float,
    context: TextContext,
    x_mask: Array | None,
    fps: float,
    height: float,
    width: float,
) -> Array:
    """Velocity [B, C, T, h, w] at latents z and in their dtype, whatever the denoiser predicts; sizes in pixels."""
    t, rate = (ops.full((z.shape[0],), value, z.dtype) for value in (timestep, fps))
    output = parts.denoise(ops, z, t, context, x_mask, rate, height, width)
    return to_velocity(ops, ops.astype(output, z.dtype), z, t, parts.config.prediction, SMALLEST_TIME)


def predict_once(
    ops: Ops, parts: Components, z: Array, timestep: float, features: Array, mask: Array, fps: float | None = None
) -> Array:
    """Velocity [B, C, T, h, w] at latents z for text features [B, L, C] and mask, without guidance."""
    context = text_context(ops, parts, Prompt(features, mask), guidance_scale=1)
    rate = conditioning_fps(z.shape[2], parts.config.fps if fps is None else fps)
    rows, columns = parts.config.codec.block[1:]
    size = float(z.shape[3] * rows), float(z.shape[4] * columns)
    return predict_velocity(ops, parts, z, timestep, context, None, rate, *size)


def window_velocity(ops: Ops, parts: Components, request: Request, context: TextContext) -> Velocity:
    """Return the velocity of one request as a function of latents, timestep and frame mask, guided in its interval."""
    fps = conditioning_fps(request.num_frames, request.fps)
    low, high = parts.config.guidance_interval

    def predictor(text: TextContext) -> Velocity:
        def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
            return predict_velocity(ops, parts, z, timestep, text, x_mask, fps, request.height, request.width)

        return predict

    if request.guidance_scale == 1:
        return predictor(context)
    alone = predictor(context.conditional())
    both = guided(ops, predictor(context), request.guidance_scale, parts.config.codec.latent_channels)

    def velocity(z: Array, timestep: float, x_mask: Array | None) -> Array:
        return (both if low <= timestep <= high else alone)(z, timestep, x_mask)

    return velocity


def sample_window(
    ops: Ops,
    parts: Components,
    request: Request,
    context: TextContext,
    *,
    latent_frames: int,
    latent_size: tuple[int, int],
    batch: int = 1,
    first_sample: int = 0,
    given: Given | None = None,
    window: int = 0,
    check_finite: CheckFinite = "raise",
) -> Iterator[Step]:
    """Denoise one window; yields after every step, the last step's latents [B, C, T, h, w] are the result.

    context: `text_context` of the batch. Noise depends on (seed, window, sample) alone, so backend, dtype and batch
    split do not change it; the samples are number first_sample, first_sample + 1, ...
    """
    shape = (parts.config.codec.latent_channels, latent_frames, *latent_size)
    dtype = ops.wide_dtype
    start = normal_batch(request.seed, f"window{window}", batch, shape, first_sample)
    if given is not None:
        keep = given.mask.reshape(batch, 1, latent_frames, 1, 1) < 1
        start = np.where(keep, given.latents, start)
    velocity = window_velocity(ops, parts, request, context)
    steps = euler(
        ops,
        velocity,
        ops.asarray(start, dtype),
        sampling_timesteps(request.num_inference_steps, ratio=parts.config.timestep_shift),
        mask=None if given is None else given.mask,
        noise=lambda i: ops.asarray(
            normal_batch(request.seed, f"window{window}/step{i}", batch, shape, first_sample), dtype
        ),
    )
    check = FiniteCheck(check_finite)
    for step in steps:
        check(partial(ops.to_numpy, step.latents), partial(_blame, ops, parts, context, step))
        yield step


def _blame(ops: Ops, parts: Components, context: TextContext, step: Step) -> str:
    return (
        f"the latents of step {step.number + 1} (timestep {step.timestep:.1f}) hold NaN or Inf; "
        f"{cause_of_non_finite(ops, parts, context)}"
    )
