"""How each release of v1 makes latents out of noise: its sampler, guidance and conditions put together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conditioning.given_frames import Condition
from ..conditioning.mask_strategy import apply_mask_strategy
from ..dit.captions import null_captions
from ..dit.embedders import IMAGE_FPS
from ..dit.stdit import STDiT
from ..dit.stdit2 import STDiT2, VideoSize
from ..dit.stdit3 import STDiT3
from ..dit.stdit3_windows import GivenFrames, WindowedSTDiT3
from ..ops import Array, Ops
from ..schedulers.ancestral import ancestral, guided_noise
from ..schedulers.conditioned_flow import image_flow, resolution_ratio_v13, text_flow
from ..schedulers.diffusion import DiffusionTables
from ..schedulers.guidance import oscillating
from ..schedulers.rectified_flow import euler, guided
from ..schedulers.stepping import Step
from ..schedulers.timesteps import CHUNK_FRAMES, resolution_ratio, sampling_timesteps
from .task import References, Task, Text

GUIDED_CHANNELS = 3  # of the four of v1.0 and v1.1 that guidance reaches


def sample_v1_0(ops: Ops, denoiser: STDiT, task: Task, text: Text, given: None) -> Iterator[Step]:
    """IDDPM, ancestral, with float64 tables; v1.0 knows no given frames."""
    denoiser = replace(denoiser, config=replace(denoiser.config, input_size=task.shape[1:]))  # positions of this size
    context = denoiser.encode_text(ops, *_captions(ops, denoiser, text, 2))

    def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
        return denoiser.denoise(ops, z, ops.full((z.shape[0],), timestep, z.dtype), context)

    network = guided_noise(ops, predict, task.guidance_scale, min(GUIDED_CHANNELS, task.shape[0]))
    tables = DiffusionTables.spaced(str(task.num_inference_steps), "float64")
    return ancestral(ops, network, task.start(ops), tables, task.noise(ops, "step"))


def sample_v1_1(ops: Ops, denoiser: STDiT2, task: Task, text: Text, given: References | None) -> Iterator[Step]:
    """IDDPM, ancestral, with float32 tables; given frames are kept by a mask."""
    context = denoiser.encode_text(ops, *_captions(ops, denoiser, text, 2))
    fps = IMAGE_FPS if task.num_frames == 1 else task.fps
    size = VideoSize(float(task.height), float(task.width), float(task.num_frames), fps)

    def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
        return denoiser.denoise(ops, z, ops.full((z.shape[0],), timestep, z.dtype), context, size, x_mask)

    network = guided_noise(ops, predict, task.guidance_scale, min(GUIDED_CHANNELS, task.shape[0]))
    tables = DiffusionTables.spaced(str(task.num_inference_steps), "float32")
    start, mask = _start(ops, task, given)
    return ancestral(ops, network, start, tables, task.noise(ops, "step"), mask, task.noise(ops, "frames"))


def sample_v1_2(ops: Ops, denoiser: STDiT3, task: Task, text: Text, given: References | None) -> Iterator[Step]:
    """Rectified flow with the timestep transform; given frames are kept by a mask."""
    context = denoiser.encode_text(ops, *_captions(ops, denoiser, text, 2))

    def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
        t, fps = (ops.full((z.shape[0],), value, z.dtype) for value in (timestep, _fps(task)))
        return denoiser.denoise(ops, z, t, context, x_mask, fps, task.height, task.width)

    velocity = guided(ops, predict, task.guidance_scale, task.shape[0])
    times = sampling_timesteps(task.num_inference_steps, ratio=_ratio(task))
    start, mask = _start(ops, task, given)
    return euler(ops, velocity, start, times, mask, task.noise(ops, "frames"))


def sample_v1_3(ops: Ops, denoiser: WindowedSTDiT3, task: Task, text: Text, given: Condition | None) -> Iterator[Step]:
    """Rectified flow with oscillating guidance; given frames are seen as clean latents and guided by apart."""
    copies = 2 if given is None else 3
    y, mask = _captions(ops, denoiser, text, copies)
    context = denoiser.encode_text(ops, y, mask)
    null = ops.concat([y[1:2]] * copies, axis=0)
    seen = None if given is None else _seen(ops, given, task.shape[0], denoiser.encode_text(ops, null, mask))

    def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
        t, fps = (ops.full((z.shape[0],), value, z.dtype) for value in (timestep, _fps(task)))
        return denoiser.denoise(ops, z, t, context, None, fps, task.height, task.width, seen)

    n = task.num_inference_steps
    times = sampling_timesteps(n, ratio=resolution_ratio_v13(task.height, task.width, task.num_frames))
    scales = oscillating(task.guidance_scale, n)
    if given is None:
        return text_flow(ops, predict, task.start(ops), times, scales, restore=True)
    weights = [[scale] * task.shape[1] for scale in oscillating(task.image_guidance_scale, n)]
    return image_flow(ops, predict, task.start(ops), times, scales, weights)


def _ratio(task: Task) -> float | None:
    """Ratio of the timestep transform; None, and a warning, for 2 to 16 frames, where the official one is 0/0."""
    if 1 < task.num_frames < CHUNK_FRAMES:
        warnings.warn(
            f"the timestep transform of v1.2 is undefined for {task.num_frames} frames, which are sampled without it; "
            f"1 frame, or {CHUNK_FRAMES} and more, are what the model was trained for",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return resolution_ratio(task.height, task.width, task.num_frames)


def _captions(ops: Ops, denoiser: Any, text: Text, copies: int) -> tuple[Array, Array]:
    """Features [copies, L, C], the prompt first, and the mask; the null caption reads under that of the prompt."""
    features, mask = ops.asarray(text.features, ops.dtype), ops.asarray(text.mask)
    if text.negative is None:
        null = null_captions(ops, denoiser.y_embedder, features)
    else:
        null = ops.asarray(text.negative[0], ops.dtype)
        mask = ops.concat([mask] + [ops.asarray(text.negative[1])] * (copies - 1), axis=0)
    return ops.concat([features] + [null] * (copies - 1), axis=0), mask


def _fps(task: Task) -> float:
    return IMAGE_FPS if task.num_frames == 1 else task.fps


def _start(ops: Ops, task: Task, given: References | None) -> tuple[Array, NDArray[np.float64] | None]:
    """The noise with references in their places, and the mask [1, T] that keeps them."""
    if given is None:
        return task.start(ops), None
    return apply_mask_strategy(ops, task.start(ops), [given.latents], [given.groups], task.loop, given.align)


def _seen(ops: Ops, given: Condition, channels: int, empty: Any) -> GivenFrames:
    """Clean latents in the rows of prompt and image, zeros in the last one; the mask in all three."""
    rows = ops.concat([given.latents, given.latents, given.latents * 0.0], axis=0)
    mask = ops.concat([given.mask] * channels, axis=1)
    return GivenFrames(given.indices, rows, ops.concat([mask] * 3, axis=0), empty)
